"""The worker: takes the requests of many devices from the broker, and sends back what they get.

The network thread only checks and queues; `slots` threads do the work. A request is known by its
device and id, and whatever it was told is kept for a while: a second copy of it is told the same.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections import OrderedDict, deque
from dataclasses import replace
from types import TracebackType

from typing_extensions import Self

from edge_runtime.background.answerer import Answerer
from edge_runtime.background.jobs import Address, Job, encode_reply, reply_address
from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import Arrival, ConnectionState, MqttConnection, Outgoing
from edge_runtime.delegation.wire import ReplyKind
from edge_runtime.errors import (
    BackgroundError,
    ConfigError,
    NotKnownError,
    NotNowError,
    WireError,
)

log = logging.getLogger(__name__)
SLOTS, WAITING = 4, 8
REMEMBERED = 1000
"""Requests whose replies are kept for a second copy of them."""
GRACE_S = 5.0
TICK_S = 0.2
STATUS_S = 2.0
"""Every device hears of a worker's free slots: so often at most, however many questions come."""
REFUSAL_EXPIRY_S = 60.0
LAST = frozenset({ReplyKind.RESULT, ReplyKind.FAILED, ReplyKind.YOURS})
STOPPING, BUSY = "worker is stopping", "busy"


class Worker:
    """Works from entering until leaving, whether the broker is there or not.

    With `passing_name` nothing remains of the name at the broker when it ends. Raises ConfigError
    for a name or settings that cannot be.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        answerer: Answerer,
        model: str = "",
        slots: int = SLOTS,
        waiting: int = WAITING,
        grace_s: float = GRACE_S,
        passing_name: bool = False,
    ) -> None:
        self.name, self._answerer, self._model = name, answerer, model
        self._slots, self._room, self._grace_s = slots, slots + waiting, grace_s
        self._changed = threading.Condition()
        self._jobs: OrderedDict[tuple[str, str], Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._stopping, self._stopped = False, threading.Event()
        self._threads: list[threading.Thread] = []
        self.bad_payloads = 0
        try:
            topic = wire.worker_status_topic(name)
        except WireError as error:
            raise ConfigError(str(error)) from None
        gone = wire.encode(wire.WorkerStatus(state="offline", model=model))
        self._connection = MqttConnection(
            # No session: what comes while this worker is away is for another one.
            replace(settings, session_expiry_s=0),
            f"background-{name}",
            Outgoing(topic, self._status(), retain=True),
            death=b"" if passing_name else gone,
            farewell=b"" if passing_name else gone,
            on_state=self._on_state,
        )
        self._connection.subscribe(wire.ALL_REQUESTS, self._on_request)
        self._connection.subscribe(wire.ALL_CANCELS, self._on_cancel)

    def __enter__(self) -> Self:
        tasks = [self._work] * self._slots + [self._watch]
        self._threads = [threading.Thread(target=task, daemon=True) for task in tasks]
        for thread in self._threads:
            thread.start()
        self._connection.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What waits is refused, what runs has a while to finish."""
        with self._changed:
            self._stopping = True
            self._connection.unsubscribe(wire.ALL_REQUESTS)
            self._connection.announce(self._status())
            for job in list(self._waiting):
                self._tell(job, ReplyKind.FAILED, STOPPING)
            self._changed.wait_for(lambda: not self._unfinished(), self._grace_s)
            for job in self._unfinished():
                self._tell(job, ReplyKind.FAILED, STOPPING)
                job.cancelled.set()
            self._changed.notify_all()
        self._stopped.set()
        self._connection.__exit__(kind, error, trace)

    def _unfinished(self) -> list[Job]:
        return [job for job in self._running if job.request is not None]

    def _status(self) -> bytes:
        state = wire.WorkerStatus(
            state="stopping" if self._stopping else "online",
            model=self._model,
            free_slots=0 if self._stopping else self._slots - len(self._running),
        )
        return wire.encode(state)

    # -- on the network thread -------------------------------------------------

    def _on_state(self, state: ConnectionState) -> None:
        if state is ConnectionState.CONNECTED:
            with self._changed:
                for job in self._jobs.values():
                    self._send(job)

    def _on_request(self, arrival: Arrival) -> None:
        if arrival.retained:
            return  # It would be asked again at every start.
        try:
            address = reply_address(arrival)
        except WireError as error:
            self._count_bad(arrival.topic, error)
            return
        try:
            request = wire.decode(wire.RequestMessage, arrival.payload, wire.MAX_REQUEST_BYTES)
        except WireError as error:
            self._count_bad(arrival.topic, error)
            name = (address.correlation or b"").decode(errors="replace")
            self._refuse(name, address, f"the request was not understood: {error}"[:500])
            return
        # Who asks is what the broker let it publish on, whatever the payload says.
        self._take(request.model_copy(update={"device": address.device}), address)

    def _take(self, request: wire.RequestMessage, address: Address) -> None:
        with self._changed:
            known = self._jobs.get((address.device, request.id))
            if known is not None and not (known.failed and request.keep):
                known.sent = 0
                self._send(known)
                return
            if self._stopping or len(self._waiting) + len(self._running) >= self._room:
                # Not remembered: the device may well send it again.
                self._refuse(request.id, address, STOPPING if self._stopping else BUSY)
                return
            due_s = None if request.keep else time.monotonic() + request.deadline_s
            job = Job(request.id, address, request, due_s)
            self._remember(job)
            self._waiting.append(job)
            self._tell(job, ReplyKind.ACCEPTED)
            self._changed.notify()

    def _remember(self, job: Job) -> None:
        self._jobs[job.address.device, job.id] = job
        if len(self._jobs) > REMEMBERED:
            ended = (key for key, job in self._jobs.items() if job.request is None)
            self._jobs.pop(next(ended))

    def _on_cancel(self, arrival: Arrival) -> None:
        if arrival.retained:
            return
        device = arrival.topic.split("/")[1]
        try:
            cancel = wire.decode(wire.CancelMessage, arrival.payload, wire.MAX_CANCEL_BYTES)
        except WireError as error:
            self._count_bad(arrival.topic, error)
            return
        with self._changed:
            job = self._jobs.get((device, cancel.id))
            if job is not None and job.request is not None:
                job.cancelled.set()
                self._end(job)

    def _count_bad(self, topic: str, error: WireError) -> None:
        self.bad_payloads += 1
        level = logging.WARNING if self.bad_payloads == 1 else logging.DEBUG
        log.log(level, "a message on %s was ignored: %s", topic, error)

    # -- replies ---------------------------------------------------------------

    def _tell(
        self,
        job: Job,
        kind: ReplyKind,
        text: str = "",
        action: str | None = None,
        again: bool = False,
        unknown: bool = False,
        heard: str = "",
    ) -> None:
        """The next reply, unless the job has ended. Raises BackgroundError if it is too long."""
        with self._changed:
            if job.request is None:
                return
            again = again or unknown or (kind is ReplyKind.FAILED and text == STOPPING)
            seq = len(job.replies)
            name = self.name
            payload = encode_reply(job.id, seq, kind, text, name, action, again, unknown, heard)
            job.replies.append(payload)
            job.failed = kind is ReplyKind.FAILED
            if kind is ReplyKind.PARTIAL:
                job.allow(job.request.deadline_s)
            if kind in LAST:
                self._end(job)
            self._send(job)

    def _send(self, job: Job) -> None:
        """Everything that has not gone out yet; without a connection it waits for the next one."""
        while job.sent < len(job.replies) and not job.late:
            reply = Outgoing(
                job.address.topic,
                job.replies[job.sent],
                expiry_s=job.left_s(),
                correlation=job.address.correlation,
                again=True,
            )
            if not self._connection.publish(reply):
                return
            job.sent += 1

    def _refuse(self, name: str, address: Address, why: str) -> None:
        try:
            again = why in (STOPPING, BUSY)
            payload = encode_reply(name, 0, ReplyKind.FAILED, why, self.name, again=again)
        except BackgroundError:
            return  # There is no id that could be refused.
        self._connection.publish(
            Outgoing(
                address.topic, payload, expiry_s=REFUSAL_EXPIRY_S, correlation=address.correlation
            )
        )

    def _end(self, job: Job) -> None:
        job.request = None
        if job in self._waiting:
            self._waiting.remove(job)
        self._changed.notify_all()

    # -- threads of its own ----------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                job = self._waiting.popleft()
                request = job.request
                self._running.append(job)
            if request is not None and not job.late:
                self._answer(job, request)
            with self._changed:
                self._running.remove(job)
                self._end(job)

    def _answer(self, job: Job, request: wire.RequestMessage) -> None:
        def reply(kind: ReplyKind, text: str = "", action: str | None = None) -> None:
            self._tell(job, kind, text, action)

        try:
            if (left_s := job.left_s()) is not None:
                request = request.model_copy(update={"deadline_s": max(0.0, left_s)})
            pcm = wire.unpack_audio(request.audio)
            self._answerer.answer(request, pcm, job.cancelled, reply)
            self._tell(job, ReplyKind.FAILED, "there was no answer")  # unless there was
        except WireError as error:
            self._count_bad(f"edge/{job.address.device}/requests", error)
            self._tell(job, ReplyKind.FAILED, f"the request was not understood: {error}")
        except NotKnownError as error:
            heard = error.heard[: wire.MAX_TEXT]
            self._tell(job, ReplyKind.FAILED, str(error), unknown=True, heard=heard)
        except NotNowError as error:
            self._tell(job, ReplyKind.FAILED, str(error), again=True)
        except Exception as error:
            log.warning("request %s of %s failed", job.id, job.address.device, exc_info=True)
            self._tell(job, ReplyKind.FAILED, (str(error) or repr(error))[:500])

    def _watch(self) -> None:
        """Stops what is late, and tells how many slots are free."""
        told, told_s = self._status(), time.monotonic()
        while not self._stopped.wait(TICK_S):
            with self._changed:
                if time.monotonic() - told_s >= STATUS_S and not self._stopping:
                    status = self._status()
                    if status != told:
                        self._connection.announce(status)
                    told, told_s = status, time.monotonic()
                for job in [*self._waiting, *self._running]:
                    if job.late:
                        job.cancelled.set()
                        self._end(job)


def host_name() -> str:
    """This machine's name, as a worker's."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:64] or "worker"
