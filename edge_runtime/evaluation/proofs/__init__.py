"""The seven proofs that a model is no detector in disguise. Each can fail."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.evaluation.baselines import Ears
from edge_runtime.evaluation.figures import Figure
from edge_runtime.evaluation.model_level import Model
from edge_runtime.evaluation.plan import portion
from edge_runtime.evaluation.scenarios import Casting


@dataclass(frozen=True)
class Bench:
    """What a proof works with."""

    model: Model
    casts: Sequence[Casting]
    """Generated material first: what is shown there is rendered twice with one thing changed."""
    ears: Ears | None
    """The detectors, where there are any."""
    ticks: Path | None
    share: float
    seed: int

    def count(self, full: int) -> int:
        return portion(full, self.share)


def proof(
    claim: str, figures: Mapping[str, Any], holds: bool | None, reason: str = ""
) -> dict[str, Any]:
    """`holds` None: not run, and `reason` says why."""
    return {"claim": claim, "figures": dict(figures), "holds": holds, "reason": reason}


PROOFS = 7
Proof = Callable[[Bench], dict[str, Any]]


def low(figure: Figure) -> float:
    """The lower end of an interval; without one nothing is sure, so it is endless."""
    bound = figure["ci95"][0]
    return -math.inf if bound is None else float(bound)


def high(figure: Figure) -> float:
    bound = figure["ci95"][1]
    return math.inf if bound is None else float(bound)


def prove(bench: Bench, advance: Callable[[str], None]) -> dict[str, Any]:
    """All seven, by name."""
    from edge_runtime.evaluation.proofs.causality import causality
    from edge_runtime.evaluation.proofs.own_channel import own_channel
    from edge_runtime.evaluation.proofs.ticks import ticks
    from edge_runtime.evaluation.proofs.vision import vision
    from edge_runtime.evaluation.proofs.words import (
        energy_matched_pairs,
        envelope_ablation,
        listening_while_speaking,
    )

    proofs: dict[str, Proof] = {
        "energy_matched_pairs": energy_matched_pairs,
        "envelope_ablation": envelope_ablation,
        "vision": vision,
        "own_channel": own_channel,
        "causality": causality,
        "listening_while_speaking": listening_while_speaking,
        "tick_ablation": ticks,
    }
    found = {}
    for name, run in proofs.items():
        advance(name)
        found[name] = run(bench)
    return found
