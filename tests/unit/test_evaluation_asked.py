"""A model without an output is neither good nor bad at what needs it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_evaluation_thresholds import TAKE_FLOOR, at, row, take
from test_evaluation_thresholds import asked as tried
from tiny_model import checked_manifest, tiny_manifest

from edge_runtime.evaluation.asked import (
    FLOOR_ALONE,
    NEEDS,
    abilities,
    not_asked,
    put_not_asked,
)
from edge_runtime.evaluation.clip import RESPONSE_MS, Clip, Cue, Trace
from edge_runtime.evaluation.metrics import PERCENTILES, Tally
from edge_runtime.evaluation.model_level import trace
from edge_runtime.evaluation.page import _tables
from edge_runtime.evaluation.report import table
from edge_runtime.evaluation.run import cost, too_slow
from edge_runtime.inference.manifest import Manifest
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    BackgroundState,
    Decision,
    VoiceState,
)

S = 16_000
TURNS = 40
EVERYTHING = {
    "act": ["none", "greet", "deliver", "ask_repeat"],
    "action": ["none", "wave"],
    "delegate": ["none", "delegate", "cancel"],
    "symbols": ["", "a"],
}


def manifest(vocabularies: dict[str, list[str]], sees: bool = True) -> Manifest:
    content: dict[str, Any] = tiny_manifest()
    for role, names in vocabularies.items():
        shape = [1, 4, len(names)] if role == "symbols" else [1, len(names)]
        role = "transcript" if role == "symbols" else role
        content["outputs"].append({"name": role, "role": role, "shape": shape, "dtype": "float32"})
    content["vocabularies"] |= vocabularies
    if not sees:
        content["inputs"] = [one for one in content["inputs"] if one["name"] != "frame"]
    return Manifest.model_validate(content)


KINDS = (
    "pause", "drowned", "answer", "arrival", "wave", "hand", "quiet", "cancel", "follow-up",
    "asked on", "side talk", "no answer", "taken back", "hand in silence", "wave while speaking",
)  # fmt: skip


def clips() -> list[Clip]:
    """Of all that is asked of a model, something."""
    wanted = {"act": "greet", "action": "wave", "delegate": "delegate"}
    cues = [Cue(kind, 2 * S, 4 * S, speech=S) for kind in KINDS]
    cues += [Cue("answer", 2 * S, 4 * S, "late"), Cue("end", 2 * S, 5 * S, "", S, wanted)]
    return [a_clip(cue) for cue in (*cues, Cue("end", 2 * S, 5 * S, "", S))]


def a_clip(cue: Cue) -> Clip:
    return Clip(
        scenario="turns",
        audio=np.zeros((2, TURNS * TURN_SAMPLES), np.float32),
        cues=(cue,),
        voice=(VoiceState(),) * TURNS,
        events=((),) * TURNS,
        background=(BackgroundState(),) * TURNS,
        near=np.zeros(TURNS * TURN_SAMPLES, np.float32),
        said=((S, 2 * S, "a cab"), (S, 2 * S, "a bag")),
    )


def decided(clip: Clip, chances: dict[str, dict[str, float]]) -> Trace:
    """It speaks once, in the third second, with these other outputs."""
    floor = {"speak": 1.0}
    return trace(
        clip,
        [
            Decision(
                index,
                "speak" if index == 12 else "listen",
                probabilities={"floor": floor, **chances},
            )
            for index in range(TURNS)
        ],
    )


def figures(able: frozenset[str], chances: dict[str, dict[str, float]]) -> dict[str, Any]:
    tally = Tally(able)
    for clip in clips():
        tally.add(clip, decided(clip, chances))
    return tally.figures(0)


def names() -> set[str]:
    """As figures are called."""
    return {f"{name}_p{PERCENTILES[name][0]}" if name in PERCENTILES else name for name in NEEDS}


def test_a_model_with_the_floor_alone_is_asked_for_nothing_else() -> None:
    able = abilities(manifest({}, sees=False))
    assert able == FLOOR_ALONE
    found = figures(able, {})
    assert names() <= set(found)
    for name in names():
        assert (found[name]["value"], found[name]["n"]) == (None, 0), name
    for name in ("takeover_rate", "false_takeover_rate", "follow_up_answered", "asked_on_answered"):
        assert found[name]["n"] > 0, name


def test_a_model_that_can_do_it_all_is_asked_for_it_all() -> None:
    able = abilities(manifest(EVERYTHING))
    assert not not_asked(able) and put_not_asked(not_asked(able)) == ""
    found = figures(able, {"act": {"deliver": 1.0}})
    missing = {name for name in names() if found[name]["n"] == 0}
    # A latency needs a hit, and words to tell apart need both to be heard.
    assert missing <= {
        "vision_latency_ms_p50",
        "closed_vocabulary_accuracy",
        "delegation_precision",
    }
    assert found["act_accuracy"]["value"] == 0 and found["cer"]["value"] == 1


def test_a_class_that_is_not_there_is_not_asked_for() -> None:
    able = abilities(manifest({"act": ["none", "greet"], "delegate": ["none", "delegate"]}))
    left = not_asked(able)
    assert left["weave_delivered_rate"] == ["act deliver"] and left["cancel_recall"]
    assert "vision_recall_arrival" not in left and "delegation_recall" not in left
    assert put_not_asked(left).startswith(
        "It has no act ask_repeat, act deliver, action, delegate cancel, transcript, so that "
    )
    assert abilities(manifest({"act": ["none"]}, sees=False)) == FLOOR_ALONE


def test_what_it_would_say_is_not_made_up() -> None:
    clip = a_clip(Cue("end", 2 * S, 5 * S))
    assert decided(clip, {}).acts == {}
    (act,) = decided(clip, {"act": {"none": 0.9, "greet": 0.1}}).acts.values()
    assert act == "greet"


def test_a_threshold_is_not_chosen_by_what_is_not_asked() -> None:
    waiting = take("answers", {12: 0.9}, Cue("answer", at(10), at(30)))
    found = row(tried(TAKE_FLOOR, [waiting], speak=0.5), speak=0.5)
    assert found["by_material"]["seen"]["no result in 4 s"] == {"share": None, "n": 0}


def test_the_report_says_what_was_not_asked() -> None:
    report: dict[str, Any] = {
        "rows": {"model": {"generated_seen": {}}},
        "not_asked": not_asked(abilities(checked_manifest())),
    }
    words = "It has no act, action, delegate, transcript, so that "
    out = io.StringIO()
    table(report, Console(file=out, width=400))
    assert words in out.getvalue() and words in "".join(_tables(report))


@pytest.mark.parametrize("late_ms", [0.0, 82.5])
def test_what_a_micro_turn_costs_comes_on_top_of_every_latency(late_ms: float) -> None:
    tally = Tally()
    for kind in ("end", "interruption", "answer", "arrival"):
        clip = a_clip(Cue(kind, 2 * S, 5 * S, speech=S))
        tally.add(clip, _reacts("deliver" if kind == "answer" else "greet"))
    nothing = np.zeros(0)
    silent = Trace(nothing.astype(np.int64), nothing, nothing)
    tally.add(a_clip(Cue("pause", 2 * S, 5 * S, speech=S)), silent)
    found, before = tally.figures(0, late_ms), tally.figures(0)
    late = {name for name in found if found[name] != before[name]}
    wanted = {f"{name}_p{percent}" for name, some in PERCENTILES.items() for percent in some}
    assert late == (wanted | {"latency_ms_at_5pct_cutoffs"} if late_ms else set())
    for name in late:
        assert found[name]["value"] == pytest.approx(before[name]["value"] + late_ms), name
        assert found[name]["ci95"][0] == pytest.approx(before[name]["ci95"][0] + late_ms), name


def _reacts(act: str) -> Trace:
    times = np.arange(1, TURNS + 1, dtype=np.int64) * TURN_SAMPLES
    speak = (times >= 13 * TURN_SAMPLES).astype(np.float64)
    at_once = 13 * TURN_SAMPLES
    return Trace(times, speak, speak, takes=(at_once,), stops=(at_once,), acts={at_once: act})


def test_latencies_count_the_median_of_a_slow_model_and_what_is_allowed_of_a_quick_one() -> None:
    assert cost([5.0] * 99 + [130.0])["counted"] == RESPONSE_MS
    heavy = cost([94.0] * 97 + [193.0] * 3)
    assert heavy == {"p50": 94.0, "p99": 193.0, "turns": 100, "counted": 94.0}
    (warning,) = too_slow(heavy["p99"], 120.0)
    assert "193 ms" in warning and "200 ms" in warning and "health.compute_p99_ms" in warning
    assert too_slow(119.0, 120.0) == []
