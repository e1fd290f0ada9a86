"""What travels over MQTT between a device and its background workers: topics and JSON payloads.

Every payload is checked on arrival, by size and by schema. Unknown keys are ignored, so that a
newer partner may say more; a newer `format` is refused. Times are durations: the clocks of two
machines need not agree.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import zlib
from enum import Enum
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.delegation import opus
from edge_runtime.errors import WireError
from edge_runtime.jsgf import Phrase
from edge_runtime.micro_turn import ACTION_NAME, LANGUAGE, SAMPLE_RATE_HZ, Letters, Pcm

FORMAT = 1
MAX_REQUEST_BYTES = 2_000_000
MAX_REPLY_BYTES = 2_000_000
MAX_CANCEL_BYTES = MAX_STATUS_BYTES = 2_000
MAX_AUDIO_S = 60.0
"""Longer sound is refused: a small file can unpack to hours."""
MAX_PACKED_LETTERS = 400_000
MAX_STEPS = 6_000
LETTER_UNITS, MOST_UNLIKELY = 30, 240
"""A nat in units, and the most units that are told apart."""
MAX_TEXT = 20_000
MAX_TURNS = 200
MAX_ACTIONS = 64
WORKER_GROUP = "background"
_LEVEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Id = Annotated[str, Field(min_length=1, max_length=128)]
Seconds = Annotated[float, Field(ge=0, le=86_400 * 30, allow_inf_nan=False)]


class _Payload(BaseModel):
    """Lists fail at their first mistake: else a million mistakes would be a gigabyte of reports."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Said(_Payload):
    """One turn of the conversation so far."""

    speaker: Literal["person", "device"]
    text: str = Field(max_length=MAX_TEXT)
    age_s: Seconds
    """Before the request was sent."""
    interrupted: bool = False


class Ability(_Payload):
    """An action that the device can do; an agent may call it as a tool."""

    name: str = Field(pattern=ACTION_NAME)
    description: str = Field("", max_length=500)
    phrases: tuple[Phrase, ...] = Field((), max_length=32, fail_fast=True)
    """What people say when they want it, for a worker without a language model."""
    answer: str = Field("Done.", max_length=500)
    """What is said then."""


class PackedLetters(_Payload):
    """What the device heard, letter by letter, for a worker that knows what may have been said."""

    symbols: tuple[Annotated[str, Field(max_length=16)], ...] = Field(
        min_length=2, max_length=256, fail_fast=True
    )
    """The first is the blank."""
    steps: str = Field(max_length=MAX_PACKED_LETTERS)
    """uint8 (steps, symbols), row by row: how unlikely each is, in thirtieths of a nat, 240 at
    most; zlib, base64."""


class RequestMessage(_Payload):
    """A question, with all that is needed to answer it."""

    format: Literal[1] = 1
    id: Id
    device: Id
    deadline_s: Seconds
    """From sending to the first words, and from each piece of the answer to the next: what takes
    longer is not wanted."""
    reason: str = Field("", max_length=500)
    transcript: str = Field("", max_length=MAX_TEXT)
    """The device's own, rough; the audio is the better source."""
    letters: PackedLetters | None = None
    """What the transcript was read from."""
    conversation: tuple[Said, ...] = Field((), max_length=MAX_TURNS, fail_fast=True)
    unsaid: str = Field("", max_length=MAX_TEXT)
    """What was left of the device's last answer when it was interrupted."""
    audio: str = Field("", description="Ogg/Opus, base64")
    frame: str | None = Field(None, description="JPEG, base64")
    actions: tuple[Ability, ...] = Field((), max_length=MAX_ACTIONS, fail_fast=True)
    language: str = Field("en", pattern=LANGUAGE)
    local_time: str = Field("", max_length=40, description="ISO 8601 with the device's offset")
    keep: bool = False
    """Worth answering however late."""
    waited_s: Seconds = 0.0
    """How long ago the person asked: a kept request waits until the link is back."""


class ReplyKind(str, Enum):
    ACCEPTED = "accepted"
    PROGRESS = "progress"
    PARTIAL = "partial"
    """A piece of the answer that can be spoken already; the pieces follow each other."""
    RESULT = "result"
    """The end of the answer: its text follows the partials, and may be empty after them."""
    ACTION = "action"
    FAILED = "failed"
    YOURS = "yours"
    """The end as well: the device's own skills answer this, such as a timer. The text is the
    question as it was heard."""


class ReplyMessage(_Payload):
    """One step of an answer. A reply is known by (id, seq): a second copy changes nothing."""

    format: Literal[1] = 1
    id: Id
    seq: int = Field(ge=0, le=1_000_000)
    kind: ReplyKind
    text: str = Field("", max_length=2 * 1024 * 1024)
    """To be spoken (partial, result), for people and logs (progress, failed), or as heard."""
    action: str | None = Field(None, pattern=ACTION_NAME)
    worker: str = Field("", max_length=128)
    again: bool = False
    """With `failed`: nothing is wrong with the request, and another worker may answer it."""
    unknown: bool = False
    """With `failed`: this worker does not know the answer, and need not be asked again for what is
    to be kept."""
    heard: str = Field("", max_length=MAX_TEXT)
    """With `unknown`: the question as it was heard. The device's own skills answer it where no
    other worker does."""


class CancelMessage(_Payload):
    id: Id


class WorkerStatus(_Payload):
    """Retained under the worker's topic; its will says offline."""

    state: Literal["online", "stopping", "offline"]
    """`stopping` finishes what it has, and takes no more."""
    model: str = Field("", max_length=200)
    free_slots: int = Field(0, ge=0, le=10_000)


Message = TypeVar("Message", bound=_Payload)


def topic_level(name: str, what: str) -> str:
    """`name` if it can be one level of a topic. Raises WireError."""
    if not _LEVEL.fullmatch(name):
        raise WireError(
            f"{what} {name!r} cannot be part of an MQTT topic: use 1 to 64 letters, digits, "
            "`_`, `-` and `.`."
        )
    return name


class Topics:
    """The topics of one device."""

    def __init__(self, device: str) -> None:
        root = f"edge/{topic_level(device, 'the device name')}"
        self.status, self.requests = f"{root}/status", f"{root}/requests"
        self.replies, self.cancel = f"{root}/replies", f"{root}/cancel"
        self.probe = f"{root}/probe"
        """Empty, for nobody: that the broker acknowledges it shows that the link is there."""


ALL_REQUESTS = f"$share/{WORKER_GROUP}/edge/+/requests"
"""Each request goes to one of the workers."""
ALL_CANCELS = "edge/+/cancel"
"""A cancel goes to every worker: only one knows the request."""
ALL_WORKERS = "background/+/status"


def worker_status_topic(worker: str) -> str:
    return f"background/{topic_level(worker, 'the worker name')}/status"


def encode(message: BaseModel) -> bytes:
    return message.model_dump_json(exclude_defaults=False, exclude_none=True).encode()


def decode(kind: type[Message], payload: bytes, limit: int) -> Message:
    """A checked message. Raises WireError: too large, not UTF-8, not JSON, another schema."""
    if len(payload) > limit:
        raise WireError(f"{len(payload)} bytes, and at most {limit} are taken")
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WireError(f"not a {kind.__name__}: {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a {kind.__name__}: {error}") from None


def pack_audio(pcm: Pcm) -> str:
    """float32 (n,), 16 kHz -> Ogg/Opus, base64."""
    return pack_ogg(opus.encode(pcm))


def pack_ogg(ogg: bytes) -> str:
    return base64.b64encode(ogg).decode()


def unpack_audio(text: str) -> Pcm:
    """Base64 Ogg/Opus -> float32 (n,), 16 kHz, mono. Raises WireError."""
    import soundfile

    if not text:
        return np.zeros(0, np.float32)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"the audio is not base64: {error}") from None
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.samplerate != SAMPLE_RATE_HZ or file.channels != 1:
                raise WireError(
                    f"the audio has {file.channels} channels at {file.samplerate} Hz; "
                    f"one at {SAMPLE_RATE_HZ} Hz is wanted"
                )
            pcm = file.read(int(MAX_AUDIO_S * SAMPLE_RATE_HZ) + 1, dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise WireError(f"the audio is not Ogg/Opus: {error}") from None
    if len(pcm) > MAX_AUDIO_S * SAMPLE_RATE_HZ:
        raise WireError(f"more than {MAX_AUDIO_S:.0f} s of audio")
    return np.asarray(pcm, np.float32)


def pack_letters(letters: Letters) -> PackedLetters:
    """The last MAX_STEPS of them."""
    units = np.rint(-LETTER_UNITS * letters.log_probabilities[-MAX_STEPS:])
    data = np.clip(units, 0, MOST_UNLIKELY).astype(np.uint8).tobytes()
    return PackedLetters(symbols=letters.symbols, steps=base64.b64encode(zlib.compress(data, 9)))


def unpack_letters(packed: PackedLetters) -> Letters:
    """Raises WireError."""
    width = len(packed.symbols)
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(
            base64.b64decode(packed.steps, validate=True), MAX_STEPS * width + 1
        )
    except (binascii.Error, ValueError, zlib.error) as error:
        raise WireError(f"the letters are not zlib in base64: {error}") from None
    if not unpacking.eof or len(data) > MAX_STEPS * width or len(data) % width:
        raise WireError(
            f"the letters are not up to {MAX_STEPS} whole steps of {width} symbols each"
        )
    units = np.frombuffer(data, np.uint8).reshape(-1, width)
    return Letters(packed.symbols, units.astype(np.float32) * np.float32(-1 / LETTER_UNITS))
