"""Louder, quieter, or to a number: what people ask of the loudspeaker, in words."""

from __future__ import annotations

import re
from collections.abc import Callable

from edge_runtime.background.numbers import NUMBER, words
from edge_runtime.errors import InputError

STEP = 1.6
"""Times as much amplitude (4 dB): clearly louder, and not a fright."""
QUIETEST, LOUDEST = 0.05, 1.0
"""Spoken to, the device does not make itself mute: it could not say so."""

_BIT = r"(?:(?:a (?:little )?(?:bit|little)|a lot|much|even|still) )*"
_MUCH = r"(?: (?:a (?:little )?(?:bit|little)|a lot))?"
_SPEAK = r"(?:(?:speak|talk|be|a|say it) )?"
_IT = r"(?:it|yourself|(?:the|your) (?:volume|sound|voice))"
_UP = re.compile(
    rf"{_SPEAK}{_BIT}louder(?: now| again)?|speak up{_MUCH}|volume up"
    rf"|(?:turn|crank) {_IT} up{_MUCH}|turn up {_IT}|make {_IT} {_BIT}louder"
    rf"|(?:increase|raise) {_IT}|(?:you are|that is) too (?:quiet|soft)"
    r"|(?:i )?(?:cannot|can not|can't|can hardly) hear you"
)
_DOWN = re.compile(
    rf"{_SPEAK}{_BIT}(?:quieter|softer|less loud)(?: now| again)?|not so loud|volume down"
    rf"|turn {_IT} down{_MUCH}|turn down {_IT}|make {_IT} {_BIT}(?:quieter|softer)"
    rf"|(?:decrease|lower|reduce) {_IT}|(?:you are|that is) too loud"
)
_TO = re.compile(
    rf"(?:set |turn |put )?(?:the |your )?volume (?:to |at |on )?(?:level )?(?P<number>{NUMBER})"
    r"(?P<percent> ?(?:%|percent))?"
)
_FULL = re.compile(
    rf"(?:set |turn |put )?(?:the |your )?volume (?:to |at )?(?:the )?(?:max|maximum|full)"
    rf"|(?:full|maximum|max) volume|as loud as (?:you can|possible)|turn {_IT} all the way up"
)
_ASKED = re.compile(r"(?:what is|how loud is|how high is) (?:the|your) volume|how loud are you")


class Volume:
    """`now` is 0..1, None where there is nothing that could be set; `set_to` takes as much and may
    raise InputError."""

    def __init__(self, now: Callable[[], float | None], set_to: Callable[[float], None]) -> None:
        self._now, self._set_to = now, set_to

    def answer(self, text: str) -> str | None:
        """`text` in lower case with numbers as digits; None if it is not about the volume, or there
        is none."""
        now = self._now()
        if now is None:
            return None
        if _UP.fullmatch(text):
            return self._set(now * STEP, now, "I am louder now.", "I cannot get any louder.")
        if _DOWN.fullmatch(text):
            return self._set(now / STEP, now, "I am quieter now.", "I cannot get any quieter.")
        if _FULL.fullmatch(text):
            return self._set(LOUDEST, now, "This is my full volume.", "This is my full volume.")
        if _ASKED.fullmatch(text):
            return f"My volume is at {_percent(now)}."
        if match := _TO.fullmatch(text):
            number = float(match["number"])
            tenths = not match["percent"] and number <= 10
            wanted = number / (10 if tenths else 100)
            if wanted > LOUDEST:
                return "My volume goes up to one hundred percent."
            said = f"My volume is at {_percent(max(wanted, QUIETEST))}."
            return self._set(wanted, now, said, said)
        return None

    def _set(self, wanted: float, now: float, said: str, unchanged: str) -> str:
        wanted = min(max(wanted, QUIETEST), LOUDEST)
        if wanted == now:
            return unchanged
        try:
            self._set_to(wanted)
        except InputError:
            return "I cannot set my volume here."
        return said


def _percent(volume: float) -> str:
    return f"{words(round(100 * volume))} percent"


UNSET = Volume(lambda: 0.5, lambda volume: None)
"""Only tells whether something is about the volume: whose it is, is to be seen elsewhere."""
NONE = Volume(lambda: None, lambda volume: None)
"""Of a device that has no loudspeaker."""
