"""What goes with a request: the sound since the person began, and the conversation before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from edge_runtime.interfaces import SoundStream
from edge_runtime.micro_turn import (
    TURN_MS,
    TURN_SAMPLES,
    Decision,
    Letters,
    MicroTurn,
    Pcm,
    Said,
    Utterance,
)

BeginStream = Callable[[], SoundStream]
LEAD_TURNS = 5
"""Kept from before the first symbol: the model writes it only once it has heard the sound, and it
is settled two turns later."""
MAX_TURNS = 150
"""30 s: when a question gets longer, its first half is dropped."""
HALF_TURNS = MAX_TURNS // 2
FORGET_TURNS = 30
"""Without a symbol for so long, what was heard before is no longer part of the question."""
MAX_SAID = 40
"""Turns of the conversation that are remembered."""
CONVERSATION_TURNS = 3_600_000 // TURN_MS
"""An hour. What was said before is no part of the conversation any more."""


class Conversation:
    """What both sides said, as far as the device knows. Times are micro-turns."""

    def __init__(self) -> None:
        self._said: deque[_Entry] = deque(maxlen=MAX_SAID)
        self.unsaid = ""
        """What was left of the last answer when it was interrupted; `go on` asks for it."""

    def person(self, text: str, index: int) -> None:
        if text:
            self._said.append(_Entry("person", index, {"": text}))

    def device(self, utterance: Utterance, index: int) -> None:
        """The next part of an answer is of the same turn, unless somebody spoke in between."""
        last = self._said[-1] if self._said else None
        if last is None or not utterance.goes_on or last.request_id != utterance.request_id:
            last = _Entry("device", index, request_id=utterance.request_id)
            self._said.append(last)
        last.texts[utterance.id] = utterance.text

    def interrupted(self, utterance_id: str, unsaid: str) -> str | None:
        """Cut a remembered utterance to what was said of it; the request that it answers, if it
        is an answer."""
        for entry in reversed(self._said):
            if utterance_id in entry.texts:
                words, left = entry.texts[utterance_id].split(), len(unsaid.split())
                entry.texts[utterance_id] = " ".join(words[: max(0, len(words) - left)])
                entry.interrupted = True
                return entry.request_id
        return None

    def let_go(self) -> None:
        """Nobody wants the answers any more: what is cut short of them is not for `go on`."""
        self.unsaid = ""
        for entry in self._said:
            entry.request_id = None

    def until(self, index: int) -> tuple[Said, ...]:
        """Of the last hour, oldest first, with ages at micro-turn `index`, without what the person
        is answered in that one: the question itself."""
        return tuple(
            Said(e.speaker, e.text, (index - e.index) * TURN_MS / 1000, e.interrupted)
            for e in self._said
            if e.text
            and index - e.index <= CONVERSATION_TURNS
            and (e.speaker, e.index) != ("person", index)
        )


@dataclass
class _Entry:
    speaker: Literal["person", "device"]
    index: int
    """Of the micro-turn in which it began."""
    texts: dict[str, str] = field(default_factory=dict)
    """Words by utterance, in the order in which they are said."""
    request_id: str | None = None
    interrupted: bool = False

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.texts.values()))


class _Turn(NamedTuple):
    pcm: Pcm
    letters: Letters | None


class Question:
    """The sound of one question and its letters, encoded while it comes if there is `begin` for it.

    What is encoded cannot lose its beginning. So a second stream begins in the middle, and has all
    that is left once the first half is dropped.
    """

    def __init__(self, begin: BeginStream | None, turns: Iterable[_Turn] = ()) -> None:
        self._begin = begin
        self._turns: list[_Turn] = []
        self._streams: deque[SoundStream] = deque()
        self._asked = False
        for turn in turns:
            self.add(turn)

    @property
    def full(self) -> bool:
        """The next turn drops the first half."""
        return len(self._turns) == MAX_TURNS

    def add(self, turn: _Turn) -> None:
        if self._asked:
            self._again()
        if self.full:
            del self._turns[:HALF_TURNS]
            if self._streams:
                self._streams.popleft().drop()
        if self._begin is not None and len(self._turns) % HALF_TURNS == 0:
            self._streams.append(self._begin())
        self._turns.append(turn)
        for stream in self._streams:
            stream.add(turn.pcm)

    def _again(self) -> None:
        """It was asked and goes on all the same, so it may be asked once more."""
        turns, self._turns, self._asked = self._turns, [], False
        for turn in turns:
            self.add(turn)

    def audio(self) -> Pcm:
        return np.concatenate([turn.pcm for turn in self._turns])

    def letters(self) -> Letters | None:
        return Letters.joined([turn.letters for turn in self._turns if turn.letters is not None])

    def opus(self) -> Callable[[], bytes] | None:
        """See `Request.opus`."""
        if not self._streams:
            return None
        whole = self._streams.popleft().end()
        self.drop()
        self._asked = True
        return whole

    def drop(self) -> None:
        while self._streams:
            self._streams.popleft().drop()


class Heard:
    """Follows what the person has said since the device last spoke.

    Where a person began is read off the model's own transcript; nothing here listens to the level
    of the sound, and nothing here decides whose turn it is. A model that does not write one
    (`spells`) counts as hearing the person all the time.
    """

    def __init__(self, begin_stream: BeginStream | None = None, spells: bool = True) -> None:
        self._begin_stream, self._spells = begin_stream, spells
        self._recent: deque[_Turn] = deque(maxlen=FORGET_TURNS)
        self._question: Question | None = None
        self._quiet = 0
        """Turns since the last symbol."""
        self._text = ""

    def add(self, turn: MicroTurn, decision: Decision) -> None:
        sound = _Turn(turn.audio[0].copy(), decision.letters)
        spoken = bool(decision.heard.strip()) or not self._spells
        if spoken and (self._question is None or self._quiet >= FORGET_TURNS):
            self.clear()
            lead = list(self._recent)[-LEAD_TURNS:]
            self._question = Question(self._begin_stream, lead)
        self._quiet = 0 if spoken else self._quiet + 1
        self._recent.append(sound)
        if self._question is not None:
            self._question.add(sound)
            if self._question.full and self._quiet >= FORGET_TURNS:
                self._forget_sound()
        self._text = (self._text + decision.heard)[-400:]

    def clear(self) -> None:
        """The device has answered: what comes next is a new matter."""
        self._forget_sound()
        self._quiet, self._text = 0, ""

    def forget(self) -> None:
        """All of it, the sound before a first symbol too: what comes next is of another time."""
        self.clear()
        self._recent.clear()

    def _forget_sound(self) -> None:
        if self._question is not None:
            self._question.drop()
        self._question = None

    @property
    def transcript(self) -> str:
        return " ".join(self._text.split())

    def audio(self) -> Pcm:
        """float32 (n,), 16 kHz: since the person began, or the last while if that is unknown."""
        if self._question is not None:
            return self._question.audio()
        if not self._recent:
            return np.zeros(TURN_SAMPLES, np.float32)
        return np.concatenate([turn.pcm for turn in self._recent])

    def letters(self) -> Letters | None:
        """What was heard since the person began, over the same turns as `audio`."""
        return None if self._question is None else self._question.letters()

    def opus(self) -> Callable[[], bytes] | None:
        """The same, for `Request.opus`. Once for each request: it ends the encoding."""
        return None if self._question is None else self._question.opus()
