"""Which utterances and sounds a scenario plays: hand-made people, of whom nobody is synthesized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the corpus needs scipy: pip install 'edge-runtime[evaluate]'")

from edge_runtime.evaluation.clip import Trace
from edge_runtime.evaluation.material import Material
from edge_runtime.evaluation.metrics import Tally
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.scenarios.answers import answer, late_answer
from edge_runtime.evaluation.scenarios.others import noises
from edge_runtime.evaluation.scenarios.speaking import aside
from edge_runtime.evaluation.scenarios.turns import Piece, cut_mid_flow, kind_of_pause
from engines.reference.corpus.acoustics import Acoustics
from engines.reference.corpus.bank import GRAMMAR
from engines.reference.corpus.text import Grammar

S = 16_000
CANCELS = 14


@dataclass(frozen=True)
class Said:
    """An utterance as a bank has it."""

    segments: tuple[Piece, ...]
    kind: str
    intent: str = "open"
    voice: str = "somebody"
    room: None = None
    gap_is_natural: bool = False
    recording: str = ""


def says(kind: str, *texts: str, intent: str = "open") -> Said:
    pcm = (3000 * np.sin(np.arange(S // 2))).astype(np.int16)
    pieces = tuple(Piece(pcm, text) for text in texts)
    return Said(pieces, kind, intent, gap_is_natural=True)


def casting(beds: int = 2, **spoken: list[Said]) -> Casting:
    rng = np.random.default_rng(0)
    noises = [1000 * rng.standard_normal(S).astype(np.float32) for _ in range(beds)]
    people: dict[str, Any] = {
        "turn": [
            says("turn", "what is a newt", intent="fact"),
            says("turn", "hi", intent="greet_word"),
        ],
        **spoken,
    }
    material = Material(
        name="by hand",
        spoken=people,
        device=[says("device", "one moment")],
        noises=noises,
        acoustics=Acoustics(noises, []),
        photographs=None,
        labels=Grammar.load(GRAMMAR).labels,
        fillers=frozenset(),
        corrections=(),
        seed=1,
    )
    return Casting(material, seed=1, frame_px=8)


@pytest.mark.parametrize(("render", "first", "every"), [(answer, 3, 6), (late_answer, 1, 2)])
def test_all_ways_to_cancel_are_played(render: Any, first: int, every: int) -> None:
    cast = casting(cancel=[says("cancel", f"forget it {number}") for number in range(CANCELS)])
    clips = [render(cast, index) for index in range(first, every * CANCELS, every)]
    assert all(clip.of("cancel", "taken back") for clip in clips)
    assert len({clip.text for clip in clips}) == CANCELS


def test_what_two_noises_tell_is_told_of_two() -> None:
    cast, tally = casting(beds=2), Tally()
    nothing = np.zeros(0)
    for clip in [noises(cast, index) for index in range(4)] + [aside(cast, at) for at in range(8)]:
        assert clip is not None
        assert bool(clip.recording) is not bool(clip.text), "of speech it is the words that count"
        tally.add(clip, Trace(nothing.astype(np.int64), nothing, nothing))
    found = tally.figures(0)
    noise = found["selectivity_noise"]
    assert (noise["value"], noise["n"], noise["recordings"]) == (1, 8, 2)
    assert noise["ci95"][0] == pytest.approx(0.3424, abs=1e-4), "of two"
    assert found["hesitation_rate"]["n"] == 8


def test_what_is_said_part_by_part_is_torn_and_not_cut_in_its_flow() -> None:
    material, rng = casting().material, np.random.default_rng(0)
    pcm = np.ones(2 * S, np.int16)
    whole = Piece(pcm, "the matrix is sparse", [(1, 0.0, 1.0), (2, 1.0, 2.0)])
    flow = Said((whole,), "turn")
    parts = (Piece(pcm, "the matrix"), Piece(pcm, "is sparse"))
    for spoken, kind in (
        (cut_mid_flow(flow, rng), "cut"),
        (Said(parts, "turn", recording="a.wav"), "cut"),
        (Said(parts, "turn"), "torn"),
        (Said(parts, "turn", gap_is_natural=True), "clause"),
    ):
        assert len(spoken.segments) == 2
        assert kind_of_pause(material, spoken, 0) == kind


@pytest.mark.parametrize("split", ["test_seen", "test_unseen", "tune_seen"])
def test_nobody_asks_on_in_words_of_training(split: str) -> None:
    grammar, rng = Grammar.load(GRAMMAR), np.random.default_rng(0)
    asked = {" ".join(grammar.phrase(rng, "asked_on", split).segments) for _ in range(200)}
    assert not asked & {"go on", "continue", "carry on", "keep going"}
    assert {"you were saying", "go over that with me again"} <= asked
