"""What a model's thresholds decide between: questions, and the mistakes that an answer can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_runtime.evaluation.metrics import Tally
from edge_runtime.inference.manifest import Manifest

Setting = Mapping[str, float | None]
"""Some of the fields of `Decoding`, as a manifest names them."""


@dataclass(frozen=True)
class Mistake:
    """A share of what happened that a setting should make small."""

    figure: str
    """Of the `Tally`: one of its shares, or of its times."""
    words: str
    wanted: bool = False
    """The share is of what went right."""
    over_ms: float | None = None
    """Of times: a mistake is what lasts longer."""
    weight: float = 1.0
    """Kinds of one thing, such as what a device should not stop for, share about one."""

    def count(self, tally: Tally) -> tuple[int, int]:
        """How many, of how many."""
        if self.over_ms is not None:
            times = tally.values.get(self.figure, [])
            return sum(time > self.over_ms for time in times), len(times)
        items = tally.shares.get(self.figure, [])
        hits = sum(item.hits for item in items)
        return (len(items) - hits if self.wanted else hits), len(items)


@dataclass(frozen=True)
class Question:
    """Thresholds that are chosen together, by the mistakes that they decide between."""

    name: str
    parts: tuple[str, ...]
    """The scenarios in which it is asked."""
    settings: tuple[Setting, ...]
    mistakes: tuple[Mistake, ...]
    latency: str = ""
    """Times of the `Tally` that are shown beside them."""

    @property
    def fields(self) -> list[str]:
        """Of `Decoding`, as a manifest names them."""
        return list(dict.fromkeys(name for setting in self.settings for name in setting))

    def can_be_asked(self, manifest: Manifest) -> bool:
        """Whether this model decides such a thing at all."""
        if "yield" in self.fields:
            return "yield" in manifest.vocabularies.floor
        return all(
            manifest.output(role) is not None
            for role in ("action", "delegate")
            if role in self.fields
        )


CHANCES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
QUESTIONS = (
    Question(
        "take the floor",
        ("turns", "side talk", "noise", "answers"),
        tuple({"speak": chance} for chance in (*CHANCES, 0.97, 0.99)),
        (
            Mistake("takeover_rate", "no answer in 2 s", wanted=True),
            Mistake("unanswered_rate", "nor in 8 s"),
            Mistake("false_takeover_rate", "into a pause"),
            Mistake("selectivity_side_talk", "to side talk", wanted=True, weight=0.5),
            Mistake("selectivity_noise", "to noise", wanted=True, weight=0.5),
            Mistake("weave_violation_rate", "a result over speech", weight=0.5),
            Mistake("weave_delivered_rate", "no result in 4 s", wanted=True, weight=0.5),
        ),
        "response_latency_ms",
    ),
    Question(
        "give it up",
        ("interruptions", "backchannels", "asides", "echo", "vision", "crossed gestures"),
        tuple({"yield": chance, "hesitate": None} for chance in CHANCES)
        + tuple(
            {"yield": chance, "hesitate": doubt, "resume": min(doubt, 0.1)}
            for doubt in (0.1, 0.2, 0.3)
            for chance in CHANCES
            if chance > doubt
        ),
        (
            Mistake("stop_miss_rate", "stop missed"),
            Mistake("stop_latency_ms", "after 0.6 s", over_ms=600),
            Mistake("selectivity_backchannel", 'for "mhm"', wanted=True, weight=0.25),
            Mistake("selectivity_side_talk", "for side talk", wanted=True, weight=0.25),
            Mistake("selectivity_noise", "for noise", wanted=True, weight=0.25),
            Mistake("selectivity_echo", "for its echo", wanted=True, weight=0.25),
            Mistake("hesitation_rate", "for a moment", weight=0.25),
            Mistake("vision_recall_hand", "hand missed", wanted=True, weight=0.5),
            Mistake("vision_stops_for_wave", "for a wave", weight=0.5),
        ),
        "stop_latency_ms",
    ),
    Question(
        "act",
        ("turns", "vision", "crossed gestures"),
        tuple({"action": chance} for chance in CHANCES),
        (
            Mistake("action_accuracy", "left out", wanted=True),
            Mistake("wrong_action_rate", "a wrong one"),
            Mistake("premature_action_rate", "too early"),
            Mistake("vision_recall_wave", "wave missed", wanted=True, weight=0.5),
            Mistake("vision_waves_at_hand", "waves at a hand", weight=0.5),
        ),
    ),
    Question(
        "hand on",
        ("turns", "answers", "late answers"),
        tuple({"delegate": chance} for chance in CHANCES),
        (
            Mistake("delegation_recall", "question kept", wanted=True),
            Mistake("delegation_precision", "what is none", wanted=True),
            Mistake("premature_delegation_rate", "half a question"),
            Mistake("cancel_recall", "cancel missed", wanted=True),
        ),
    ),
)
