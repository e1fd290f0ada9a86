"""`edge-runtime bench-delegation`: what delegation costs, and how it grows.

Everything runs on this machine, beside each other: on few cores the devices, the broker and the
workers take the time from one another, which counts against the figures.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from rich.console import Console
from rich.table import Table

from edge_runtime.app import device
from edge_runtime.bench.fleet import Fleet
from edge_runtime.bench.programs import LARGE, local_broker, workers
from edge_runtime.config import Config
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import (
    TURN_MS,
    TURN_SAMPLES,
    AudioReading,
    Pcm,
    TurnRecord,
)
from edge_runtime.pacing import MonotonicClock, Pacer
from edge_runtime.senses import Senses

SOUNDS_S = (1.0, 3.0, 10.0, 30.0)
QUESTIONS = 200
SOUND_S, SHORT_S = 2.0, 0.2
WORKERS = (1, 2, 4)
WORK_MS = 200
OUT_A_WORKER = 4
"""Questions that are out at any time, so that no worker ever waits for one."""
DEVICES = (1, 10, 50, 100, 200)
EACH_S = 10.0
"""Every device asks once in so long: people ask no faster."""


def run_bench(
    config: Config, broker: str | None, seconds: float, devices: Sequence[int], console: Console
) -> None:
    """Prints the tables. Raises ConfigError without a broker, BackgroundError without workers."""
    with ExitStack() as stack:
        url = broker or stack.enter_context(local_broker())
        overhead(url, console)
        throughput(url, seconds, console)
        load(url, seconds, devices, console)
        large_answers(config, url, seconds, console)


def overhead(url: str, console: Console) -> None:
    table = Table("sound of the question", "p50 ms", "p99 ms", "max ms", title="Overhead")
    with workers(url, 1, work_ms=0, slots=4):
        for sound_s in SOUNDS_S:
            with Fleet(url, 1, sound_s) as fleet:
                fleet.await_workers(1)
                answers = fleet.one_after_the_other(QUESTIONS)
            shares = (answers.percentile_ms(share) for share in (50, 99, 100))
            table.add_row(f"{sound_s:.0f} s", *(f"{value:.1f}" for value in shares))
    console.print(table)
    console.print(
        f"{QUESTIONS} questions, one after the other, to a worker that answers at once: packing "
        "what was not packed while it was heard, broker, unpacking, and back. A wait for the next "
        "micro-turn is not in it."
    )


def throughput(url: str, seconds: float, console: Console) -> None:
    table = Table("workers", "answers a second", "times one", "failed", title="Throughput")
    one = 0.0
    for count in WORKERS:
        with workers(url, count, WORK_MS, slots=1), Fleet(url, 1, SHORT_S) as fleet:
            fleet.await_workers(count)
            answers = fleet.always_out(OUT_A_WORKER * count, seconds)
        # The first answers of all workers come at the same time: count from there.
        finished = answers.finished_s[count:]
        rate = (len(finished) - count) / (finished[-1] - finished[0]) if len(finished) > 1 else 0.0
        one = one or rate
        table.add_row(str(count), f"{rate:.2f}", f"{rate / one:.2f}", str(answers.failed))
    console.print(table)
    console.print(f"A task of {WORK_MS} ms, one at a time for each worker; a shared subscription.")


def load(url: str, seconds: float, devices: Sequence[int], console: Console) -> None:
    columns = ("devices", "questions a second", "answered", "failed", "p50 ms", "p99 ms", "max ms")
    table = Table(*columns, title="Latency by load")
    with workers(url, 2, work_ms=0, slots=8):
        for count in devices:
            with Fleet(url, count, SOUND_S) as fleet:
                fleet.await_workers(2)
                answers = fleet.at_a_rate(EACH_S, max(seconds, EACH_S))
            shares = (answers.percentile_ms(share) for share in (50, 99, 100))
            table.add_row(
                str(count),
                f"{count / EACH_S:.1f}",
                str(len(answers.latencies_ms)),
                str(answers.failed),
                *(f"{value:.1f}" for value in shares),
            )
    console.print(table)
    console.print(
        f"Every device asks once in {EACH_S:.0f} s; two workers that answer at once. Each device "
        f"has a connection of its own, and all share one process; {SOUND_S:.0f} s of sound each, "
        "packed when it is asked."
    )


class Noise(NothingHeld):
    """A microphone in a quiet room, in real time."""

    def __init__(self) -> None:
        self._pacer = Pacer(MonotonicClock())
        self._played: Pcm = np.zeros(TURN_SAMPLES, np.float32)
        noise = 0.002 * np.random.default_rng(0).standard_normal(TURN_SAMPLES)
        self._noise: Pcm = noise.astype(np.float32)

    def read_turn(self) -> AudioReading:
        tick = self._pacer.wait()
        sound = np.stack([self._noise, self._played])
        return AudioReading(sound, tick.skipped * TURN_SAMPLES, tick.due_ns)

    def play(self, pcm: Pcm) -> None:
        self._played = pcm

    def flush(self, fade_ms: float) -> int:
        return 0


class Turns(NothingHeld):
    """A sink that keeps how long each micro-turn took."""

    def __init__(self) -> None:
        self.total_ms: list[float] = []
        self.missed = 0

    def publish(self, record: TurnRecord) -> None:
        self.total_ms.append(record.timings.total_ms)
        self.missed += record.turn.lost_samples // TURN_SAMPLES


def large_answers(config: Config, url: str, seconds: float, console: Console) -> None:
    """The whole device, and in its process a delegation that gets one megabyte after the other."""
    columns = ("meanwhile", "micro-turns", "missed", "p50 ms", "p99 ms", "max ms")
    table = Table(*columns, title="Micro-turns while large answers arrive")
    for name in ("nothing", "answers of 1 MB"):
        arrived = 0
        with ExitStack() as stack:
            kept = Turns()
            senses = Senses(Noise(), None, MonotonicClock(), realtime=True, staged=True)
            if name != "nothing":
                fleet = stack.enter_context(_flooded(url))
            ready = stack.enter_context(device(config.unrecorded(), senses, [kept]))
            ready.loop.run(max_turns=int(seconds * 1000 / TURN_MS))
            if name != "nothing":
                arrived = len(fleet.answers.latencies_ms)
        shares = (float(np.percentile(kept.total_ms, share)) for share in (50, 99, 100))
        label = f"{arrived} {name}" if arrived else name
        counts = (str(len(kept.total_ms)), str(kept.missed))
        table.add_row(label, *counts, *(f"{value:.1f}" for value in shares))
    console.print(table)
    console.print(f"A micro-turn may take {TURN_MS} ms.")


@contextmanager
def _flooded(url: str) -> Iterator[Fleet]:
    """A device in this process that is sent 1 MB as fast as it asks."""
    stop = threading.Event()
    with workers(url, 1, work_ms=0, slots=1), Fleet(url, 1, sound_s=0.2) as fleet:
        fleet.await_workers(1)

        def ask() -> None:
            while not stop.is_set():
                fleet.one_after_the_other(1, LARGE)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield fleet
        finally:
            stop.set()
            thread.join()
