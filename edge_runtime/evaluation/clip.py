"""What is judged: clips with exact event times, and what a model or a baseline did in them.

All times are samples at 16 kHz from the start of the clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    TURN_SAMPLES,
    BackgroundState,
    Event,
    Frame,
    Letters,
    MicroTurn,
    Pcm,
    StereoPcm,
    VoiceState,
)

MS = SAMPLE_RATE_HZ // 1000
RESPONSE_MS = 12.0
"""Compute and mixing between the end of a micro-turn and the first sample of what was decided, for
whoever needs no more at the median: so that one seed gives the same figures on any machine. What a
slower model needs beyond it is added to its latencies."""
FADE_MS = 20.0


@dataclass(frozen=True)
class Cue:
    """Something that happens in a clip and that a decision is held against."""

    kind: str
    start: int
    end: int
    detail: str = ""
    speech: int = 0
    """Of a gap: samples from the beginning of the turn to here."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What ought to be done: act, action, delegate."""


@dataclass(frozen=True)
class Clip:
    """T micro-turns of both sides. The device's side follows a script, whatever is decided."""

    scenario: str
    audio: StereoPcm
    """float32 (2, T * 3200), -1..1."""
    cues: tuple[Cue, ...]
    voice: tuple[VoiceState, ...]
    """(T,): what the mouth does at the end of each turn."""
    events: tuple[tuple[Event, ...], ...]
    background: tuple[BackgroundState, ...]
    near: Pcm
    """float32 (T * 3200,): the person alone, before the room."""
    frames: tuple[Frame, ...] | None = None
    said: tuple[tuple[int, int, str], ...] = ()
    """The person's words: first sample, end sample, text."""
    text: str = ""
    """The last utterance of anybody but the device: what a clip is about, if it is about one."""
    voice_name: str = ""
    """And whose it was."""
    recording: str = ""
    """And the file it is from; where nobody speaks but the device, the noise."""

    @property
    def whose(self) -> tuple[str, str, str]:
        """What it may have in common with other clips: text, voice and recording."""
        return self.text, self.voice_name, self.recording

    @property
    def turns(self) -> int:
        return len(self.voice)

    @property
    def minutes(self) -> float:
        return self.turns * TURN_MS / 60_000

    def speaks(self, start: int, end: int) -> bool:
        """Whether the device does in the micro-turns of these samples."""
        turns = slice(start // TURN_SAMPLES, -(-end // TURN_SAMPLES))
        return any(state.speaking for state in self.voice[turns])

    def of(self, *kinds: str) -> list[Cue]:
        return [cue for cue in self.cues if cue.kind in kinds]

    def micro_turns(self) -> Iterator[MicroTurn]:
        for index in range(self.turns):
            span = slice(index * TURN_SAMPLES, (index + 1) * TURN_SAMPLES)
            yield MicroTurn(
                index=index,
                deadline_ns=(index + 2) * TURN_MS * 1_000_000,
                audio=self.audio[:, span],
                frame=None if self.frames is None else self.frames[index],
                frame_age_ms=None if self.frames is None else 0.0,
                events=self.events[index],
                voice=self.voice[index],
                background=self.background[index],
            )

    def until(self, sample: int) -> Clip:
        """Without what comes after the micro-turn of `sample`."""
        turns = min(self.turns, sample // TURN_SAMPLES + 1)
        end = turns * TURN_SAMPLES
        return replace(
            self,
            audio=self.audio[:, :end],
            cues=tuple(cue for cue in self.cues if cue.end <= end),
            voice=self.voice[:turns],
            events=self.events[:turns],
            background=self.background[:turns],
            near=self.near[:end],
            frames=None if self.frames is None else self.frames[:turns],
        )

    def with_microphone(self, pcm: NDArray[np.float32]) -> Clip:
        return replace(self, audio=np.stack([pcm, self.audio[1]]).astype(np.float32))

    def with_frames(self, frames: Sequence[Frame] | None) -> Clip:
        return replace(self, frames=None if frames is None else tuple(frames))


@dataclass(frozen=True)
class Trace:
    """What one of the judged decided in a clip, and when: all it used had been heard by then."""

    times: NDArray[np.int64]
    """(k,), rising."""
    speak: NDArray[np.float64]
    """(k,): how much it wants to take the floor."""
    stop: NDArray[np.float64]
    """(k,): how much it wants to fall silent."""
    takes: tuple[int, ...] = ()
    stops: tuple[int, ...] = ()
    hesitations: tuple[tuple[int, int], ...] = ()
    """When it fell silent in the middle of an utterance, and when it stopped or went on."""
    backchannels: tuple[int, ...] = ()
    acts: Mapping[int, str] = field(default_factory=dict)
    """What it would say at each of `takes`."""
    actions: tuple[tuple[int, str], ...] = ()
    delegations: tuple[tuple[int, str], ...] = ()
    heard: tuple[tuple[int, str], ...] = ()
    letters: tuple[tuple[int, Letters], ...] = ()
    """What `heard` was read from."""
    gap_scores: Mapping[int, float] = field(default_factory=dict)
    """By a gap's first sample: how surely the turn was over 0.4 s later."""

    def within(self, start: int, end: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`speak` over the decisions after `start` up to `end`: ms since `start`, scores."""
        first, last = np.searchsorted(self.times, [start, end], "right")
        return (self.times[first:last] - start) / MS, self.speak[first:last]

    def silent_from(self, stop: int) -> int:
        """Since when it is silent that stopped at `stop`."""
        return next((begin for begin, end in self.hesitations if end == stop), stop)

    def hesitated(self, start: int, end: int) -> bool:
        """Whether it fell silent after `start`, up to `end`, be it for a moment."""
        return first([begin for begin, _ in self.hesitations], start, end) is not None

    def strongest_stop(self, start: int, end: int) -> float:
        first, last = np.searchsorted(self.times, [start, end], "right")
        return float(self.stop[first:last].max()) if last > first else 0.0


def score_at(times: NDArray[np.int64], scores: NDArray[np.float64], sample: int) -> float:
    """The last score at or before a sample; 0 before the first."""
    at = int(np.searchsorted(times, sample, "right")) - 1
    return float(scores[at]) if at >= 0 else 0.0


def first(moments: Sequence[int], start: int, end: int) -> int | None:
    """The first moment after `start`, up to `end`."""
    return next((at for at in moments if start < at <= end), None)


class Judged(Protocol):
    """A model or a baseline."""

    @property
    def name(self) -> str: ...

    def run(self, clip: Clip) -> Trace: ...


SCORED_AFTER = SAMPLE_RATE_HZ * 400 // 1000
"""Ends and pauses are told apart 0.4 s after the last sound."""
GAPS = ("end", "pause")
CUT, TORN = "cut", "torn"
"""Details of pauses where nobody would pause: in the flow of one sound, and between two that were
made each by itself."""
