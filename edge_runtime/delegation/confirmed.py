"""What is said of an action waits until the action has gone out, and is not said if it has not.

It stands between the dialogue and whoever answers, since they all tell of actions alike: a phrase
understood here or by a worker, or the tool call of a language model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edge_runtime.interfaces import Background, Clock, NothingHeld
from edge_runtime.micro_turn import Event, EventKind, Request

log = logging.getLogger(__name__)
UNREACHABLE_WORDS = "unreachable"
"""The phrase that says an action did not go out."""


class Actions(Protocol):
    """Where actions go out."""

    @property
    def only_here(self) -> Collection[str]:
        """Those that have no other way out."""
        ...

    def tries(self, name: str) -> int:
        """How often it was to go out so far."""
        ...

    def outcome(self, name: str, tries: int) -> str | None:
        """Of one after the first `tries`: empty once it has gone out, or why it has not; None
        while that is not known."""
        ...


@dataclass(frozen=True)
class _Awaited:
    action: str
    tries: int
    """How many there were before."""
    until_ns: int


@dataclass
class _Answer:
    """Of a request for which something is being done."""

    awaited: list[_Awaited] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """What has come of it since."""


class ConfirmedBackground(NothingHeld):
    """Implements `interfaces.Background`; `background` is acquired by the caller.

    Of an action that has not gone out within `patience_s`, `words` are said instead of the answer,
    and nothing more of that request is told.
    """

    def __init__(
        self,
        background: Background,
        actions: Actions,
        words: Callable[[], str],
        clock: Clock,
        patience_s: float,
    ) -> None:
        self._background, self._actions, self._words = background, actions, words
        self._clock, self._patience_ns = clock, int(patience_s * 1e9)
        self._answers: dict[str, _Answer] = {}
        """By request: those that wait for an action."""

    def submit(self, request: Request) -> None:
        self._background.submit(request)

    def cancel(self, request_id: str) -> None:
        self._answers.pop(request_id, None)
        self._background.cancel(request_id)

    def poll(self) -> Sequence[Event]:
        events = [event for event in self._background.poll() if not self._waits(event)]
        for request_id in list(self._answers):
            events += self._ended(request_id)
        return events

    def _waits(self, event: Event) -> bool:
        """An action is done at once; what is said after it waits."""
        if event.kind is EventKind.ACTION and event.text in self._actions.only_here:
            until_ns = self._clock.now_ns() + self._patience_ns
            awaited = _Awaited(event.text, self._actions.tries(event.text), until_ns)
            self._answers.setdefault(event.id, _Answer()).awaited.append(awaited)
        answer = self._answers.get(event.id)
        if answer is None or event.kind in (EventKind.ACTION, EventKind.PROGRESS):
            return False
        answer.events.append(event)
        return True

    def _ended(self, request_id: str) -> list[Event]:
        answer = self._answers[request_id]
        outcomes = [(one.action, self._outcome(one)) for one in answer.awaited]
        for action, why_not in outcomes:
            if why_not:
                log.info("%s is told that %s was not done: %s", request_id, action, why_not)
                self.cancel(request_id)
                return [
                    Event(EventKind.UNDONE, request_id, why_not),
                    Event(EventKind.RESULT, request_id, self._words()),
                ]
        if any(why_not is None for _, why_not in outcomes):
            return []
        del self._answers[request_id]
        return answer.events

    def _outcome(self, awaited: _Awaited) -> str | None:
        outcome = self._actions.outcome(awaited.action, awaited.tries)
        if outcome is None and self._clock.now_ns() > awaited.until_ns:
            return "the broker has not acknowledged it"
        return outcome
