"""A device that asks: delegation with a stand-in for the device's own skills, without a loop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from broker import PATIENCE_S, Broker, wait_until
from echo_worker import Echo
from typing_extensions import Self

from edge_runtime.background.worker import Worker
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.context import Heard
from edge_runtime.delegation.fallback import FallbackBackground
from edge_runtime.delegation.mqtt import MqttConnection
from edge_runtime.delegation.mqtt import Outgoing as Message
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.delegation.wire import Ability
from edge_runtime.health import HealthMonitor
from edge_runtime.interfaces import Background, Clock
from edge_runtime.micro_turn import Event, EventKind, Request, Said
from edge_runtime.pacing import MonotonicClock

SOUND = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)


class Skills:
    """The device's own background model: answers at once, but not what is to be kept."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def submit(self, request: Request) -> None:
        kind = EventKind.FAILED if request.keep else EventKind.RESULT
        self.events.append(Event(kind, request.id, "from the device itself"))

    def cancel(self, request_id: str) -> None:
        self.events = [event for event in self.events if event.id != request_id]

    def poll(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class Asker:
    """Polls as the loop does, and keeps what it was told."""

    def __init__(self, remote: MqttBackground, local: Background | None = None) -> None:
        self.remote = remote
        self.background = FallbackBackground(remote, local or Skills())
        self.told: list[Event] = []

    def ask(
        self, name: str, transcript: str = "tea", deadline_s: float = 20.0, keep: bool = False
    ) -> None:
        said = (Said("device", "Hello!", 3.0),)
        self.background.submit(
            Request(name, SOUND, transcript, deadline_s=deadline_s, conversation=said, keep=keep)
        )

    def ask_what_was(self, heard: Heard, name: str) -> None:
        self.background.submit(Request(name, heard.audio(), heard.transcript, opus=heard.opus()))

    def kinds(self, name: str) -> list[str]:
        self.told += self.background.poll()
        return [event.kind.value for event in self.told if event.id == name]

    def await_kind(self, name: str, kind: EventKind) -> Event:
        wait_until(lambda: kind.value in self.kinds(name))
        return next(one for one in self.told if one.id == name and one.kind is kind)


@contextmanager
def asking(
    broker: Broker,
    outbox: Outbox | None = None,
    clock: Clock | None = None,
    local: Background | None = None,
    health: HealthMonitor | None = None,
) -> Iterator[Asker]:
    """Nobody is given up before its time: a busy machine may be slow."""
    abilities = Abilities("kiosk", (Ability(name="wave"),))
    settings = BrokerSettings(broker.url)
    clock = clock or MonotonicClock()
    remote = MqttBackground(settings, abilities, clock, PATIENCE_S, outbox, health=health)
    with remote, _publishing_freely(remote):
        yield Asker(remote, local)


@contextmanager
def _publishing_freely(remote: MqttBackground) -> Iterator[None]:
    """While a message is published, `remote` holds up no other thread: the connection's own may
    have something to tell it, and hold what publishing needs."""
    publish, held_up = MqttConnection.publish, []

    def watched(connection: MqttConnection, message: Message) -> bool:
        other = threading.Thread(target=remote.heard, args=("",), daemon=True)
        other.start()
        other.join(5)
        if other.is_alive():
            held_up.append(message.topic)
        return publish(connection, message)

    with patch.object(MqttConnection, "publish", watched):
        yield
    assert held_up == []


@contextmanager
def working(broker: Broker, name: str = "worker", echo: Echo | None = None) -> Iterator[Echo]:
    echo = echo or Echo()
    with Worker(BrokerSettings(broker.url), name, echo, slots=2, grace_s=0.1):
        yield echo
