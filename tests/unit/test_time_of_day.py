"""Times of day as people say them; the one that is meant, and never one that has gone by."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.background.skills import plain
from edge_runtime.background.time_of_day import (
    CLOCK,
    MOMENT,
    minutes_of,
    next_time,
    seconds_until,
    spoken_moment,
)

pytest.importorskip("num2words", reason="the skills are an extra: edge-runtime[background]")
NOW = datetime(2026, 12, 1, 14, 45)
"""A Tuesday."""


def meant(said: str, now: datetime = NOW, wakes: bool = False) -> str | None:
    moment = plain(said)
    assert re.fullmatch(MOMENT, moment), moment
    at = next_time(moment, now, wakes)
    return at and f"{at:%a %H:%M}"


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("at seven", "Tue 19:00"),
        ("at seven in the morning", "Wed 07:00"),
        ("at seven a.m.", "Wed 07:00"),
        ("at 7pm", "Tue 19:00"),
        ("at seven o'clock p m", "Tue 19:00"),
        ("at half past seven", "Tue 19:30"),
        ("at seven thirty", "Tue 19:30"),
        ("at seven oh five", "Tue 19:05"),
        ("at 7:30", "Tue 19:30"),
        ("at 19:30", "Tue 19:30"),
        ("at 07:30", "Wed 07:30"),
        ("at 14:00", "Wed 14:00"),
        ("at a quarter to eight", "Tue 19:45"),
        ("at quarter past three", "Tue 15:15"),
        ("at twenty minutes to four", "Tue 15:40"),
        ("at ten to nine in the evening", "Tue 20:50"),
        ("at a quarter to twelve at night", "Tue 23:45"),
        ("at half past twelve at night", "Wed 00:30"),
        ("at a quarter to one in the afternoon", "Wed 12:45"),
        ("at noon", "Wed 12:00"),
        ("at twelve", "Wed 12:00"),
        ("at two", "Wed 14:00"),
        ("at midnight", "Wed 00:00"),
        ("at twelve in the evening", "Wed 00:00"),
        ("tonight at eight", "Tue 20:00"),
        ("tonight at one", "Wed 01:00"),
        ("this evening at six", "Tue 18:00"),
        ("at six this evening", "Tue 18:00"),
        ("today at five", "Tue 17:00"),
        ("tomorrow at seven", "Wed 07:00"),
        ("tomorrow at six", "Wed 18:00"),
        ("tomorrow at noon", "Wed 12:00"),
        ("tomorrow at twelve fifteen", "Wed 12:15"),
        ("tomorrow at midnight", "Thu 00:00"),
        ("tomorrow morning at five", "Wed 05:00"),
        ("at five tomorrow morning", "Wed 05:00"),
        ("for tomorrow at 8 p.m.", "Wed 20:00"),
        ("on friday at nine", "Fri 09:00"),
        ("at nine on friday", "Fri 09:00"),
        ("friday night at ten", "Fri 22:00"),
        ("next tuesday at nine", "Tue 09:00"),
        ("on tuesday at three", "Tue 15:00"),
    ],
)
def test_what_is_meant(said: str, at: str) -> None:
    assert meant(said) == at


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("at seven", "Wed 07:00"),
        ("at seven in the evening", "Tue 19:00"),
        ("at three", "Tue 15:00"),
        ("tomorrow at five", "Wed 05:00"),
        ("on friday at three", "Fri 15:00"),
    ],
)
def test_people_wake_up_in_the_morning(said: str, at: str) -> None:
    assert meant(said, wakes=True) == at


def test_small_hours_are_meant_only_when_they_are_near() -> None:
    assert meant("at two", NOW.replace(hour=22)) == "Wed 02:00"
    assert meant("at midnight", NOW.replace(hour=0)) == "Wed 00:00"
    assert meant("at half past twelve at night", NOW.replace(hour=0, minute=10)) == "Tue 00:30"
    assert meant("tonight at one", NOW.replace(hour=0, minute=10)) == "Tue 01:00"


@pytest.mark.parametrize("said", ["today at two", "today at 14:45", "this morning at nine"])
def test_what_is_over_today_is_not_taken_for_tomorrow(said: str) -> None:
    assert meant(said) is None


@pytest.mark.parametrize("said", ["7", "at", "tomorrow", "at 25", "at 7 61", "at the bar", "on 5"])
def test_what_is_no_time_of_day(said: str) -> None:
    assert re.fullmatch(MOMENT, said) is None


DAYS = ["", " tomorrow", " on friday", " tonight", " tomorrow morning", " on tuesday evening"]


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    st.integers(0, 23),
    st.integers(0, 59),
    st.sampled_from(["", " am", " pm", " in the evening", " at night"]),
    st.sampled_from(DAYS),
    st.booleans(),
)
def test_it_is_always_ahead_and_within_eight_days(
    now: datetime, hour: int, minute: int, half: str, day: str, wakes: bool
) -> None:
    said = f"at {hour} {minute:02d}{half}{day}"
    assert re.fullmatch(MOMENT, said)
    at = next_time(said, now, wakes)
    if at is None:
        assert "tonight" in day
    else:
        assert timedelta(0) < at - now <= timedelta(days=8)
        assert (at.minute, at.hour % 12) == (minute, hour % 12)
        assert spoken_moment(at, now)


def test_a_clock_that_is_named_again_is_known_again() -> None:
    assert re.fullmatch(CLOCK, "7 o'clock")
    assert minutes_of("7 o'clock") == {7 * 60, 19 * 60}
    assert minutes_of("half past 7 in the evening") == {19 * 60 + 30}
    assert minutes_of("midnight") == {0}


def test_a_changed_clock_is_counted_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the night to 25 October 2026 an hour comes twice in Berlin."""
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        now = datetime(2026, 10, 24, 22, 0).astimezone()
        morning = datetime(2026, 10, 25, 7, 0)
        assert seconds_until(morning, now) == 10 * 3600
        elsewhere = datetime(2026, 10, 24, 22, 0, tzinfo=timezone(timedelta(hours=-5)))
        assert seconds_until(morning, elsewhere) == 9 * 3600
        assert seconds_until(morning, now.replace(tzinfo=None)) == 9 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_moment_is_said_with_its_day() -> None:
    told = spoken_moment(datetime(2026, 12, 1, 19, 0), NOW)
    assert told == "at seven o'clock in the evening"
    assert spoken_moment(datetime(2026, 12, 2, 0, 0), NOW) == "at midnight"
    assert spoken_moment(datetime(2026, 12, 2, 7, 5), NOW) == (
        "tomorrow at five minutes past seven in the morning"
    )
    assert spoken_moment(datetime(2026, 12, 5, 12, 0), NOW) == "on Saturday at noon"
