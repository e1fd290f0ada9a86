"""Turns a Decision into words and requests, and keeps what is pending, ready and heard.

The model decides when and what; this looks up the words, numbers the requests and remembers which
result has not been spoken yet.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from edge_runtime.delegation.context import Heard
from edge_runtime.errors import BackgroundError
from edge_runtime.interfaces import Background
from edge_runtime.micro_turn import (
    BackgroundState,
    Decision,
    Delegation,
    Event,
    EventKind,
    MicroTurn,
    Request,
    Utterance,
)

log = logging.getLogger(__name__)
DELIVER = "deliver"
MAX_READY = 4
"""Results kept unspoken (an answer and a few timers); the oldest goes first beyond that."""


class Dialogue:
    """One conversation's bookkeeping. `words` gives the text for an act, in the device's
    language."""

    def __init__(
        self,
        background: Background,
        words: Callable[[str], str],
        language: str = "en",
        deadline_s: float = 20.0,
        link_up: bool = False,
    ) -> None:
        self._background = background
        self._words = words
        self._language, self._deadline_s = language, deadline_s
        self._heard = Heard()
        self._pending: str | None = None
        self._ready: deque[tuple[str, str]] = deque(maxlen=MAX_READY)
        self._refused: list[Event] = []
        self._link_up = link_up
        self._utterances = self._requests = 0

    def poll(self) -> list[Event]:
        """What the background model has to tell, as events for the next micro-turn."""
        kept: list[Event] = []
        refused, self._refused = self._refused, []
        for event in [*refused, *self._background.poll()]:
            if event.kind in (EventKind.LINK_UP, EventKind.LINK_DOWN):
                self._link_up = event.kind is EventKind.LINK_UP
            elif event.id.startswith("request-") and event.id != self._pending:
                log.debug("late or cancelled: %s for %s", event.kind.value, event.id)
                continue
            elif event.kind is EventKind.RESULT:
                self._ready.append((event.id, event.text))
                self._settle(event.id)
            elif event.kind is EventKind.FAILED:
                log.warning("request %s failed: %s", event.id, event.text)
                self._settle(event.id)
            kept.append(event)
        return kept

    def _settle(self, request_id: str) -> None:
        if request_id == self._pending:
            self._pending = None

    def state(self) -> BackgroundState:
        return BackgroundState(self._pending is not None, bool(self._ready), self._link_up)

    def utterance(self, decision: Decision) -> Utterance | None:
        """The words for what the model decided to say; None when it starts nothing."""
        if decision.say is None:
            return None
        self._utterances += 1
        name = f"utterance-{self._utterances}"
        if decision.say != DELIVER:
            return Utterance(name, self._words(decision.say), decision.say)
        if not self._ready:
            log.info("the model wanted to deliver a result, and none is waiting")
            return None
        request_id, text = self._ready.popleft()
        return Utterance(name, text, DELIVER, request_id)

    def listen(self, turn: MicroTurn, decision: Decision) -> None:
        """Remember what was heard in this turn."""
        self._heard.add(turn, decision)

    def delegate(self, decision: Decision) -> Request | None:
        """Hand a question on or take one back; returns the request that went out."""
        if decision.delegation is Delegation.NONE:
            return None
        if self._pending is not None:
            self._background.cancel(self._pending)
            self._pending = None
        if decision.delegation is Delegation.CANCEL:
            self._ready.clear()
            return None
        self._requests += 1
        request = Request(
            id=f"request-{self._requests}",
            audio=self._heard.audio(),
            transcript=self._heard.transcript,
            language=self._language,
            deadline_s=self._deadline_s,
        )
        self._pending = request.id
        try:
            self._background.submit(request)
        except BackgroundError as error:
            self._refused.append(Event(EventKind.FAILED, request.id, str(error)))
        return request

    def answered(self) -> None:
        """The device has begun to speak: what the person says next is a new matter."""
        self._heard.clear()


def kinds(events: Sequence[Event]) -> list[str]:
    """For views and logs."""
    return [event.kind.value for event in events]
