"""What flows through the loop: readings in, a MicroTurn to the engine, a Decision out.

Every class is frozen: a value that has been handed on never changes, so a recorder, a view and the
engine may all hold the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from string import ascii_lowercase
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TURN_MS = 200
SAMPLE_RATE_HZ = 16_000
TURN_SAMPLES = SAMPLE_RATE_HZ * TURN_MS // 1000
"""3,200: the samples of one micro-turn."""

Pcm = NDArray[np.float32]
"""Mono sound, float32 (n,), -1..1, 16 kHz."""
Channels = NDArray[np.float32]
"""What several microphones heard, float32 (channels, n), -1..1, 16 kHz."""
StereoPcm = NDArray[np.float32]
"""float32 (2, n): channel 0 the microphone, channel 1 what our own loudspeaker played."""
Frame = NDArray[np.uint8]
"""A picture, uint8 (height, width, 3), RGB."""

_EMPTY: Mapping[str, float] = MappingProxyType({})


class EventKind(str, Enum):
    """What can happen between two micro-turns, told to the model as an event token."""

    UTTERANCE_STARTED = "utterance_started"
    UTTERANCE_FINISHED = "utterance_finished"
    UTTERANCE_INTERRUPTED = "utterance_interrupted"
    PROGRESS = "progress"
    RESULT = "result"
    FAILED = "failed"
    PARTIAL = "partial"
    """More of an answer that has begun; what begins it is a RESULT."""
    ACTION = "action"
    """The background model asks for an action; `text` is its name."""
    UNDONE = "undone"
    """An action of the request did not go out, or it was kept for too long: `text` says why, the
    RESULT after it tells so."""
    KEPT = "kept"
    """A request waits in the outbox until it can be answered. For the dialogue: the model is given
    a RESULT with the words for it."""
    LINK_UP = "link_up"
    LINK_DOWN = "link_down"


VOICE_FAILED = "failed"
"""The text of UTTERANCE_FINISHED when the synthesizer could not speak."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened since the last micro-turn.

    `id` names the utterance or the request it is about; `text` is a result's answer, a failure's
    reason or a progress note.
    """

    kind: EventKind
    id: str = ""
    text: str = ""

    @property
    def voice_failed(self) -> bool:
        """The synthesizer could not speak an utterance, or not to its end."""
        return self.kind is EventKind.UTTERANCE_FINISHED and self.text == VOICE_FAILED


@dataclass(frozen=True, slots=True)
class VoiceState:
    """What our mouth is doing at the end of this micro-turn."""

    utterance_id: str | None = None
    seconds_left: float = 0.0
    """Of sound not yet played; an estimate while the synthesizer still works."""
    paused: bool = False
    """It is silent in the middle of the utterance, and may go on."""

    @property
    def speaking(self) -> bool:
        return self.utterance_id is not None


@dataclass(frozen=True, slots=True)
class BackgroundState:
    """What the delegated work is doing at the end of this micro-turn."""

    pending: bool = False
    """A request is out and unanswered."""
    result_ready: bool = False
    """A result is here and has not been spoken."""
    link_up: bool = True
    """A background model other than the device's own can be reached."""


@dataclass(frozen=True, slots=True)
class AudioReading:
    """Exactly one micro-turn of sound from a source."""

    pcm: StereoPcm
    """float32 (2, 3200)."""
    lost_samples: int = 0
    """Of the 3,200 samples, how many never came and are zeros; the end of a file is no loss."""
    captured_ns: int = 0
    """Clock reading at the last sample."""
    direction_rad: float | None = None
    """Bearing of the sound, REP-103: 0 ahead, left positive."""


@dataclass(frozen=True, slots=True)
class FrameReading:
    """The newest picture of a source."""

    frame: Frame
    captured_ns: int


@dataclass(frozen=True, slots=True)
class MicroTurn:
    """Everything the engine may know in one micro-turn, and nothing else."""

    index: int
    deadline_ns: int
    audio: StereoPcm
    lost_samples: int = 0
    direction_rad: float | None = None
    frame: Frame | None = None
    frame_age_ms: float | None = None
    events: tuple[Event, ...] = ()
    voice: VoiceState = VoiceState()
    background: BackgroundState = BackgroundState()


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """The engine's raw outputs for one micro-turn: tensors by the name the manifest gives them.

    The arrays belong to the receiver: the engine never writes to them again.
    """

    index: int
    tensors: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something for the mouth to say."""

    id: str
    text: str
    act: str
    """The act it comes from, as the manifest names it: `greet`, `deliver`, ..."""
    request_id: str | None = None
    """The request whose result it delivers."""
    goes_on: bool = False
    """It is the next part of what is being said: the model has not decided to say anything new."""


ACTION_NAME = r"^[a-z][a-z0-9_]{0,63}$"
LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$"
"""Of the start of BCP 47: `de`, `de-AT`, `gsw`."""
STOP_MOTION = "stop_motion"
"""The one action that every body must obey, at once and in every mode."""
TIMER = "timer-"
"""How the id begins of what no question asked for: a timer whose time has come."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something for the body to do: `wave`, `nod`, `look_at`, ..."""

    name: str
    probability: float = 1.0


class Delegation(str, Enum):
    NONE = "none"
    DELEGATE = "delegate"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Letters:
    """What was heard, letter by letter: how likely each is in each step."""

    symbols: tuple[str, ...]
    """The first is the blank (CTC): no letter, or the last one still."""
    log_probabilities: NDArray[np.float32] = field(compare=False)
    """(steps, symbols), natural logarithms, oldest first."""

    @property
    def spell(self) -> bool:
        """Whether words can be spelled with the symbols: they are no pieces of words or sounds."""
        return set(ascii_lowercase) <= set(self.symbols)

    @property
    def heard(self) -> bool:
        """Whether in any step a letter is the likeliest. What is read of it may come later."""
        best = {self.symbols[at] for at in self.log_probabilities.argmax(1).tolist()}
        return bool(best - {self.symbols[0], " "})

    @staticmethod
    def joined(pieces: Sequence[Letters]) -> Letters | None:
        """One after the other, all of one vocabulary; None of none."""
        if not pieces:
            return None
        steps = np.concatenate([piece.log_probabilities for piece in pieces])
        return Letters(pieces[0].symbols, steps)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the model decided in one micro-turn."""

    index: int
    floor: str
    """A floor state of the manifest: `listen`, `backchannel`, `speak`, `yield`, `hold`; or
    `hesitate`, between the last two."""
    say: str | None = None
    """The act to say from the next sample on; None to start nothing."""
    stop: bool = False
    """Silence the loudspeaker at once."""
    hesitate: bool = False
    """Be silent for this micro-turn, and keep what is left to say."""
    actions: tuple[Action, ...] = ()
    delegation: Delegation = Delegation.NONE
    heard: str = ""
    """Symbols of the transcript that this micro-turn added."""
    letters: Letters | None = None
    """What they were read from, in this micro-turn; None where the model writes no transcript."""
    probabilities: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """By head (`floor`, `act`, `action`, `delegate`) and class. `seen` means something only
    where the turn has a picture; each of its classes is judged by itself (`present`, ...)."""


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of the conversation so far."""

    speaker: Literal["person", "device"]
    text: str
    age_s: float
    """Since it began."""
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A question for the background model."""

    id: str
    audio: Pcm
    """What was heard since the person began, float32 (n,), 16 kHz."""
    transcript: str = ""
    """The interaction model's own, rough transcript."""
    letters: Letters | None = None
    """What it was read from, over the same time as `audio`."""
    language: str = "en"
    deadline_s: float = 20.0
    conversation: tuple[Said, ...] = ()
    """Oldest first; without the question itself."""
    unsaid: str = ""
    """What was left of the device's last answer when it was interrupted."""
    frame: Frame | None = None
    """The picture at the time of the question, where the configuration allows it."""
    keep: bool = False
    """It may be late, but must not get lost. Its id is then unlike any other, ever."""
    opus: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)
    """Gives `audio` as Ogg/Opus where it was encoded while it was heard. The end of it may still
    have to be: not for the loop's thread."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long one micro-turn took. Durations in milliseconds on the monotonic clock."""

    late_ms: float = 0.0
    """From the due time to the start of the turn."""
    compute_ms: float = 0.0
    """The engine's step."""
    total_ms: float = 0.0
    """Assemble to the sinks, which are given it."""
    skipped: int = 0
    """Deadlines that went by before this micro-turn had been answered, or unseen since the one
    before; each counts as missed."""


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One micro-turn as sinks see it."""

    turn: MicroTurn
    output: EngineOutput
    decision: Decision
    timings: Timings
    said: Utterance | None = None
    """The utterance that this decision started."""
    played: Pcm | None = None
    """What the mouth will play next, float32 (3200,); None before the mouth was asked."""
    asked_actions: tuple[Action, ...] = ()
    """Actions that the background model asked for, beside those of the decision."""
    request: Request | None = None
    """The question that this decision handed on."""
    failed: bool = False
    """No model decided this: a part has failed, and the loop itself stops the device."""
