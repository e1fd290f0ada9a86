"""Answers on their way to the mouth: waiting, being spoken, or cut short.

An answer may come in pieces. The model decides when the first is said; the next follow while the
mouth is still speaking. If it has fallen silent by then, the rest waits for the model again.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
MAX_READY = 4
"""Passing answers kept unspoken (a result and a few timers); the oldest goes first beyond that."""


@dataclass
class Answer:
    request_id: str
    pieces: list[str] = field(default_factory=list)
    complete: bool = False
    came: int = 0
    """The micro-turn in which it began to wait."""
    lasting: bool = False
    """Nothing pushes it out: who asked for it was promised that it is told."""

    def take(self) -> str:
        text, self.pieces = " ".join(self.pieces), []
        return text


class Answers:
    def __init__(self) -> None:
        self._ready: deque[Answer] = deque()
        self._current: Answer | None = None
        """Being spoken."""

    @property
    def ready(self) -> bool:
        return bool(self._ready)

    def waiting(self, kind: str) -> int:
        """How many wait to requests whose id begins with `kind`."""
        return sum(answer.request_id.startswith(kind) for answer in self._ready)

    def add(
        self, request_id: str, text: str, complete: bool, now: int = 0, lasting: bool = False
    ) -> bool:
        """Returns whether this is the beginning of an answer; `now` counts micro-turns."""
        answer = self._find(request_id)
        fresh = answer is None
        if answer is None:
            answer = Answer(request_id, came=now, lasting=lasting)
            self._ready.append(answer)
            self._push_out()
        if text.strip():
            answer.pieces.append(text.strip())
        answer.complete = answer.complete or complete
        return fresh

    def take(self) -> tuple[str, str] | None:
        """Request and text of the oldest answer that waits; it is then the current one."""
        if not self._ready:
            return None
        self._current = self._ready.popleft()
        return self._current.request_id, self._current.take()

    def follow(self, speaking: bool) -> tuple[str, str] | None:
        """What has come since for the current answer, if the mouth is still speaking it."""
        current = self._current
        if current is None:
            return None
        if not speaking:
            self._current = None
            if current.pieces:
                self._ready.appendleft(current)
            return None
        if not current.pieces:
            return None
        return current.request_id, current.take()

    def interrupt(self) -> str:
        """The mouth was stopped: returns what had come of the current answer and was not given."""
        current, self._current = self._current, None
        return "" if current is None else current.take()

    def forget_before(self, turn: int, kind: str) -> list[str]:
        """Drop the answers that wait since before `turn`, to requests whose id begins with `kind`;
        returns these."""
        late = [a for a in self._ready if a.came < turn and a.request_id.startswith(kind)]
        for answer in late:
            self._ready.remove(answer)
        return [answer.request_id for answer in late]

    def clear(self) -> list[str]:
        """Returns the requests whose answers will not be told."""
        dropped = [answer.request_id for answer in self._ready]
        self._ready.clear()
        return dropped

    def _push_out(self) -> None:
        passing = [answer for answer in self._ready if not answer.lasting]
        for answer in passing[:-MAX_READY]:
            self._ready.remove(answer)
            log.warning("the answer to %s gives way to newer ones", answer.request_id)

    def _find(self, request_id: str) -> Answer | None:
        known = [*self._ready, *([self._current] if self._current else [])]
        return next(
            (one for one in known if one.request_id == request_id and not one.complete), None
        )
