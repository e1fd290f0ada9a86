"""A time of day in words, and when it comes next: `tomorrow at half past seven`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from edge_runtime.background.calendar import WEEKDAYS, spoken_time

_HOUR = r"(?:[01]?\d|2[0-3])"
_HALF = r"(?: ?[ap] ?m| in the (?:morning|afternoon|evening)| at night| tonight)"
_PART = r"(?: (?:morning|afternoon|evening|night))"
_TODAY = r"(?:tonight|this (?:morning|afternoon|evening)|today)"
_DAY = rf"(?:{_TODAY}|(?:tomorrow|(?:this |next )?(?:{'|'.join(WEEKDAYS).lower()})){_PART}?)"
CLOCK = (
    r"(?:noon|midday|midnight"
    rf"|(?:half|(?:a )?quarter|[1-5]?\d(?: minutes?)?) (?:past|after|to|before) {_HOUR}{_HALF}?"
    rf"|{_HOUR}(?: o'?clock|[ .][0-5]\d| oh \d)?{_HALF}?)"
)
"""Matches a time of day in lower case with numbers as digits: `a quarter past 7 in the evening`."""
_LEAD = rf"(?:(?:for |on )?{_DAY} (?:at |for |by )?|(?:at|for|by) )"
MOMENT = rf"(?:{_LEAD}{CLOCK}(?: (?:on )?{_DAY})?)"
"""Matches when that is, perhaps with the day: `tomorrow at 7`, `at 9 on friday`."""
_MOMENT_PARTS = re.compile(rf"{_LEAD}(?P<clock>{CLOCK})(?: (?:on )?{_DAY})?")

_CLOCK_PARTS = re.compile(
    r"(?P<name>noon|midday|midnight)"
    r"|(?:a )?(?P<distance>half|quarter|\d+)(?: minutes?)?"
    r" (?P<side>past|after|to|before) (?P<near>\d+)"
    r"|(?P<hour>\d+)(?:[ .](?P<minute>[0-5]\d)| oh (?P<single>\d))?"
)
_DISTANCES = {"half": 30, "quarter": 15}
_MORNING, _AFTERNOON, _EVENING, _NIGHT = "morning", "afternoon", "evening", "night"
_WAKES = range(4, 12)
"""Hours at which people wake up."""
_SMALL_HOURS, _SOON = 6, timedelta(hours=6)
_FIRST_BY_DAY = 7
"""Of another day, `7` is that of the morning and `6` that of the evening."""


def next_time(moment: str, now: datetime, wakes: bool = False) -> datetime | None:
    """The local time, without a zone, of what MOMENT matches; None where it is over today.

    Where morning or evening is not said, it is the one that comes first, but at night only soon; of
    another day the one by day; and where it `wakes` somebody, the morning.
    """
    found = _MOMENT_PARTS.fullmatch(moment)
    assert found is not None, "MOMENT has matched it"
    hours, minute = _clock(found["clock"], moment)
    now, day = now.replace(tzinfo=None), re.search(_DAY, moment)
    if day is None or re.fullmatch(_TODAY, day[0]):
        if wakes and len(hours) == 2 and hours[0] in _WAKES:
            hours = hours[:1]
        small_hours = day is not None and day[0] == "tonight" and hours[0] < _SMALL_HOURS
        ahead = [-1, 0, 1] if day is None else [0, 1] if small_hours else [0]
    else:
        hours = hours if len(hours) == 1 else [_by_day(hours[0], wakes)]
        ahead = [1]
        if not day[0].startswith("tomorrow"):
            weekday = next(n for n, name in enumerate(WEEKDAYS) if name.lower() in day[0])
            ahead = [(weekday - now.weekday()) % 7, (weekday - now.weekday()) % 7 + 7]
    first = now.replace(hour=0, minute=0, second=0, microsecond=0)
    times = [
        first + timedelta(days=days, hours=hour, minutes=minute) for days in ahead for hour in hours
    ]
    if len(hours) == 2:
        times = [time for time in times if time.hour >= _SMALL_HOURS or time - now < _SOON]
    return min((time for time in times if time > now), default=None)


def seconds_until(moment: datetime, now: datetime) -> float:
    """From `now` until a local time without a zone, although the clocks are changed in between
    where `now` is in this machine's zone."""
    naive = now.replace(tzinfo=None)
    here = now.tzinfo is not None and naive.astimezone().utcoffset() == now.utcoffset()
    if here:
        return moment.timestamp() - now.timestamp()
    return (moment - naive).total_seconds()


def spoken_moment(moment: datetime, now: datetime) -> str:
    """`tomorrow at seven o'clock in the morning`."""
    evening_before = moment - timedelta(minutes=1)  # midnight belongs to the day that it ends
    days = (evening_before.date() - now.date()).days
    day = {0: "", 1: "tomorrow "}.get(days, f"on {WEEKDAYS[evening_before.weekday()]} ")
    return f"{day}at {spoken_time(moment)}"


def minutes_of(clock: str) -> frozenset[int]:
    """Minutes after midnight that what CLOCK matches may mean."""
    hours, minute = _clock(clock, clock)
    return frozenset(hour % 24 * 60 + minute for hour in hours)


def _by_day(hour: int, wakes: bool) -> int:
    """Of an hour from 0 to 11 without a part of the day."""
    early = hour in _WAKES if wakes else hour >= _FIRST_BY_DAY
    return hour if early else hour + 12


def _clock(clock: str, said: str) -> tuple[list[int], int]:
    """The hours that may be meant, from 0 to 24, and the minute; `said` tells the part of the
    day."""
    found = _CLOCK_PARTS.match(clock)
    assert found is not None, "CLOCK has matched it"
    if found["name"]:
        return [24 if found["name"] == "midnight" else 12], 0
    spelled = found["near"] or found["hour"]
    hour, minute = int(spelled), int(found["minute"] or found["single"] or 0)
    if found["near"]:
        distance = _DISTANCES.get(found["distance"]) or int(found["distance"])
        after = found["side"] in ("past", "after")
        hour, minute = (hour, distance) if after else (hour - 1, 60 - distance)
        hour, minute = (hour + minute // 60) % 24, minute % 60
    if spelled.startswith("0") or int(spelled) > 12:
        return [hour], minute
    return _of_the_day(hour % 12, said), minute


def _of_the_day(hour: int, said: str) -> list[int]:
    """Of an hour from 0 to 11, which may be that of the morning or of the evening."""
    if _MORNING in said or re.search(r"(?:\d|clock) ?a ?m\b", said):
        return [hour]
    if _AFTERNOON in said or re.search(r"(?:\d|clock) ?p ?m\b", said):
        return [hour + 12]
    if _EVENING in said:
        return [hour + 12 if hour else 24]
    if _NIGHT in said:
        return [hour if 0 < hour < _SMALL_HOURS else hour + 12 if hour else 24]
    return [hour, hour + 12]
