"""One MQTT 5 connection that stays: the only file that imports paho.

A supervising thread connects, waits for the connection to end, and connects again after a capped,
jittered pause. paho's own thread does the network in between; nothing that a handler raises can
end it. The caller's threads only ever queue.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.liveness import Liveness
from edge_runtime.errors import ConfigError

log = logging.getLogger(__name__)
CONNECT_TIMEOUT_S, GOODBYE_S = 5.0, 1.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
LASTING_S = 10.0
"""A connection that holds for so long ends a series of failures."""
SHORT_LIVED = 3
"""Connections in a row that do not: somebody else may have our name, or the broker hands us
something each time that paho cannot read."""
ALIVE_S = 1.0
"""How often we look whether paho's thread still is."""
LARGEST_PACKET = 4 * 1024 * 1024
"""Told to the broker, which then drops what is larger instead of sending it."""
NOBODY_LISTENS = 0x10
"""The broker's word (MQTT 5) that it has taken a message which no one is there for."""
UNHEARD = "nobody listens there"
"""What is told of it then."""
AROUND = 1000
"""Bytes of a packet beside its payload, at most: topics and properties."""


class ConnectionState(Enum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    """For the next attempt."""
    CLOSED = "closed"


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
    retain: bool = False
    expiry_s: float | None = None
    """The broker drops it if it could not deliver it by then."""
    response_topic: str | None = None
    correlation: bytes | None = None
    again: bool = False
    """Once more over the next connection, if this one ends before the broker has acknowledged it.
    What is meant for now is not: a lamp must not go on when a link comes back."""
    told: Callable[[str], None] | None = None
    """Hears, once it was sent, what has become of it: nothing if the broker had somebody to hand it
    to, or else why not. On a thread of the connection's, or on the sender's while it publishes,
    with locks of the connection held: it must neither block nor publish."""


Handler = Callable[[Arrival], None]


class MqttConnection:
    """Handlers run on the network thread, one after the other: they must not block.

    `birth` is published, retained, after every connect; `death` is its last will, and `farewell`
    what a clean end leaves behind. Without a `birth` nothing tells that there is a connection.
    `parting` is the last message, however it ends: of ours, or of the broker's once we are gone. A
    broker that refuses it refuses the connection. There is either a `birth` or a `parting`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        birth: Outgoing | None = None,
        death: bytes = b"",
        farewell: bytes = b"",
        on_state: Callable[[ConnectionState], None] = lambda state: None,
        parting: Outgoing | None = None,
    ) -> None:
        assert birth is None or parting is None, "MQTT has one last will"
        self._settings, self._client_id = settings, client_id
        self._birth, self._death, self._farewell = birth, death, farewell
        self._parting = parting
        self._on_state = on_state
        self._address = settings.address()
        self._subscriptions: dict[str, Handler] = {}
        self._state = ConnectionState.CLOSED
        self._liveness = Liveness()
        self._lost, self._closing = threading.Event(), threading.Event()
        self._announcing = threading.Lock()
        self._failures = self._short_lived = 0
        self._connected_s = 0.0
        self._told_of_failure = False
        self._in_flight: dict[int, tuple[Outgoing, float]] = {}
        """By packet: what the broker has not acknowledged, and until when it is worth sending."""
        self._early: dict[int, Any] = {}
        """By packet: what the broker said of one before paho had told us its number."""
        self._numbering = threading.Lock()
        """Guards these two. Nothing of paho's is called under it."""
        self._owed: list[tuple[Outgoing, float]] = []
        """The same of earlier connections."""
        self._asked: dict[int, str] = {}
        """Patterns that the broker has not agreed to yet, by packet."""
        self._refused: set[str] = set()
        self._client: Any = None
        self._network: threading.Thread | None = None
        """paho's, once the broker has let us in."""
        self._changing = threading.RLock()
        """Held while the client is another one, and while something is handed to it."""
        self._thread: threading.Thread | None = None
        self.handler_errors = 0
        self.connects = 0
        self.largest: float = math.inf
        """Bytes of a payload that the broker of this connection takes: what is more ends it."""
        self.failure = ""
        """Why there was no connection, or why it ended, the last time."""

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def connected(self) -> bool:
        return self._state is ConnectionState.CONNECTED

    @property
    def trouble(self) -> str:
        """Why there is no connection now, for people; empty while there is one."""
        if self.connected:
            return ""
        host, port, _ = self._address
        return f"no connection to {host}:{port}: {self.failure or 'not yet'}"

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
            if self._birth is not None:
                self._birth = replace(self._birth, payload=payload)
                self.publish(self._birth)

    def publish(self, message: Outgoing) -> bool:
        """Queue a message; False where there is no connection, or it is larger than the broker
        takes. Never blocks."""
        with self._changing:
            return self.connected and self._send(message)

    def watch(self, patience_s: float, probe_topic: str | None) -> None:
        """Call it a few times a second: it gives the connection up when the broker owes a sign for
        more than `patience_s`, and asks for one, with a `probe_topic`, where none is owed.

        The keepalive finds that out too, seconds later: packets that are dropped tell nothing.
        """
        if not self.connected:
            return
        if self._liveness.silent(time.monotonic_ns(), patience_s):
            self._give_up("the broker gives no sign")
        elif probe_topic is not None and not self._liveness.waiting:
            self._send(Outgoing(probe_topic, b"", expiry_s=1))

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
        self._closing.set()
        if self.connected:
            if self._birth is not None:
                self._send(replace(self._birth, payload=self._farewell))
            if self._parting is not None:
                self._send(self._parting)
            self._say_goodbye()
        self._lost.set()
        if self._thread is not None:
            self._thread.join(timeout=CONNECT_TIMEOUT_S + 1)
        self._set_state(ConnectionState.CLOSED)

    def _say_goodbye(self) -> None:
        """Disconnect once the broker has acknowledged what it was sent: where acknowledgements are
        unread when the socket is closed, TCP resets the connection, and the broker may never read
        that this was meant. It would publish the last will."""
        until_s = time.monotonic() + GOODBYE_S
        while self._in_flight and time.monotonic() < until_s:
            if self._lost.wait(GOODBYE_S / 100):
                return
        self._client.disconnect()
        self._lost.wait(max(0.0, until_s - time.monotonic()))

    def _give_up(self, reason: str) -> None:
        self._ended()
        self._told_failure(reason)
        self._set_state(ConnectionState.WAITING)
        link: socket.socket | None = self._client.socket()
        if link is not None:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)  # paho's thread sees the end, and tidies up

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
            client.username_pw_set(settings.user, settings.password())
        if self._address[2]:
            client.tls_set_context(settings.tls())
        if self._birth is not None:
            client.will_set(self._birth.topic, self._death, qos=1, retain=True)
        if (last := self._parting) is not None:
            will = _expiring("WILLMESSAGE", last)
            client.will_set(last.topic, last.payload, qos=1, retain=last.retain, properties=will)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_message = self._unexpected
        client.on_socket_open = _send_at_once
        client.on_publish = self._published
        client.on_subscribe = self._subscribed
        for pattern, handler in self._subscriptions.items():
            # What arrives bears the topic alone, without `$share/<group>/`.
            topics = pattern.split("/", 2)[2] if pattern.startswith("$share/") else pattern
            client.message_callback_add(topics, self._guarded(handler))
        return client

    def _supervise(self) -> None:
        first = True
        while not self._closing.is_set():
            self._lost.clear()
            self._set_state(ConnectionState.CONNECTING)
            try:
                if not first:
                    self._renew()
                first = False
                self._connect()
            except (OSError, ValueError, ConfigError) as error:
                self._told_failure(str(error))
            else:
                self._client.loop_start()
                self._await_end()
                self._client.loop_stop()
                self._settle()
            if self._closing.is_set():
                return
            self._set_state(ConnectionState.WAITING)
            self._closing.wait(backoff_s(self._failures))
            self._failures += 1

    def _await_end(self) -> None:
        """Of the connection, or of the thread that would tell it: what paho cannot read may end
        that."""
        while not self._lost.wait(ALIVE_S):
            network = self._network
            if network is None or network.is_alive() or self._lost.is_set():
                continue
            if self.connected:
                self._give_up("the network thread has ended")
            return

    def _renew(self) -> None:
        """A client for every attempt: paho would send what the last one owes as if it were
        new, behind what is said at the beginning of this one. Reads passwords and certificates,
        which may be others by now."""
        with self._changing:
            self._client, self._network = self._make_client(), None
            self._settle()
            self._asked = {}

    def _settle(self) -> None:
        """The connection has ended: what the broker has not acknowledged is owed, or lost."""
        with self._numbering:
            ended, self._in_flight, self._early = self._in_flight, {}, {}
        self._owed += [one for one in ended.values() if one[0].again]
        for message, _ in ended.values():
            if not message.again:
                self._tell(message, "the connection ended before the broker acknowledged it")

    def _connect(self) -> None:
        properties = _properties("CONNECT")
        properties.SessionExpiryInterval = self._settings.session_expiry_s
        properties.MaximumPacketSize = LARGEST_PACKET
        host, port, _ = self._address
        # Who had our name before us may have left subscriptions in the session; and what ends each
        # connection may wait there for the next one.
        clean = self.connects == 0 or self._short_lived >= SHORT_LIVED
        self._client.connect(
            host, port, self._settings.keepalive_s, clean_start=clean, properties=properties
        )

    def _told_failure(self, reason: str) -> None:
        """The first failure is worth a warning; that it goes on, or comes and goes, is not."""
        self.failure = reason
        host, port, _ = self._address
        news = not self._told_of_failure and self._short_lived <= SHORT_LIVED
        self._told_of_failure = self._told_of_failure or news
        level = logging.WARNING if news else logging.DEBUG
        log.log(level, "no connection to the broker %s:%d: %s; trying again", host, port, reason)

    def _may_be_refused(self) -> str:
        """What a broker may refuse beside a user."""
        return "" if self._parting is None else f" (or may not write on {self._parting.topic})"

    def _ended(self) -> None:
        """A connection has: did it last?"""
        if time.monotonic() - self._connected_s >= LASTING_S:
            self._failures = self._short_lived = 0
            return
        self._short_lived += 1
        if self._short_lived == SHORT_LIVED:
            log.warning(
                "%d connections to the broker have ended within %.0f s each. Does somebody else "
                "use the name %r there? Each device and each worker needs its own",
                *(SHORT_LIVED, LASTING_S, self._client_id),
            )

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
            self._told_failure(f"refused: {reason}{self._may_be_refused()}")
            self._lost.set()
            return
        if self._told_of_failure:
            log.warning("connected to the broker again")
        self._told_of_failure = False
        self._failures = min(self._failures, SHORT_LIVED)
        self._connected_s, self._network = time.monotonic(), threading.current_thread()
        self.connects += 1
        self.largest = getattr(properties, "MaximumPacketSize", math.inf) - AROUND
        self._liveness.restart()
        for pattern in list(self._subscriptions):
            _, number = client.subscribe(pattern, qos=1)
            self._asked[number] = pattern
        self._set_state(ConnectionState.CONNECTED)
        with self._announcing:
            if self._birth is not None:
                self._send(self._birth)
        owed, self._owed = self._owed, []
        for message, until_s in owed:
            if (left_s := until_s - time.monotonic()) > 0:
                self._send(replace(message, expiry_s=None if left_s == math.inf else left_s))

    def _disconnected(
        self, client: Any, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if not self._closing.is_set() and self.connected:
            self._ended()
            self._told_failure(f"connection lost: {reason}")
        self._lost.set()

    def _published(self, client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
        self._liveness.heard()
        # paho's locks are held here: to wait for `_changing` could last for ever.
        with self._numbering:
            known = self._in_flight.pop(number, None)
            if known is None:
                self._early[number] = reason
        if known is not None:
            self._acknowledged(known[0], reason)

    def _acknowledged(self, message: Outgoing, reason: Any) -> None:
        if reason.is_failure:
            self._tell_refused(f"what is published on {message.topic}", reason, "write")
            self._tell(message, f"the broker refuses it: {reason}")
        else:
            self._tell(message, UNHEARD if reason.value == NOBODY_LISTENS else "")

    def _tell(self, message: Outgoing, why_not: str) -> None:
        if message.told is None:
            return
        try:
            message.told(why_not)
        except Exception:
            self.handler_errors += 1
            log.exception("what has become of %s could not be told", message.topic)

    def _subscribed(
        self, client: Any, data: Any, number: int, reasons: Any, properties: Any
    ) -> None:
        self._liveness.heard()
        pattern = self._asked.pop(number, "a topic")
        for reason in reasons:
            if reason.is_failure:
                self._tell_refused(f"to hand on {pattern}", reason, "read")

    def _tell_refused(self, what: str, reason: Any, right: str) -> None:
        """Once."""
        if what not in self._refused:
            self._refused.add(what)
            log.warning(
                "the broker refuses %s: %s. Give its user the right to %s there "
                "(examples/mosquitto/acl)",
                *(what, reason, right),
            )

    def _unexpected(self, client: Any, data: Any, message: Any) -> None:
        log.debug("nobody waits for %s", message.topic)

    def _guarded(self, handler: Handler) -> Callable[[Any, Any, Any], None]:
        def call(client: Any, data: Any, message: Any) -> None:
            self._liveness.heard()
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
        if len(message.payload) > self.largest:
            log.warning(
                "what is published on %s has %d bytes, and the broker takes %.0f: it is not sent",
                *(message.topic, len(message.payload), self.largest),
            )
            return False
        properties = _expiring("PUBLISH", message)
        if message.response_topic is not None:
            properties.ResponseTopic = message.response_topic
        if message.correlation is not None:
            properties.CorrelationData = message.correlation
        self._liveness.sent(len(message.payload), time.monotonic_ns())
        with self._changing:
            try:
                info = self._client.publish(
                    message.topic, message.payload, 1, message.retain, properties
                )
            except ValueError as error:  # too long, or the queue is full
                log.warning("%s could not be sent: %s", message.topic, error)
                return False
            sent = int(info.rc) == 0
            if sent or message.again:
                self._await(info.mid, message)
        return sent

    def _await(self, number: int, message: Outgoing) -> None:
        left_s = math.inf if message.expiry_s is None else message.expiry_s
        with self._numbering:
            reason = self._early.pop(number, None)
            if reason is None:
                self._in_flight[number] = message, time.monotonic() + left_s
        if reason is not None:
            self._acknowledged(message, reason)


def backoff_s(failures: int) -> float:
    """Doubles up to a cap; the jitter keeps a fleet from coming back all at once."""
    pause = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 10))
    return pause * random.uniform(0.5, 1.0)


def _send_at_once(client: Any, data: Any, link: Any) -> None:
    """Small packets wait up to 40 ms for one another otherwise (Nagle, delayed acknowledgement)."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _expiring(packet: str, message: Outgoing) -> Any:
    properties = _properties(packet)
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = max(1, round(message.expiry_s))
    return properties


def _properties(packet: str) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    make: Any = Properties
    return make(getattr(PacketTypes, packet))
