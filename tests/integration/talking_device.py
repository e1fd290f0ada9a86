"""A device in conversation, in real time: the real loop, dialogue, mouth and delegation.

What the interaction model decides is written here, since a test needs the same every time: it asks
what it is told to ask, says so when the link is gone, and delivers a result once its mouth is free.
"""

from __future__ import annotations

import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import numpy as np
from broker import PATIENCE_S, wait_until
from typing_extensions import Self

from edge_runtime.app import Device
from edge_runtime.assemble import Assembler
from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.local import LocalBackground
from edge_runtime.background.transcribe import Transcript
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.confirmed import UNREACHABLE_WORDS, ConfirmedBackground
from edge_runtime.delegation.fallback import FallbackBackground
from edge_runtime.delegation.kept import Spoken
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.delegation.wire import Ability
from edge_runtime.dialogue import DELIVER, Dialogue
from edge_runtime.interfaces import Background, Sink
from edge_runtime.loop import Loop, Parts
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    AudioReading,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    Letters,
    MicroTurn,
    Pcm,
    Request,
    TurnRecord,
)
from edge_runtime.pacing import MonotonicClock, Pacer
from edge_runtime.sinks.mqtt_actions import MqttActions
from edge_runtime.voice.mouth import Mouth

PATIENCE_IN_TESTS_S = 0.5
ACTION_PATIENCE_S = 3.0
"""For the broker to take an action: a busy machine may be slow."""
SECOND = 5
"""Micro-turns."""


class _Part:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Room(_Part):
    """A microphone that hears nothing, five times a second by the clock."""

    def __init__(self) -> None:
        self._pacer = Pacer(MonotonicClock())

    def read_turn(self) -> AudioReading:
        tick = self._pacer.wait()
        silence = np.zeros((2, TURN_SAMPLES), np.float32)
        return AudioReading(silence, tick.skipped * TURN_SAMPLES, tick.due_ns)

    def play(self, pcm: Pcm) -> None: ...

    def flush(self, fade_ms: float) -> int:
        return 0


class NoEngine(_Part):
    def step(self, turn: MicroTurn) -> EngineOutput:
        return EngineOutput(turn.index, {})

    def reset(self) -> None: ...


class Model(_Part):
    """Decides as a model should. `questions` and `commands` come from the test."""

    def __init__(self) -> None:
        self.questions: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.commands: queue.SimpleQueue[Decision] = queue.SimpleQueue()

    def reset(self) -> None: ...

    def decide(self, output: EngineOutput, turn: MicroTurn) -> Decision:
        happened = {event.kind for event in turn.events}
        say = None
        if EventKind.LINK_DOWN in happened:
            say = "offline"
        elif EventKind.FAILED in happened:
            say = "apologise"
        elif not self.commands.empty():
            return self.commands.get()
        elif turn.background.result_ready and not turn.voice.speaking:
            say = DELIVER
        elif not self.questions.empty():
            heard = self.questions.get()
            return Decision(turn.index, "listen", heard=heard, delegation=Delegation.DELEGATE)
        return Decision(turn.index, "speak" if say else "listen", say=say)


class Beep:
    """Speaks every word as a tone of 50 ms, and not more than `words` of them."""

    def __init__(self, words: int) -> None:
        self._words = words

    def check(self) -> None: ...

    def synthesize(self, text: str) -> BeepSynthesis:
        return BeepSynthesis(min(self._words, len(text.split())))


class BeepSynthesis:
    def __init__(self, words: int) -> None:
        self._words = words

    def __iter__(self) -> Iterator[Pcm]:
        yield np.full(self._words * TURN_SAMPLES // 4, 0.1, np.float32)

    def close(self) -> None: ...


class Written:
    """A recogniser that believes the interaction model's spelling."""

    def load(self) -> None: ...

    def transcribe(
        self, pcm: Pcm, rough: str = "", commands: Commands = NONE, letters: Letters | None = None
    ) -> Transcript:
        return Transcript(rough, True, 1.0)


class Records(_Part):
    def __init__(self) -> None:
        self.all: list[TurnRecord] = []

    def publish(self, record: TurnRecord) -> None:
        self.all.append(record)


class TalkingDevice:
    def __init__(
        self, remote: MqttBackground, model: Model, records: Records, asked: list[str]
    ) -> None:
        self.remote, self.model, self._records = remote, model, records
        self.asked = asked
        """The ids of all requests."""

    def ask(self, text: str) -> str:
        """The id of the request, once it has gone out."""
        known = len(self.asked)
        self.model.questions.put(text)
        wait_until(lambda: len(self.asked) > known)
        return self.asked[-1]

    @property
    def now(self) -> int:
        """The micro-turn that comes next."""
        return len(self._records.all)

    @property
    def missed(self) -> int:
        return sum(record.turn.lost_samples for record in self._records.all) // TURN_SAMPLES

    def said(self) -> list[tuple[int, str, str]]:
        """Micro-turn, act and text of everything said."""
        found = [record.said for record in self._records.all]
        return [(turn, one.act, one.text) for turn, one in enumerate(found) if one is not None]

    def texts(self) -> list[str]:
        return [text for _, act, text in self.said() if act == DELIVER]

    def await_said(self, what: str, since: int = 0) -> int:
        """The micro-turn from `since` on in which this act or text was said."""

        def turns() -> list[int]:
            return [turn for turn, *words in self.said() if what in words and turn >= since]

        try:
            wait_until(lambda: bool(turns()))
        except AssertionError:
            raise AssertionError(f"{what!r} was not said, but {self.said()}") from None
        return turns()[0]

    def events(self) -> list[tuple[str, str]]:
        return [(e.kind.value, e.id) for record in self._records.all for e in record.turn.events]

    def unsaid(self) -> list[str]:
        """What was left of each utterance that was interrupted."""
        happened = [event for record in self._records.all for event in record.turn.events]
        return [one.text for one in happened if one.kind is EventKind.UTTERANCE_INTERRUPTED]

    @property
    def speaking(self) -> bool:
        return self._records.all[-1].turn.voice.speaking

    def await_turns(self, count: int) -> None:
        """Let the conversation go on for so long."""
        end = self.now + count
        wait_until(lambda: self.now >= end)


class Noted(FallbackBackground):
    """Notes the requests that it was given."""

    def __init__(self, remote: MqttBackground, local: LocalBackground) -> None:
        super().__init__(remote, local)
        self.asked: list[str] = []

    def submit(self, request: Request) -> None:
        super().submit(request)
        self.asked.append(request.id)


def assert_hardly_missed(missed: int, turns: int) -> None:
    """A device that waits for anything misses a micro-turn each time. A busy machine takes one now
    and then whatever the device does, and with far more to do than it has processors, many: that
    is told, and not judged.
    """
    said = f"{missed} of {turns} micro-turns were missed"
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if missed:
        warnings.warn(f"{said}; the load is {load:.1f} on {processors} processors", stacklevel=2)
    if load <= 2 * processors:
        assert missed <= max(1, turns // 40), said


@contextmanager
def talking(
    url: str,
    outbox: Outbox | None = None,
    keep: Callable[[str, Letters | None], bool] = lambda transcript, letters: False,
    abilities: Sequence[Ability] = (),
    sinks: Sequence[Sink] = (),
    words: int = 2,
    house: MqttActions | None = None,
) -> Iterator[TalkingDevice]:
    """A device that runs until the end of the block, and is not held up by anything in it.

    It speaks for so many `words` at most: most tests have nothing to wait for. What it does goes
    out to the `house`, which the caller acquires.
    """
    clock, stop = MonotonicClock(), threading.Event()
    settings, known = BrokerSettings(url), Abilities("kiosk", tuple(abilities))
    model, records = Model(), Records()
    actions = [one.name for one in abilities]
    with (
        LocalBackground(Written(), clock, commands=Commands.of(abilities)) as local,
        MqttBackground(settings, known, clock, PATIENCE_IN_TESTS_S, outbox) as remote,
        Mouth(Beep(words)) as voice,
    ):
        noted = Noted(remote, local)
        background: Background = noted
        if house is not None:
            background = ConfirmedBackground(
                noted, house, lambda: UNREACHABLE_WORDS, clock, ACTION_PATIENCE_S
            )
            sinks = [*sinks, house]
        dialogue = Dialogue(background, str, actions=actions, keep=keep)
        parts = Parts(
            audio=Room(),
            assembler=Assembler(None),
            engine=NoEngine(),
            decider=model,
            voice=voice,
            dialogue=dialogue,
            sinks=[Spoken(remote.spoken), records, *sinks],
            compute_clock=clock,
        )
        thread = threading.Thread(target=Loop(parts).run, args=(stop.is_set,))
        thread.start()
        device = TalkingDevice(remote, model, records, noted.asked)
        try:
            yield device
            assert_hardly_missed(device.missed, device.now)
        finally:
            stop.set()
            thread.join(PATIENCE_S)


def ask_configured(ready: Device, heard: str) -> list[Event]:
    """Have a device that is put together, but for its loop, hand on what was heard: all that it is
    told until it has an answer."""
    dialogue = ready.loop._parts.dialogue
    silence = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))
    dialogue.listen(silence, Decision(0, "listen", heard=heard))
    dialogue.delegate(Decision(0, "listen", delegation=Delegation.DELEGATE), silence)
    told: list[Event] = []

    def answered() -> bool:
        told.extend(dialogue.poll())
        return any(one.kind is EventKind.RESULT for one in told)

    wait_until(answered)
    return told
