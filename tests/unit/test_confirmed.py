"""An answer that speaks of an action waits for it, and is not told of one that was not done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime.delegation.confirmed import ConfirmedBackground
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import Event, EventKind, Request
from edge_runtime.pacing import VirtualClock

PATIENCE_S = 0.5
LAMP = Event(EventKind.ACTION, "request-1", "lamp_on")
HEATER = Event(EventKind.ACTION, "request-1", "heater_on")
WAVE = Event(EventKind.ACTION, "request-1", "wave")
ON = Event(EventKind.RESULT, "request-1", "It is on.")
NOT_THERE = Event(EventKind.RESULT, "request-1", "I cannot.")


class Answers(NothingHeld):
    """A background model that tells what the test lays ready."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.asked: list[str] = []
        self.cancelled: list[str] = []

    def submit(self, request: Request) -> None:
        self.asked.append(request.id)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def poll(self) -> Sequence[Event]:
        told, self.told = self.told, []
        return told


class House:
    """Does what the test says."""

    only_here = frozenset({"lamp_on", "heater_on"})

    def __init__(self) -> None:
        self.ended: dict[str, list[str | None]] = {}
        """Of each action: every try, and why it failed; None while that is not known."""

    def tries(self, name: str) -> int:
        return len(self.ended.get(name, []))

    def outcome(self, name: str, tries: int) -> str | None:
        later = self.ended.get(name, [])[tries:]
        return later[-1] if later else None


class Device:
    def __init__(self) -> None:
        self.answers, self.house, self.clock = Answers(), House(), VirtualClock()
        self.background = ConfirmedBackground(
            self.answers, self.house, lambda: "I cannot.", self.clock, PATIENCE_S
        )

    def told(self, *events: Event) -> list[Event]:
        """What is told in the micro-turn in which these come."""
        self.answers.told = list(events)
        return list(self.background.poll())

    def does(self, action: str, outcome: str | None = "") -> None:
        self.house.ended.setdefault(action, []).append(outcome)


def test_an_answer_waits_until_its_action_has_gone_out() -> None:
    device = Device()
    assert device.told(LAMP, ON) == [LAMP]
    device.does("lamp_on", None)
    assert device.told() == []
    device.does("lamp_on")
    assert device.told() == [ON]
    assert device.told() == []
    assert device.answers.cancelled == []


def test_of_an_action_that_failed_the_answer_is_not_told_but_that() -> None:
    device = Device()
    device.told(LAMP, ON)
    device.does("lamp_on", "no connection")
    assert device.told() == [Event(EventKind.UNDONE, "request-1", "no connection"), NOT_THERE]
    assert device.told() == []


def test_an_action_of_which_nothing_is_heard_has_failed_after_a_while() -> None:
    device = Device()
    device.told(LAMP, ON)
    device.clock.sleep_until(int(PATIENCE_S * 1e9))
    assert device.told() == []
    device.clock.sleep_until(int(PATIENCE_S * 1e9) + 1)
    assert device.told()[1:] == [NOT_THERE]


def test_what_came_of_it_before_says_nothing_of_this_time() -> None:
    device = Device()
    device.does("lamp_on")
    device.does("lamp_on", "no connection")
    assert device.told(LAMP, ON) == [LAMP]
    assert device.told() == []
    device.does("lamp_on")
    assert device.told() == [ON]


def test_each_action_of_a_request_must_have_gone_out() -> None:
    device = Device()
    first = Event(EventKind.PARTIAL, "request-1", "Here you are.")
    assert device.told(LAMP, first, HEATER, ON) == [LAMP, HEATER], "they are done at once"
    device.does("lamp_on")
    assert device.told() == []
    device.does("heater_on")
    assert device.told() == [first, ON]


def test_of_an_agent_that_is_still_speaking_nothing_more_is_heard() -> None:
    device = Device()
    before = Event(EventKind.PARTIAL, "request-1", "One moment.")
    assert device.told(before, LAMP) == [before, LAMP]
    device.does("lamp_on", "nobody listens there")
    assert device.told()[1:] == [NOT_THERE]
    assert device.answers.cancelled == ["request-1"]


def test_others_and_other_ways_out_are_not_waited_for() -> None:
    device = Device()
    other = Event(EventKind.RESULT, "request-2", "It is noon.")
    assert device.told(LAMP, ON, other) == [LAMP, other]
    assert device.told(WAVE) == [WAVE]
    assert Device().told(WAVE, ON) == [WAVE, ON]


def test_of_what_was_taken_back_nothing_is_told() -> None:
    device = Device()
    device.background.submit(Request("request-1", np.zeros(0, np.float32)))
    device.told(LAMP, ON)
    device.background.cancel("request-1")
    device.does("lamp_on", "no connection")
    assert device.told() == []
    assert (device.answers.asked, device.answers.cancelled) == (["request-1"], ["request-1"])
