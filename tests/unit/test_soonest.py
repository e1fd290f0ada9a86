"""Answers that are quicker than the model expects are told a little later, and in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime.delegation.soonest import SoonestBackground
from edge_runtime.micro_turn import Event, EventKind, Request


class Quick:
    """Answers at once, in two pieces; tells of a timer whenever it is asked to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.cancelled: list[str] = []

    def submit(self, request: Request) -> None:
        self.events += [
            Event(EventKind.PROGRESS, request.id),
            Event(EventKind.PARTIAL, request.id, "Twelve."),
            Event(EventKind.RESULT, request.id, "Or so."),
        ]

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def poll(self) -> Sequence[Event]:
        events, self.events = self.events, []
        return events

    def __enter__(self) -> Quick:
        return self

    def __exit__(self, *_: object) -> None: ...


def request(id: str) -> Request:
    return Request(id, np.zeros(0, np.float32))


def kinds(events: Sequence[Event]) -> list[EventKind]:
    return [event.kind for event in events]


def test_an_answer_waits_for_its_turn_and_progress_does_not() -> None:
    background = SoonestBackground(Quick(), turns=3)
    background.submit(request("request-1"))
    told = [kinds(background.poll()) for _ in range(5)]
    assert told == [
        [EventKind.PROGRESS], [], [EventKind.PARTIAL, EventKind.RESULT], [], []
    ]  # fmt: skip


def test_what_comes_later_or_unasked_is_told_at_once() -> None:
    quick = Quick()
    background = SoonestBackground(quick, turns=3)
    quick.events.append(Event(EventKind.RESULT, "timer-1", "Tea."))
    assert kinds(background.poll()) == [EventKind.RESULT]
    background.submit(request("request-1"))
    quick.events.clear()
    for _ in range(3):
        background.poll()
    quick.events.append(Event(EventKind.RESULT, "request-1", "Late."))
    assert kinds(background.poll()) == [EventKind.RESULT]


def test_a_failure_is_told_at_once() -> None:
    quick = Quick()
    background = SoonestBackground(quick, turns=3)
    background.submit(request("request-1"))
    quick.events[:] = [Event(EventKind.FAILED, "request-1", "gone")]
    assert kinds(background.poll()) == [EventKind.FAILED]


def test_what_is_cancelled_is_not_told() -> None:
    quick = Quick()
    background = SoonestBackground(quick, turns=3)
    background.submit(request("request-1"))
    background.poll()
    background.cancel("request-1")
    assert [kinds(background.poll()) for _ in range(4)] == [[], [], [], []]
    assert quick.cancelled == ["request-1"]
