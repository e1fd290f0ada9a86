"""Proof 4: it knows its own voice by the playback reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.evaluation import figures
from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.metrics import spells
from edge_runtime.evaluation.model_level import Model
from edge_runtime.evaluation.proofs import Bench, low, proof
from edge_runtime.evaluation.scenarios.speaking import echo_clip
from edge_runtime.micro_turn import SAMPLE_RATE_HZ

LATE_S = 0.6


def own_channel(bench: Bench) -> dict[str, Any]:
    casting = bench.casts[0]
    counts: list[tuple[int, int, int]] = []
    minutes = 0.0
    for index in range(bench.count(80)):
        clip = echo_clip(casting, index)
        cue = clip.of("echo")[0]
        minutes += (cue.end - cue.start) / SAMPLE_RATE_HZ / 60
        muted = echo_clip(casting, index, reference=False)
        late = echo_clip(casting, index, late_s=LATE_S)
        counts.append(
            (_faults(bench.model, clip), _faults(bench.model, muted), _faults(bench.model, late))
        )
    table = np.array(counts, np.float64)
    names = ("reference", "muted", "late")
    found: dict[str, Any] = {
        f"{name}_per_min": figures.rate(int(table[:, column].sum()), minutes)
        for column, name in enumerate(names)
    }
    for column, name in ((1, "muted"), (2, "late")):
        found[f"{name}_minus_reference"] = figures.difference(
            lambda items, c=column: float((table[items, c] - table[items, 0]).mean()),  # type: ignore[misc]
            len(table),
            bench.seed,
        )
    worse = [found[f"{name}_minus_reference"] for name in ("muted", "late")]
    holds = any(low(one) > 0 for one in worse) and all(one["value"] >= 0 for one in worse)
    return proof(
        "without the playback reference, or with a late one, it interrupts and answers itself "
        "more often",
        found,
        holds,
    )


def _faults(model: Model, clip: Clip) -> int:
    """Self-interruptions and self-answers."""
    cue, trace = clip.of("echo")[0], model.run(clip)
    after = cue.end + 2 * SAMPLE_RATE_HZ
    return spells(trace.stops, cue.start, cue.end) + spells(trace.takes, cue.start, after)
