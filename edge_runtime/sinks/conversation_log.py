"""A line in the log for each conversation: when, how long, what came of it, and no word of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

from edge_runtime.dialogue import KEPT, NOTICE, REQUEST, answers
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TURN_MS, Action, EventKind, TurnRecord

log = logging.getLogger(__name__)
OVER_TURNS = 30_000 // TURN_MS
"""Micro-turns in which nothing is heard, said, done or waited for, after which it is over."""


class ConversationLog(NothingHeld):
    """One conversation after the other, of any number of people. What the device neither answers
    nor acts upon, such as a television, is none."""

    def __init__(self) -> None:
        self._began = self._last = 0
        """Indices of its first micro-turn, and of the last one with something in it."""
        self._goes_on = False
        self._counts: Counter[str] = Counter()
        self._did: Counter[str] = Counter()

    def publish(self, record: TurnRecord) -> None:
        index = record.turn.index
        if self._goes_on and index - self._last >= OVER_TURNS:
            self._end()
        counted, did = list(_counted(record)), list(_actions(record))
        heard = bool(record.decision.heard.strip())
        if not (heard or counted or did or record.turn.background.pending):
            return
        if not self._goes_on:
            self._goes_on, self._began = True, index
        self._last = index
        self._counts.update(counted)
        self._did.update(action.name for action in did)

    def __exit__(self, *raised: object) -> None:
        if self._goes_on:
            self._end()

    def _end(self) -> None:
        counts, did = self._counts, self._did
        if counts["answered"] or counts["asked"] or did:
            seconds = (self._last - self._began + 1) * TURN_MS / 1000
            log.info("conversation of %.0f s: %s", seconds, "; ".join(_told(counts, did)))
        self._goes_on = False
        self._counts, self._did = Counter(), Counter()


def _actions(record: TurnRecord) -> Iterator[Action]:
    yield from record.decision.actions
    yield from record.asked_actions


def _counted(record: TurnRecord) -> Iterator[str]:
    if answers(record.said):
        yield "answered"
    if record.decision.stop:
        yield "stopped"
    if record.request is not None:
        yield "asked"
    for event in record.turn.events:
        if event.id.startswith((REQUEST, KEPT)):
            if event.kind is EventKind.RESULT and not event.id.endswith(NOTICE):
                yield "results"
            elif event.kind in (EventKind.FAILED, EventKind.UNDONE):
                yield "failures"


def _told(counts: Counter[str], did: Counter[str]) -> Iterator[str]:
    yield f"spoke {_times(counts['answered'])}"
    if counts["stopped"]:
        yield f"was interrupted {_times(counts['stopped'])}"
    if counts["asked"]:
        questions = "1 question" if counts["asked"] == 1 else f"{counts['asked']} questions"
        yield f"handed on {questions}, {counts['results']} answered, {counts['failures']} failed"
    if did:
        yield "did " + ", ".join(
            name if times == 1 else f"{name} {_times(times)}" for name, times in sorted(did.items())
        )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
