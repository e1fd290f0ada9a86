"""A real Mosquitto on a loopback port, and a device in front of it: a plain paho client."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from typing_extensions import Self

from edge_runtime.delegation.broker import BrokerSettings

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
COMMON = "allow_anonymous true\nmax_queued_messages 10000\n"
PATIENCE_S = 30
"""How long a test waits for something that comes at once."""


class Broker:
    """MQTT 5, anyone may do anything, nothing is kept over a restart. The port stays the same."""

    def __init__(self, folder: Path, port: int | None = None, host: str = "127.0.0.1") -> None:
        self.port, self.host = port or free_port(), host
        self.url = f"mqtt://{host}:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it listens."""
        (self._folder / "mosquitto.conf").write_text(self.settings_text())
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_until(self._listens)

    def command(self) -> list[str]:
        assert MOSQUITTO is not None, "mark the test with needs_mosquitto"
        return [MOSQUITTO, "-c", str(self._folder / "mosquitto.conf")]

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def settings_text(self) -> str:
        return f"listener {self.port} {self.host}\n{COMMON}"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "mosquitto.log").read_text()
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(true: Callable[[], bool]) -> None:
    """For what can only be asked about."""
    end = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not true():
        assert time.monotonic() < end, "it did not happen"
        pause.wait(0.02)


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    correlation: bytes | None
    expiry_s: int | None

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.payload)
        return content


class Device:
    """Sends what a test wants, and keeps everything that arrives on `patterns`."""

    def __init__(
        self,
        broker: Broker,
        name: str = "kiosk",
        patterns: tuple[str, ...] = (),
        settings: BrokerSettings | None = None,
    ) -> None:
        """`settings` say who it is, where the broker wants to know."""
        self.name, self._broker = name, broker
        self._patterns = patterns or (f"edge/{name}/replies", "background/+/status")
        self._arrived = threading.Condition()
        self.messages: list[Message] = []
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"test-{name}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        self._ready = threading.Event()
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(pattern, _qos()) for pattern in self._patterns]
        )
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_disconnect = lambda *_: self._ready.clear()
        self._client.reconnect_delay_set(1, 1)
        if settings is not None:
            self._client.username_pw_set(settings.user, settings.password())
            self._client.tls_set_context(settings.tls())

    def __enter__(self) -> Self:
        # Not by its number: a certificate is for a name.
        host = "localhost" if self._broker.host == "127.0.0.1" else self._broker.host
        self._client.connect(host, self._broker.port)
        self._client.loop_start()
        self.await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def await_ready(self) -> None:
        """Connected and subscribed."""
        assert self._ready.wait(PATIENCE_S)

    def await_gone(self) -> None:
        """The connection has ended."""
        wait_until(lambda: not self._ready.is_set())

    def send(
        self,
        topic: str,
        payload: bytes,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        wait: bool = True,
        retain: bool = False,
    ) -> None:
        """Until the broker has it, unless it need not `wait`."""
        properties = Properties(PacketTypes.PUBLISH)
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, 1, retain, properties)
        if wait:
            info.wait_for_publish(PATIENCE_S)

    def ask(self, id: str, transcript: str = "", deadline_s: float = 60, **more: object) -> None:
        content = {"id": id, "device": self.name, "deadline_s": deadline_s, **more}
        self.ask_raw(json.dumps({**content, "transcript": transcript}).encode(), id.encode())

    def ask_raw(self, payload: bytes, correlation: bytes | None = None) -> None:
        self.send(f"edge/{self.name}/requests", payload, f"edge/{self.name}/replies", correlation)

    def cancel(self, id: str) -> None:
        self.send(f"edge/{self.name}/cancel", json.dumps({"id": id}).encode())

    def replies(self, id: str) -> list[Message]:
        with self._arrived:
            return [
                one for one in self.messages if "/replies" in one.topic and one.json["id"] == id
            ]

    def kinds(self, id: str) -> list[str]:
        return [reply.json["kind"] for reply in self.replies(id)]

    def await_reply(self, id: str, kind: str) -> Message:
        """The first reply of this kind to this request."""

        def find() -> Message | None:
            found = [reply for reply in self.replies(id) if reply.json["kind"] == kind]
            return found[0] if found else None

        return self.await_any(find)

    def await_status(self, worker: str, **wanted: object) -> None:
        """Until the newest status of the worker says so."""
        self.await_any(lambda: wanted.items() <= self.status(worker).items())

    def status(self, worker: str) -> dict[str, Any]:
        with self._arrived:
            found = [one for one in self.messages if one.topic == f"background/{worker}/status"]
            return found[-1].json if found else {}

    def await_any(self, find: Callable[[], Any]) -> Any:
        """What `find` finds, once that is something."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: bool(find()), PATIENCE_S), self.messages
            return find()

    def _on_message(self, client: Client, data: object, message: Any) -> None:
        properties = message.properties
        with self._arrived:
            self.messages.append(
                Message(
                    message.topic,
                    message.payload,
                    getattr(properties, "CorrelationData", None),
                    getattr(properties, "MessageExpiryInterval", None),
                )
            )
            self._arrived.notify_all()


def _qos() -> Any:
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return SubscribeOptions(qos=1)
