"""`edge-runtime bench`: what a micro-turn costs, and that neither time nor memory grows.

The whole runtime runs a session of hours on a virtual clock, as `run --speed max` does: sound,
picture, engine, decisions, voice and background model. Only the background's recogniser is left
out: it takes seconds a question, in a process of its own, and is no part of a micro-turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from typing_extensions import Self

from edge_runtime.app import device
from edge_runtime.config import Config
from edge_runtime.demo.renderer import PersonRenderer, Pose
from edge_runtime.interfaces import Clock, NothingHeld
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    TURN_SAMPLES,
    AudioReading,
    FrameReading,
    Pcm,
    TurnRecord,
)
from edge_runtime.pacing import VirtualClock
from edge_runtime.senses import Senses
from edge_runtime.sinks.statistics import resident_mb
from edge_runtime.voice.espeak import EspeakSynthesizer

TURNS_PER_MINUTE = 60_000 // TURN_MS
SENTENCES = (
    "what is twelve times seven",
    "I was in the kitchen yesterday and the soup was cold",
    "tell me about yourself",
    "stop",
    "how many metres are in three miles",
    "goodbye",
)
GAP_S = 6.0
FRAMES = 32


class Session(NothingHeld):
    """An endless microphone and camera: the same few sentences over a noise floor, one person."""

    def __init__(self, clock: Clock, turns: int) -> None:
        self._clock, self._turns = clock, turns
        self._turn = 0
        self._played: Pcm = np.zeros(TURN_SAMPLES, np.float32)

    def __enter__(self) -> Self:
        rng = np.random.default_rng(0)
        voice = EspeakSynthesizer("en-gb+m3", 155)
        gap = np.zeros(int(GAP_S * SAMPLE_RATE_HZ), np.float32)
        sound = [part for text in SENTENCES for part in (*voice.synthesize(text), gap)]
        joined = np.concatenate(sound)
        whole = len(joined) // TURN_SAMPLES * TURN_SAMPLES
        noisy = 0.3 * joined[:whole] + 0.002 * rng.standard_normal(whole)
        self._sound = noisy.astype(np.float32).reshape(-1, TURN_SAMPLES)
        person = PersonRenderer(0)
        self._frames = [person.render(Pose(mouth=i % 3 / 2), i) for i in range(FRAMES)]
        return self

    def read_turn(self) -> AudioReading | None:
        if self._turn == self._turns:
            return None
        self._clock.sleep_until(self._clock.now_ns() + TURN_MS * 1_000_000)
        heard = self._sound[self._turn % len(self._sound)]
        self._turn += 1
        return AudioReading(np.stack([heard, self._played]), 0, self._clock.now_ns())

    def play(self, pcm: Pcm) -> None:
        self._played = pcm

    def flush(self, fade_ms: float) -> int:
        return 0

    def latest(self, now_ns: int) -> FrameReading | None:
        return FrameReading(self._frames[self._turn % FRAMES], now_ns)


class Minutes(NothingHeld):
    """A sink that keeps the median compute time and the memory of each minute."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._minute: list[float] = []
        self.rows: list[tuple[float, float, float, float]] = []
        """p50, p99 and max of the compute time in ms, and resident MB."""

    def publish(self, record: TurnRecord) -> None:
        self._minute.append(record.timings.compute_ms)
        if len(self._minute) == TURNS_PER_MINUTE:
            p50, p99 = np.percentile(self._minute, [50, 99])
            self.rows.append((float(p50), float(p99), max(self._minute), resident_mb()))
            self._minute = []
            self._progress.advance(self._task)


def run_bench(config: Config, hours: float, console: Console) -> dict[str, Any]:
    """Runs `hours` of session as fast as it goes, prints the table, and returns its last line.

    The first minute warms the machine up; the second is what the last one is compared with.
    """
    background = config.background.model_copy(update={"recogniser": "none"})
    config = config.unrecorded().model_copy(update={"background": background})
    minutes = max(3, round(hours * 60))
    clock = VirtualClock()
    session = Session(clock, minutes * TURNS_PER_MINUTE)
    senses = Senses(session, session, clock, realtime=False, staged=True)
    with Progress(console=console, transient=True) as progress:
        kept = Minutes(progress, progress.add_task(f"{minutes} minutes of session", total=minutes))
        with device(config, senses, [kept]) as ready:
            ready.loop.run()
    table = Table("minute", "p50 ms", "p99 ms", "max ms", "resident MB", title="Engine, a turn")
    chosen = sorted({1, 2, *np.linspace(2, minutes, 6).round().astype(int).tolist()})
    for minute in chosen:
        p50, p99, worst, megabytes = kept.rows[minute - 1]
        table.add_row(str(minute), f"{p50:.2f}", f"{p99:.2f}", f"{worst:.2f}", f"{megabytes:.0f}")
    console.print(table)
    first, last = kept.rows[1], kept.rows[-1]
    ratio, growth_mb = last[0] / first[0], last[3] - first[3]
    console.print(
        f"last minute against the second: {ratio:.3f} times its median, {growth_mb:+.1f} MB. "
        f"A micro-turn may take {TURN_MS} ms."
    )
    return {"ratio": ratio, "growth_mb": growth_mb}
