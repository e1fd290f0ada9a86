"""What a run cost: micro-turns, missed ones, compute time, memory."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TurnRecord

KEPT_TURNS = 18_000
"""An hour of micro-turns: percentiles are over the last so many, so that nothing grows."""


def resident_mb() -> float:
    """Memory of this process that is in RAM, in MB."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Statistics(NothingHeld):
    """Counts as the loop runs; `summary()` at any time."""

    def __init__(self) -> None:
        self.turns = self.missed = self.lost_samples = 0
        self._compute_ms = np.zeros(KEPT_TURNS, np.float32)
        self._total_ms = np.zeros(KEPT_TURNS, np.float32)
        self.peak_rss_mb = 0.0

    def publish(self, record: TurnRecord) -> None:
        slot = self.turns % KEPT_TURNS
        self._compute_ms[slot] = record.timings.compute_ms
        self._total_ms[slot] = record.timings.total_ms
        self.turns += 1
        self.missed += record.timings.skipped
        self.lost_samples += record.turn.lost_samples
        if self.turns % 25 == 0:
            self.peak_rss_mb = max(self.peak_rss_mb, resident_mb())

    def compute_ms(self) -> dict[str, float]:
        """p50, p99 and max of the engine's step."""
        return _spread(self._compute_ms[: min(self.turns, KEPT_TURNS)])

    def summary(self) -> dict[str, Any]:
        return {
            "micro_turns": self.turns,
            "missed": self.missed,
            "lost_samples": self.lost_samples,
            "compute_ms": self.compute_ms(),
            "total_ms": _spread(self._total_ms[: min(self.turns, KEPT_TURNS)]),
            "rss_mb": round(max(self.peak_rss_mb, resident_mb()), 1),
        }


def _spread(values: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, float]:
    if not len(values):
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99 = np.percentile(values, [50, 99])
    return {
        "p50": round(float(p50), 2),
        "p99": round(float(p99), 2),
        "max": round(float(values.max()), 2),
    }
