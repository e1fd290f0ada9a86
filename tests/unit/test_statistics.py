"""The numbers of a run are those of its micro-turns."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.sinks import statistics
from edge_runtime.sinks.statistics import Statistics

AUDIO = np.zeros((2, TURN_SAMPLES), np.float32)


def publish(
    sink: Statistics, compute_ms: float, total_ms: float = 0.0, skipped: int = 0, lost: int = 0
) -> None:
    index = sink.turns
    turn = MicroTurn(index, 0, AUDIO, lost_samples=lost)
    timings = Timings(compute_ms=compute_ms, total_ms=total_ms, skipped=skipped)
    sink.publish(TurnRecord(turn, EngineOutput(index, {}), Decision(index, "listen"), timings))


def test_compute_times_are_summed_up_by_their_percentiles() -> None:
    with Statistics() as sink:
        for compute_ms in np.random.default_rng(1).permutation(np.arange(1, 101)):
            publish(sink, float(compute_ms), total_ms=2 * float(compute_ms))
    summary = sink.summary()
    assert summary["micro_turns"] == 100
    assert summary["compute_ms"] == {"p50": 50.5, "p99": 99.01, "max": 100.0}
    assert summary["total_ms"] == {"p50": 101.0, "p99": 198.02, "max": 200.0}


def test_one_slow_turn_shows_in_the_maximum_and_not_in_the_median() -> None:
    sink = Statistics()
    for compute_ms in [4.0] * 500 + [180.0]:
        publish(sink, compute_ms)
    assert sink.compute_ms() == {"p50": 4.0, "p99": 4.0, "max": 180.0}


def test_missed_turns_and_lost_samples_add_up() -> None:
    sink = Statistics()
    for skipped, lost in [(0, 0), (2, 100), (0, 3200), (1, 0)]:
        publish(sink, 1.0, skipped=skipped, lost=lost)
    summary = sink.summary()
    assert (summary["micro_turns"], summary["missed"], summary["lost_samples"]) == (4, 3, 3300)


def test_a_run_that_never_began_has_numbers_too() -> None:
    summary = Statistics().summary()
    assert (summary["micro_turns"], summary["missed"], summary["lost_samples"]) == (0, 0, 0)
    assert summary["compute_ms"] == summary["total_ms"] == {"p50": 0.0, "p99": 0.0, "max": 0.0}


def test_a_long_run_counts_all_turns_and_measures_the_last_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "KEPT_TURNS", 10)
    sink = Statistics()
    for compute_ms in [500.0] * 7 + [3.0] * 10:
        publish(sink, compute_ms)
    assert sink.summary()["micro_turns"] == 17
    assert sink.compute_ms() == {"p50": 3.0, "p99": 3.0, "max": 3.0}


def test_memory_is_that_of_this_process() -> None:
    # In a process of its own: a large one may give memory back at the same time.
    script = (
        "import numpy as np; from edge_runtime.sinks.statistics import resident_mb;"
        "before = resident_mb(); block = np.ones(64 * 2**20, np.uint8);"
        "print(resident_mb() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert 50 < float(done.stdout) < 80
    assert Statistics().summary()["rss_mb"] > 10
