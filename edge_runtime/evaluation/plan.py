"""What is played to whom, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_runtime.errors import InputError
from edge_runtime.evaluation.clip import Clip, Judged
from edge_runtime.evaluation.material import PHRASED
from edge_runtime.evaluation.scenarios import Casting, Render, clips
from edge_runtime.evaluation.scenarios.answers import answer, asked_on, follow_up, late_answer
from edge_runtime.evaluation.scenarios.others import noises, side_talk
from edge_runtime.evaluation.scenarios.seen import crossed, seen
from edge_runtime.evaluation.scenarios.speaking import aside, backchannel, echo, interruption
from edge_runtime.evaluation.scenarios.turns import drowned, long_turn, turn

TURNS_ONLY = ("speech_length", "silero_smart_turn_200ms")


QUICK_SHARE = 0.1
LEAST = 4
"""Clips of a scenario, however small the run."""


def portion(full: int, share: float) -> int:
    """How many of the clips of a full run are played."""
    return max(min(full, LEAST), round(full * share))


@dataclass(frozen=True)
class Part:
    """A scenario: how many clips in a full run for each material, and whether a detector could do
    anything in it at all."""

    name: str
    render: Render
    full: int
    for_baselines: bool = True
    phrased: bool = False
    """With new phrasings, too: what counts are the words of whole turns."""

    def plays(self, material: str) -> bool:
        return self.phrased or material != PHRASED

    def play(self, casting: Casting, share: float) -> Iterator[Clip]:
        return clips(self.render, casting, portion(self.full, share))

    def judges(self, all_judges: Sequence[Judged]) -> list[Judged]:
        if self.name == "turns":
            return list(all_judges)
        if not self.for_baselines:
            return [judge for judge in all_judges if judge.name == "model"]
        return [judge for judge in all_judges if judge.name not in TURNS_ONLY]


PARTS = (
    Part("turns", turn, 200, phrased=True),
    Part("interruptions", interruption, 100),
    Part("backchannels", backchannel, 100),
    Part("asides", aside, 60),
    Part("echo", echo, 40),
    Part("side talk", side_talk, 40),
    Part("noise", noises, 32),
    Part("long turns", long_turn, 32, for_baselines=False, phrased=True),
    Part("drowned", drowned, 40, for_baselines=False),
    Part("vision", seen, 96, for_baselines=False),
    Part("crossed gestures", crossed, 48, for_baselines=False),
    Part("answers", answer, 60, for_baselines=False),
    Part("late answers", late_answer, 40, for_baselines=False),
    Part("follow-ups", follow_up, 20, for_baselines=False),
    Part("asked on", asked_on, 48, for_baselines=False),
)


def chosen(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """The parts with these names, or all of them without a name. Raises InputError."""
    known = {part.name: part for part in parts}
    for name in names:
        if name not in known:
            raise InputError(f"There is no scenario {name!r}. There are: {', '.join(known)}.")
    return [part for part in parts if not names or part.name in names]


BANK_SCALE, LEAST_BANK_SCALE = 0.05, 0.012
"""Of the corpus's banks: 480 held-out turns of the synthesizers that were trained on, or 115."""


def bank_scale(share: float) -> float:
    return max(LEAST_BANK_SCALE, BANK_SCALE * min(share, 2.0))
