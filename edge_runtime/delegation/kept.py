"""Kept requests while the device runs: which are asked again when, and what has become of each.

The outbox has them on the disk; this decides. A kept request is in the foreground while the person
waits for it, and is promised once they were told that it is kept. Only promised ones are sent
again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edge_runtime.delegation.outbox import Outbox, Row
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import Event, EventKind, TurnRecord

log = logging.getLogger(__name__)
RETRY_NS = 30_000_000_000
"""After a worker has failed. One that comes is worth trying at once."""
MAX_OUT = 4
"""Kept requests at a worker at the same time: there may be people who wait for theirs."""


@dataclass
class _Entry:
    transcript: str
    promised: bool = False
    out: bool = False
    answered: bool = False
    acted: bool = False
    next_ns: int = 0
    pieces: list[str] = field(default_factory=list)
    unknown_to: set[str] = field(default_factory=set)
    """Workers that do not know the answer."""


class Kept:
    """Everything but `write` and what is given to `later` is called under the caller's lock.

    `later` runs a call on the thread that owns the outbox, in order: a disk may take its time.
    """

    def __init__(self, outbox: Outbox, later: Callable[[Callable[[], object]], None]) -> None:
        self._outbox, self._later = outbox, later
        self._entries: dict[str, _Entry] = {}

    def load(self, rows: Iterable[Row]) -> list[Event]:
        """What an earlier run left: its unspoken answers come at once, the rest is asked again."""
        events = []
        for row in rows:
            self._entries[row.id] = _Entry(
                row.transcript, promised=True, answered=row.answer is not None
            )
            if row.answer is not None:
                events.append(Event(EventKind.RESULT, row.id, row.answer))
        return events

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    def hold(self, id: str, transcript: str) -> list[str]:
        """A new request, in the foreground. Returns those that it takes the place of: the same
        thing asked again, while the older one is unanswered."""
        superseded = [
            name
            for name, entry in self._entries.items()
            if transcript and entry.transcript == transcript and not entry.answered
        ]
        self._entries[id] = _Entry(transcript, out=True)
        return superseded

    def write(self, id: str, message: bytes) -> bool:
        """On the outbox's thread: whether the request is on the disk now."""
        entry = self._entries.get(id)
        if entry is None:
            return False
        try:
            self._outbox.add(id, entry.transcript, message)
        except sqlite3.Error as error:
            log.warning("%s is not kept: %s", id, error)
            return False
        return True

    def promise(self, id: str) -> bool:
        """The person is told that it is kept; False if it is not."""
        entry = self._entries.get(id)
        if entry is None:
            return False
        entry.promised, entry.out = True, False
        return True

    def awaited(self, id: str) -> bool:
        """Whether the person was told that it is kept, and has no answer yet."""
        entry = self._entries.get(id)
        return entry is not None and entry.promised and not entry.answered

    def due(self, now_ns: int, workers: set[str]) -> list[str]:
        """Those to be sent now, while these `workers` are there; each counts as out until `settle`
        sees its end."""
        out = sum(entry.out for entry in self._entries.values())
        found: list[str] = []
        for id, entry in self._entries.items():
            waits = self.awaited(id) and not entry.out
            may_go = entry.next_ns <= now_ns and self.askable(id, workers)
            if waits and may_go and out + len(found) < MAX_OUT:
                entry.out = True
                found.append(id)
        return found

    def came(self, worker: str) -> None:
        """It was not there before, or was another one of this name."""
        for entry in self._entries.values():
            entry.unknown_to.discard(worker)
            entry.next_ns = 0

    def unknown_to(self, id: str, worker: str) -> None:
        """The worker does not know the answer."""
        if (entry := self._entries.get(id)) is not None:
            entry.unknown_to.add(worker)

    def askable(self, id: str, workers: set[str]) -> set[str]:
        """Those of the `workers` that may know the answer."""
        entry = self._entries.get(id)
        return workers if entry is None else workers - entry.unknown_to

    def message(self, id: str) -> tuple[bytes, float] | None:
        """On the outbox's thread: what `write` was given, and its age in seconds."""
        return self._outbox.message(id)

    def settle(self, events: Iterable[Event], now_ns: int) -> list[Event]:
        """Notes answers and failures; returns what the person shall hear of them."""
        return [event for event in events if self._matters(event, now_ns)]

    def _matters(self, event: Event, now_ns: int) -> bool:
        entry = self._entries.get(event.id)
        if entry is None:
            return True
        if event.kind is EventKind.ACTION:  # It is not asked again: that would be done again.
            entry.acted = True
            self._later(lambda: self._outbox.remove(event.id))
        if event.kind is EventKind.FAILED and entry.acted:
            del self._entries[event.id]
            return not entry.promised
        if event.kind is EventKind.FAILED and entry.promised:
            entry.out, entry.next_ns, entry.pieces = False, now_ns + RETRY_NS, []
            return False
        if event.kind in (EventKind.PARTIAL, EventKind.RESULT):
            entry.pieces += [event.text] if event.text else []
        if event.kind is EventKind.RESULT:
            answer = " ".join(entry.pieces)
            entry.answered, entry.out = True, False
            self._later(lambda: self._outbox.answered(event.id, answer))
        return event.kind is not EventKind.PROGRESS or not entry.promised

    def forget(self, id: str) -> bool:
        """It was spoken, cancelled or answered otherwise; False if it was not kept."""
        if self._entries.pop(id, None) is None:
            return False
        self._later(lambda: self._outbox.remove(id))
        return True


class Spoken(NothingHeld):
    """A sink: an answer of which a sound was given out is kept no longer. One that the voice failed
    to speak, or that was interrupted before, was not heard."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._in_mouth: dict[str, str] = {}
        """Requests by the utterance that answers them, until it begins or ends."""

    def publish(self, record: TurnRecord) -> None:
        for event in record.turn.events:
            request_id = self._in_mouth.pop(event.id, None)
            if request_id is not None and event.kind is EventKind.UTTERANCE_STARTED:
                self._told(request_id)
        if record.said is not None and record.said.request_id is not None:
            self._in_mouth[record.said.id] = record.said.request_id
