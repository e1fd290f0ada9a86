"""Devices that only ask: the real delegation of each, without a loop, a microphone or a mouth."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.context import Heard
from edge_runtime.delegation.opus import OpusStream
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.delegation.tasks import Tasks
from edge_runtime.errors import BackgroundError
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_SAMPLES,
    Decision,
    Event,
    EventKind,
    MicroTurn,
    Pcm,
    Request,
)
from edge_runtime.pacing import MonotonicClock

START_S = 60.0
ANSWER_S = 60.0
PAUSE_S = 0.001
"""Between two rounds of polling; the loop asks every 200 ms."""


@dataclass
class Answers:
    """What has become of the questions."""

    latencies_ms: list[float] = field(default_factory=list)
    """From a question's last micro-turn to its answer being there to be polled."""
    failed: int = 0
    finished_s: list[float] = field(default_factory=list)
    """Monotonic."""

    def percentile_ms(self, share: float) -> float:
        return float(np.percentile(self.latencies_ms, share)) if self.latencies_ms else np.nan


class Fleet:
    def __init__(self, url: str, count: int, sound_s: float = 3.0) -> None:
        """Each question has `sound_s` of noise in it: nothing compresses worse."""
        self._url, self._count = url, count
        rng = np.random.default_rng(0)
        noise = 0.1 * rng.standard_normal(int(sound_s * SAMPLE_RATE_HZ))
        self._sound: Pcm = noise.astype(np.float32)
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self._packing = Tasks("packing")
        self._open: dict[str, tuple[MqttBackground, float]] = {}
        """Who asked, and when (monotonic s)."""
        self.devices: list[MqttBackground] = []
        self.answers = Answers()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._packing)
        for number in range(self._count):
            abilities = Abilities(f"bench-{number}")
            # Patient: here it shall show how long an answer takes, and not be given up.
            device = MqttBackground(
                BrokerSettings(self._url), abilities, MonotonicClock(), patience_s=ANSWER_S
            )
            self.devices.append(self._stack.enter_context(device))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def await_workers(self, count: int) -> None:
        """Until every device sees so many workers. Raises BackgroundError if it takes too long."""
        end_s = time.monotonic() + START_S
        while any(device.workers < count for device in self.devices):
            if time.monotonic() > end_s:
                raise BackgroundError(f"not every device sees {count} workers on {self._url}")
            time.sleep(0.05)

    def ask(self, device: MqttBackground, transcript: str = "") -> None:
        """With sound that is encoded only now."""
        self._submit(device, Request("", self._sound, transcript), time.monotonic())

    def say_and_ask(self, device: MqttBackground, transcript: str = "") -> None:
        """As a person does, but faster: all but the last micro-turn of the sound has been heard,
        and encoded, when the time begins to count."""
        heard = Heard(lambda: OpusStream(self._packing.put))
        turns = np.split(self._sound, range(TURN_SAMPLES, len(self._sound), TURN_SAMPLES))
        for index, pcm in enumerate(turns):
            if index == len(turns) - 1:
                encoded = threading.Event()
                self._packing.put(encoded.set)
                encoded.wait()
                asked_s = time.monotonic()
            turn = MicroTurn(index, 0, np.stack([pcm, np.zeros_like(pcm)]))
            heard.add(turn, Decision(index, "listen", heard="a "))
        request = Request("", heard.audio(), transcript, opus=heard.opus())
        self._submit(device, request, asked_s)
        heard.clear()

    def _submit(self, device: MqttBackground, request: Request, asked_s: float) -> None:
        name = f"request-{next(self._numbers)}"
        self._open[name] = (device, asked_s)
        device.submit(replace(request, id=name, deadline_s=ANSWER_S))

    @property
    def open(self) -> int:
        return len(self._open)

    def collect(self) -> int:
        """Poll once all that have asked; how many questions have ended."""
        known = self.open
        for device in {device for device, _ in self._open.values()}:
            for event in device.poll():
                if event.kind in (EventKind.RESULT, EventKind.FAILED) and event.id in self._open:
                    self._note(event)
        time.sleep(PAUSE_S)
        return known - self.open

    def _note(self, event: Event) -> None:
        now_s, (_, asked_s) = time.monotonic(), self._open.pop(event.id)
        self.answers.finished_s.append(now_s)
        if event.kind is EventKind.RESULT:
            self.answers.latencies_ms.append(1000 * (now_s - asked_s))
        else:
            self.answers.failed += 1

    def one_after_the_other(self, count: int, transcript: str = "") -> Answers:
        """The first device is asked `count` questions, each once the one before is answered."""
        for _ in range(count):
            self.say_and_ask(self.devices[0], transcript)
            while self.open:
                self.collect()
        return self.answers

    def always_out(self, count: int, seconds: float) -> Answers:
        """The first device has `count` questions out at any time, for so long."""
        for _ in range(count):
            self.ask(self.devices[0])
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for _ in range(self.collect()):
                self.ask(self.devices[0])
        return self.answers

    def at_a_rate(self, each_s: float, seconds: float) -> Answers:
        """Every device asks once in `each_s`, evenly spread, for so long; then all are awaited."""
        start_s = time.monotonic()
        due = ((i * each_s / self._count, i % self._count) for i in itertools.count())
        next_s, who = next(due)
        while next_s < seconds or self.open:
            if next_s < seconds and time.monotonic() - start_s >= next_s:
                self.ask(self.devices[who])
                next_s, who = next(due)
            else:
                self.collect()
        return self.answers
