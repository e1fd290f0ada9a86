"""Timers run on a given clock, say what they are for when due, and can be asked and cancelled."""

from __future__ import annotations

from datetime import datetime

import pytest

from edge_runtime.background.skills import plain
from edge_runtime.background.timers import (
    MANY_TO_TELL,
    MAX_TIMERS,
    MAX_UNTOLD,
    OVER,
    WHEN,
    Timers,
    parse_duration,
    spoken_duration,
)
from edge_runtime.pacing import VirtualClock

SECOND_NS = 1_000_000_000
NOW = datetime(2026, 12, 1, 14, 45)
"""A Tuesday."""


class Kitchen:
    """Timers on a virtual clock, spoken to in words."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.timers = Timers(self.clock.now_ns)

    def ask(self, text: str) -> str | None:
        return self.timers.answer(plain(text), NOW)

    def after(self, seconds: float) -> list[str]:
        """What the timers say that come due within the next `seconds`."""
        end_ns, told = self.clock.now_ns() + round(seconds * SECOND_NS), []
        while self.clock.now_ns() < end_ns:
            due_ns = next((timer.due_ns for timer in self.timers.running()), end_ns)
            self.clock.sleep_until(min(due_ns, end_ns))
            told += self.timers.pop_due()
        return [timer.text for timer in told]

    def asleep_for(self, seconds: float) -> list[str]:
        """What they say when the machine wakes up."""
        self.clock.sleep_until(self.clock.now_ns() + round(seconds * SECOND_NS))
        return [timer.text for timer in self.timers.pop_due()]


def test_one_that_was_due_while_the_machine_slept_says_so() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for ten minutes")
    kitchen.ask("remind me in two hours to call my mother")
    assert kitchen.asleep_for(4200) == ["Your ten minute timer was done one hour ago."]
    assert kitchen.asleep_for(3000 + 25) == ["This is your reminder: call your mother."]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("set a timer for five minutes", 300),
        ("set a timer for 5 minutes", 300),
        ("set me a timer for ten seconds", 10),
        ("start a ten minute timer", 600),
        ("set a twenty second timer", 20),
        ("timer for an hour", 3600),
        ("set a timer for half an hour", 1800),
        ("set a timer for an hour and a half", 5400),
        ("set a timer for one and a half hours", 5400),
        ("set a timer for two hours and thirty minutes", 9000),
        ("set a timer for a quarter of an hour", 900),
        ("set a timer for an hour and three quarters of an hour", 6300),
        ("set a timer for a minute and thirty seconds", 90),
        ("make a countdown of a hundred and five seconds", 105),
        ("set an alarm in two days", 172_800),
        ("set a timer for one second", 1),
        ("set a timer for a second", 1),
        ("set a timer for two point five minutes", 150),
        ("wake me up in twenty minutes", 1200),
        ("tell me when three minutes are up", 180),
        ("give me a timer for seven days", 604_800),
        ("set timer for 5 minutes", 300),
        ("set alarm in an hour", 3600),
        ("set a timer for 1 minute 30", 90),
        ("set a timer for one minute and thirty", 90),
        ("set a two hour fifteen timer", 8100),
        ("set a timer for an hour five", 3900),
    ],
)
def test_however_it_is_asked_for_the_timer_runs_that_long(said: str, seconds: int) -> None:
    kitchen = Kitchen()
    answer = kitchen.ask(said)
    assert answer == f"Your timer for {spoken_duration(seconds)} is set."
    assert kitchen.after(seconds - 0.001) == []
    assert len(kitchen.after(0.001)) == 1
    assert kitchen.after(10 * seconds) == [], "it speaks once"


@pytest.mark.parametrize(
    ("seconds", "noun", "adjective"),
    [
        (1, "one second", "one second"),
        (60, "one minute", "one minute"),
        (90, "one minute and thirty seconds", "one minute thirty second"),
        (600, "ten minutes", "ten minute"),
        (5400, "one hour and thirty minutes", "one hour thirty minute"),
        (
            90_061,
            "one day and one hour and one minute and one second",
            "one day one hour one minute one second",
        ),
        (0.5, "zero point five seconds", "zero point five second"),
        (0, "no time", "no time"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, noun: str, adjective: str) -> None:
    assert spoken_duration(seconds) == noun
    assert spoken_duration(seconds, adjective=True) == adjective


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("an hour and a half", 5400),
        ("half a minute", 30),
        ("2 minutes and a half", 150),
        ("1 hour 2 minutes and 3 seconds", 3723),
        ("0.25 hours", 900),
        ("quarter of an hour", 900),
        ("3 quarters of a minute", 45),
        ("1 hour 2 minutes 3", 3723),
        ("2 hours and 5", 7500),
    ],
)
def test_durations_are_understood(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_a_plain_timer_says_which_one_it_was() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for ninety seconds")
    assert kitchen.after(90) == ["Your one minute thirty second timer is done."]


@pytest.mark.parametrize(
    ("said", "errand"),
    [
        ("remind me in ten minutes to call my mother", "call your mother"),
        ("remind me to call my mother in ten minutes", "call your mother"),
        ("remind me in ten minutes that i am late", "you are late"),
        ("remind me in ten minutes about our meeting", "your meeting"),
        ("Please remind me to take a break in ten minutes.", "take a break"),
        ("remind me to put it in the oven in ten minutes", "put it in the oven"),
        ("remind me to check the second door in ten minutes", "check the second door"),
        ("remind me in ten minutes to take a second look", "take a second look"),
        ("set a timer for ten minutes for the pasta", "the pasta"),
        ("start a ten minute timer for my eggs", "your eggs"),
    ],
)
def test_an_errand_is_told_back_from_the_devices_side(said: str, errand: str) -> None:
    kitchen = Kitchen()
    assert kitchen.ask(said) == f"Okay, I will remind you in ten minutes: {errand}."
    assert kitchen.after(599) == []
    assert kitchen.after(1) == [f"This is your reminder: {errand}."]


def test_a_reminder_without_an_errand_is_a_timer() -> None:
    kitchen = Kitchen()
    assert kitchen.ask("remind me in five minutes") == "Your timer for five minutes is set."
    assert kitchen.after(300) == ["Your five minute timer is done."]


def test_two_timers_come_in_the_order_they_are_due() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for ten minutes")
    kitchen.ask("set a timer for two minutes")
    assert kitchen.after(120) == ["Your two minute timer is done."]
    assert kitchen.after(480) == ["Your ten minute timer is done."]


def test_timers_that_are_due_together_all_speak_the_earlier_first() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for three minutes")
    kitchen.ask("remind me in a minute to drink some water")
    assert kitchen.after(3600) == [
        "This is your reminder: drink some water.",
        "Your three minute timer is done.",
    ]


def test_the_time_left_counts_down() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for ten minutes")
    kitchen.after(210)
    for question in (
        "how long is left",
        "how much time is left",
        "how long is left on the timer",
        "how long until the timer",
        "how much time is left on my ten minute timer",
    ):
        answer = kitchen.ask(question)
        assert answer == "There are six minutes and thirty seconds left on your ten minute timer."
    kitchen.after(389.5)
    assert kitchen.ask("how long is left") == "There is one second left on your ten minute timer."


def test_the_time_left_is_told_for_each_timer_the_next_one_first() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for ten minutes")
    kitchen.ask("remind me in five minutes to eat something")
    kitchen.after(60)
    assert kitchen.ask("how long is left") == (
        "There are four minutes left on your five minute reminder, "
        "and nine minutes left on your ten minute timer."
    )
    for question in (
        "how long is left on the ten minute timer",
        "how long is left on the timer",
        "how long until the timer goes off",
    ):
        answer = kitchen.ask(question)
        assert answer == "There are nine minutes left on your ten minute timer."
    for question in ("how much time is left on my reminder", "what reminders do i have"):
        answer = kitchen.ask(question)
        assert answer == "There are four minutes left on your five minute reminder."


@pytest.mark.parametrize(
    "said",
    ["cancel the timer", "stop my timer", "cancel the five minute timer", "turn off the alarm"],
)
def test_a_cancelled_timer_never_speaks(said: str) -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for five minutes")
    assert kitchen.ask(said) == "Your five minute timer is cancelled."
    assert kitchen.after(3600) == []


def test_cancelling_by_its_length_leaves_the_other_running() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for two minutes")
    kitchen.ask("set a timer for ten minutes")
    assert kitchen.ask("cancel the ten minute timer") == "Your ten minute timer is cancelled."
    assert kitchen.after(3600) == ["Your two minute timer is done."]


def test_cancelling_without_a_name_takes_the_next_one_due() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for ten minutes")
    kitchen.ask("set a timer for two minutes")
    assert kitchen.ask("cancel the timer") == "Your two minute timer is cancelled."
    assert kitchen.after(3600) == ["Your ten minute timer is done."]


@pytest.mark.parametrize(
    ("said", "cancelled", "rung"),
    [
        ("cancel my reminder", "ten minute reminder", ["Your two minute timer is done."]),
        ("cancel the timer", "two minute timer", ["This is your reminder: go home."]),
        ("stop the alarm", "two minute timer", ["This is your reminder: go home."]),
        ("cancel all reminders", "ten minute reminder", ["Your two minute timer is done."]),
        ("cancel all timers", "two minute timer", ["This is your reminder: go home."]),
        ("cancel the ten minute timer", "ten minute reminder", ["Your two minute timer is done."]),
    ],
)
def test_a_reminder_is_not_cancelled_for_a_timer(
    said: str, cancelled: str, rung: list[str]
) -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for two minutes")
    kitchen.ask("remind me in ten minutes to go home")
    assert kitchen.ask(said) == f"Your {cancelled} is cancelled."
    assert kitchen.after(3600) == rung


def test_the_only_one_may_be_called_either() -> None:
    kitchen = Kitchen()
    kitchen.ask("remind me in five minutes")
    assert kitchen.ask("cancel my reminder") == "Your five minute timer is cancelled."
    kitchen.ask("set a timer for five minutes for the pasta")
    assert kitchen.ask("cancel all timers") == "Your five minute reminder is cancelled."
    assert kitchen.after(3600) == []


def test_all_reminders_are_none_of_the_timers() -> None:
    kitchen = Kitchen()
    kitchen.ask("set a timer for two minutes")
    assert kitchen.ask("cancel all reminders") == "There is no such reminder running."
    for errand in ("go home", "drink some water"):
        kitchen.ask(f"remind me in a minute to {errand}")
    assert kitchen.ask("cancel all my reminders") == "All two reminders are cancelled."
    assert kitchen.after(3600) == ["Your two minute timer is done."]


def test_all_timers_can_be_cancelled_at_once() -> None:
    kitchen = Kitchen()
    for minutes in ("one minute", "two minutes", "three minutes"):
        kitchen.ask(f"set a timer for {minutes}")
    assert kitchen.ask("cancel all timers") == "All three timers are cancelled."
    assert kitchen.after(3600) == []


def test_without_a_timer_there_is_nothing_left_and_nothing_to_cancel() -> None:
    kitchen = Kitchen()
    assert kitchen.ask("how long is left") == "There is no timer running."
    assert kitchen.ask("cancel the timer") == "There is no such timer running."
    assert kitchen.ask("how long is left on my reminder") == "There is no reminder running."
    kitchen.ask("set a timer for two minutes")
    assert kitchen.ask("cancel the five minute timer") == "There is no such timer running."
    assert kitchen.ask("how long is left on the five minute timer") == "There is no timer running."
    assert kitchen.after(120) == ["Your two minute timer is done."]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("set a timer for zero seconds", "A timer needs some time to run. How long should it be?"),
        (
            "set a timer for zero point zero one seconds",
            "A timer needs some time to run. How long should it be?",
        ),
        (
            "set a timer for eight days",
            "That is too long for me. I can wait for at most seven days.",
        ),
        ("set alarm for my sister", WHEN),
        ("remind me tomorrow to call my mother", WHEN),
        ("wake me up on friday", WHEN),
        ("set a timer for five", WHEN),
        ("remind me today at two", OVER),
    ],
)
def test_what_cannot_be_timed_is_refused_with_the_reason(said: str, answer: str) -> None:
    kitchen = Kitchen()
    assert kitchen.ask(said) == answer
    assert kitchen.timers.running() == []


def test_one_timer_too_many_is_refused_and_the_others_run_on() -> None:
    kitchen = Kitchen()
    for _ in range(MAX_TIMERS):
        kitchen.ask("set a timer for one minute")
    refused = kitchen.ask("set a timer for one second")
    assert refused == "There are sixteen timers running, and I cannot take more."
    assert len(kitchen.after(60)) == MAX_TIMERS
    assert kitchen.ask("set a timer for one second") == "Your timer for one second is set."


def test_no_more_are_set_than_can_be_told_and_none_of_these_is_forgotten() -> None:
    kitchen = Kitchen()
    for _ in range(2):
        for _ in range(MAX_TIMERS):
            kitchen.ask("set a timer for one minute")
        kitchen.after(60)
    assert [timer.number for timer in kitchen.timers.untold()] == list(range(1, MAX_UNTOLD + 1))
    assert kitchen.ask("set a timer for one second") == MANY_TO_TELL
    kitchen.timers.told("timer-1")
    assert kitchen.ask("set a timer for one second") == "Your timer for one second is set."


@pytest.mark.parametrize("said", ["what time is it", "set the heating to ten", "timer", ""])
def test_what_is_not_about_timers_is_left_to_others(said: str) -> None:
    kitchen = Kitchen()
    assert kitchen.ask(said) is None
    assert kitchen.timers.running() == []


HOUR_S = 3600


@pytest.mark.parametrize(
    ("said", "answer", "in_s", "told"),
    [
        (
            "wake me up at seven",
            "Okay, I will wake you tomorrow at seven o'clock in the morning.",
            16 * HOUR_S + 900,
            "This is your alarm for seven o'clock in the morning. It is time.",
        ),
        (
            "remind me at five to call my mother",
            "Okay, I will remind you at five o'clock in the afternoon: call your mother.",
            2 * HOUR_S + 900,
            "This is your reminder: call your mother.",
        ),
        (
            "please remind me to water the plants on friday at nine",
            "Okay, I will remind you on Friday at nine o'clock in the morning: water the plants.",
            66 * HOUR_S + 900,
            "This is your reminder: water the plants.",
        ),
        (
            "Set an alarm for 6:30 tomorrow morning.",
            "Okay, I will wake you tomorrow at half past six in the morning.",
            15 * HOUR_S + 2700,
            "This is your alarm for half past six in the morning. It is time.",
        ),
        (
            "set a seven o'clock alarm",
            "Okay, I will wake you tomorrow at seven o'clock in the morning.",
            16 * HOUR_S + 900,
            "This is your alarm for seven o'clock in the morning. It is time.",
        ),
        (
            "set a reminder for a quarter to eight in the evening",
            "Okay, I will remind you at a quarter to eight in the evening.",
            5 * HOUR_S,
            "This is your alarm for a quarter to eight in the evening. It is time.",
        ),
    ],
)
def test_a_time_of_day_is_waited_for(said: str, answer: str, in_s: float, told: str) -> None:
    kitchen = Kitchen()
    assert kitchen.ask(said) == answer
    assert kitchen.after(in_s - 1) == []
    assert kitchen.after(1) == [told]


def test_an_alarm_is_told_from_a_timer_when_it_is_asked_for_or_cancelled() -> None:
    kitchen = Kitchen()
    for said in ("set a timer for ten minutes", "wake me at seven", "wake me at eight"):
        kitchen.ask(said)
    for question in ("when is my alarm", "how long until the alarm", "what alarms do i have"):
        assert kitchen.ask(question) == (
            "There are sixteen hours and fifteen minutes left until your alarm for seven o'clock "
            "in the morning, and seventeen hours and fifteen minutes left until your alarm for "
            "eight o'clock in the morning."
        )
    gone = "Your alarm for eight o'clock in the morning is cancelled."
    assert kitchen.ask("cancel the eight o'clock alarm") == gone
    assert kitchen.ask("cancel the alarm for nine") == "There is no such alarm running."
    gone = "Your alarm for seven o'clock in the morning is cancelled."
    assert kitchen.ask("turn off my alarm") == gone
    assert kitchen.ask("cancel the timer") == "Your ten minute timer is cancelled."


def test_an_alarm_that_was_due_while_the_machine_slept_says_so() -> None:
    kitchen = Kitchen()
    kitchen.ask("wake me up at seven")
    assert kitchen.asleep_for(17 * HOUR_S) == [
        "This is your alarm for seven o'clock in the morning. "
        "It should have rung forty-five minutes ago."
    ]


@pytest.mark.parametrize(
    "said",
    [
        "set a pizza timer for ten minutes",
        "set a timer called pizza for ten minutes",
        "set a timer for ten minutes called pizza",
        "set a ten minute timer named pizza",
        "pizza timer for ten minutes",
    ],
)
def test_a_timer_may_have_a_name(said: str) -> None:
    kitchen = Kitchen()
    assert kitchen.ask(said) == "Your pizza timer for ten minutes is set."
    kitchen.ask("set a green tea timer for ten minutes")
    kitchen.ask("set a timer for three minutes")
    left = kitchen.ask("how long is left on the pizza timer")
    assert left == "There are ten minutes left on your pizza timer."
    assert kitchen.ask("cancel the soup timer") == "There is no such timer running."
    assert kitchen.ask("cancel the green tea timer") == "Your green tea timer is cancelled."
    assert kitchen.after(3600) == ["Your three minute timer is done.", "Your pizza timer is done."]


@pytest.mark.parametrize("which", ["a new", "another", "a"])
def test_what_is_no_name(which: str) -> None:
    kitchen = Kitchen()
    assert kitchen.ask(f"set {which} timer for ten minutes") == "Your timer for ten minutes is set."
    assert kitchen.ask("cancel the last timer") is None
    assert kitchen.ask("cancel the timer") == "Your ten minute timer is cancelled."
