"""`edge-runtime bench`: what a micro-turn costs, and that neither time nor memory grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge_runtime.app import decider_for, engine_for
from edge_runtime.config import Config
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Event,
    EventKind,
    MicroTurn,
    VoiceState,
)
from edge_runtime.pacing import MonotonicClock
from edge_runtime.sinks.statistics import resident_mb

TURNS_PER_MINUTE = 300
MATERIAL_TURNS = 1500
"""Five minutes of input, made once and repeated: the run measures the engine, not the generator."""


def _material(seed: int = 0) -> Callable[[int], MicroTurn]:
    """Turn i of an endless session: bursts of noise on both sides, a changing picture, events."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.choice([0.001, 0.05, 0.2], MATERIAL_TURNS // 10), 10)
    sound = rng.standard_normal((64, 2, TURN_SAMPLES)).astype(np.float32)
    pictures = rng.integers(0, 256, (32, 96, 96, 3), dtype=np.uint8)
    started = (Event(EventKind.UTTERANCE_STARTED, "bench"),)

    def turn(index: int) -> MicroTurn:
        at = index % MATERIAL_TURNS
        speaking = at % 40 >= 25
        return MicroTurn(
            index=index,
            deadline_ns=index,
            audio=np.clip(sound[at % 64] * level[at], -1, 1),
            frame=pictures[at % 32],
            frame_age_ms=20.0,
            events=started if at % 40 == 25 else (),
            voice=VoiceState("bench", 1.0) if speaking else VoiceState(),
        )

    return turn


def _row(table: Table, name: str, values: NDArray[np.float64], rss_mb: float) -> None:
    p50, p99 = np.percentile(values, [50, 99])
    table.add_row(name, f"{p50:.2f}", f"{p99:.2f}", f"{values.max():.2f}", f"{rss_mb:.0f}")


def run_bench(config: Config, hours: float, console: Console) -> dict[str, Any]:
    """Steps the engine through `hours` of session as fast as it goes and prints the table."""
    turns = max(2 * TURNS_PER_MINUTE + 10, round(hours * 60 * TURNS_PER_MINUTE))
    clock, material = MonotonicClock(), _material()
    spent_ms = np.zeros(turns)
    memory: dict[int, float] = {}
    with engine_for(config) as engine, Progress(console=console, transient=True) as progress:
        decider = decider_for(config, engine.manifest)
        task = progress.add_task(f"{hours:g} h of session", total=turns)
        for index in range(turns):
            turn = material(index)
            begun_ns = clock.now_ns()
            decider.decide(engine.step(turn), turn)
            spent_ms[index] = (clock.now_ns() - begun_ns) / 1e6
            if index % TURNS_PER_MINUTE == TURNS_PER_MINUTE - 1:
                memory[index] = resident_mb()
                progress.update(task, completed=index + 1)
    first = spent_ms[TURNS_PER_MINUTE : 2 * TURNS_PER_MINUTE]
    last = spent_ms[-TURNS_PER_MINUTE:]
    first_mb, last_mb = memory[2 * TURNS_PER_MINUTE - 1], memory[max(memory)]
    ratio = float(np.median(last) / np.median(first))
    table = Table("part", "p50 ms", "p99 ms", "max ms", "resident MB", title="Engine and decision")
    _row(table, "second minute (the first warms up)", first, first_mb)
    _row(table, "last minute", last, last_mb)
    _row(table, "all", spent_ms, last_mb)
    console.print(table)
    console.print(
        f"last minute against the second: {ratio:.3f} of its time, "
        f"{last_mb - first_mb:+.1f} MB; a micro-turn may take 200 ms"
    )
    return {"ratio": ratio, "growth_mb": last_mb - first_mb}
