"""Whether an engine does what another one does: on recorded micro-turns, with state.

Twice: *teacher-forced*, where every turn starts from the state of the reference: the error of one
turn; and *free-running*, where each carries a state of its own: whether errors add up. What counts
in the end is what is decided, so decisions are compared too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.decide import FloorDecider
from edge_runtime.errors import EngineError
from edge_runtime.inference.engine import ModelEngine
from edge_runtime.inference.manifest import Manifest, Precision
from edge_runtime.micro_turn import Decision, EngineOutput, MicroTurn

MINIMUM_TURNS = 100
REPEATED_TURNS = 50
"""Run twice from one state: the bits must be the same."""
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Limits:
    """How far a candidate may be from its reference. Errors are of logits, teacher-forced."""

    error: float
    """Of any output in any turn."""
    error_p99: float
    """The same in 99 of 100 turns."""
    cosine: float
    """At least, of every output over all turns."""
    agreement: float
    """Share of turns decided alike, free-running."""


LIMITS: Mapping[tuple[Precision, Precision], Limits] = {
    ("fp32", "fp32"): Limits(error=0.05, error_p99=0.02, cosine=0.9999, agreement=0.998),
    ("fp32", "fp16"): Limits(error=0.25, error_p99=0.1, cosine=0.999, agreement=0.99),
    ("int8", "int8"): Limits(error=1.0, error_p99=0.5, cosine=0.999, agreement=0.99),
    ("fp32", "int8"): Limits(error=4.0, error_p99=2.0, cosine=0.99, agreement=0.97),
}
"""By the precisions of reference and candidate. fp32 allows for TF32 and another order of sums."""
REFERENCES: Mapping[Precision, tuple[Precision, ...]] = {
    "fp32": ("fp32",),
    "fp16": ("fp32",),
    "int8": ("int8", "fp32"),
}
"""What a candidate is compared with: int8 with its own Q/DQ graph too, where little may differ."""


@dataclass
class Difference:
    """Of one tensor, over all turns."""

    worst: list[float] = field(default_factory=list)
    """A turn's largest absolute difference."""
    _dot: float = 0.0
    _norms: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def add(self, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> None:
        a, b = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
        self.worst.append(float(np.abs(a - b).max(initial=0.0)))
        self._dot += float(a @ b)
        self._norms += (float(a @ a), float(b @ b))

    def figures(self) -> dict[str, float]:
        length = float(np.sqrt(self._norms.prod()))
        same = 1.0 if length == 0 and not self._norms.any() else 0.0
        return {
            "max": max(self.worst, default=0.0),
            "p99": float(np.percentile(self.worst, 99)) if self.worst else 0.0,
            "cosine": self._dot / length if length else same,
        }


@dataclass
class Agreement:
    """Decisions that came out alike."""

    turns: int = 0
    alike: int = 0
    heard_alike: int = 0
    first_difference: int | None = None

    def add(self, reference: Decision, candidate: Decision) -> None:
        self.turns += 1
        self.heard_alike += reference.heard == candidate.heard
        if _decided(reference) == _decided(candidate):
            self.alike += 1
        elif self.first_difference is None:
            self.first_difference = self.turns - 1

    def figures(self) -> dict[str, Any]:
        return {
            "share": self.alike / self.turns if self.turns else 0.0,
            "heard": self.heard_alike / self.turns if self.turns else 0.0,
            "first_difference": self.first_difference,
        }


@dataclass(frozen=True)
class Report:
    """The comparison, ready for JSON."""

    reference: Mapping[str, str]
    candidate: Mapping[str, str]
    turns: int
    limits: Limits
    forced: Mapping[str, Mapping[str, float]]
    """max, p99 and cosine of every output and state after one turn from the same state."""
    free: Mapping[str, Mapping[str, float]]
    """The same of the outputs, each with a state of its own."""
    decisions: Mapping[str, Mapping[str, Any]]
    deterministic: bool
    """The same turn from the same state gives the same bits."""
    resets: bool
    """After `reset` the whole stream gives the same bits again."""
    latency_ms: Mapping[str, float]
    """p50, p99 and max of the candidate's step, free-running."""
    violations: Sequence[str]

    @property
    def passed(self) -> bool:
        return not self.violations

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def verify(
    reference: ModelEngine,
    candidate: ModelEngine,
    streams: Sequence[Sequence[MicroTurn]],
    limits: Limits,
) -> Report:
    """Compare two active engines of one model on streams that each begin from the initial state.

    Raises EngineError when one of them fails or gives NaN or infinity, and when there are fewer
    than 100 turns.
    """
    turns = sum(len(stream) for stream in streams)
    if turns < MINIMUM_TURNS:
        raise EngineError(
            f"{turns} recorded micro-turns are too few to compare engines: {MINIMUM_TURNS} or more "
            "are needed. `edge-runtime demo --speed max` records 450."
        )
    outputs = [tensor.name for tensor in reference.manifest.outputs]
    forced, forced_decisions = _forced(reference, candidate, streams)
    free, free_decisions, latency_ms, resets = _free(reference, candidate, streams)
    report = Report(
        reference=dict(reference.identity),
        candidate=dict(candidate.identity),
        turns=turns,
        limits=limits,
        forced=forced,
        free=free,
        decisions={"forced": forced_decisions, "free": free_decisions},
        deterministic=_deterministic(candidate, streams[0][:REPEATED_TURNS]),
        resets=resets,
        latency_ms=latency_ms,
        violations=[],
    )
    return Report(**{**vars(report), "violations": _violations(report, outputs)})


def _forced(
    reference: ModelEngine, candidate: ModelEngine, streams: Sequence[Sequence[MicroTurn]]
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    differences: dict[str, Difference] = {}
    agreement = Agreement()
    for stream in streams:
        both = _Deciders(reference.manifest)
        reference.reset()
        for turn in stream:
            candidate.restore(reference.state())
            one, other = reference.step(turn), candidate.step(turn)
            _add(differences, one.tensors, other.tensors)
            _add(differences, reference.state(), candidate.state())
            agreement.add(*both.decide(one, other, turn))
    return {name: d.figures() for name, d in differences.items()}, agreement.figures()


def _free(
    reference: ModelEngine, candidate: ModelEngine, streams: Sequence[Sequence[MicroTurn]]
) -> tuple[dict[str, dict[str, float]], dict[str, Any], dict[str, float], bool]:
    differences: dict[str, Difference] = {}
    agreement = Agreement()
    took_ms: list[float] = []
    resets = True
    for stream in streams:
        both = _Deciders(reference.manifest)
        reference.reset()
        candidate.reset()
        given = []
        for turn in stream:
            one = reference.step(turn)
            begun = time.perf_counter()
            other = candidate.step(turn)
            took_ms.append((time.perf_counter() - begun) * 1e3)
            given.append(other)
            _add(differences, one.tensors, other.tensors)
            agreement.add(*both.decide(one, other, turn))
        candidate.reset()
        resets &= all(
            _same(candidate.step(turn), before) for turn, before in zip(stream, given, strict=True)
        )
    p50, p99, most = (float(np.percentile(took_ms, q)) for q in (50, 99, 100))
    latency = {"p50": p50, "p99": p99, "max": most}
    figures = {name: d.figures() for name, d in differences.items()}
    return figures, agreement.figures(), latency, resets


def _deterministic(candidate: ModelEngine, stream: Iterable[MicroTurn]) -> bool:
    candidate.reset()
    for turn in stream:
        state = candidate.state()
        first = candidate.step(turn)
        candidate.restore(state)
        if not _same(candidate.step(turn), first):
            return False
    return True


class _Deciders:
    """One for each engine, since a decider remembers the turn before."""

    def __init__(self, manifest: Manifest) -> None:
        self._both = FloorDecider(manifest), FloorDecider(manifest)

    def decide(
        self, one: EngineOutput, other: EngineOutput, turn: MicroTurn
    ) -> tuple[Decision, Decision]:
        return self._both[0].decide(one, turn), self._both[1].decide(other, turn)


def _decided(decision: Decision) -> tuple[Any, ...]:
    actions = tuple(action.name for action in decision.actions)
    return decision.floor, decision.say, decision.stop, actions, decision.delegation


def _add(differences: dict[str, Difference], one: Arrays, other: Arrays) -> None:
    for name, array in one.items():
        differences.setdefault(name, Difference()).add(array, other[name])


def _same(one: EngineOutput, other: EngineOutput) -> bool:
    return all(np.array_equal(array, other.tensors[name]) for name, array in one.tensors.items())


def _violations(report: Report, outputs: Sequence[str]) -> list[str]:
    limits, found = report.limits, []
    for name in outputs:
        figures = report.forced[name]
        if figures["max"] > limits.error:
            found.append(f"{name}: error {figures['max']:.3g}, at most {limits.error:g}")
        if figures["p99"] > limits.error_p99:
            found.append(f"{name}: error p99 {figures['p99']:.3g}, at most {limits.error_p99:g}")
        if figures["cosine"] < limits.cosine:
            found.append(f"{name}: cosine {figures['cosine']:.5f}, at least {limits.cosine:g}")
    share = report.decisions["free"]["share"]
    if share < limits.agreement:
        found.append(f"decisions: {share:.2%} alike, at least {limits.agreement:.1%}")
    if not report.deterministic:
        found.append("the same turn from the same state gave other bits")
    if not report.resets:
        found.append("after a reset the stream gave other bits")
    return found
