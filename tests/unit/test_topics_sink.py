"""The sink before a wire: a stop at once and again, everything else in its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from turn_records import a_record

from edge_runtime.config import ActionConfig
from edge_runtime.health import Health
from edge_runtime.micro_turn import TURN_SAMPLES, Action
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sinks.messages import Publication, TurnMessages, stamp
from edge_runtime.sinks.topics_sink import StopRepeater, TopicsSink

WAIT_S = 30.0
NOW_NS = 1_700_000_000 * 10**9
STOP = Publication("action", "edge_interaction_msgs/Action", {"id": "1-stop_motion"})

MAPPED = {
    "stop_motion": ActionConfig(ros_topic="cmd_vel", ros_type="geometry_msgs/Twist"),
    "come": ActionConfig(ros_topic="cmd_vel", ros_type="geometry_msgs/Twist", forward_m_s=0.2),
    "nod": ActionConfig(ros_topic="gesture"),
}


class Wire:
    """Keeps what is written; its gate holds up everything but a stop."""

    def __init__(self) -> None:
        self.written: list[Publication] = []
        self.threads: list[int] = []
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.failures = 0
        self.passes = is_stop

    def write(self, publication: Publication) -> None:
        if not self.passes(publication):
            assert self.gate.wait(WAIT_S)
        with self.changed:
            self.written.append(publication)
            self.threads.append(threading.get_ident())
            self.changed.notify_all()
            if self.failures:
                self.failures -= 1
                raise OSError("the network is gone")

    def topics(self) -> list[str]:
        return [one.topic for one in self.written]

    def wait_for(self, count: int) -> None:
        self.wait_until(lambda: len(self.written) >= count)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_S)


def is_stop(publication: Publication) -> bool:
    return "stop_motion" in str(publication.message.get("id", ""))


def speed(publication: Publication) -> float | None:
    """Of a Twist."""
    linear = publication.message.get("linear")
    return None if linear is None else linear["x"]


def speeds(wire: Wire) -> list[float]:
    return [found for one in wire.written if (found := speed(one)) is not None]


def messages() -> TurnMessages:
    return TurnMessages({}, "head")


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
        assert [one.message["id"] for one in wire.written] == ["100-stop_motion"]
        assert wire.threads == [threading.get_ident()]
        sink.acknowledge("100-stop_motion")
        wire.gate.set()
    assert sink.dropped > 0


def test_a_stop_is_repeated_for_a_while() -> None:
    wire = Wire()
    with StopRepeater(wire.write, every_s=0.01, for_s=0.05) as repeater:
        repeater.start([STOP], 1)
        wire.wait_for(6)
    assert wire.written == [STOP] * 6
    assert not repeater.repeating


def test_an_acknowledgement_ends_it_and_another_one_does_not() -> None:
    wire = Wire()
    with StopRepeater(wire.write, every_s=0.01, for_s=WAIT_S) as repeater:
        repeater.start([STOP], 1)
        repeater.acknowledge("7-wave")
        wire.wait_for(3)
        repeater.acknowledge("1-stop_motion")
        assert not repeater.repeating
        count = len(wire.written)
    assert len(wire.written) <= count + 1


def test_a_stop_that_could_not_be_written_is_written_again() -> None:
    wire = Wire()
    wire.failures = 2
    with StopRepeater(wire.write, every_s=0.01, for_s=0.03) as repeater:
        repeater.start([STOP], 1)
    assert len(wire.written) == 4


def test_a_later_motion_on_its_topic_is_not_cancelled() -> None:
    wire = Wire()
    with TopicsSink(wire, TurnMessages(MAPPED, "head")) as sink:
        sink.publish(a_record(1, actions=(Action("stop_motion"),)))
        wire.wait_until(lambda: speeds(wire).count(0.0) >= 2)
        sink.publish(a_record(2, actions=(Action("nod"),)))
        sink.publish(a_record(3, actions=(Action("come"),)))
        wire.wait_until(lambda: 0.2 in speeds(wire))
        told = sum(map(is_stop, wire.written))
        wire.wait_until(lambda: sum(map(is_stop, wire.written)) >= told + 3)
        sink.acknowledge("1-stop_motion")
    assert speeds(wire)[-1] == 0.2


def test_a_motion_that_was_decided_before_the_stop_is_cancelled() -> None:
    """It waits behind the network; the one of the same micro-turn counts no more."""
    wire = Wire()
    wire.gate.clear()
    wire.passes = lambda one: is_stop(one) or speed(one) == 0.0
    with TopicsSink(wire, TurnMessages(MAPPED, "head")) as sink:
        sink.publish(a_record(1, actions=(Action("come"),)))
        sink.publish(a_record(2, actions=(Action("come"), Action("stop_motion"))))
        wire.gate.set()
        wire.wait_until(lambda: speeds(wire).count(0.2) == 2)
        wire.wait_until(lambda: speeds(wire)[-1] == 0.0)
        sink.acknowledge("2-stop_motion")


def test_the_runtime_can_stop_the_body_more_than_once() -> None:
    wire = Wire()
    with TopicsSink(wire, messages(), wall_ns=lambda: NOW_NS) as sink:
        sink.halt()
        sink.halt()
        ids = [one.message["id"] for one in wire.written]
        sink.acknowledge("halt-2")
    assert ids[0] == "halt-1" and ids[-1] == "halt-2"
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


def test_on_a_virtual_clock_a_record_is_stamped_when_it_comes() -> None:
    wire = Wire()
    with TopicsSink(wire, messages(), realtime=False, wall_ns=lambda: NOW_NS) as sink:
        sink.publish(a_record(0, deadline_ns=200_000_000))
    assert wire.written[0].message["header"]["stamp"] == stamp(NOW_NS)


def test_diagnostics_come_once_a_second() -> None:
    wire = Wire()
    told = diagnostics("edge", Health(), NOW_NS)
    with TopicsSink(wire, messages(), diagnose=lambda stamp_ns: told) as sink:
        for index in range(11):
            sink.publish(a_record(index))
    assert wire.topics().count("micro_turn") == 11
    assert wire.topics().count("/diagnostics") == 3
