"""Timers and reminders: set, asked about and cancelled in words, due on an injected clock."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from edge_runtime.background.calendar import spoken_time
from edge_runtime.background.numbers import NUMBER, counted, words
from edge_runtime.background.time_of_day import (
    CLOCK,
    MOMENT,
    minutes_of,
    next_time,
    seconds_until,
    spoken_moment,
)
from edge_runtime.micro_turn import TIMER

UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
REMINDER, ALARM = "reminder", "alarm"
SHORTEST_S = 0.1
MAX_S = 7 * 86_400
MAX_TIMERS = 16
"""That run."""
MAX_UNTOLD = 2 * MAX_TIMERS
"""Those that have rung and wait to be told among them."""
LISTENS_FIRST_S = 3.0
"""Before the first rings that an earlier run left: a model does not tell what is there from its
first micro-turns on (`reference` 0.6.2 does from the fifth)."""
SMALLEST_LATE_S = 1.0
"""One that is told later than that, says so."""
ASLEEP_S = 30.0
"""One that rings so much later than it was due, in a run that has gone on: the machine slept."""
_EXACT_TO = (("hour", "day"), ("minute", "minute"), ("second", "second"))
"""To what a lateness is told, from which unit on."""
WHEN = "When exactly? Ask me for it in ten minutes, for example, or tomorrow at half past seven."
"""Said of a day without a time, and of what is no time at all."""
OVER = "That time is over for today."
MANY_TO_TELL = "There are many timers that you have not heard yet. I cannot take more before."

_QUARTERS = rf"(?:(?:a|{NUMBER}) )?quarters? of an?"
_ONE = rf"(?:{NUMBER} and a half|{_QUARTERS}|{NUMBER}|an?|half an?)"
_PART = rf"{_ONE} (?:{'|'.join(UNITS_S)})s?(?: and a half)?"
_BARE = r"(?:(?<=minute)|(?<=minutes)|(?<=hour)|(?<=hours))(?: and)? [1-5]?\d(?![\d.])"
"""Of the unit below the last: `1 minute 30`."""
DURATION = rf"{_PART}(?:(?: and)? {_PART})*(?:{_BARE})?"
"""Matches a duration in lower case with numbers as digits: `an hour and a half`."""

_TIMER = r"(?:timer|countdown|alarm|reminder)"
_NOUN = rf"(?P<noun>{_TIMER})"
_SET = r"(?:set|start|make|create|give me|i need)(?: up)?(?: me)?"
_ARTICLE = r"(?:(?:an?|the)(?: new)?|another)"
_FOR_WHAT = r"(?: for (?P<label>(?:the|my|our) .+))?"
_TITLE = (
    r"(?P<title>(?!(?:new|another|quick|short|long|first|second|last|next|other|current|same|all|"
    rf"every|running|a|an|the|my|our|in|for)\b)[a-z]+(?: (?!(?:{_TIMER}|for|of|in)\b)[a-z]+)?)"
)
"""Of a timer that has one: `pizza`."""
_SET_PHRASINGS = (
    rf"(?:{_SET}(?: {_ARTICLE})?|{_ARTICLE}) {_TIMER} (?:for|of|in|to) (?P<time>{DURATION})"
    rf"{_FOR_WHAT}",
    rf"(?:{_SET} )?(?:an? |the )?(?P<time>{DURATION}) {_TIMER}{_FOR_WHAT}",
    rf"{_TIMER} (?:for|of|in) (?P<time>{DURATION})",
    rf"(?:{_SET}(?: {_ARTICLE})? )?{_TITLE} timer (?:for|of|to) (?P<time>{DURATION})",
    rf"{_SET}(?: {_ARTICLE})? timer (?:called|named) {_TITLE} (?:for|of) (?P<time>{DURATION})",
    rf"{_SET}(?: {_ARTICLE})? timer (?:for|of) (?P<time>{DURATION}) (?:called|named) {_TITLE}",
    rf"{_SET}(?: {_ARTICLE})? (?P<time>{DURATION}) timer (?:called|named) {_TITLE}",
    rf"wake me(?: up)? in (?P<time>{DURATION})",
    rf"remind me in (?P<time>{DURATION})(?: (?:to|that|about) (?P<label>.+))?",
    rf"remind me (?:to|that|about) (?P<label>.+) in (?P<time>{DURATION})",
    rf"tell me when (?P<time>{DURATION}) (?:are|is|have|has) (?:over|up|passed|gone)",
)
_AT_PHRASINGS = (
    rf"(?P<wakes>wake me(?: up)?) (?P<moment>{MOMENT})",
    rf"(?:{_SET}(?: {_ARTICLE})? )?(?:(?P<wakes>alarm(?: clock)?)|reminder) (?P<moment>{MOMENT})"
    rf"(?: (?:to|that|about|for) (?P<label>.+))?",
    rf"remind me (?P<moment>{MOMENT})(?: (?:to|that|about) (?P<label>.+))?",
    rf"remind me (?:to|that|about) (?P<label>.+?) (?P<moment>{MOMENT})",
    rf"{_SET}(?: {_ARTICLE})? (?P<clock>{CLOCK}) (?P<wakes>alarm)",
)
_NO_TIME = (
    rf"(?:wake me(?: up)?|remind me|{_SET}(?: {_ARTICLE})? {_TIMER}) (?:at|for|on|tomorrow).*"
)
_CANCEL = (
    r"(?:cancel|stop|delete|remove|clear|turn off|switch off) "
    rf"(?:(?P<all>all|every)(?: the| of the| my)? )?(?:the |my |that |this )?"
    rf"(?:(?:(?P<time>{DURATION})|(?P<clock>{CLOCK})|{_TITLE}) )?{_NOUN}s?"
    rf"(?: (?:at|for) (?P<at>{CLOCK}))?"
)
_LEFT_PHRASINGS = (
    r"(?:and )?how (?:long|much(?: time)?|many (?:minutes|seconds))(?: is| are)?(?: there)?"
    rf"(?: still)? (?:left|remaining)"
    rf"(?: (?:on|for|of|in) (?:the|my) (?:(?:(?P<time>{DURATION})|{_TITLE}) )?{_NOUN})?",
    rf"how long (?:is it )?(?:until|till) (?:the|my) {_NOUN}.*",
    rf"how (?:long|much) (?:has|does|is) (?:the|my) {_NOUN}(?: have)?(?: left| still)?",
    rf"(?:which|what|how many) (?:timer|(?P<noun>{REMINDER}|{ALARM}))s"
    r" (?:are (?:there|running|set)|do i have)",
    rf"(?:when|what time) (?:is|does) (?:the|my) (?P<noun>{REMINDER}|{ALARM})"
    r"(?: (?:set(?: for)?|for|ring|go off))?",
)


@dataclass(frozen=True)
class Timer:
    number: int
    duration_s: float
    due_ns: int
    label: str = ""
    """What to remind of, from the person's view; empty for a plain timer."""
    late_s: float = 0.0
    """How long before `due_ns` it should have been told: the device was off then, or asleep."""
    minute: int | None = None
    """Of the day, where it was set for a time of day: 0..1439."""
    title: str = ""
    """What somebody calls it: `pizza`."""

    def rung(self, now_ns: int) -> Timer:
        """The same, told at `now_ns`."""
        late_s = (now_ns - self.due_ns) / 1e9
        if late_s < ASLEEP_S:
            return self
        return replace(self, due_ns=now_ns, late_s=self.late_s + late_s)

    @property
    def id(self) -> str:
        """Of the event with which it is told."""
        return f"{TIMER}{self.number}"

    @property
    def text(self) -> str:
        """What to say when it is due."""
        late = spoken_lateness(self.late_s) if self.late_s >= SMALLEST_LATE_S else ""
        if self.label:
            return f"This is your reminder{late and f', {late} late'}: {self.label}."
        if self.minute is not None:
            was = f"It should have rung {late} ago." if late else "It is time."
            return f"This is your alarm for {spoken_minute(self.minute)}. {was}"
        return f"Your {self.name} was done {late} ago." if late else f"Your {self.name} is done."

    @property
    def kind(self) -> str:
        return REMINDER if self.label else "timer" if self.minute is None else ALARM

    @property
    def name(self) -> str:
        """`ten minute timer`, `pizza timer`, `alarm for seven o'clock in the morning`."""
        if self.title:
            return f"{self.title} {self.kind}"
        if self.minute is not None:
            return f"{self.kind} for {spoken_minute(self.minute)}"
        return f"{spoken_duration(self.duration_s, adjective=True)} {self.kind}"


class Timers:
    """The timers that run, and those that have rung and are not told yet: the person may be
    speaking, or the device mute. Safe to use from several threads.

    `on_change` is called when a timer was set or cancelled, in the thread that did it and before
    the person is answered.
    """

    def __init__(
        self, now_ns: Callable[[], int], on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._now_ns, self._on_change = now_ns, on_change
        self._lock = threading.Lock()
        self._running: list[Timer] = []
        self._ringing: list[Timer] = []
        self._count = 0
        self._listens_ns = 0
        self._first_ns: int | None = None
        """When it was first asked for what is due."""

    def restore(self, timers: Iterable[Timer]) -> None:
        """Those of an earlier run; before any is set."""
        with self._lock:
            self._listens_ns = round(LISTENS_FIRST_S * 1e9)
            self._running = sorted(timers, key=_due_ns)
            self._count = max((timer.number for timer in self._running), default=0)

    def correct(self, timers: Iterable[Timer]) -> None:
        """Those that still run are due as they are here; the others stay as they are."""
        anew = {timer.number: timer for timer in timers}
        with self._lock:
            corrected = [anew.get(timer.number, timer) for timer in self._running]
            self._running = sorted(corrected, key=_due_ns)

    def start(
        self, duration_s: float, label: str = "", minute: int | None = None, title: str = ""
    ) -> Timer | None:
        """None if too many are running, or wait to be told."""
        with self._lock:
            untold = len(self._running) + len(self._ringing)
            if len(self._running) >= MAX_TIMERS or untold >= MAX_UNTOLD:
                return None
            self._count += 1
            due_ns = self._now_ns() + round(duration_s * 1e9)
            timer = Timer(self._count, duration_s, due_ns, label, minute=minute, title=title)
            self._running = sorted([*self._running, timer], key=_due_ns)
        self._on_change()
        return timer

    def cancel(self, timers: list[Timer]) -> None:
        numbers = {timer.number for timer in timers}
        with self._lock:
            self._running = [timer for timer in self._running if timer.number not in numbers]
        self._on_change()

    def running(self) -> list[Timer]:
        """The next one due comes first."""
        with self._lock:
            return list(self._running)

    def left_s(self, timer: Timer) -> float:
        return max(0.0, (timer.due_ns - self._now_ns()) / 1e9)

    def pop_due(self) -> list[Timer]:
        """Take out every timer whose time has come."""
        with self._lock:
            now_ns = self._now_ns()
            self._first_ns = now_ns if self._first_ns is None else self._first_ns
            if now_ns - self._first_ns < self._listens_ns:
                return []
            due = [timer.rung(now_ns) for timer in self._running if timer.due_ns <= now_ns]
            self._running = [timer for timer in self._running if timer.due_ns > now_ns]
            self._ringing += due
            return due

    def told(self, id: str) -> None:
        """The timer whose event this is has begun to be told, or shall not be any more."""
        with self._lock:
            for timer in [timer for timer in self._ringing if timer.id == id]:
                self._ringing.remove(timer)

    def untold(self) -> tuple[Timer, ...]:
        """All that somebody still waits for: those that have rung come first."""
        with self._lock:
            return (*self._ringing, *self._running)

    def answer(self, text: str, now: datetime) -> str | None:
        """`text` in lower case with numbers as digits; None if it is not about timers. `now` is the
        time of day where the person is."""
        for phrasing in _SET_PHRASINGS:
            if match := re.fullmatch(phrasing, text):
                given = match.groupdict()
                time_s = parse_duration(match["time"])
                return self._set(time_s, given.get("label"), given.get("title") or "")
        for phrasing in _AT_PHRASINGS:
            if match := re.fullmatch(phrasing, text):
                given = match.groupdict()
                moment = given.get("moment") or f"at {given['clock']}"
                return self._set_at(moment, given.get("label"), bool(given.get("wakes")), now)
        if match := re.fullmatch(_CANCEL, text):
            meant = self._matching(match["time"], match["clock"] or match["at"], match["title"])
            return self._cancel(match["noun"], meant, everything=bool(match["all"]))
        for phrasing in _LEFT_PHRASINGS:
            if match := re.fullmatch(phrasing, text):
                given = match.groupdict()
                meant = self._matching(given.get("time"), None, given.get("title"))
                return self._left(match["noun"], meant)
        return WHEN if re.fullmatch(_NO_TIME, text) else None

    def _set(self, duration_s: float, label: str | None, title: str) -> str:
        if duration_s < SHORTEST_S:
            return "A timer needs some time to run. How long should it be?"
        if duration_s > MAX_S:
            return "That is too long for me. I can wait for at most seven days."
        timer = self.start(duration_s, _to_the_person(label or ""), title=title)
        if timer is None:
            return self._too_many()
        time = spoken_duration(duration_s)
        if label:
            return f"Okay, I will remind you in {time}: {timer.label}."
        return f"Your {title and f'{title} '}timer for {time} is set."

    def _set_at(self, moment: str, label: str | None, wakes: bool, now: datetime) -> str:
        at = next_time(moment, now, wakes)
        if at is None:
            return OVER
        duration_s = min(max(seconds_until(at, now), SHORTEST_S), float(MAX_S))
        timer = self.start(duration_s, _to_the_person(label or ""), at.hour * 60 + at.minute)
        if timer is None:
            return self._too_many()
        when = spoken_moment(at, now)
        if label:
            return f"Okay, I will remind you {when}: {timer.label}."
        return f"Okay, I will wake you {when}." if wakes else f"Okay, I will remind you {when}."

    def _too_many(self) -> str:
        if len(self.running()) < MAX_TIMERS:
            return MANY_TO_TELL
        return f"There are {words(MAX_TIMERS)} timers running, and I cannot take more."

    def _cancel(self, noun: str, running: list[Timer], everything: bool) -> str:
        meant = _of_kind(noun, running)
        if not meant and not (everything and noun == REMINDER):
            meant = running
        if not meant:
            return f"There is no such {_kind(noun)} running."
        if len(meant) > 1 and not everything:
            meant = meant[:1]
        self.cancel(meant)
        if len(meant) > 1:
            return f"All {words(len(meant))} {meant[0].kind}s are cancelled."
        return f"Your {meant[0].name} is cancelled."

    def _left(self, noun: str | None, running: list[Timer]) -> str:
        running = (_of_kind(noun, running) if noun else running) or running
        if not running:
            return f"There is no {_kind(noun)} running."
        said = [self._spoken_left(timer) for timer in running[:3]]
        sentence = f"There {'is' if _is_one(self.left_s(running[0])) else 'are'} "
        return f"{sentence}{', and '.join(said)}."

    def _spoken_left(self, timer: Timer) -> str:
        left = spoken_duration(self.left_s(timer), whole=True)
        return f"{left} left {'on' if timer.minute is None else 'until'} your {timer.name}"

    def _matching(self, time: str | None, clock: str | None, title: str | None) -> list[Timer]:
        """Those of this length, for this time of day, or of this title."""
        running = self.running()
        if time is not None:
            wanted_s = parse_duration(time)
            running = [timer for timer in running if timer.duration_s == wanted_s]
        if clock is not None:
            minutes = minutes_of(clock)
            running = [timer for timer in running if timer.minute in minutes]
        if title is not None:
            running = [timer for timer in running if timer.title == title]
        return running


def _of_kind(noun: str, timers: list[Timer]) -> list[Timer]:
    """A reminder is what has a label; an alarm, if there is one, what has a time of day."""
    if noun == REMINDER:
        return [timer for timer in timers if timer.label]
    others = [timer for timer in timers if not timer.label]
    return [timer for timer in others if timer.kind == _kind(noun)] or others


def _kind(noun: str | None) -> str:
    return noun if noun in (REMINDER, ALARM) else "timer"


def parse_duration(text: str) -> float:
    """Seconds of a text that DURATION matches."""
    total = Fraction(0)
    for match in re.finditer(
        rf"(?P<amount>{_ONE}) (?P<unit>{'|'.join(UNITS_S)})s?(?P<half> and a half)?", text
    ):
        amount = match["amount"]
        number = re.match(NUMBER, amount)
        value = Fraction(number.group()) if number else Fraction(1)
        if amount.startswith("half"):
            value = Fraction(1, 2)
        if "quarter" in amount:
            value /= 4
        if amount.endswith("half") or match["half"]:
            value += Fraction(1, 2)
        total += value * UNITS_S[match["unit"]]
    if bare := re.search(r"(?P<unit>minute|hour)s?(?: and)? (?P<amount>\d+)$", text):
        total += Fraction(int(bare["amount"]) * UNITS_S[bare["unit"]], 60)
    return float(total)


def spoken_duration(seconds: float, adjective: bool = False, whole: bool = False) -> str:
    """`ninety seconds` as `one minute and thirty seconds`, or `one minute thirty second` timer.

    With `whole`, no fractions: the seconds are rounded up, so that nothing is left only when due.
    """
    left = Fraction(-(-seconds // 1)) if whole else Fraction(seconds).limit_denominator(10)
    parts = []
    for unit, size in sorted(UNITS_S.items(), key=lambda item: -item[1]):
        amount = left if size == 1 else left // size
        left -= amount * size
        if amount:
            plural = unit if adjective else f"{unit}s"
            parts.append(counted(words(amount), amount, unit, plural))
    if not parts:
        return "no time"
    return " ".join(parts) if adjective else " and ".join(parts)


def spoken_minute(minute: int) -> str:
    """Of the day: `half past seven in the morning`."""
    return spoken_time(datetime(2000, 1, 1, minute // 60, minute % 60))


def spoken_lateness(seconds: float) -> str:
    """As exact as it matters: `two hours and five minutes`; at most `more than seven days`."""
    if seconds > MAX_S:
        return f"more than {spoken_duration(MAX_S)}"
    exact_to = next(UNITS_S[unit] for unit, above in _EXACT_TO if seconds >= UNITS_S[above])
    return spoken_duration(seconds // exact_to * exact_to)


def _due_ns(timer: Timer) -> int:
    return timer.due_ns


def _is_one(seconds: float) -> bool:
    return -(-seconds // 1) in UNITS_S.values()


def _to_the_person(label: str) -> str:
    """`call my mother` -> `call your mother`; a recogniser may have heard `to` twice."""
    label = re.sub(r"^(?:to )+", "", label)
    turned = {"my": "your", "me": "you", "i": "you", "am": "are", "mine": "yours", "our": "your"}
    return " ".join(turned.get(word, word) for word in label.split())
