"""A generated person who stands before the device, speaks, listens and reacts.

The person is both microphone and camera of a demonstration. What they do is a script of scenes;
what they know of the device is what a person would know: whether they hear it speak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from typing_extensions import Self

from edge_runtime.demo.renderer import PersonRenderer, Pose
from edge_runtime.demo.room import Room
from edge_runtime.interfaces import Clock, NothingHeld
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    TURN_SAMPLES,
    AudioReading,
    FrameReading,
    Pcm,
)
from edge_runtime.pacing import Pacer
from edge_runtime.voice.espeak import EspeakSynthesizer

AUDIBLE = 0.005
"""Peak of 10 ms of the device's sound (-46 dBFS) from which the person notices it."""
STEP = SAMPLE_RATE_HZ // 100
LEVEL_RMS = 0.06
"""Of the person's speech at the microphone: -24 dBFS."""
VOICES = ("en-gb+m3", "en-us+m7", "en-gb+f4", "en-us+f5", "en-gb-scotland+m2", "en-us+m1")
TURNS_PER_S = 1000 // TURN_MS
Script = Iterator[None]


@dataclass(frozen=True, slots=True)
class Speech:
    """Something the person said: text, first sample and end sample since the start."""

    text: str
    start: int
    end: int


@dataclass
class Diary:
    """What really happened, by sample position; scenes are judged from it."""

    speech: list[Speech] = field(default_factory=list)
    device: list[bool] = field(default_factory=list)
    """One entry per 10 ms: the device was audible."""
    moments: dict[str, int] = field(default_factory=dict)
    """When something without a sound happened, by name: sample position."""

    def device_spans(self, start: int, end: int, bridge: int = 30) -> list[tuple[int, int]]:
        """Stretches of the device's speech between two samples; gaps under 0.3 s are bridged."""
        spans: list[tuple[int, int]] = []
        for step in range(start // STEP, min(len(self.device), -(-end // STEP))):
            if not self.device[step]:
                continue
            if spans and step - spans[-1][1] // STEP <= bridge:
                spans[-1] = (spans[-1][0], (step + 1) * STEP)
            else:
                spans.append((step * STEP, (step + 1) * STEP))
        return spans


class Person(NothingHeld):
    """Plays a script, one micro-turn a step, over a clock; AudioSource and FrameSource in one."""

    def __init__(
        self,
        seed: int,
        clock: Clock,
        realtime: bool,
        max_turns: int,
        frame_height: int = 144,
        frame_width: int = 192,
    ) -> None:
        self._seed, self._clock, self._realtime = seed, clock, realtime
        self._max_turns = max_turns
        self._size = (frame_height, frame_width)
        self.pose = Pose(present=False)
        self.turn = 0
        self.diary = Diary()
        self.script: Script = iter(())
        self._speech: Pcm = np.zeros(0, np.float32)
        self._to_play: Pcm = np.zeros(TURN_SAMPLES, np.float32)
        self._said: dict[str, Pcm] = {}
        self._mouth = 0.0

    def __enter__(self) -> Self:
        rng = np.random.default_rng(self._seed)
        voice = VOICES[int(rng.integers(len(VOICES)))]
        self._voice = EspeakSynthesizer(voice, int(rng.integers(140, 165)))
        self._voice.check()
        self._room = Room(self._seed)
        self._renderer = PersonRenderer(self._seed, *self._size)
        self._pacer = Pacer(self._clock)
        return self

    # -- what the runtime asks of a source --------------------------------------------

    def read_turn(self) -> AudioReading | None:
        if self.turn >= self._max_turns:
            return None
        captured_ns = self._wait()
        try:
            next(self.script)
        except StopIteration:
            return None
        played, self._to_play = self._to_play, np.zeros(TURN_SAMPLES, np.float32)
        voice = self._take_speech()
        self._notice(played)
        mic = self._room.hear(voice, played)
        self._mouth = min(1.0, 8 * float(np.sqrt(np.mean(voice[-1600:] ** 2))))
        self.turn += 1
        return AudioReading(np.stack([mic, played]), 0, captured_ns)

    def _wait(self) -> int:
        if self._realtime:
            return self._pacer.wait().due_ns
        self._clock.sleep_until(self._clock.now_ns() + TURN_MS * 1_000_000)
        return self._clock.now_ns()

    def play(self, pcm: Pcm) -> None:
        self._to_play = pcm.copy()

    def flush(self, fade_ms: float) -> int:
        dropped = int(np.count_nonzero(self._to_play))
        self._to_play = np.zeros(TURN_SAMPLES, np.float32)
        return dropped

    def latest(self, now_ns: int) -> FrameReading | None:
        pose = replace(self.pose, mouth=self._mouth)
        return FrameReading(self._renderer.render(pose, self.turn), now_ns)

    def _take_speech(self) -> Pcm:
        voice = np.zeros(TURN_SAMPLES, np.float32)
        part = self._speech[:TURN_SAMPLES]
        voice[: len(part)] = part
        self._speech = self._speech[TURN_SAMPLES:]
        return voice

    def _notice(self, played: Pcm) -> None:
        peaks = np.abs(played).reshape(-1, STEP).max(1)
        self.diary.device += [bool(peak > AUDIBLE) for peak in peaks]

    # -- what a script may do ----------------------------------------------------------

    @property
    def position(self) -> int:
        """The next sample, counted from the start."""
        return self.turn * TURN_SAMPLES

    @property
    def hears_device(self) -> bool:
        """The device was audible within the last 200 ms."""
        return any(self.diary.device[-TURN_SAMPLES // STEP :])

    def note(self, name: str) -> None:
        self.diary.moments[name] = self.position

    def prepare(self, texts: Sequence[str]) -> None:
        """Synthesize ahead, so that no turn waits for it."""
        for text in texts:
            self._words(text)

    def wait(self, seconds: float) -> Script:
        for _ in range(round(seconds * TURNS_PER_S)):
            yield

    def say(self, *pieces: str | float) -> Script:
        """Speak texts; a number is a pause in seconds. Ends with the last sample."""
        sound: list[Pcm] = []
        at = self.position
        for piece in pieces:
            if isinstance(piece, str):
                pcm = self._words(piece)
                self.diary.speech.append(Speech(piece, at, at + len(pcm)))
            else:
                pcm = np.zeros(int(piece * SAMPLE_RATE_HZ), np.float32)
            sound.append(pcm)
            at += len(pcm)
        self._speech = np.concatenate(sound)
        while len(self._speech):
            yield

    def until_device_speaks(self, seconds: float) -> Script:
        for _ in range(round(seconds * TURNS_PER_S)):
            if self.hears_device:
                return
            yield

    def until_device_is_silent(self, seconds: float, quiet_s: float = 0.6) -> Script:
        quiet = 0
        for _ in range(round(seconds * TURNS_PER_S)):
            quiet = 0 if self.hears_device else quiet + 1
            if quiet >= quiet_s * TURNS_PER_S:
                return
            yield

    def wave(self, seconds: float) -> Script:
        for phase in range(round(seconds * TURNS_PER_S)):
            self.pose = replace(self.pose, waving=phase + 1)
            yield
        self.pose = replace(self.pose, waving=0)

    def _words(self, text: str) -> Pcm:
        if text not in self._said:
            pcm = np.concatenate(list(self._voice.synthesize(text)))
            level = float(np.sqrt(np.mean(pcm * pcm))) + 1e-9
            self._said[text] = np.clip(pcm * (LEVEL_RMS / level), -1, 1).astype(np.float32)
        return self._said[text]
