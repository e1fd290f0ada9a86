"""A line in the log for each conversation: when, how long, what came of it, and no word of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator

from edge_runtime.dialogue import ASIDES, answers, outcomes
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import STOP_MOTION, TURN_MS, TurnRecord
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.acts import acts

log = logging.getLogger(__name__)
OVER_TURNS = 30_000 // TURN_MS
"""Micro-turns in which the device says and does nothing and waits for nothing: then it is over. It
begins at most so long before that, with the first word that was heard."""


class ConversationLog(NothingHeld):
    """One conversation after the other, of any number of people. What the device neither answers
    nor acts upon, such as a television or a stop button, is none."""

    def __init__(self, mode: Callable[[], Mode] = lambda: Mode.NORMAL) -> None:
        self._mode = mode
        self._heard_from = self._heard_at = -OVER_TURNS
        """Indices of the first and the last micro-turn with something heard, without such a pause
        in between."""
        self._began = self._last = 0
        """Of the conversation: its first micro-turn, and the last one with something in it."""
        self._goes_on = False
        self._in_mouth: set[str] = set()
        """Ids of utterances of the conversation, until the device is silent."""
        self._counts: Counter[str] = Counter()
        self._did: Counter[str] = Counter()

    def publish(self, record: TurnRecord) -> None:
        if record.failed:
            return
        index = record.turn.index
        if self._goes_on and index - self._last >= OVER_TURNS:
            self._end()
        if record.decision.heard.strip():
            if index - self._heard_at >= OVER_TURNS:
                self._heard_from = index
            self._heard_at = index
        counted, did, says = list(_counted(record)), self._done(record), self._says(record)
        if not (counted or did or says or record.turn.background.pending):
            return
        if not self._goes_on:
            self._goes_on = True
            since = self._heard_from if index - self._heard_at < OVER_TURNS else index
            self._began = max(since, index - OVER_TURNS)
        self._last = index
        self._counts.update(counted)
        self._did.update(did)

    def __exit__(self, *raised: object) -> None:
        if self._goes_on:
            self._end()

    def _says(self, record: TurnRecord) -> bool:
        """Whether it says, or goes on saying, what belongs to the conversation."""
        said, voice = record.said, record.turn.voice
        if not voice.speaking:
            self._in_mouth.clear()
        if said is not None and said.act not in ASIDES:
            self._in_mouth.add(said.id)
        return voice.utterance_id in self._in_mouth

    def _done(self, record: TurnRecord) -> list[str]:
        names = [action.name for action, _ in acts(record, self._mode())]
        return [name for name in names if name != STOP_MOTION]

    def _end(self) -> None:
        counts, did = self._counts, self._did
        if counts["spoke"] or counts["asked"] or did:
            seconds = (self._last - self._began + 1) * TURN_MS / 1000
            log.info("conversation of %.0f s: %s", seconds, "; ".join(_told(counts, did)))
        self._goes_on = False
        self._counts, self._did = Counter(), Counter()


def _counted(record: TurnRecord) -> Iterator[str]:
    if answers(record.said):
        yield "spoke"
    if record.decision.stop:
        yield "stopped"
    if record.request is not None:
        yield "asked"
    yield from outcomes(record.turn.events)


def _told(counts: Counter[str], did: Counter[str]) -> Iterator[str]:
    if counts["spoke"]:
        yield f"spoke {_times(counts['spoke'])}"
    if counts["stopped"]:
        yield f"was interrupted {_times(counts['stopped'])}"
    if counts["asked"]:
        questions = "1 question" if counts["asked"] == 1 else f"{counts['asked']} questions"
        yield f"handed on {questions}, {counts['answered']} answered, {counts['failed']} failed"
    if did:
        yield "did " + ", ".join(
            name if times == 1 else f"{name} {_times(times)}" for name, times in sorted(did.items())
        )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
