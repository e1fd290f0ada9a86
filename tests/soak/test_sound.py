"""Minutes with virtual sound cards, and what is measured then. It prints its figures.

make soak ARGS='-k sound'
REMOVALS=100 STOPS=200 make soak ARGS='-k sound'
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from virtual_sound import VirtualSound, needs_virtual_sound, virtual_sound, wait_until

from edge_runtime.app import device
from edge_runtime.config import Audio, Config
from edge_runtime.health import MICROPHONE
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm, TurnRecord
from edge_runtime.senses import senses_for
from edge_runtime.sinks.statistics import resident_mb
from edge_runtime.sources.echo_delay import lateness
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.sources.sound_plan import Wanted

pytestmark = [pytest.mark.soak, needs_virtual_sound]
REMOVALS = int(os.environ.get("REMOVALS", "20"))
STOPS = int(os.environ.get("STOPS", "60"))
LOAD_S = 20.0


@pytest.fixture
def card(tmp_path: Path) -> Iterator[VirtualSound]:
    with virtual_sound(tmp_path / "sound", "kiosk") as server:
        server.plug("kiosk")
        yield server


@dataclass
class Heard:
    """A Sink that notes when what was heard."""

    turns: list[tuple[float, bool, int]] = field(default_factory=list)
    """When it was decided, whether all of it was heard, and how many turns were missed before."""

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None: ...

    def publish(self, record: TurnRecord) -> None:
        whole = record.turn.lost_samples == 0 and bool(record.turn.audio[0].any())
        self.turns.append((time.monotonic(), whole, record.timings.skipped))

    def hears(self) -> bool:
        return bool(self.turns) and self.turns[-1][1]


def spread(name: str, values: list[float], unit: str) -> None:
    p50, p95 = np.percentile(values, [50, 95])
    print(f"\n{name}: p50 {p50:.1f}, p95 {p95:.1f}, max {max(values):.1f} {unit}, n={len(values)}")


def test_sound_is_back_however_often_the_card_is_taken_away(card: VirtualSound) -> None:
    """The whole device with the reference model: the loop goes on as if nothing had happened."""
    config = Config(audio=Audio(input_device="kiosk_mic", output_device="kiosk"))
    heard, stop = Heard(), threading.Event()
    back_s: list[float] = []
    memory_mb: list[float] = []
    with device(config, senses_for(config, realtime=True), [heard]) as ready:
        print("\n" + ready.notes[0])
        began_s = time.monotonic()
        loop = threading.Thread(target=ready.loop.run, args=(stop.is_set,))
        loop.start()
        try:
            wait_until(heard.hears)
            for _ in range(REMOVALS):
                card.unplug("kiosk")
                wait_until(lambda: not heard.hears())
                wait_until(lambda: _device_state(ready.health) == "lost")
                card.plug("kiosk")
                plugged_s = time.monotonic()
                wait_until(heard.hears)
                back_s.append(time.monotonic() - plugged_s)
                memory_mb.append(resident_mb())
        finally:
            stop.set()
            loop.join()
        lasted_s = time.monotonic() - began_s
        part = ready.health.snapshot().part(MICROPHONE)
    missed = sum(skipped for _, _, skipped in heard.turns)
    expected = lasted_s * 1000 / TURN_MS
    spread("sound is back after the card", back_s, "s")
    print(f"micro-turns: {len(heard.turns)} of {expected:.1f}, {missed} missed")
    print(f"memory: {memory_mb[0]:.0f} MB after the first, {memory_mb[-1]:.0f} MB after the last")
    assert part is not None and part.values["reopened"] == REMOVALS
    assert len(heard.turns) > 0.98 * expected
    assert memory_mb[-1] - memory_mb[len(memory_mb) // 2] < 10


def _device_state(health: object) -> object:
    part = health.snapshot().part(MICROPHONE)  # type: ignore[attr-defined]
    return None if part is None else part.values.get("device_state")


@pytest.fixture
def quiet_card(card: VirtualSound) -> VirtualSound:
    card.hush("kiosk")
    return card


def test_sound_stops_at_the_loudspeaker(quiet_card: VirtualSound) -> None:
    """From `flush` to the last sample that is not silence: counted in the microphone's samples, so
    that the way back from the loudspeaker is in it."""
    t_s = np.arange(TURN_SAMPLES) / SAMPLE_RATE_HZ
    tone: Pcm = (0.5 * np.sin(2 * np.pi * 500 * t_s)).astype(np.float32)
    rng = np.random.default_rng(0)
    stops_ms: list[float] = []
    with MicrophoneSource(Wanted("kiosk_mic", "kiosk")) as sound:
        print("\n" + sound.description)
        while len(stops_ms) < STOPS:
            for _ in range(3):
                sound.play(tone)
                reading = sound.read_turn()
            sound.play(tone)
            read = sound._buffer.captured_count - sound._buffer._captured.shape[1]
            time.sleep(rng.uniform(0, 0.1))  # at any time within a turn
            flushed = sound._buffer.captured_count
            sound.flush(20)
            heard = [reading.pcm[0][:0]]
            while not heard[-1].size or np.abs(heard[-1]).max() > 1e-3:
                sound.play(np.zeros(TURN_SAMPLES, np.float32))
                heard.append(sound.read_turn().pcm[0])
            loud = np.flatnonzero(np.abs(np.concatenate(heard)) > 1e-3)
            if loud.size:
                stops_ms.append((read + loud[-1] + 1 - flushed) * 1000 / SAMPLE_RATE_HZ)
        status = sound.status()
    spread("from flush to silence, in the microphone", stops_ms, "ms")
    print(f"the device's buffer: {status.buffer_ms:.1f} ms; fade 20 ms")
    assert max(stops_ms) < 400, "what was queued was played on"


def test_sound_is_aligned_over_many_openings(quiet_card: VirtualSound) -> None:
    rng = np.random.default_rng(0)
    late_ms: list[float] = []
    unclear = 0
    """Windows in which a busy machine tore the sound."""
    for _ in range(8):
        with MicrophoneSource(Wanted("kiosk_mic", "kiosk", block_ms=10.0)) as sound:
            readings = []
            while not sound.status().delay_found or len(readings) < 80:
                sound.play(rng.uniform(-0.3, 0.3, TURN_SAMPLES).astype(np.float32))
                readings.append(sound.read_turn().pcm)
        for end in range(len(readings) - 24, len(readings) + 1, 8):
            both = np.concatenate(readings[end - 8 : end], axis=1)
            late = lateness(both[0], both[1])
            unclear += late is None
            if late is not None:
                late_ms.append(abs(late) * 1000 / SAMPLE_RATE_HZ)
    spread("the echo's distance from the reference", late_ms, "ms")
    print(f"{unclear} windows without a clear echo")
    assert len(late_ms) > unclear


def _burn() -> None:
    while True:
        pass


@contextmanager
def load(processes: int) -> Iterator[None]:
    burning = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(processes)]
    for one in burning:
        one.start()
    try:
        yield
    finally:
        for one in burning:
            one.kill()
            one.join()


def test_sound_under_load(card: VirtualSound) -> None:
    """Gaps are counted, whoever makes them; the devices get larger blocks if there are many."""
    busy = 2 * (os.cpu_count() or 1)
    for processes in (0, busy):
        with MicrophoneSource(Wanted("kiosk_mic", "kiosk")) as sound, load(processes):
            began_s, began_cpu_s = time.monotonic(), time.process_time()
            turns = lost = 0
            while time.monotonic() - began_s < LOAD_S:
                sound.play(np.full(TURN_SAMPLES, 0.1, np.float32))
                lost += sound.read_turn().lost_samples
                turns += 1
            status = sound.status()
            cpu = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
        print(
            f"\n{processes} busy processes, {LOAD_S:.0f} s: {turns} turns, {lost} samples lost, "
            f"xruns {status.microphone.xruns} heard, {status.loudspeaker.xruns} played, "
            f"{status.underrun_samples} samples of underrun, {status.block_ms:g} ms blocks; "
            f"{cpu:.1%} of a core"
        )
        assert turns > 0.9 * LOAD_S * 1000 / TURN_MS
