"""One MQTT 5 connection that stays: the only file that imports paho.

A supervising thread connects, waits for the connection to end, and connects again after a capped,
jittered pause. paho's own thread does the network in between; nothing that a handler raises can
end it. The caller's threads only ever queue.
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Self

from edge_runtime.errors import ConfigError

log = logging.getLogger(__name__)
PORTS = {"mqtt": 1883, "mqtts": 8883}
CONNECT_TIMEOUT_S = 5.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
LARGEST_PACKET = 4 * 1024 * 1024
"""Told to the broker, which then drops what is larger instead of sending it."""


class ConnectionState(Enum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    """For the next attempt."""
    CLOSED = "closed"


@dataclass(frozen=True)
class BrokerSettings:
    """Where the broker is and who we are there. Secrets are read from files only."""

    url: str
    """`mqtt://host[:port]`, `mqtts://host[:port]`."""
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    """Of the broker's certificate; the system's authorities without it."""
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = 5
    session_expiry_s: int = 60
    """How long the broker keeps what it could not deliver."""

    def address(self) -> tuple[str, int, bool]:
        """Host, port, TLS. Raises ConfigError."""
        parts = urlsplit(self.url)
        if parts.username or parts.password:
            raise ConfigError(
                "The broker's URL must not hold a user or password: others can read a command "
                "line. Use `user` and `password_file`."
            )
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in PORTS or not parts.hostname or port == -1:
            raise ConfigError(
                f"{self.url!r} is no broker: use mqtt://HOST[:PORT], or mqtts://HOST[:PORT] for TLS"
            )
        return parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts"


@dataclass(frozen=True)
class Arrival:
    """A message that arrived."""

    topic: str
    payload: bytes
    response_topic: str | None = None
    correlation: bytes | None = None
    retained: bool = False


@dataclass(frozen=True)
class Outgoing:
    """A message to send."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: float | None = None
    """The broker drops it if it could not deliver it by then."""
    response_topic: str | None = None
    correlation: bytes | None = None


Handler = Callable[[Arrival], None]


class MqttConnection:
    """Handlers run on the network thread, one after the other: they must not block.

    `birth` is published, retained, after every connect; `death` is its last will, and `farewell`
    what a clean end leaves behind.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        birth: Outgoing,
        death: bytes,
        farewell: bytes,
        on_state: Callable[[ConnectionState], None] = lambda state: None,
    ) -> None:
        self._settings, self._client_id = settings, client_id
        self._birth, self._death, self._farewell = birth, death, farewell
        self._on_state = on_state
        self._address = settings.address()
        self._subscriptions: dict[str, Handler] = {}
        self._state = ConnectionState.CLOSED
        self._lost, self._closing = threading.Event(), threading.Event()
        self._announcing = threading.Lock()
        self._failures = 0
        self._client: Any = None
        self._thread: threading.Thread | None = None
        self.handler_errors = 0
        self.connects = 0

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def connected(self) -> bool:
        return self._state is ConnectionState.CONNECTED

    def subscribe(self, pattern: str, handler: Handler) -> None:
        """Before entering; `$share/...` patterns are shared between the subscribers."""
        self._subscriptions[pattern] = handler

    def unsubscribe(self, pattern: str) -> None:
        """For good: a later connect does not ask for it again."""
        self._subscriptions.pop(pattern, None)
        if self.connected:
            self._client.unsubscribe(pattern)

    def announce(self, payload: bytes) -> None:
        """A new payload for `birth`: published now, and after every connect from now on."""
        with self._announcing:
            self._birth = replace(self._birth, payload=payload)
            self.publish(self._birth)

    def publish(self, message: Outgoing) -> bool:
        """Queue a message; False where there is no connection. Never blocks."""
        if not self.connected:
            return False
        return self._send(message)

    def __enter__(self) -> Self:
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._supervise, name="mqtt", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.connected:
            self._send(replace(self._birth, payload=self._farewell))
            self._client.disconnect()
        self._closing.set()
        self._lost.set()
        if self._thread is not None:
            self._thread.join(timeout=CONNECT_TIMEOUT_S + 1)
        self._set_state(ConnectionState.CLOSED)

    # -- connecting ------------------------------------------------------------

    def _make_client(self) -> Any:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        settings = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if settings.user is not None:
            client.username_pw_set(settings.user, _secret(settings.password_file))
        if self._address[2]:
            self._set_tls(client)
        client.will_set(self._birth.topic, self._death, qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_message = self._unexpected
        for pattern, handler in self._subscriptions.items():
            # What arrives bears the topic alone, without `$share/<group>/`.
            topics = pattern.split("/", 2)[2] if pattern.startswith("$share/") else pattern
            client.message_callback_add(topics, self._guarded(handler))
        return client

    def _set_tls(self, client: Any) -> None:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
            if settings.cert_file is not None:
                context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"The TLS files of the broker cannot be used: {error}. Check ca_file, cert_file "
                "and key_file, and that this user may read them."
            ) from error
        client.tls_set_context(context)

    def _supervise(self) -> None:
        while not self._closing.is_set():
            self._lost.clear()
            self._set_state(ConnectionState.CONNECTING)
            try:
                self._connect()
            except (OSError, ValueError) as error:
                self._told_failure(str(error))
            else:
                self._client.loop_start()
                self._lost.wait()
                self._client.loop_stop()
            if self._closing.is_set():
                return
            self._set_state(ConnectionState.WAITING)
            self._closing.wait(backoff_s(self._failures))
            self._failures += 1

    def _connect(self) -> None:
        properties = _properties("CONNECT")
        properties.SessionExpiryInterval = self._settings.session_expiry_s
        properties.MaximumPacketSize = LARGEST_PACKET
        host, port, _ = self._address
        self._client.connect(
            host, port, self._settings.keepalive_s, clean_start=False, properties=properties
        )

    def _told_failure(self, reason: str) -> None:
        """The first failure is worth a warning; that it goes on is not."""
        host, port, _ = self._address
        level = logging.WARNING if self._failures == 0 else logging.DEBUG
        log.log(level, "no connection to the broker %s:%d: %s; trying again", host, port, reason)

    def _set_state(self, state: ConnectionState) -> None:
        if state is self._state:
            return
        self._state = state
        try:
            self._on_state(state)
        except Exception:
            self.handler_errors += 1
            log.exception("a handler of the connection's state failed")

    # -- on paho's thread ------------------------------------------------------

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._told_failure(f"refused: {reason}")
            self._lost.set()
            return
        if self._failures:
            log.warning("connected to the broker again")
        self._failures = 0
        self.connects += 1
        for pattern in list(self._subscriptions):
            client.subscribe(pattern, qos=1)
        self._set_state(ConnectionState.CONNECTED)
        with self._announcing:
            self._send(self._birth)

    def _disconnected(
        self, client: Any, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if not self._closing.is_set() and self.connected:
            self._told_failure(f"connection lost: {reason}")
        self._lost.set()

    def _unexpected(self, client: Any, data: Any, message: Any) -> None:
        log.debug("nobody waits for %s", message.topic)

    def _guarded(self, handler: Handler) -> Callable[[Any, Any, Any], None]:
        def call(client: Any, data: Any, message: Any) -> None:
            properties = message.properties
            arrival = Arrival(
                message.topic,
                bytes(message.payload),
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
                bool(message.retain),
            )
            try:
                handler(arrival)
            except Exception:
                self.handler_errors += 1
                log.exception("a message on %s could not be handled", message.topic)

        return call

    def _send(self, message: Outgoing) -> bool:
        properties = _properties("PUBLISH")
        if message.expiry_s is not None:
            properties.MessageExpiryInterval = max(1, round(message.expiry_s))
        if message.response_topic is not None:
            properties.ResponseTopic = message.response_topic
        if message.correlation is not None:
            properties.CorrelationData = message.correlation
        try:
            info = self._client.publish(
                message.topic, message.payload, message.qos, message.retain, properties
            )
        except ValueError as error:  # too long, or the queue is full
            log.warning("%s could not be sent: %s", message.topic, error)
            return False
        return int(info.rc) == 0


def backoff_s(failures: int) -> float:
    """Doubles up to a cap; the jitter keeps a fleet from coming back all at once."""
    pause = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 10))
    return pause * random.uniform(0.5, 1.0)


def _properties(packet: str) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    make: Any = Properties
    return make(getattr(PacketTypes, packet))


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The password file {path} cannot be read: {error}. Check its path and its owner."
        ) from error
