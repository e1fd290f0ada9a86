"""Time and date in words, from a clock that is handed in."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from edge_runtime.background.numbers import ordinal, words, year

# Written out here: what the system's locale calls them does not matter.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_LEAD = r"(?:tell me |do you know |can you tell me |could you tell me |say )?"
_DAYS = f"today|tonight|tomorrow|yesterday|{'|'.join(WEEKDAYS).lower()}"
_TIME = re.compile(
    rf"{_LEAD}(?:what time (?:is it|it is)|what is the time|what the time is|the time|"
    r"how late is it)(?: now| right now| here)?(?: in (?P<place>[a-z ]+))?"
)
_DATE = re.compile(
    rf"{_LEAD}(?:what|which) (?:day|date|weekday)(?: of the (?:week|month))?"
    rf"(?: is| it| was| will| be| have| we| do)+(?: (?P<day>{_DAYS}))?"
    rf"|{_LEAD}(?:what is |what )?(?:the date|the day|today's date|todays date)"
    rf"(?: is| it| on)*(?: (?P<day2>{_DAYS}))?"
)
_YEAR = re.compile(rf"{_LEAD}(?:what|which) (?P<what>year|month)(?: is| it| are| we| in| have)+")


def answer(text: str, now: datetime) -> str | None:
    """`text` in lower case; None if it does not ask for the time or the date."""
    if match := _TIME.fullmatch(text):
        here = spoken_time(now)
        if match["place"] and match["place"] != "the morning":
            return f"Here it is {here}, but I do not know what time it is in {match['place']}."
        return f"It is {here}."
    if match := _DATE.fullmatch(text):
        return _day(match["day"] or match["day2"] or "today", now)
    if match := _YEAR.fullmatch(text):
        what = year(now.year) if match["what"] == "year" else MONTHS[now.month - 1]
        return f"It is {what}."
    return None


def spoken_time(now: datetime) -> str:
    """`14:45` -> `a quarter to three in the afternoon`."""
    minute = now.minute
    hour = now.hour if minute <= 30 else (now.hour + 1) % 24
    if minute == 0 and hour in (0, 12):
        return "midnight" if hour == 0 else "noon"
    name = words(hour % 12 or 12)
    part = _part_of_day(now.hour)
    if minute == 0:
        return f"{name} o'clock {part}"
    if minute == 30:
        return f"half past {name} {part}"
    distance, side = (minute, "past") if minute < 30 else (60 - minute, "to")
    if distance == 15:
        return f"a quarter {side} {name} {part}"
    return f"{words(distance)} {'minute' if distance == 1 else 'minutes'} {side} {name} {part}"


def spoken_date(day: datetime) -> str:
    """`Tuesday, the twenty-fourth of November, twenty twenty-six`."""
    weekday, month = WEEKDAYS[day.weekday()], MONTHS[day.month - 1]
    return f"{weekday}, the {ordinal(day.day)} of {month}, {year(day.year)}"


def _part_of_day(hour: int) -> str:
    if 5 <= hour < 12:
        return "in the morning"
    if 12 <= hour < 18:
        return "in the afternoon"
    return "in the evening" if 18 <= hour < 22 else "at night"


def _day(name: str, now: datetime) -> str:
    if name in ("today", "tonight"):
        return f"Today is {spoken_date(now)}."
    if name == "tomorrow":
        return f"Tomorrow is {spoken_date(now + timedelta(days=1))}."
    if name == "yesterday":
        return f"Yesterday was {spoken_date(now - timedelta(days=1))}."
    ahead = (WEEKDAYS.index(name.capitalize()) - now.weekday()) % 7
    if ahead == 0:
        return f"Today is {spoken_date(now)}."
    return f"The next {name.capitalize()} is {spoken_date(now + timedelta(days=ahead))}."
