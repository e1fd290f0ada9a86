"""Stops again and again, speeds while they last; what takes whose place, what waits for what."""

from __future__ import annotations

import threading

import pytest
from kept_wire import WAIT_S, Wire, speeds

from edge_runtime.sinks.messages import Publication
from edge_runtime.sinks.repeater import Repeater

STOP = Publication("action", "edge_interaction_msgs/Action", {"id": "1-stop_motion"})


def twist(forward_m_s: float, for_s: float = 0.0, topic: str = "cmd_vel") -> Publication:
    ahead, still = {"x": forward_m_s, "y": 0.0, "z": 0.0}, {"x": 0.0, "y": 0.0, "z": 0.0}
    message = {"linear": ahead, "angular": still}
    return Publication(topic, "geometry_msgs/Twist", message, for_s)


ZEROS = twist(0.0)


def test_a_stop_is_repeated_for_a_while() -> None:
    wire = Wire()
    with Repeater(wire.write, every_s=0.01, for_s=0.05) as repeater:
        repeater.stop([STOP], 1)
        wire.wait_for(6)
    assert wire.written == [STOP] * 6
    assert not repeater.repeating


def test_an_acknowledgement_ends_it_and_another_one_does_not() -> None:
    wire = Wire()
    with Repeater(wire.write, every_s=0.01, for_s=WAIT_S) as repeater:
        repeater.stop([STOP], 1)
        repeater.acknowledge("7-wave")
        wire.wait_for(3)
        repeater.acknowledge("1-stop_motion")
        assert not repeater.repeating
        count = len(wire.written)
    assert len(wire.written) <= count + 1


def test_a_stop_that_could_not_be_written_is_written_again() -> None:
    wire = Wire()
    wire.failures = 2
    with Repeater(wire.write, every_s=0.01, for_s=0.03) as repeater:
        repeater.stop([STOP], 1)
    assert len(wire.written) == 4


@pytest.mark.parametrize(("for_s", "times"), [(0.05, 5), (0.01, 1), (0.001, 1)])
def test_a_speed_goes_on_for_its_time_and_then_zeros_do(for_s: float, times: int) -> None:
    wire = Wire()
    with Repeater(wire.write, every_s=0.01, for_s=0.03) as repeater:
        repeater.move(twist(0.2, for_s), 1)
        wire.wait_for(times + 4)
    assert wire.written == [twist(0.2, for_s)] * times + [ZEROS] * 4


def test_another_speed_takes_its_place_on_that_topic_only() -> None:
    wire = Wire()
    with Repeater(wire.write, every_s=0.01, for_s=0.03) as repeater:
        repeater.move(twist(0.2, WAIT_S), 1)
        repeater.move(twist(0.4, WAIT_S, "arm"), 1)
        wire.wait_until(lambda: speeds(wire).count(0.2) >= 3 and speeds(wire).count(0.4) >= 3)
        repeater.move(twist(0.3, WAIT_S), 2)
        begun = len(wire.written)
        wire.wait_for(begun + 6)
        later = wire.written[begun:]
    assert {one.message["linear"]["x"] for one in later if one.topic == "cmd_vel"} == {0.3}
    assert {one.message["linear"]["x"] for one in later if one.topic == "arm"} == {0.4}


def test_a_stop_takes_the_place_of_every_speed() -> None:
    wire = Wire()
    with Repeater(wire.write, every_s=0.01, for_s=0.03) as repeater:
        repeater.move(twist(0.2, WAIT_S), 1)
        wire.wait_for(3)
        repeater.stop([STOP, ZEROS], 2)
        repeater.move(twist(0.2, WAIT_S), 2)
        wire.wait_until(lambda: not repeater.repeating)
    assert wire.written.count(STOP) == wire.written.count(ZEROS) == 4
    found = speeds(wire)
    assert found[found.index(0.0) :].count(0.2) <= 1, "what was just being written"
    assert found[-3:] == [0.0] * 3


def test_a_stop_waits_for_no_speed_that_is_stuck() -> None:
    wire = Wire()
    wire.passes = lambda one: one != twist(0.2, WAIT_S)
    wire.gate.clear()
    with Repeater(wire.write, every_s=0.01, for_s=0.03) as repeater:
        moving = threading.Thread(target=repeater.move, args=(twist(0.2, WAIT_S), 1))
        moving.start()
        wire.wait_until(lambda: repeater.repeating)
        repeater.stop([STOP, ZEROS], 2)
        assert wire.written[:2] == [STOP, ZEROS]
        wire.gate.set()
        moving.join(WAIT_S)


def test_leaving_cuts_a_speed_short_to_its_zeros() -> None:
    wire = Wire()
    with Repeater(wire.write, every_s=0.01, for_s=0.03) as repeater:
        repeater.move(twist(0.2, WAIT_S), 1)
    assert wire.written[0] == twist(0.2, WAIT_S)
    assert wire.written[-4:] == [ZEROS] * 4 and len(wire.written) < 1000
