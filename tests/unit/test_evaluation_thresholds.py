"""Thresholds are chosen by what they would have done: hand-made chances, and what is best there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from tiny_model import checked_manifest

from edge_runtime.evaluation.clip import Clip, Cue
from edge_runtime.evaluation.mistakes import QUESTIONS, Question
from edge_runtime.evaluation.thresholds import Counts, Take, Trial, decide_again, show
from edge_runtime.inference.manifest import Manifest
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    BackgroundState,
    EngineOutput,
    VoiceState,
)

FLOOR = ("listen", "backchannel", "speak", "yield", "hold")
S = 16_000
TURNS = 60
PAUSE, END = 10, 15
"""The micro-turns in which something is decided."""
TAKE_FLOOR, GIVE_UP, ACT, HAND_ON = QUESTIONS


def manifest(**decoding: float) -> Manifest:
    return checked_manifest({"decoding": decoding})


def logit(chance: float) -> float:
    return math.log(chance / (1 - chance)) if chance else -30.0


def take(
    part: str, chances: dict[int, float], *cues: Cue, speaking: bool = False, material: str = "seen"
) -> Take:
    """`chances` to speak, or to yield, by micro-turn; never elsewhere."""
    clip = Clip(
        scenario=part,
        audio=np.broadcast_to(np.float32(0), (2, TURNS * TURN_SAMPLES)),
        cues=cues,
        voice=(VoiceState("u", 3.0) if speaking else VoiceState(),) * TURNS,
        events=((),) * TURNS,
        background=(BackgroundState(),) * TURNS,
        near=np.broadcast_to(np.float32(0), (TURNS * TURN_SAMPLES,)),
    )
    outputs = []
    for turn in range(TURNS):
        wants = logit(chances.get(turn, 0.0))
        # The others of its kind share what is left, so that the softmax gives the chance back.
        floor = [0.0, -30.0, wants, wants, 0.0]
        outputs.append(EngineOutput(turn, {"floor": np.array([floor], np.float32)}))
    return Take(material, part, clip, list(clip.micro_turns()), outputs)


def at(turn: int) -> int:
    return turn * TURN_SAMPLES


def turns(pause: float, end: float, count: int) -> list[Take]:
    cues = (
        Cue("pause", at(PAUSE), at(PAUSE + 3), "clause", S),
        Cue("end", at(END), at(END + 18), "", 2 * S),
    )
    return [take("turns", {PAUSE: pause, END: end}, *cues) for _ in range(count)]


def asked(question: Question, takes: Sequence[Take], **decoding: float) -> dict[str, Any]:
    trial = Trial(question, manifest(**decoding))
    assert sum(1 for _ in trial.run(takes)) == trial.steps(takes)
    return trial.report(seed=1)


def row(found: dict[str, Any], **setting: float | None) -> dict[str, Any]:
    return next(one for one in found["settings"] if setting.items() <= dict(one["setting"]).items())


def test_the_threshold_between_pauses_and_ends_is_found() -> None:
    found = asked(TAKE_FLOOR, turns(0.62, 0.88, 20), speak=0.5)
    assert found["now"] == {"speak": 0.5}
    assert 0.62 < found["least_mistakes"]["speak"] <= 0.88
    assert found["chosen"] == found["least_mistakes"]
    assert found["difference"]["value"] < 0 and found["difference"]["n"] == 20
    early, late = row(found, speak=0.5)["by_material"]["seen"], row(found, speak=0.9)
    assert early["into a pause"] == {"share": 1.0, "n": 20}
    assert early["no answer in 2 s"]["share"] == 0
    assert early["to side talk"] == {"share": None, "n": 0}
    assert late["by_material"]["seen"]["nor in 8 s"]["share"] == 1
    assert row(found, **found["chosen"])["mistakes"] == 0


def test_what_is_there_stays_where_nothing_is_surely_better() -> None:
    few = [*turns(0.3, 0.88, 9), *turns(0.62, 0.88, 1)]
    found = asked(TAKE_FLOOR, few, speak=0.5)
    assert found["least_mistakes"]["speak"] > 0.62
    assert found["difference"]["ci95"][1] > 0
    assert found["chosen"] == found["now"] == {"speak": 0.5}


def counted(wrong: NDArray[np.bool_], texts: Sequence[str]) -> dict[str, Any]:
    """The verdict where each setting is wrong of each clip (settings, clips) in one way."""
    trial = Trial(TAKE_FLOOR, manifest(speak=0.5))
    kinds = np.zeros((*wrong.shape, len(TAKE_FLOOR.mistakes)), np.int64)
    kinds[..., 0], of = wrong, np.zeros_like(kinds)
    of[..., 0] = 1
    trial.counts["seen"] = Counts(kinds, of, [[]] * len(wrong), texts)
    return trial.report(seed=1)


def test_the_best_of_many_that_are_alike_is_not_surely_better() -> None:
    rng = np.random.default_rng(0)
    settings = len(Trial(TAKE_FLOOR, manifest(speak=0.5)).settings)
    alike = [counted(rng.random((settings, 60)) < 0.2, [""] * 60) for _ in range(40)]
    assert sum(one["difference"]["value"] < -0.05 for one in alike) > 20, "by chance alone"
    assert sum(one["chosen"] != one["now"] for one in alike) <= 4
    better = rng.random((settings, 60)) < 0.2
    better[0] = rng.random(60) < 0.6
    assert counted(better, [""] * 60)["chosen"] != {"speak": 0.5}


def test_one_text_however_often_it_is_said_makes_nothing_sure() -> None:
    wrong = np.zeros((len(Trial(TAKE_FLOOR, manifest(speak=0.5)).settings), 60), bool)
    wrong[0, :30] = True
    told_apart = counted(wrong, [f"sentence {n}" for n in range(60)])
    assert told_apart["chosen"] != told_apart["now"]
    two = counted(wrong, ["stop"] * 30 + ["wait"] * 30)
    assert two["chosen"] == two["now"] == {"speak": 0.5}


def test_what_is_there_is_the_best_of_equals() -> None:
    found = asked(TAKE_FLOOR, turns(0.3, 0.88, 9), speak=0.55)
    assert found["chosen"] == found["least_mistakes"] == {"speak": 0.55}


def test_materials_count_alike_however_many_clips_they_have() -> None:
    many = turns(0.0, 0.52, 30)
    cues = Cue("pause", at(PAUSE), at(PAUSE + 3), "clause", S)
    few = [take("turns", {PAUSE: 0.52}, cues, material="human") for _ in range(3)]
    found = asked(TAKE_FLOOR, [*many, *few], speak=0.5)
    speaks, waits = row(found, speak=0.5), row(found, speak=0.6)
    assert speaks["by_material"]["human"]["into a pause"] == {"share": 1.0, "n": 3}
    # Three kinds of mistakes were possible: speaks into half of (none, all), or leaves both out.
    assert speaks["mistakes"] == pytest.approx(0.5 / 3, abs=1e-4)
    assert waits["mistakes"] == pytest.approx(2 / 3, abs=1e-4)


HELD = {
    "backchannel": "backchannels",
    "side talk heard": "asides",
    "noise burst": "asides",
    "echo": "echo",
}


def interruptions(stop: Sequence[float], held: Sequence[float], count: int) -> list[Take]:
    """Chances to yield in successive micro-turns of a "stop", and of what is none."""
    taken = []
    for kind, part in {"interruption": "interruptions", **HELD}.items():
        chances = stop if kind == "interruption" else held
        wants = {PAUSE + turn: chance for turn, chance in enumerate(chances)}
        cue = Cue(kind, at(PAUSE), at(PAUSE + 3))
        taken += [take(part, wants, cue, speaking=True) for _ in range(count)]
    return taken


def test_hesitating_is_found_to_tell_apart_what_one_threshold_cannot() -> None:
    """Both begin alike; half a second later one goes on and the other does not."""
    takes = interruptions([0.35, 0.35, 0.35, 0.35, 0.35], [0.35, 0.02], 12)
    found = asked(GIVE_UP, takes, **{"yield": 0.3})
    best = found["chosen"]
    assert best["hesitate"] is not None and best["yield"] > 0.35
    seen = row(found, **best)["by_material"]["seen"]
    assert seen["stop missed"]["share"] == 0 and seen['for "mhm"']["share"] == 0
    assert seen["for a moment"]["share"] == 1
    assert seen["latency_ms"]["p50"] < 600  # silent when it hesitates, not when it gives up
    alone = row(found, **{"yield": 0.3, "hesitate": None})["by_material"]["seen"]
    assert alone['for "mhm"']["share"] == 1
    later = row(found, **{"yield": 0.4, "hesitate": None})["by_material"]["seen"]
    assert later["stop missed"]["share"] == 1 and "latency_ms" not in later


def test_a_stop_that_comes_late_is_a_mistake() -> None:
    late = interruptions([0, 0, 0, 0, 0.9], [0.0], 5)
    found = asked(GIVE_UP, late, **{"yield": 0.5})
    seen = row(found, **{"yield": 0.5, "hesitate": None})["by_material"]["seen"]
    assert seen["stop missed"]["share"] == 0
    assert seen["after 0.6 s"] == {"share": 1.0, "n": 5}


def test_only_what_a_model_decides_is_asked() -> None:
    assert [q.name for q in QUESTIONS if q.can_be_asked(manifest())] == [
        "take the floor",
        "give it up",
    ]
    words = {"vocabularies.floor": ["listen", "speak", "backchannel"], "outputs.0.shape": [1, 3]}
    silent = checked_manifest(words)
    assert not GIVE_UP.can_be_asked(silent) and TAKE_FLOOR.can_be_asked(silent)


def test_every_setting_can_stand_in_a_manifest_with_any_other() -> None:
    now = {"yield": 0.15, "hesitate": 0.12, "resume": 0.11}
    for question in QUESTIONS:
        trial = Trial(question, manifest(**now))
        assert len(trial.settings) > 10 and len({str(s) for s in trial.settings}) == len(
            trial.settings
        )


def test_nothing_of_a_question_is_no_mistake() -> None:
    found = asked(ACT, turns(0.3, 0.9, 3))
    assert found["chosen"] == found["now"]
    assert {one["mistakes"] for one in found["settings"]} == {0}


def test_a_take_is_decided_upon_as_the_runtime_would() -> None:
    one = turns(0.62, 0.88, 1)[0]
    assert decide_again(one, manifest(speak=0.5)).takes == (at(PAUSE + 1), at(END + 1))
    assert decide_again(one, manifest(speak=0.7)).takes == (at(END + 1),)


def test_the_table_marks_what_is_there_and_gives_the_whole_decoding() -> None:
    takes = [*turns(0.62, 0.88, 20), *interruptions([0.9], [0.05], 5)]
    asked_of = (TAKE_FLOOR, GIVE_UP)
    answers = {q.name: asked(q, takes, speak=0.5, backchannel=0.3) for q in asked_of}
    decoding = {"speak": 0.7, "backchannel": 0.3, "yield": 0.5}
    console = Console(record=True, width=120, quiet=False)
    show({"questions": answers, "decoding": decoding}, console)
    text = console.export_text()
    assert "speak 0.7 instead of speak 0.5" in text
    assert "Nothing is better than yield 0.5." in text
    assert text.rstrip().endswith("decoding:\n  speak: 0.7\n  backchannel: 0.3\n  yield: 0.5")
