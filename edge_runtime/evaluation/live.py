"""A clip as the world around the real runtime: it hears the person, and its own loudspeaker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from typing_extensions import Self

from edge_runtime.demo.room import Room
from edge_runtime.evaluation.clip import Clip
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
from edge_runtime.pacing import Pacer

SILENT_ROOM_DB = -200.0
AUDIBLE = 0.005
"""Peak of what counts as sound at the loudspeaker: -46 dBFS, as for the person of the demo."""
PAUSE_BETWEEN_WORDS = SAMPLE_RATE_HZ * 3 // 10
FADE = SAMPLE_RATE_HZ * 4 // 100


class World(NothingHeld):
    """AudioSource and FrameSource of one live clip; keeps what was played, sample by sample."""

    def __init__(self, clip: Clip, seed: int, clock: Clock, realtime: bool) -> None:
        self._clip, self._seed, self._clock, self._realtime = clip, seed, clock, realtime
        self.before_turn: Callable[[int], None] = lambda turn: None
        """Called before a turn's sound is read."""
        self.heard: list[Pcm] = []
        self.played: list[Pcm] = []
        self.late_ms: list[float] = []
        """By turn: from its last sample to the moment at which the next sound was handed over."""
        self._to_play: Pcm = np.zeros(TURN_SAMPLES, np.float32)
        self._captured_ns = 0

    def __enter__(self) -> Self:
        self._echo = Room(self._seed, noise_db=SILENT_ROOM_DB)
        self._pacer = Pacer(self._clock)
        return self

    def read_turn(self) -> AudioReading | None:
        index = len(self.played)
        if index >= self._clip.turns:
            return None
        self.before_turn(index)
        self._captured_ns = self._wait()
        played, self._to_play = self._to_play, np.zeros(TURN_SAMPLES, np.float32)
        person = self._clip.audio[0, index * TURN_SAMPLES : (index + 1) * TURN_SAMPLES]
        mic = np.clip(person + self._echo.hear(np.zeros_like(person), played), -1, 1)
        self.heard.append(mic.astype(np.float32))
        self.played.append(played)
        return AudioReading(np.stack([self.heard[-1], played]), 0, self._captured_ns)

    def _wait(self) -> int:
        if self._realtime:
            return self._pacer.wait().due_ns
        self._clock.sleep_until(self._clock.now_ns() + TURN_MS * 1_000_000)
        return self._clock.now_ns()

    def play(self, pcm: Pcm) -> None:
        self._to_play = pcm.copy()
        self.late_ms.append((self._clock.now_ns() - self._captured_ns) / 1e6)

    def flush(self, fade_ms: float) -> int:
        return 0

    def latest(self, now_ns: int) -> FrameReading | None:
        frames = self._clip.frames
        if not frames:
            return None
        return FrameReading(frames[min(len(self.played), len(frames)) - 1], now_ns)


class Kept(NothingHeld):
    """A sink that keeps the records of one clip."""

    def __init__(self) -> None:
        self.records: list[TurnRecord] = []

    def publish(self, record: TurnRecord) -> None:
        self.records.append(record)


def sound_from(played: Pcm, sample: int) -> int | None:
    """The first audible sample at or after `sample`."""
    found = np.flatnonzero(np.abs(played[sample:]) > AUDIBLE)
    return sample + int(found[0]) if len(found) else None


def silent_from(played: Pcm, stop: int) -> int | None:
    """Since when it is silent that decided to stop at `stop`; None: it can be heard after that."""
    faded = stop + FADE
    if (np.abs(played[faded : faded + PAUSE_BETWEEN_WORDS]) > AUDIBLE).any():
        return None
    loud = np.flatnonzero(np.abs(played[:faded]) > AUDIBLE)
    return int(loud[-1]) + 1 if len(loud) else 0
