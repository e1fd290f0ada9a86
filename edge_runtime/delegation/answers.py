"""Answers on their way to the mouth: waiting, being spoken, or cut short.

An answer may come in pieces, and a long one is given to the mouth in several. The model decides
when the first is said; the next follow while the mouth is still speaking. If it has fallen silent
by then, the rest waits for the model again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
MAX_READY = 4
"""Passing answers kept unspoken; the oldest goes first beyond that."""
ENOUGH = 400
"""Characters, about 24 s: the mouth gets whole sentences until they have so many. It synthesizes
all that it is given at once, and an answer can be a book."""


@dataclass
class Answer:
    request_id: str
    sentences: deque[str] = field(default_factory=deque)
    """Not given to the mouth yet."""
    complete: bool = False
    came: int = 0
    """The micro-turn in which it began to wait."""
    lasting: bool = False
    """Nothing pushes it out: who asked for it was promised that it is told. Whoever gives such
    answers bounds them."""

    def take(self) -> str:
        """The next sentences for the mouth; empty if there are none."""
        text = ""
        while self.sentences and len(text) < ENOUGH:
            text = f"{text} {self.sentences.popleft()}".lstrip()
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
        self,
        request_id: str,
        sentences: Iterable[str],
        complete: bool,
        now: int = 0,
        lasting: bool = False,
    ) -> bool:
        """Returns whether this is the beginning of an answer; `now` counts micro-turns."""
        answer = self._find(request_id)
        fresh = answer is None
        if answer is None:
            answer = Answer(request_id, came=now, lasting=lasting)
            self._ready.append(answer)
            self._push_out()
        answer.sentences += sentences
        answer.complete = answer.complete or complete
        return fresh

    def take(self, now: int = 0) -> tuple[str, str] | None:
        """Request and first words of the oldest answer that waits; it is then the current one, and
        what is left of the one before waits."""
        if not self._ready:
            return None
        before, self._current = self._current, self._ready.popleft()
        if before is not None and before.sentences:
            self._wait(before, now)
        return self._current.request_id, self._current.take()

    def follow(self, speaking: bool, soon_silent: bool, now: int = 0) -> tuple[str, str] | None:
        """The next words of the current answer, if the mouth is still speaking it and soon has
        nothing more to say."""
        current = self._current
        if current is None:
            return None
        if not speaking:
            self._current = None
            if current.sentences:
                self._wait(current, now)
            return None
        if not (soon_silent and current.sentences):
            return None
        return current.request_id, current.take()

    def interrupt(self, told: Collection[str]) -> list[tuple[str, str]]:
        """The mouth was stopped while it told the answers to these requests: the answers that have
        begun, by request, and what had come of them and was not given."""
        begun = [answer for answer in self._ready if answer.request_id in told]
        for answer in begun:
            self._ready.remove(answer)
        if self._current is not None and (told or self._current.sentences):
            begun.append(self._current)
            self._current = None
        return [(answer.request_id, " ".join(answer.sentences)) for answer in begun]

    def put_back(self, request_id: str, text: str, now: int = 0) -> None:
        """What was taken and could not be said: it is the first that is taken next."""
        if self._current is not None and self._current.request_id == request_id:
            self._current.sentences.appendleft(text)
            return
        rest = next((one for one in self._ready if one.request_id == request_id), None)
        if rest is None:
            rest = Answer(request_id, complete=True, lasting=True)
        else:
            self._ready.remove(rest)
        rest.sentences.appendleft(text)
        self._wait(rest, now)

    def forget_before(self, turn: int, kind: str) -> list[str]:
        """Drop the answers that wait since before `turn`, to requests whose id begins with `kind`;
        returns these."""
        late = [a for a in self._ready if a.came < turn and a.request_id.startswith(kind)]
        for answer in late:
            self._ready.remove(answer)
        return [answer.request_id for answer in late]

    def clear(self) -> list[str]:
        """Nothing more is given of any answer; returns the requests whose answers had to wait."""
        dropped = [answer.request_id for answer in self._ready]
        self._ready.clear()
        self._current = None
        return dropped

    def _wait(self, answer: Answer, now: int) -> None:
        """It has begun, and goes on when the model decides so."""
        answer.came = now
        self._ready.appendleft(answer)

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
