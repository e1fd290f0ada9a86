"""The sink before a wire: a stop at once and again, everything else in its turn."""

from __future__ import annotations

import threading
import time

import numpy as np
from turn_records import a_record

from edge_runtime.health import Health
from edge_runtime.micro_turn import TURN_SAMPLES, Action
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sinks.messages import Publication, TurnMessages, stamp
from edge_runtime.sinks.topics_sink import StopRepeater, TopicsSink

WAIT_S = 30.0
NOW_NS = 1_700_000_000 * 10**9
STOP = Publication("action", "edge_interaction_msgs/Action", {"id": "1-stop_motion"})


class Wire:
    """Keeps what is written; its gate holds up everything but a stop."""

    def __init__(self) -> None:
        self.written: list[Publication] = []
        self.threads: list[int] = []
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.failures = 0

    def write(self, publication: Publication) -> None:
        if not is_stop(publication):
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
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.written) >= count, WAIT_S)


def is_stop(publication: Publication) -> bool:
    return "stop_motion" in str(publication.message.get("id", ""))


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
        repeater.start([STOP])
        wire.wait_for(6)
    assert wire.written == [STOP] * 6
    assert not repeater.repeating


def test_an_acknowledgement_ends_it_and_another_one_does_not() -> None:
    wire = Wire()
    with StopRepeater(wire.write, every_s=0.01, for_s=WAIT_S) as repeater:
        repeater.start([STOP])
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
        repeater.start([STOP])
    assert len(wire.written) == 4


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
