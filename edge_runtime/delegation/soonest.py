"""Tells an answer no sooner than the model knows answers to come.

The reference model learned that an answer takes a while: it says first that it is looking, and
then hears of the result. A worker on the same machine may be quicker than that, and a result that
comes before the model has said a word is one that it forgets to deliver.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.interfaces import Background
from edge_runtime.micro_turn import Event, EventKind, Request

SOONEST_TURNS = 5
"""Micro-turns from a question to its answer, at least: in this second it says "one moment"."""
ANSWERS = (EventKind.PARTIAL, EventKind.RESULT)


class SoonestBackground:
    """Implements `interfaces.Background`; `inner` is acquired by the caller."""

    def __init__(self, inner: Background, turns: int = SOONEST_TURNS) -> None:
        self._inner, self._turns = inner, turns
        self._age: dict[str, int] = {}
        """Micro-turns since each question whose answer would be too early."""
        self._early: list[Event] = []

    def submit(self, request: Request) -> None:
        self._age[request.id] = 0
        self._inner.submit(request)

    def cancel(self, request_id: str) -> None:
        self._age.pop(request_id, None)
        self._early = [event for event in self._early if event.id != request_id]
        self._inner.cancel(request_id)

    def poll(self) -> Sequence[Event]:
        """Once a micro-turn."""
        self._age = {id: age + 1 for id, age in self._age.items() if age + 1 < self._turns}
        events = [*self._early, *self._inner.poll()]
        self._early = [event for event in events if self._too_early(event)]
        return [event for event in events if not self._too_early(event)]

    def _too_early(self, event: Event) -> bool:
        return event.kind in ANSWERS and event.id in self._age

    def __enter__(self) -> SoonestBackground:
        return self

    def __exit__(self, *_: object) -> None:
        self._age.clear()
        self._early.clear()
