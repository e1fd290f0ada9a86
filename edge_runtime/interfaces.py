"""The five nouns as protocols: what the loop needs of each, and nothing more.

MicroTurn and Decision are values (`micro_turn.py`); the others do something and are these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, runtime_checkable

from typing_extensions import Self

from edge_runtime.micro_turn import (
    AudioReading,
    Channels,
    Decision,
    EngineOutput,
    Event,
    FrameReading,
    MicroTurn,
    Pcm,
    Request,
    TurnRecord,
    Utterance,
    VoiceState,
)


class Resource(Protocol):
    """Acquired on entering, released on leaving. The constructor only stores."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class NothingHeld:
    """A Resource of which nothing must be released."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """There is nothing to release."""


class Clock(Protocol):
    """Monotonic time in nanoseconds; virtual for recordings that run as fast as they can."""

    def now_ns(self) -> int: ...

    def sleep_until(self, deadline_ns: int) -> None: ...


class AudioSource(Resource, Protocol):
    """Sound in, sound out: the source owns the audio clock, so it also owns the loudspeaker."""

    def read_turn(self) -> AudioReading | None:
        """Wait for the next 3,200 samples. None: the recording has ended.

        Channel 1 is what was played during the same 3,200 samples.
        """
        ...

    def play(self, pcm: Pcm) -> None:
        """Play float32 (3200,) after what was given before; never blocks."""
        ...

    def flush(self, fade_ms: float) -> int:
        """Drop sound given to `play` and not yet played, fading out; returns the samples
        dropped."""
        ...


class FrontEnd(Resource, Protocol):
    """What stands between the microphones and the model: echo canceller, array, or nothing."""

    def process(self, microphones: Channels, reference: Pcm) -> tuple[Pcm, float | None]:
        """Float32 (channels, 3200) and what our loudspeaker played at that time, (3200,), both at
        16 kHz -> one channel (3200,), and the bearing of the sound in radians or None."""


class FrameSource(Resource, Protocol):
    def latest(self, now_ns: int) -> FrameReading | None:
        """The newest frame captured at or before `now_ns`, of at most 640x480 pixels; None while
        there is none."""
        ...


@runtime_checkable
class Switchable(Protocol):
    """A source that captures, and can really stop to."""

    def switch(self, on: bool) -> None:
        """From this call on nothing captured is handed out, until it is switched on again.

        Returns at once and raises nothing: the device is closed, or opened again, soon after.
        """
        ...


@runtime_checkable
class Adjustable(Protocol):
    """A source with a loudspeaker."""

    def set_volume(self, volume: float) -> None:
        """0..1, of all that is played from now on. Returns at once and raises nothing."""
        ...


class Engine(Resource, Protocol):
    """One interaction model with its state. Entering activates it: load, check, warm up."""

    def step(self, turn: MicroTurn) -> EngineOutput:
        """Advance one micro-turn. Raises EngineError; never returns stale outputs."""
        ...

    def reset(self) -> None:
        """Back to the initial state, as if nothing had been heard."""
        ...


class Decider(Protocol):
    """Decodes what the engine gave out, and never second-guesses it."""

    def decide(self, output: EngineOutput, turn: MicroTurn) -> Decision: ...

    def reset(self) -> None: ...


class Voice(Resource, Protocol):
    """The mouth: a queue of utterances that gives exactly 3,200 samples a micro-turn."""

    def say(self, utterance: Utterance) -> None:
        """Queue an utterance; synthesis starts at once, in the background."""
        ...

    def next_turn(self) -> Pcm:
        """float32 (3200,): the next 200 ms, zeros when there is nothing to say."""
        ...

    def pause(self, fade_ms: float, unheard: int) -> Pcm:
        """Be silent until the next `next_turn`, which goes on where this cut in; float32 (3200,): a
        fade of at most `fade_ms`, then zeros. `unheard`: samples given out that nobody will hear.
        """
        ...

    def flush(self, fade_ms: float, unheard: int = 0) -> Pcm:
        """Drop everything; float32 (3200,): a fade of at most `fade_ms`, then zeros. `unheard`: how
        many of the samples given out last nobody has heard."""
        ...

    def state(self) -> VoiceState: ...

    def events(self) -> Sequence[Event]:
        """Utterances started, finished and interrupted since the last call."""
        ...


class Background(Resource, Protocol):
    """Whoever answers what the interaction model hands on."""

    def submit(self, request: Request) -> None:
        """Hand a request on; never blocks."""
        ...

    def cancel(self, request_id: str) -> None: ...

    def poll(self) -> Sequence[Event]:
        """Progress, results, failures and link changes since the last call; never blocks."""
        ...


class SoundStream(Protocol):
    """Sound that is encoded while it comes, by a thread that has time. Nothing here blocks."""

    def add(self, pcm: Pcm) -> None:
        """float32 (n,), 16 kHz, after what came before. It must not change any more."""
        ...

    def end(self) -> Callable[[], bytes]:
        """There is no more. What is returned gives the whole, and may first have to encode what
        is left of it; it may be called again."""
        ...

    def drop(self) -> None:
        """No one wants it: what waits is not encoded."""
        ...


class Sink(Resource, Protocol):
    def publish(self, record: TurnRecord) -> None:
        """Take one micro-turn; never blocks the loop and never raises for the outside's faults."""
        ...
