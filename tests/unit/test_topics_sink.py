"""The sink before a wire: a stop at once and again, everything else in its turn."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
from kept_wire import WAIT_S, Wire, is_stop, speed, speeds
from turn_records import a_record

from edge_runtime.config import ActionConfig
from edge_runtime.health import Health
from edge_runtime.micro_turn import TURN_SAMPLES, Action
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sinks.messages import TurnMessages, stamp
from edge_runtime.sinks.topics_sink import TopicsSink

NOW_NS = 1_700_000_000 * 10**9
MAPPED = {
    "stop_motion": ActionConfig(ros_topic="cmd_vel", ros_type="geometry_msgs/Twist"),
    "come": ActionConfig(
        ros_topic="cmd_vel", ros_type="geometry_msgs/Twist", forward_m_s=0.2, for_s=WAIT_S
    ),
    "nod": ActionConfig(ros_topic="gesture"),
}


def messages(actions: Mapping[str, ActionConfig] | None = None) -> TurnMessages:
    return TurnMessages(actions or {}, "head", run="run")


def ids(wire: Wire) -> set[str]:
    """Of the actions on `action`."""
    return {one.message["id"] for one in wire.written if one.topic == "action"}


def test_a_record_becomes_its_messages_in_order() -> None:
    wire = Wire()
    played = np.zeros(TURN_SAMPLES, np.float32)
    with TopicsSink(wire, messages()) as sink:
        sink.publish(a_record(0, actions=(Action("wave"),), heard="HI", played=played))
    assert wire.topics() == ["action", "speech_audio", "user_speech", "micro_turn"]


def test_a_stop_passes_by_a_wire_that_is_stuck() -> None:
    wire = Wire()
    wire.gate.clear()
    with TopicsSink(wire, messages()) as sink:
        for index in range(100):
            sink.publish(a_record(index))
        sink.publish(a_record(100, actions=(Action("stop_motion"),)))
        assert [one.message["id"] for one in wire.written] == ["run-100-stop_motion"]
        assert wire.threads == [threading.get_ident()]
        sink.acknowledge("run-100-stop_motion")
        wire.gate.set()
    assert sink.dropped > 0


def test_a_later_motion_on_its_topic_is_not_cancelled() -> None:
    wire = Wire()
    with TopicsSink(wire, messages(MAPPED)) as sink:
        sink.publish(a_record(1, actions=(Action("stop_motion"),)))
        wire.wait_until(lambda: speeds(wire).count(0.0) >= 2)
        sink.publish(a_record(2, actions=(Action("nod"),)))
        sink.publish(a_record(3, actions=(Action("come"),)))
        wire.wait_until(lambda: 0.2 in speeds(wire))
        told = sum(map(is_stop, wire.written))
        wire.wait_until(lambda: sum(map(is_stop, wire.written)) >= told + 3)
        sink.acknowledge("run-1-stop_motion")
        found = speeds(wire)
    assert set(found[found.index(0.2) :]) == {0.2}


def test_a_motion_that_was_decided_before_the_stop_does_not_begin() -> None:
    """It waits behind the network; the one of the same micro-turn counts no more."""
    wire = Wire()
    wire.gate.clear()
    wire.passes = lambda one: is_stop(one) or speed(one) == 0.0
    with TopicsSink(wire, messages(MAPPED)) as sink:
        sink.publish(a_record(1, actions=(Action("come"),)))
        sink.publish(a_record(2, actions=(Action("come"), Action("stop_motion"))))
        wire.gate.set()
        wire.wait_until(lambda: wire.topics().count("micro_turn") == 2)
        wire.wait_until(lambda: speeds(wire).count(0.0) >= 2)
    assert set(speeds(wire)) == {0.0}


def test_nothing_that_was_decided_before_a_stop_or_with_it_follows_it() -> None:
    """Nor does what the body would do once, such as a gesture; what is told is told."""
    wire = Wire()
    wire.gate.clear()
    wire.passes = lambda one: is_stop(one) or speed(one) == 0.0
    with TopicsSink(wire, messages(MAPPED)) as sink:
        sink.publish(a_record(0))  # the network is slow
        sink.publish(a_record(1, actions=(Action("nod"),), heard="HELLO"))
        stop_and_nod = (Action("stop_motion"), Action("nod"))
        sink.publish(a_record(2, actions=stop_and_nod, asked_actions=(Action("come"),)))
        sink.publish(a_record(3, actions=(Action("nod"),)))
        wire.gate.set()
        wire.wait_until(lambda: wire.topics().count("micro_turn") == 4)
        sink.acknowledge("run-2-stop_motion")
    assert ids(wire) == {"run-2-stop_motion", "run-3-nod"}
    assert wire.topics().count("gesture") == wire.topics().count("user_speech") == 1


def test_what_the_micro_turn_under_way_decides_does_not_follow_a_stop_from_outside() -> None:
    wire = Wire()
    with TopicsSink(wire, messages(MAPPED)) as sink:
        sink.publish(a_record(1))
        sink.halt()
        sink.publish(a_record(2, actions=(Action("nod"), Action("come"))))
        sink.publish(a_record(3, actions=(Action("nod"),)))
        wire.wait_until(lambda: "run-3-nod" in ids(wire))
        sink.acknowledge("run-halt-1")
    assert ids(wire) == {"run-halt-1", "run-3-nod"}
    assert wire.topics().count("gesture") == 1 and set(speeds(wire)) == {0.0}


def test_a_motion_ends_with_a_stop_at_once_and_is_not_taken_up_again() -> None:
    wire = Wire()
    with TopicsSink(wire, messages({"come": MAPPED["come"]})) as sink:
        sink.publish(a_record(1, actions=(Action("come"),)))
        wire.wait_until(lambda: speeds(wire).count(0.2) >= 3)
        sink.publish(a_record(2, actions=(Action("stop_motion"),)))
        wire.wait_until(lambda: speeds(wire).count(0.0) >= 5)
    found = speeds(wire)
    assert found[found.index(0.0) :].count(0.2) <= 1, "what was just being written"
    assert found[-9:] == [0.0] * 9


def test_an_acknowledged_stop_goes_on_for_the_base() -> None:
    """Who acknowledges need not be who drives."""
    wire = Wire()
    with TopicsSink(wire, messages(MAPPED)) as sink:
        sink.publish(a_record(1, actions=(Action("stop_motion"),)))
        sink.acknowledge("run-1-stop_motion")
    assert sum(map(is_stop, wire.written)) == 1
    assert speeds(wire) == [0.0] * 11


def test_what_the_body_refuses_is_logged_sparingly_and_a_stop_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire = Wire()
    with TopicsSink(wire, messages()) as sink:
        sink.publish(a_record(1, actions=(Action("stop_motion"),)))
        for detail in ["held\nby a hand" + 1000 * "!", "", None]:
            ack = SimpleNamespace(id="run-1-stop_motion", accepted=False, detail=detail)
            sink.take_ack(ack)
        assert sink.stopping
        (told,) = caplog.messages
        assert told.startswith(
            "the body refuses the action 'run-1-stop_motion': 'held\\nby a hand!"
        )
        assert len(told) < 500
        told_so_far = len(wire.written)
        wire.wait_for(told_so_far + 2)
        sink.take_ack(SimpleNamespace(id="run-1-stop_motion", accepted=True, detail=""))
        assert not sink.stopping


def test_a_motion_does_not_outlive_its_sender() -> None:
    wire = Wire()
    with TopicsSink(wire, messages(MAPPED)) as sink:
        sink.publish(a_record(1, actions=(Action("come"),)))
    assert speeds(wire)[0] == 0.2 and speeds(wire)[-11:] == [0.0] * 11


def test_each_repetition_of_a_stamped_speed_has_its_own_stamp() -> None:
    come = MAPPED["come"].model_copy(update={"ros_type": "geometry_msgs/TwistStamped"})
    wire, seconds = Wire(), itertools.count(1)
    sink = TopicsSink(wire, messages({"come": come}), wall_ns=lambda: next(seconds) * 10**9)
    with sink:
        sink.publish(a_record(1, actions=(Action("come"),)))
        wire.wait_until(lambda: wire.topics().count("cmd_vel") >= 4)
    headers = [one.message["header"] for one in wire.written if one.topic == "cmd_vel"]
    stamps = [header["stamp"]["sec"] for header in headers]
    assert stamps == sorted(set(stamps))
    assert {header["frame_id"] for header in headers} == {"head"}


def test_the_runtime_can_stop_the_body_more_than_once() -> None:
    wire = Wire()
    with TopicsSink(wire, messages(), wall_ns=lambda: NOW_NS) as sink:
        sink.halt()
        sink.halt()
        ids = [one.message["id"] for one in wire.written]
        sink.acknowledge("run-halt-2")
    assert ids[0] == "run-halt-1" and ids[-1] == "run-halt-2"
    assert wire.written[0].message["header"]["stamp"] == stamp(NOW_NS)


def test_a_record_is_stamped_with_the_end_of_its_sound() -> None:
    """On the clock that stamps are in, however long ago on the monotonic one."""
    wire = Wire()
    ago_ns = 10**9
    captured_ns = time.monotonic_ns() - ago_ns
    with TopicsSink(wire, messages(), wall_ns=lambda: NOW_NS) as sink:
        sink.publish(a_record(0, deadline_ns=captured_ns + 200_000_000))
    found = wire.written[0].message["header"]["stamp"]
    age_ns = NOW_NS - found["sec"] * 10**9 - found["nanosec"]
    assert ago_ns <= age_ns < ago_ns + WAIT_S * 10**9


def test_diagnostics_come_once_a_second() -> None:
    wire = Wire()
    told = diagnostics("edge", Health(), NOW_NS)
    with TopicsSink(wire, messages(), diagnose=lambda stamp_ns: told) as sink:
        for index in range(11):
            sink.publish(a_record(index))
    assert wire.topics().count("micro_turn") == 11
    assert wire.topics().count("/diagnostics") == 3
