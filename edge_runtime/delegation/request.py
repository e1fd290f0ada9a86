"""The life of one delegated request, as a pure state machine: replies and time in, events out.

    CREATED -> SENT -> ACCEPTED -> ANSWERING -> DONE
        ^        \\________\\___________\\_____-> FAILED | CANCELLED | EXPIRED
        \\_________\\________\\ asked again: another worker shall answer

Replies carry a sequence number per worker. They are told in order and once, whatever the network
did to them. Nothing leaves a final state.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from edge_runtime.delegation.wire import ReplyKind, ReplyMessage
from edge_runtime.micro_turn import Event, EventKind

MAX_AHEAD = 64
"""Replies kept while an earlier one is missing."""


class RequestState(Enum):
    CREATED = "created"
    SENT = "sent"
    ACCEPTED = "accepted"
    """A worker has it; progress may have come."""
    ANSWERING = "answering"
    """The first words of the answer are here."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN = frozenset(
    {RequestState.CREATED, RequestState.SENT, RequestState.ACCEPTED, RequestState.ANSWERING}
)


class DelegatedRequest:
    """`id` is the name the dialogue knows it by; replies are matched before they come here.

    The first words are wanted within `patience_ns`, and each piece within as long after the one
    before. An answer that has begun and does not come to its end ends with the words of
    `broken_off`.
    """

    def __init__(
        self, id: str, now_ns: int, patience_ns: int, broken_off: Callable[[], str] = lambda: ""
    ) -> None:
        self.id = id
        self.deadline_ns, self._patience_ns = now_ns + patience_ns, patience_ns
        self._broken_off = broken_off
        self.state = RequestState.CREATED
        self.worker = ""
        self.yours: str | None = None
        """What a worker heard of a question that it leaves to the device's own skills."""
        self.acted = False
        """Something was done for it: whoever were asked again would do it again."""
        self._next = 0
        self._ahead: dict[int, ReplyMessage] = {}

    @property
    def open(self) -> bool:
        return self.state in OPEN

    @property
    def answering(self) -> bool:
        return self.state is RequestState.ANSWERING

    def sent(self) -> None:
        if self.state is RequestState.CREATED:
            self.state = RequestState.SENT

    def cancel(self) -> None:
        if self.open:
            self.state = RequestState.CANCELLED

    def again(self) -> list[Event]:
        """It will be sent to another worker; only before anything was said or done."""
        if not self.open or self.answering or self.acted:
            return []
        self.state = RequestState.CREATED
        self.worker, self._next, self._ahead = "", 0, {}
        return [Event(EventKind.PROGRESS, self.id, "asking another worker")]

    def receive(self, reply: ReplyMessage, now_ns: int) -> list[Event]:
        """The events that this reply, and those that waited for it, lead to."""
        if not self.open or not self._belongs(reply):
            return []
        if reply.seq >= self._next and len(self._ahead) < MAX_AHEAD:
            self._ahead.setdefault(reply.seq, reply)
        events: list[Event] = []
        while self.open and (following := self._ahead.pop(self._next, None)) is not None:
            self._next += 1
            events += self._advance(following)
        if self.answering and events:
            self.deadline_ns = max(self.deadline_ns, now_ns + self._patience_ns)
        return events

    def expire(self, now_ns: int) -> list[Event]:
        """At the deadline: an answer that has begun is broken off, anything else has failed."""
        if not self.open or now_ns < self.deadline_ns:
            return []
        return self._fail(RequestState.EXPIRED, "no answer before the deadline")

    def lost(self, reason: str) -> list[Event]:
        """The worker or the link that had it is gone."""
        return self._fail(RequestState.FAILED, reason) if self.open else []

    def _fail(self, state: RequestState, reason: str) -> list[Event]:
        begun, self.state = self.answering, state
        if begun:
            return [Event(EventKind.RESULT, self.id, self._broken_off())]
        return [Event(EventKind.FAILED, self.id, reason)]

    def _belongs(self, reply: ReplyMessage) -> bool:
        """One worker answers. Another may take over only before anything was said or done."""
        if self.worker in ("", reply.worker):
            self.worker = reply.worker
            return True
        if self.answering or self.acted or reply.kind is not ReplyKind.ACCEPTED:
            return False
        self.worker, self._next, self._ahead = reply.worker, 0, {}
        return True

    def _advance(self, reply: ReplyMessage) -> list[Event]:
        kind = reply.kind
        if kind is ReplyKind.RESULT:
            self.state = RequestState.DONE
            return [Event(EventKind.RESULT, self.id, reply.text)]
        if kind is ReplyKind.YOURS:
            self.state, self.yours = RequestState.FAILED, reply.text
            return [Event(EventKind.FAILED, self.id, "it is for the device's own skills")]
        if kind is ReplyKind.FAILED:
            return self._fail(RequestState.FAILED, reply.text or "the worker failed")
        if kind is ReplyKind.PARTIAL:
            if not reply.text.strip() and not self.answering:
                return []
            self.state = RequestState.ANSWERING
            return [Event(EventKind.PARTIAL, self.id, reply.text)]
        if not self.answering:
            self.state = RequestState.ACCEPTED
        if kind is ReplyKind.ACTION:
            self.acted = self.acted or bool(reply.action)
            return [Event(EventKind.ACTION, self.id, reply.action)] if reply.action else []
        return [Event(EventKind.PROGRESS, self.id, reply.text)]
