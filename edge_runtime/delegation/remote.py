"""Delegation over MQTT: questions to the workers of a broker, their replies back as events."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType

from typing_extensions import Self

from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.kept import Kept
from edge_runtime.delegation.liveness import SLOWEST_BYTES_S
from edge_runtime.delegation.mqtt import UNHEARD, Arrival, ConnectionState, MqttConnection
from edge_runtime.delegation.mqtt import Outgoing as Message
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities, fitted, pack, repack
from edge_runtime.delegation.request import DelegatedRequest, RequestState
from edge_runtime.delegation.tasks import Tasks
from edge_runtime.errors import BackgroundError, WireError
from edge_runtime.health import OUTBOX, HealthMonitor, State
from edge_runtime.interfaces import Clock
from edge_runtime.micro_turn import Event, EventKind, Request
from edge_runtime.wall_clock import local_now

log = logging.getLogger(__name__)
MAX_UNSENT = 32
TRIES = 3
"""Workers that are asked, one after the other."""
KEPT_DEADLINE_NS = 310_000_000_000
"""For one try of a kept request: a worker gives it 300 s."""
TEND_NS = 60_000_000_000
"""How often the outbox is looked after."""
EXPIRED_WORDS = "expired"
"""The phrase that says nothing came of a question that was kept."""
BROKEN_OFF_WORDS = "broken_off"
"""The phrase that ends an answer whose rest does not come."""


@dataclass
class _Out:
    """A request on its way."""

    state: DelegatedRequest
    request: Request | None = None
    """None: kept from before; the outbox has it."""
    tries: int = 1
    accept_by_ns: int | None = None
    """Known once it has been sent."""


class MqttBackground:
    """Implements `interfaces.Background` over a broker.

    `available` says whether a question would reach a worker at this moment: a connection, and a
    worker that says it is online. Packing, sending and the outbox have a thread of their own.
    While a question is out, a broker that gives no sign and a worker that does not take it count as
    gone after `patience_s`, what the slowest link needs for the sound added. Where the broker has
    nobody to hand a question to, none of the workers is there, whatever is retained of them: one
    that died together with the broker stays `online` there. `health` is told how the outbox is.
    What was promised and has waited too long is told to be undone, in the words of `expired`; an
    answer whose rest does not come ends with those of `broken_off`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        abilities: Abilities,
        clock: Clock,
        patience_s: float = 0.5,
        outbox: Outbox | None = None,
        local_time: Callable[[], datetime] = local_now,
        health: HealthMonitor | None = None,
        expired: Callable[[], str] = lambda: EXPIRED_WORDS,
        broken_off: Callable[[], str] = lambda: BROKEN_OFF_WORDS,
    ) -> None:
        self._abilities, self._clock, self._local_time = abilities, clock, local_time
        self._patience_s, self._health = patience_s, health or HealthMonitor()
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
        self._lock = threading.RLock()
        """Nothing is published under it: the connection calls us under locks of its own."""
        self._open: dict[str, _Out] = {}
        """By the id on the wire."""
        self._workers: set[str] = set()
        self._events: list[Event] = []
        self._told_link = False
        self._yours: dict[str, str] = {}
        """Questions that were left to the device itself, as they were heard."""
        self._abandoned: set[str] = set()
        """Given up without a link: the broker may still hand them to a worker."""
        self._promising: set[str] = set()
        """To be told soon whether they are kept."""
        self._tasks = Tasks("delegation")
        self._outbox, self._expired, self._broken_off = outbox, expired, broken_off
        self._entered = ExitStack()
        self._kept = None if outbox is None else Kept(outbox, self._tasks.put)
        self._tend_ns = 0
        self.bad_payloads = 0

    def __enter__(self) -> Self:
        """Raises ConfigError: the outbox, a password or a certificate cannot be used."""
        with ExitStack() as stack:
            if self._outbox is not None and self._kept is not None:
                stack.enter_context(self._outbox)
                self._load(self._outbox, self._kept)
                self._report(self._outbox)
            stack.enter_context(self._tasks)
            stack.enter_context(self._connection)
            self._entered = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What is kept stays kept; the workers need not go on with anything else."""
        with self._lock:
            names = [name for name, out in self._open.items() if out.state.open]
        for name in names:
            if not self._keeps(name):
                self._publish_cancel(name)
        self._entered.close()

    @property
    def available(self) -> bool:
        return self._connection.connected and bool(self._workers)

    @property
    def trouble(self) -> str:
        """Of the connection to the broker; empty where there is one."""
        return self._connection.trouble

    @property
    def workers(self) -> int:
        """Those that say they are online."""
        return len(self._workers)

    # -- the loop's side -------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Raises BackgroundError where no more can wait."""
        if len(self._tasks) >= MAX_UNSENT:
            raise BackgroundError("too many questions at once")
        name = self._wire_id(request)
        out = _Out(self._begun(request.id, int(request.deadline_s * 1e9)), request)
        with self._lock:
            self._open[name] = out
        self._hold(request)
        self._tasks.put(partial(self._send, name, request))

    def keep(self, request: Request) -> None:
        """Keep it without sending it, until it is promised or cancelled."""
        self._hold(request)
        self._tasks.put(partial(self._packed, request))

    def promise(self, request_id: str) -> None:
        """No one could answer it now: tell KEPT, and send it when that is possible. FAILED where
        it could not be kept."""
        with self._lock:
            self._promising.add(request_id)
        self._tasks.put(partial(self._promise, request_id))

    def cancel(self, request_id: str) -> None:
        with self._lock:
            name = self._forget(request_id)
        if name is not None:
            self._publish_cancel(name)

    def _forget(self, request_id: str) -> str | None:
        """The name under which a worker may know it and has to hear that no one waits for it."""
        kept = self._kept is not None and self._kept.forget(request_id)
        own_name = kept or request_id in self._open
        name = request_id if own_name else self._named(request_id)
        out = self._open.pop(name, None)
        self._promising.discard(request_id)
        self._yours.pop(request_id, None)
        self._events = [event for event in self._events if event.id != request_id]
        if out is not None:
            out.state.cancel()
        return name if out is not None or kept else None

    def heard(self, request_id: str) -> str | None:
        """After FAILED, and once: what a worker heard of a question for the device's own skills, or
        of one that it does not know."""
        with self._lock:
            return self._yours.pop(request_id, None)

    def spoken(self, request_id: str) -> None:
        """Its answer has begun to be spoken: it is kept no longer."""
        with self._lock:
            if self._kept is not None:
                self._kept.forget(request_id)

    def poll(self) -> Sequence[Event]:
        self._connection.watch(self._patience_s, self._topics.probe if self._open else None)
        now_ns = self._clock.now_ns()
        if self._kept is not None and now_ns >= self._tend_ns:
            self._tend_ns = now_ns + TEND_NS
            self._tasks.put(self._tend)
        with self._lock:
            for name, out in self._open.items():
                if out.accept_by_ns is not None and now_ns > out.accept_by_ns:
                    self._lose(name, out, "no worker has taken it")
                self._tell(out.state.expire(now_ns))
                if out.state.state is RequestState.EXPIRED:
                    self._abandon(name)
            self._open = {name: one for name, one in self._open.items() if one.state.open}
            self._send_due(now_ns)
            events, self._events = self._events, []
        return events

    def _send_due(self, now_ns: int) -> None:
        if self._kept is None or not self.available:
            return
        for name in self._kept.due(now_ns, self._workers):
            out = _Out(self._begun(name, KEPT_DEADLINE_NS))
            self._open[name] = out
            self._tasks.put(partial(self._send_kept, name, out))

    def _tell(self, events: Iterable[Event]) -> None:
        if self._kept is not None:
            events = self._kept.settle(events, self._clock.now_ns())
        self._events += events

    def _begun(self, request_id: str, patience_ns: int) -> DelegatedRequest:
        return DelegatedRequest(request_id, self._clock.now_ns(), patience_ns, self._broken_off)

    def _wire_id(self, request: Request) -> str:
        return request.id if self._kept is not None and request.keep else self._named(request.id)

    def _named(self, request_id: str) -> str:
        return f"{self._boot}-{request_id}"

    def _keeps(self, name: str) -> bool:
        return self._kept is not None and name in self._kept

    def _hold(self, request: Request) -> None:
        if self._kept is None or not request.keep:
            return
        with self._lock:
            superseded = self._kept.hold(request.id, request.transcript)
        for request_id in superseded:
            log.info("%s takes the place of %s", request.id, request_id)
            self.cancel(request_id)

    # -- a thread of its own ---------------------------------------------------

    def _send(self, name: str, request: Request) -> None:
        with self._lock:
            out = self._open.get(name)
            if out is None and not self._keeps(name):
                return
        try:
            payload = self._packed(request)
            if out is not None:
                self._publish(name, out, payload, request.deadline_s)
        except Exception as error:
            log.warning("%s could not be sent: %s", request.id, error)
            with self._lock:
                self._tell([] if out is None else out.state.lost("it was not sent"))

    def _send_kept(self, name: str, out: _Out) -> None:
        assert self._kept is not None
        found = self._kept.message(name)
        if found is None:
            self._drop(name, self._kept)
            return
        try:
            payload = repack(*found, self._time())
            self._publish(name, out, payload, KEPT_DEADLINE_NS / 1e9)
        except Exception as error:
            log.warning("the kept request %s could not be sent: %s", name, error)
            with self._lock:
                self._tell(out.state.lost("it was not sent"))

    def _tend(self) -> None:
        """The outbox is opened where it could not be, and rid of what is too old."""
        outbox, kept = self._outbox, self._kept
        assert outbox is not None and kept is not None
        if outbox.open_again():
            self._load(outbox, kept)
        for name in outbox.drop_old():
            self._drop(name, kept)
        self._report(outbox)

    def _load(self, outbox: Outbox, kept: Kept) -> None:
        """What an earlier run left. However much of it is too old, that is told once."""
        too_old, rows = outbox.drop_old(), outbox.rows()
        with self._lock:
            self._events += kept.load(rows)
            self._events += self._told_expired(too_old)

    def _drop(self, name: str, kept: Kept) -> None:
        """It is too old, or was cancelled meanwhile."""
        with self._lock:
            awaited = kept.awaited(name)
            asked = self._forget(name)
            if awaited:
                self._events += self._told_expired([name])
        if asked is not None:
            self._publish_cancel(asked)

    def _told_expired(self, names: Sequence[str]) -> list[Event]:
        undone = [Event(EventKind.UNDONE, name, "it has waited too long") for name in names]
        return [*undone, *(Event(EventKind.RESULT, name, self._expired()) for name in names[-1:])]

    def _report(self, outbox: Outbox) -> None:
        state = State.DEGRADED if outbox.trouble else State.OK
        self._health.report(OUTBOX, state, outbox.trouble)

    def _publish(self, name: str, out: _Out, payload: bytes, expiry_s: float) -> None:
        payload = fitted(payload, self._connection.largest)
        allowed_s = self._patience_s + len(payload) / SLOWEST_BYTES_S
        with self._lock:
            if self._open.get(name) is not out:
                return
            out.state.sent()
            out.accept_by_ns = self._clock.now_ns() + int(allowed_s * 1e9)
            told = partial(self._on_outcome, name, out, out.tries, frozenset(self._workers))
        message = Message(
            self._topics.requests,
            payload,
            expiry_s=expiry_s,
            response_topic=self._topics.replies,
            correlation=name.encode(),
            told=told,
        )
        if not self._connection.publish(message):
            raise BackgroundError("there is no connection")

    def _packed(self, request: Request) -> bytes:
        """As it goes out; on the disk by then, if it is to be kept. What cannot be is forgotten:
        nobody is told that it is kept."""
        kept, written = self._kept if request.keep else None, False
        try:
            payload = pack(self._wire_id(request), request, self._abilities, self._time())
            written = kept is not None and kept.write(request.id, payload)
        finally:
            if kept is not None and not written:
                with self._lock:
                    kept.forget(request.id)
                if self._outbox is not None:
                    self._report(self._outbox)
        return payload

    def _promise(self, request_id: str) -> None:
        with self._lock:
            if request_id not in self._promising:
                return  # cancelled meanwhile: nobody wants to hear of it
            self._promising.remove(request_id)
            kept = self._kept is not None and self._kept.promise(request_id)
            kind = EventKind.KEPT if kept else EventKind.FAILED
            self._events.append(Event(kind, request_id, "" if kept else "it could not be kept"))

    def _time(self) -> str:
        return self._local_time().isoformat(timespec="seconds")

    def _publish_cancel(self, name: str) -> None:
        payload = wire.encode(wire.CancelMessage(id=name))
        if not self._connection.publish(
            Message(self._topics.cancel, payload, expiry_s=60, again=True)
        ):
            self._abandoned.add(name)

    # -- on the network thread -------------------------------------------------

    def _on_reply(self, arrival: Arrival) -> None:
        try:
            reply = wire.decode(wire.ReplyMessage, arrival.payload, wire.MAX_REPLY_BYTES)
        except WireError as error:
            self._count_bad(arrival.topic, error)
            return
        with self._lock:
            out = self._open.get(reply.id)
            if out is None:
                log.debug("a late or unknown reply: %s", reply.id)
                return
            out.accept_by_ns = None
            if reply.unknown and self._kept is not None:
                self._kept.unknown_to(out.state.id, reply.worker)
            refused = reply.kind is wire.ReplyKind.FAILED and reply.again
            if refused and out.state.worker in ("", reply.worker):
                self._lose(reply.id, out, reply.text)
                if reply.heard.strip() and not out.state.open:
                    self._yours[out.state.id] = reply.heard
            else:
                events = out.state.receive(reply, self._clock.now_ns())
                if out.state.yours is not None:
                    self._yours[out.state.id] = out.state.yours
                    if self._kept is not None:  # no worker is to be asked for it again
                        self._kept.forget(out.state.id)
                self._tell(events)

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
            if online and worker not in self._workers and self._kept is not None:
                self._kept.came(worker)
            (self._workers.add if online else self._workers.discard)(worker)
            self._tell_link()
            if status is None or status.state == "offline":
                for name, out in self._open.items():
                    if out.state.worker == worker:
                        self._lose(name, out, "the worker has gone")

    def _on_outcome(
        self, name: str, out: _Out, tries: int, believed: frozenset[str], why_not: str
    ) -> None:
        """Those that were `believed` to be there when it was sent count as gone, until one says
        that it is online, or the retained statuses come again: it may be back by then."""
        if why_not != UNHEARD:
            return
        with self._lock:
            mine = self._open.get(name) is out and out.tries == tries
            if not mine or out.state.state is not RequestState.SENT:
                return
            if ghosts := self._workers & believed:
                log.warning(
                    "nobody listens for questions: %s cannot be there, though the broker has it as "
                    "online",
                    ", ".join(sorted(ghosts)),
                )
            self._workers -= ghosts
            self._tell_link()
            self._lose(name, out, "no worker is there")

    def _on_connection(self, state: ConnectionState) -> None:
        with self._lock:
            if state is not ConnectionState.CONNECTED:
                self._workers.clear()  # the retained statuses come again
            self._tell_link()
            if state is ConnectionState.WAITING:
                for name, out in self._open.items():
                    if out.state.state is not RequestState.CREATED:
                        self._lose(name, out, "the link is down")

    def _tell_link(self) -> None:
        if self.available == self._told_link:
            return
        self._told_link = self.available
        self._events.append(Event(EventKind.LINK_UP if self._told_link else EventKind.LINK_DOWN))
        if self._told_link:
            self._tasks.put(self._cancel_abandoned)

    def _cancel_abandoned(self) -> None:
        with self._lock:
            names, self._abandoned = self._abandoned, set()
        for name in names:
            self._publish_cancel(name)

    def _lose(self, name: str, out: _Out, reason: str) -> None:
        """Whoever had it is gone: another worker is asked, if there is one and no answer has begun,
        or it has failed."""
        out.accept_by_ns = None
        request, others = out.request, self._workers - {out.state.worker}
        if self._kept is not None:
            others = self._kept.askable(out.state.id, others)
        if not out.state.worker:
            others = self._workers if len(self._workers) > 1 else set()
        may_ask = bool(others) and out.tries < TRIES
        if request is not None and may_ask and (events := out.state.again()):
            log.info("%s: %s; another worker is asked", name, reason)
            out.tries += 1
            self._tell(events)
            self._tasks.put(partial(self._send, name, request))
        elif out.state.open:
            self._tell(out.state.lost(reason))
            self._abandon(name)

    def _abandon(self, name: str) -> None:
        """No one waits for it now. One that is kept will be: a worker may go on with it."""
        if not self._keeps(name):
            self._tasks.put(partial(self._publish_cancel, name))

    def _count_bad(self, topic: str, error: WireError) -> None:
        self.bad_payloads += 1
        level = logging.WARNING if self.bad_payloads == 1 else logging.DEBUG
        log.log(level, "a payload on %s was ignored: %s", topic, error)
