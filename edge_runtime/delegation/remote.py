"""Delegation over MQTT: questions to the workers of a broker, their replies back as events."""

from __future__ import annotations

import base64
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from typing_extensions import Self

from edge_runtime.delegation import wire
from edge_runtime.delegation.mqtt import Arrival, BrokerSettings, ConnectionState, MqttConnection
from edge_runtime.delegation.mqtt import Outgoing as Message
from edge_runtime.delegation.request import DelegatedRequest, RequestState
from edge_runtime.errors import BackgroundError, WireError
from edge_runtime.interfaces import Clock
from edge_runtime.micro_turn import Event, EventKind, Frame, Request

log = logging.getLogger(__name__)
QUEUE_SIZE = 32
TIMER = "timer-"
"""Replies with such an id were not asked for now: a timer set earlier is due."""


@dataclass(frozen=True)
class Abilities:
    """What a device tells the workers about itself."""

    device: str
    actions: tuple[str, ...] = ()


class MqttBackground:
    """Implements `interfaces.Background` over a broker.

    `available` says whether a question would reach a worker at this moment: a connection, and a
    worker that says it is online. Packing and sending happen in a thread of its own.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        abilities: Abilities,
        clock: Clock,
        local_time: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self._abilities, self._clock, self._local_time = abilities, clock, local_time
        self._topics = wire.Topics(abilities.device)
        birth = Message(self._topics.status, b"online", retain=True)
        self._connection = MqttConnection(
            settings,
            f"edge-{abilities.device}",
            birth,
            death=b"offline",
            farewell=b"stopped",
            on_state=self._on_connection,
        )
        self._connection.subscribe(self._topics.replies, self._on_reply)
        self._connection.subscribe(wire.ALL_WORKERS, self._on_worker)
        self._boot = uuid.uuid4().hex[:8]
        """Part of every id: a reply to a question before a restart must not answer one after."""
        self._lock = threading.Lock()
        self._open: dict[str, DelegatedRequest] = {}
        """By the id on the wire."""
        self._workers: set[str] = set()
        self._events: list[Event] = []
        self._told_link = False
        self._timers_told: set[tuple[str, str]] = set()
        self._outbox: queue.Queue[tuple[str, Request] | None] = queue.Queue(QUEUE_SIZE)
        self._sender: threading.Thread | None = None
        self.bad_payloads = 0

    def __enter__(self) -> Self:
        self._sender = threading.Thread(target=self._send_all, name="delegation", daemon=True)
        self._sender.start()
        self._connection.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            open_ids = [name for name, request in self._open.items() if request.open]
        for name in open_ids:
            self._publish_cancel(name)
        self._connection.__exit__(kind, error, trace)
        self._outbox.put(None)
        if self._sender is not None:
            self._sender.join(timeout=2)

    @property
    def available(self) -> bool:
        return self._connection.connected and bool(self._workers)

    def submit(self, request: Request) -> None:
        """Raises BackgroundError where no more can wait."""
        name = self._wire_id(request.id)
        deadline_ns = self._clock.now_ns() + int(request.deadline_s * 1e9)
        with self._lock:
            self._open[name] = DelegatedRequest(request.id, deadline_ns)
        try:
            self._outbox.put_nowait((name, request))
        except queue.Full:
            with self._lock:
                del self._open[name]
            raise BackgroundError("too many questions at once") from None

    def cancel(self, request_id: str) -> None:
        name = self._wire_id(request_id)
        with self._lock:
            request = self._open.pop(name, None)
            self._events = [event for event in self._events if event.id != request_id]
        if request is not None:
            request.cancel()
            self._publish_cancel(name)

    def poll(self) -> Sequence[Event]:
        now_ns = self._clock.now_ns()
        with self._lock:
            for request in self._open.values():
                self._events += request.expire(now_ns)
            self._open = {name: one for name, one in self._open.items() if one.open}
            events, self._events = self._events, []
        return events

    def _wire_id(self, request_id: str) -> str:
        return f"{self._boot}-{request_id}"

    # -- sending ---------------------------------------------------------------

    def _send_all(self) -> None:
        while (entry := self._outbox.get()) is not None:
            name, request = entry
            try:
                self._send(name, request)
            except Exception as error:
                log.warning("%s could not be sent: %s", request.id, error)
                with self._lock:
                    waiting = self._open.get(name)
                    self._events += waiting.lost("it was not sent") if waiting else []

    def _send(self, name: str, request: Request) -> None:
        payload = wire.encode(self._message(name, request))
        if len(payload) > wire.MAX_REQUEST_BYTES:
            raise BackgroundError(f"{len(payload)} bytes are more than a worker takes")
        with self._lock:
            waiting = self._open.get(name)
            if waiting is None:
                return
            waiting.sent()
        sent = self._connection.publish(
            Message(
                self._topics.requests,
                payload,
                expiry_s=request.deadline_s,
                response_topic=self._topics.replies,
                correlation=name.encode(),
            )
        )
        if not sent:
            raise BackgroundError("there is no connection")

    def _message(self, name: str, request: Request) -> wire.RequestMessage:
        return wire.RequestMessage(
            id=name,
            device=self._abilities.device,
            deadline_s=request.deadline_s,
            transcript=request.transcript,
            conversation=tuple(
                wire.Said(
                    speaker=one.speaker,
                    text=one.text,
                    age_s=max(0.0, one.age_s),
                    interrupted=one.interrupted,
                )
                for one in request.conversation
            ),
            unsaid=request.unsaid,
            audio=wire.pack_audio(request.audio),
            frame=None if request.frame is None else _jpeg(request.frame),
            actions=tuple(wire.Ability(name=action) for action in self._abilities.actions),
            language=request.language,
            local_time=self._local_time().isoformat(timespec="seconds"),
        )

    def _publish_cancel(self, name: str) -> None:
        payload = wire.encode(wire.CancelMessage(id=name))
        self._connection.publish(Message(self._topics.cancel, payload, expiry_s=60))

    # -- on the network thread -------------------------------------------------

    def _on_reply(self, arrival: Arrival) -> None:
        try:
            reply = wire.decode(wire.ReplyMessage, arrival.payload, wire.MAX_REPLY_BYTES)
        except WireError as error:
            self._count_bad(arrival.topic, error)
            return
        with self._lock:
            if reply.id.startswith(TIMER):
                self._on_timer(reply)
                return
            request = self._open.get(reply.id)
            if request is None:
                log.debug("a late or unknown reply: %s", reply.id)
                return
            self._events += request.receive(reply)

    def _on_timer(self, reply: wire.ReplyMessage) -> None:
        key = (reply.worker, reply.id)
        if reply.kind is wire.ReplyKind.RESULT and key not in self._timers_told:
            self._timers_told.add(key)
            self._events.append(Event(EventKind.RESULT, reply.id, reply.text))

    def _on_worker(self, arrival: Arrival) -> None:
        worker = arrival.topic.split("/")[1]
        status = None
        try:
            if arrival.payload:
                status = wire.decode(wire.WorkerStatus, arrival.payload, wire.MAX_STATUS_BYTES)
        except WireError as error:
            self._count_bad(arrival.topic, error)
        online = status is not None and status.state == "online"
        with self._lock:
            (self._workers.add if online else self._workers.discard)(worker)
            self._tell_link()
        if status is None or status.state == "offline":
            self._lose(lambda request: request.worker == worker, "the worker has gone")

    def _on_connection(self, state: ConnectionState) -> None:
        with self._lock:
            if state is not ConnectionState.CONNECTED:
                self._workers.clear()  # the retained statuses come again
            self._tell_link()
        if state is ConnectionState.WAITING:
            self._lose(
                lambda request: request.state is not RequestState.CREATED, "the link is down"
            )

    def _tell_link(self) -> None:
        if self.available != self._told_link:
            self._told_link = self.available
            kind = EventKind.LINK_UP if self._told_link else EventKind.LINK_DOWN
            self._events.append(Event(kind))

    def _lose(self, affected: Callable[[DelegatedRequest], bool], reason: str) -> None:
        with self._lock:
            for request in self._open.values():
                if request.open and affected(request):
                    self._events += request.lost(reason)

    def _count_bad(self, topic: str, error: WireError) -> None:
        self.bad_payloads += 1
        level = logging.WARNING if self.bad_payloads == 1 else logging.DEBUG
        log.log(level, "a payload on %s was ignored: %s", topic, error)


def _jpeg(frame: Frame) -> str:
    import cv2

    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    if not done:
        raise BackgroundError("the picture could not be packed")
    return base64.b64encode(data.tobytes()).decode()
