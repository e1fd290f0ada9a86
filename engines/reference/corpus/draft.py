"""A conversation in the making, and made: sound of both sides, poses, labels.

Times are samples inside an episode and turns (200 ms) in the labels. A label is for the end of its
turn: all sound of that turn has been heard, and the decision takes effect in the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_runtime.inference.encode import left_as_share
from engines.reference.corpus.choices import Choices, Moment, Point
from engines.reference.model import SPEECH, SUBFRAMES, TURN_SAMPLES
from engines.reference.vocabulary import ACTIONS, ACTS, DELEGATE, EVENTS, FLOOR, INTENTS, STATUS

IGNORE = -100
RATE_HZ = 16_000
PHONE_DELAY = 3
"""50 Hz steps by which phone targets trail the sound: 60 ms of future for a causal network."""
PHONE_STEP = 320
FADE = 320
"""Samples over which the device falls silent."""
Ints = NDArray[np.int64]
FLOOR_INDEX = {name: index for index, name in enumerate(FLOOR)}
ACT_INDEX = {name: index for index, name in enumerate(ACTS)}
ACTION_INDEX = {name: index for index, name in enumerate(ACTIONS)}
DELEGATE_INDEX = {name: index for index, name in enumerate(DELEGATE)}
INTENT_INDEX = {name: index for index, name in enumerate(INTENTS)}
EVENT_INDEX = {name: index for index, name in enumerate(EVENTS)}
SPEECH_INDEX = {name: index for index, name in enumerate(SPEECH)}


@dataclass(frozen=True)
class Mark:
    """Something that evaluation measures: its kind, and the samples or turns it spans."""

    kind: str
    start: int
    end: int
    detail: str = ""


@dataclass(frozen=True)
class Conversation:
    """T turns of a conversation, ready for a batch."""

    audio: NDArray[np.float32]
    """(2, T * 3200), -1..1"""
    pictures: NDArray[np.uint8]
    """(U, H, W, 3): each picture once."""
    picture_of: Ints
    """(T,): which of the pictures is seen in a turn."""
    frame_valid: NDArray[np.float32]
    """(T, 1)"""
    events: NDArray[np.float32]
    status: NDArray[np.float32]
    floor: Ints
    floor_weight: NDArray[np.float32]
    """(T,): how much a turn's floor label counts."""
    act: Ints
    action: Ints
    delegate: Ints
    speech: Ints
    intent: Ints
    """(T,): in the turns after something has been said, what it was."""
    vision: NDArray[np.float32]
    end_of_turn: Ints
    """(T,): 1 in the silence after a finished turn, 0 in a pause inside one, else ignored."""
    phones: Ints
    """(T * 10,)"""
    texts: tuple[tuple[int, int, str], ...]
    """First turn, last turn, what was said in between."""
    marks: tuple[Mark, ...]
    points: tuple[Point, ...]

    @property
    def frames(self) -> NDArray[np.uint8]:
        """(T, H, W, 3)"""
        return self.pictures[self.picture_of]


@dataclass
class Draft:
    """A conversation of `turns` turns in the making."""

    turns: int
    rng: np.random.Generator
    near: NDArray[np.float32] = field(init=False)
    played: NDArray[np.float32] = field(init=False)
    utterances: list[tuple[int, int, int | None]] = field(default_factory=list)
    """Of the device: first sample, end sample, and how many it would have had without an
    interruption (None: there was none)."""
    hesitations: list[tuple[int, int]] = field(default_factory=list)
    """Turns in which the device is silent in the middle of an utterance: first, end."""
    pending: list[tuple[int, int]] = field(default_factory=list)
    ready: list[tuple[int, int]] = field(default_factory=list)
    texts: list[tuple[int, int, str]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    choices: Choices = field(default_factory=dict)
    episode: int = 0
    present: bool = True
    blind: bool = False
    covered: bool = False
    """There are pictures and nothing is to be seen in them: a covered lens, a dark room."""

    def __post_init__(self) -> None:
        turns, samples = self.turns, self.turns * TURN_SAMPLES
        self.samples = samples
        self.near = np.zeros(samples, np.float32)
        self.played = np.zeros(samples, np.float32)
        self.floor = np.full(turns, -1, np.int64)
        self.floor_weight = np.ones(turns, np.float32)
        self.act = np.full(turns, IGNORE, np.int64)
        self.action = np.zeros(turns, np.int64)
        self.delegate = np.zeros(turns, np.int64)
        self.speech = np.zeros(turns, np.int64)
        self.intent = np.full(turns, IGNORE, np.int64)
        self.end_of_turn = np.full(turns, IGNORE, np.int64)
        self.phones = np.zeros(turns * SUBFRAMES, np.int64)
        self.events = np.zeros((turns, len(EVENTS)), np.float32)
        self.pose = np.zeros((turns, 5), np.float32)
        """present, facing, mouth, waving phase, hand raised"""

    def choose(self, moment: Moment, first: int, last: int, drawn: int | None) -> int | None:
        """Turn from `first` on in which the device acts: as chosen, else as drawn."""
        earlier = sum(p.key[:2] == (self.episode, moment) for p in self.points)
        key = (self.episode, moment, earlier)
        self.points.append(Point(key, first, min(last, self.turns - 1)))
        return self.choices.get(key, drawn)

    def turn(self, sample: int) -> int:
        return sample // TURN_SAMPLES

    def span(self, array: NDArray[np.generic], start: int, end: int, value: float) -> None:
        """array[start:end] = value, clipped to the conversation."""
        array[max(0, start) : max(0, min(self.turns, end))] = value

    def around(self, array: Ints, first: int, end: int, value: int) -> None:
        """`value` in first..end-1; ignored just before and after unless it is class 0."""
        if value:
            self.span(array, first - 1, end + 2, IGNORE)
        self.span(array, first, end, value)

    def event(self, turn: int, name: str) -> None:
        if 0 <= turn < self.turns:
            self.events[turn, EVENT_INDEX[name]] = 1.0

    def mark(self, kind: str, start: int, end: int, detail: str = "") -> None:
        if end < self.samples:
            self.marks.append(Mark(kind, start, end, detail))

    def add(self, into: NDArray[np.float32], start: int, pcm: NDArray[np.float32]) -> None:
        room = min(len(pcm), self.samples - start)
        if room > 0 and start >= 0:
            into[start : start + room] += pcm[:room]

    def look(self, start: int, end: int, present: bool, facing: bool) -> None:
        self.span(self.pose[:, 0], start, end, float(present))
        self.span(self.pose[:, 1], start, end, float(facing))

    def move_mouth(self, start: int, end: int) -> None:
        end = min(end, self.turns)
        self.pose[start:end, 2] = self.rng.uniform(0.1, 1.0, max(0, end - start))

    def sound(self, start: int, pcm: NDArray[np.float32], meant: int | None = None) -> None:
        """Let the loudspeaker play from `start`, with the events the mouth would report. `meant`:
        it is interrupted, and would have lasted so many samples."""
        end = start + len(pcm)
        self.add(self.played, start, pcm)
        self.utterances.append((start, end, meant))
        self.event(self.turn(start), "utterance_started")
        done = "utterance_finished" if meant is None else "utterance_interrupted"
        self.event(self.turn(end - 1), done)

    def heard_of_device(self) -> NDArray[np.float32]:
        """What the loudspeaker plays, (samples,): nothing where it hesitates. What it would have
        said there is left out, which no label and hardly a figure of the status depends on."""
        audible = np.ones(self.samples, np.float32)
        for first, end in self.hesitations:
            start = first * TURN_SAMPLES
            audible[start : end * TURN_SAMPLES] = 0.0
            fade = audible[start : start + FADE]
            fade[:] = np.linspace(1, 0, len(fade), dtype=np.float32)
        return self.played * audible

    def speaks_after(self, sample: int) -> bool:
        """Whether the device already has something to say from then on."""
        return any(end > sample for _, end, _ in self.utterances)

    def label_speech(
        self,
        text: str,
        phones: Sequence[tuple[int, float, float]],
        begin: int,
        end: int,
        who: str,
        visible: bool,
    ) -> None:
        """Words and phones said between two samples; `visible` moves the mouth in the picture."""
        first, last = self.turn(begin), self.turn(end)
        self.span(self.speech, first, last + 1, SPEECH_INDEX[who])
        if visible:
            self.move_mouth(first, last + 1)
        heard_whole = last + 1 < self.turns
        if first < self.turns:
            window = first, min(last + 1, self.turns - 1)
            self.texts.append((*window, text if heard_whole else ""))
        base = begin // PHONE_STEP + PHONE_DELAY
        if not phones:
            stop = min(len(self.phones), end // PHONE_STEP + PHONE_DELAY)
            self.phones[base:stop] = IGNORE
        for phone, start_s, end_s in phones:
            if phone:
                first_step = (begin + int(start_s * RATE_HZ)) // PHONE_STEP + PHONE_DELAY
                last_step = (begin + int(end_s * RATE_HZ)) // PHONE_STEP + PHONE_DELAY
                self.phones[first_step : max(last_step, first_step + 1)] = phone

    def floor_and_status(self) -> tuple[Ints, NDArray[np.float32]]:
        """Floor labels that fit what the mouth does, and the status tensor (T, 5)."""
        speaking, left = self._speaking()
        floor = np.where(self.floor == -1, np.where(speaking, 4, 0), self.floor)
        impossible = (speaking & np.isin(floor, (1, 2))) | (~speaking & (floor == 3))
        floor = np.where(impossible, IGNORE, floor)
        floor = np.where(~speaking & (floor == 4), 0, floor)
        floor = np.where(speaking & (floor == 0), 4, floor)
        status = np.zeros((self.turns, len(STATUS)), np.float32)
        status[:, 0], status[:, 1] = speaking, left
        for column, spans in ((2, self.pending), (3, self.ready)):
            for first, end in spans:
                self.span(status[:, column], first, end, 1.0)
        status[:, 4] = float(self.rng.random() < 0.7)
        return floor, status

    def _speaking(self) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """What the mouth reports at the end of each turn: sound is still waiting to be played, and
        how much. It does not know of an interruption that has not come yet."""
        speaking = np.zeros(self.turns, bool)
        left = np.zeros(self.turns, np.float32)
        for start, end, meant in self.utterances:
            last = self.turn(end - 1) if meant is None else self.turn(end - 321) + 1
            planned = end if meant is None else start + meant
            for turn in range(self.turn(start), min(self.turns, last)):
                speaking[turn] = True
                left[turn] = left_as_share((planned - (turn + 1) * TURN_SAMPLES) / RATE_HZ)
        return speaking, left

    def attributes(self) -> NDArray[np.float32]:
        """What the picture shows, (T, 5), in the order of `model.VISION`."""
        pose = np.zeros_like(self.pose) if self.covered else self.pose
        shown = np.concatenate([pose[:, :2], pose[:, 2:3] > 0, pose[:, 3:4] > 0, pose[:, 4:]], 1)
        shown[:, 1:] *= shown[:, :1]
        return shown.astype(np.float32)
