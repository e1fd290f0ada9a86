"""Everything the device can answer by itself: text in, something speakable out."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from edge_runtime.background import about, arithmetic, calendar, units
from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.numbers import digits
from edge_runtime.background.timers import WHEN, Timers
from edge_runtime.background.volume import UNSET, Volume
from edge_runtime.wall_clock import local_now

COMMAND, UNKNOWN, RESUME, TIMER, VOLUME = "command", "unknown", "resume", "timer", "volume"
OF_THE_DEVICE = frozenset({TIMER, VOLUME})
"""Skills that only the device itself can have."""
EXACT = frozenset({COMMAND, TIMER, VOLUME, "time", "sum", "units"})
"""Skills of which nobody could answer better; a story somebody can."""
MAX_QUOTED_WORDS, MAX_QUOTED_CHARS = 14, 200
MAX_CHARS = 400
"""A longer text is nothing that a skill understands."""

_ADDRESS = re.compile(
    r"^(?:(?:um|uh|er|erm|uhm|hm|hmm|well|like|so|and|okay|ok|please|robot|hey|hello|hi|"
    r"excuse me|you know|let me think|could you|can you|would you|could you please|"
    r"i would like you to|i want you to|i want to know|do you know|could you tell me|"
    r"can you tell me)\s+)+"
)
_GO_ON = re.compile(
    r"(?:go on|go ahead|continue|carry on|keep going|(?:and )?what else|tell me more)"
    r"(?: with (?:that|it|your answer))?"
)
_FILLERS = re.compile(r"\b(?:um|uh|er|erm|uhm|hm|hmm|please|(?<!do )you know)\b")
_CONTRACTIONS = {"what's": "what is", "whats": "what is", "how's": "how is", "it's": "it is"}
_SIGNS = {
    0x2019: "'",  # right single quotation mark
    0x2212: "-",  # minus sign
    0x2013: "-",  # en dash
    0x00D7: "*",  # multiplication sign
    0x00F7: "/",  # division sign
}
_UNSPEAKABLE = re.compile(r"[^\w\s'.,-]|_")
_HUGE = re.compile(r"\d{17}")
"""More digits than any sum, amount or time here can have."""
_QUESTION = re.compile(r"(?:what|who|where|when|why|how|which|will|is|are|do|does|tell)\b")


@dataclass(frozen=True)
class Answer:
    text: str
    skill: str
    """`command`, `time`, `sum`, `units`, `timer`, `volume`, `about`, `resume`, or `unknown`: that
    it cannot be done here, which is no answer to what waits for somebody who can."""
    action: str = ""
    """What the device is to do now."""


class Skills:
    """The offline skills. `now` is local wall-clock time; `timers` keep a clock of their own;
    `volume` is that of the loudspeaker."""

    def __init__(
        self,
        timers: Timers,
        now: Callable[[], datetime] = local_now,
        device_name: str = "Edge",
        commands: Commands = NONE,
        volume: Volume = UNSET,
    ) -> None:
        self.timers, self._volume = timers, volume
        self._now, self._device_name, self._commands = now, device_name, commands

    def answer(self, text: str) -> Answer | None:
        """What a skill says to this, None if none of them understands it.

        Tried as it was said and without the words of address before it, which can be part of a
        question themselves: `can you tell me about yourself`.
        """
        if len(text) > MAX_CHARS:
            return None
        for words in (text, _ADDRESS.sub("", text.lower())):
            if command := self._commands.find(words):
                return Answer(command.answer, COMMAND, command.action)
        whole, with_brackets = plain(text), plain(text, kept="()")
        if _HUGE.search(whole):
            return None
        for address in ("", _ADDRESS):
            for skill, ask in self._table():
                said = with_brackets if skill == "sum" else whole
                if reply := ask(re.sub(address, "", said)):
                    return Answer(reply, UNKNOWN if reply == WHEN else skill)
        return None

    def reply(self, text: str, unsaid: str = "") -> Answer:
        """`answer`, or an honest word that this is not known here.

        `unsaid` is what was left of the last answer when it was interrupted: `go on` says it.
        """
        if _GO_ON.fullmatch(_ADDRESS.sub("", plain(text[:MAX_CHARS]))):
            return Answer(unsaid or "There is nothing more to say.", RESUME)
        return self.answer(text) or Answer(unknown(text), UNKNOWN)

    def _table(self) -> tuple[tuple[str, Callable[[str], str | None]], ...]:
        return (
            (TIMER, lambda text: self.timers.answer(text, self._now())),
            (VOLUME, self._volume.answer),
            ("time", lambda text: calendar.answer(text, self._now())),
            ("sum", arithmetic.answer),
            ("units", units.answer),
            ("about", lambda text: about.answer(text, self._device_name)),
        )


def knows(text: str, commands: Commands, skills: Collection[str]) -> bool:
    """Whether one of these skills answers just these words, all of which it expects: what somebody
    wants to be reminded of may be anything. Nothing is done for them."""
    timers = Timers(time.monotonic_ns)
    said = Skills(timers, commands=commands).answer(text)
    free = any(timer.label or timer.title for timer in timers.running())
    return said is not None and said.skill in skills and not free


def plain(text: str, kept: str = "") -> str:
    """Lower case, numbers as digits, one space, no punctuation but what is `kept`, no fillers or
    contractions."""
    text = text.lower().translate(_SIGNS).replace("^", "**")
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    marks = rf"[^\w\s'.+*/%{re.escape(kept)}-]"
    text = re.sub(rf"{marks}|[.](?!\d)|(?<=[a-z0-9])-(?=[a-z])", " ", text)
    text = " ".join(_CONTRACTIONS.get(word, word) for word in text.split())
    return " ".join(digits(" ".join(_FILLERS.sub(" ", text).split())).split())


def unknown(text: str) -> str:
    """Says that this is not known here, and what was understood. The same text, the same words."""
    text = " ".join(_UNSPEAKABLE.sub(" ", text.lower()).split())
    heard = _ADDRESS.sub("", text.strip(" .,'-"))
    if not heard:
        return "I could not make out what you said."
    quoted = " ".join(heard.split()[:MAX_QUOTED_WORDS])[:MAX_QUOTED_CHARS]
    if _QUESTION.match(heard):
        sentences = (
            f"You asked: {quoted}. I do not know that here.",
            f"I understood: {quoted}. That is something I do not know by myself.",
            f"I heard: {quoted}. I have no answer to that here.",
        )
    else:
        sentences = (
            f"I understood: {quoted}. I cannot do that by myself.",
            f"You said: {quoted}. I do not know how to do that here.",
            f"I heard: {quoted}. Nothing here lets me do that.",
        )
    return sentences[zlib.crc32(heard.encode()) % len(sentences)]
