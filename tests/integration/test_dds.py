"""The ROS 2 topics without ROS, read by a plain Cyclone DDS reader on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dds_peer import DOMAIN, LOOPBACK, Peer, listening, plain
from program import edge, needs_espeak, spoken, written
from turn_records import a_record

from edge_runtime.app import device
from edge_runtime.config import ActionConfig, Config
from edge_runtime.errors import ConfigError
from edge_runtime.health import LOOP, HealthMonitor, State
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    Delegation,
    Event,
    EventKind,
    Pcm,
    Request,
    TurnRecord,
    Utterance,
)
from edge_runtime.pacing import MonotonicClock, Pacer
from edge_runtime.remote_control import RemoteControl
from edge_runtime.senses import Senses, senses_for
from edge_runtime.sinks import topics
from edge_runtime.sinks.dds import NODE_INFO, DdsWire, idl_type
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sinks.message_types import type_hash
from edge_runtime.sinks.messages import TurnMessages, action_topics, pcm16, stamp
from edge_runtime.sinks.topics_sink import TopicsSink

ACTIONS = {
    "come": ActionConfig(ros_topic="cmd_vel", ros_type="geometry_msgs/Twist", forward_m_s=0.25),
    "turn_left": ActionConfig(
        ros_topic="turn", ros_type="geometry_msgs/TwistStamped", turn_rad_s=0.5
    ),
    "wave": ActionConfig(ros_topic="gesture"),
    "look_at": ActionConfig(ros_topic="/look_at", ros_type="geometry_msgs/PointStamped"),
}
NAMESPACE = "/robot"
ON_THE_WAY = 10
"""Micro-turns that may be under way at a time: far faster than 5 Hz, and no buffer overflows."""


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", LOOPBACK)


@pytest.fixture
def sink() -> Iterator[TopicsSink]:
    health = HealthMonitor()
    health.report(LOOP, State.OK)
    messages = TurnMessages(ACTIONS, "head", run="run")
    wire = DdsWire(
        DOMAIN, NAMESPACE, "edge", action_topics(ACTIONS), on_ack=lambda ack: sink.take_ack(ack)
    )
    sink = TopicsSink(
        wire, messages, diagnose=lambda ns: diagnostics("edge", health.snapshot(), ns)
    )
    with wire, sink:
        yield sink


def a_turn(index: int, **fields: object) -> TurnRecord:
    sound = np.full(TURN_SAMPLES, index / 32768, np.float32)
    return a_record(index, direction_rad=0.5, played=sound, **fields)


def test_every_topic_arrives(sink: TopicsSink) -> None:
    wanted = (*topics.PUBLISHED, *action_topics(ACTIONS))
    with listening(*wanted, namespace=NAMESPACE) as peer:
        peer.await_writers()
        request = Request("request-1", np.zeros(4, np.float32), "WHAT TIME IS IT")
        sink.publish(
            a_turn(
                0,
                heard="HELLO",
                say="greet",
                said=Utterance("utterance-1", "Hello — 你好", "greet"),
                actions=tuple(Action(name, 0.5) for name in ACTIONS),
                delegation=Delegation.DELEGATE,
                request=request,
                probabilities={
                    "floor": {"listen": 0.75, "speak": 0.25},
                    "seen": {"present": 0.75, "waving": 0.25},
                },
                frame=np.zeros((4, 6, 3), np.uint8),
            )
        )
        peer.wait_until(lambda: all(peer.counts().values()))
        found = {name: [plain(one) for one in kept] for name, kept in peer.messages.items()}
    assert found["utterance"][0]["text"] == "Hello — 你好"
    assert found["micro_turn"][0]["floor_names"] == ["listen", "speak"]
    assert found["micro_turn"][0]["floor_probabilities"] == [0.75, 0.25]
    assert found["seen"][0]["present"] and found["seen"][0]["names"] == ["present", "waving"]
    assert found["seen"][0]["chances"] == [0.75, 0.25]
    assert {one["name"]: one["confidence"] for one in found["action"]}["come"] == 0.5
    assert found["cmd_vel"][0]["linear"]["x"] == 0.25
    assert found["turn"][0]["twist"]["angular"]["z"] == 0.5
    assert found["turn"][0]["header"]["frame_id"] == "head"
    assert found["gesture"][0]["data"] == "wave"
    assert found["/look_at"][0]["point"]["y"] == pytest.approx(1.5 * np.sin(0.5))
    assert found["user_speech"][0]["text"] == "HELLO"
    assert found["delegation"][0]["request_id"] == "run-request-1"
    assert found["/diagnostics"][0]["status"][0]["name"] == "edge: loop"
    assert len(found["speech_audio"][0]["data"]) == TURN_SAMPLES


def test_a_minute_of_speech_arrives_without_a_gap(sink: TopicsSink) -> None:
    """300 micro-turns, faster than real time."""
    with listening(topics.SPEECH_AUDIO, namespace=NAMESPACE) as peer:
        peer.await_writers()
        arrived = peer.messages["speech_audio"]
        for index in range(300):
            peer.wait_until(lambda index=index: len(arrived) >= index - ON_THE_WAY)
            sink.publish(a_turn(index))
        peer.wait_until(lambda: len(arrived) == 300)
    assert [one.index for one in arrived] == list(range(300))
    assert [set(one.data) for one in arrived] == [{index} for index in range(300)]
    assert sink.dropped == 0


@pytest.mark.soak
def test_a_minute_in_real_time_arrives_without_a_gap(sink: TopicsSink) -> None:
    """300 micro-turns at 5 Hz; prints how evenly they came."""
    pacer, arrivals_s = Pacer(MonotonicClock()), []
    with listening(topics.SPEECH_AUDIO, namespace=NAMESPACE) as peer:
        peer.await_writers()
        arrived = peer.messages["speech_audio"]
        for index in range(300):
            tick = pacer.wait()
            sink.publish(a_turn(index))
            peer.wait_until(lambda index=index: len(arrived) > index)
            arrivals_s.append((time.monotonic_ns() - tick.due_ns) / 1e9)
    assert [one.index for one in arrived] == list(range(300))
    assert [set(one.data) for one in arrived] == [{index} for index in range(300)]
    assert sink.dropped == 0
    p50, p99 = np.percentile(arrivals_s, [50, 99]) * 1000
    print(f"60 s at 5 Hz: 300 of 300; after its deadline p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def test_who_comes_late_gets_the_last_state(sink: TopicsSink) -> None:
    with listening(topics.MICRO_TURN, namespace=NAMESPACE) as early:
        early.await_writers()
        for index in range(3):
            sink.publish(a_turn(index))
        early.wait_until(lambda: early.counts()["micro_turn"] == 3)
        with listening(topics.MICRO_TURN, topics.UTTERANCE, namespace=NAMESPACE) as late:
            late.wait_until(lambda: bool(late.messages["micro_turn"]))
            assert [one.index for one in late.messages["micro_turn"]] == [2]


def stops_heard(peer: Peer) -> list[str]:
    return [one.id for one in peer.messages["action"] if one.name == "stop_motion"]


def test_a_stop_is_repeated_until_it_is_acknowledged(sink: TopicsSink) -> None:
    with listening(topics.ACTION, namespace=NAMESPACE) as peer:
        peer.await_writers()
        acknowledge = peer.writer(topics.ACTION_ACK)
        sink.publish(a_turn(5, actions=(Action("wave"), Action("stop_motion"))))
        peer.wait_until(lambda: len(stops_heard(peer)) >= 2)
        header = {"stamp": stamp(0), "frame_id": ""}
        acknowledge({"header": header, "id": "run-5-stop_motion", "accepted": True, "detail": ""})
        peer.wait_until(lambda: not sink.stopping)
    assert set(stops_heard(peer)) == {"run-5-stop_motion"}
    assert len(stops_heard(peer)) <= 11


def test_an_acknowledgement_that_cannot_be_read_ends_nothing(
    sink: TopicsSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    header = {"stamp": stamp(0), "frame_id": ""}
    kind = idl_type(topics.ACTION_ACK.type)
    serialize = kind.serialize

    def garbled(sample: Any, **more: Any) -> bytes:
        return bytes(serialize(sample, **more)).replace(b"garble", b"\xff\xfe\xfd\xff\xfe\xfd")

    with listening(topics.ACTION, namespace=NAMESPACE) as peer:
        peer.await_writers()
        acknowledge = peer.writer(topics.ACTION_ACK)
        with monkeypatch.context() as patch:
            patch.setattr(kind, "serialize", garbled)
            for _ in range(3):
                acknowledge({"header": header, "id": "garble", "accepted": True, "detail": ""})
                peer.wait_until(lambda: "could not be read" in caplog.text)
        sink.publish(a_turn(5, actions=(Action("stop_motion"),)))
        peer.wait_until(lambda: bool(stops_heard(peer)))
        acknowledge({"header": header, "id": "run-5-stop_motion", "accepted": True, "detail": ""})
        peer.wait_until(lambda: not sink.stopping)
    assert len(stops_heard(peer)) <= 10
    assert caplog.text.count("could not be read") == 1


def test_a_stop_that_the_body_refuses_goes_on_and_the_reason_is_logged(
    sink: TopicsSink, caplog: pytest.LogCaptureFixture
) -> None:
    answer = {"header": {"stamp": stamp(0), "frame_id": ""}, "id": "run-5-stop_motion"}
    with listening(topics.ACTION, namespace=NAMESPACE) as peer:
        peer.await_writers()
        acknowledge = peer.writer(topics.ACTION_ACK)
        sink.publish(a_turn(5, actions=(Action("stop_motion"),)))
        acknowledge({**answer, "accepted": False, "detail": "the arm holds something"})
        peer.wait_until(lambda: "the arm holds something" in caplog.text)
        told = len(stops_heard(peer))
        peer.wait_until(lambda: len(stops_heard(peer)) > told)
        assert sink.stopping
        acknowledge({**answer, "accepted": True, "detail": ""})
        peer.wait_until(lambda: not sink.stopping)


def test_a_stop_outlives_the_run() -> None:
    """Nobody acknowledges: it is published eleven times, the last ones while the sink closes."""
    wire = DdsWire(DOMAIN, NAMESPACE, "edge")
    with listening(topics.ACTION, namespace=NAMESPACE) as peer, wire:
        peer.await_writers()
        with TopicsSink(wire, TurnMessages({}, "head", run="run")) as sink:
            sink.halt()
        peer.wait_until(lambda: len(stops_heard(peer)) == 11)
    assert set(stops_heard(peer)) == {"run-halt-1"}


def test_the_process_shows_as_a_node(sink: TopicsSink) -> None:
    qos = topics.Qos(reliable=True, depth=1, latched=True)
    with listening(topics.Topic("ros_discovery_info", NODE_INFO, qos)) as peer:
        peer.wait_until(lambda: bool(peer.messages["ros_discovery_info"]))
        (node,) = peer.messages["ros_discovery_info"][0].node_entities_info_seq
    assert (node.node_namespace, node.node_name) == (NAMESPACE, "edge")
    assert len(node.writer_gid_seq) == len(topics.PUBLISHED) + len(action_topics(ACTIONS))
    assert len(node.reader_gid_seq) == 1


def test_a_reader_sees_the_hash_of_each_type(sink: TopicsSink) -> None:
    with listening(*topics.PUBLISHED, namespace=NAMESPACE) as peer:
        peer.await_writers()
        found = peer.user_data()
    assert found == {
        topic.name: f"typehash={type_hash(topic.type)};".encode() for topic in topics.PUBLISHED
    }


def test_a_bad_domain_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "lots")
    with pytest.raises(ConfigError, match="ROS_DOMAIN_ID is 'lots'"), DdsWire(None, "/", "edge"):
        pass


ON_THIS_MACHINE = [
    {"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
    {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
]
WRITING = f"""
from edge_runtime.sinks.dds import DdsWire
for _ in range(2):
    with DdsWire({DOMAIN}, "{NAMESPACE}", "edge"):
        print("there", flush=True)
        input()
    input()
"""


@pytest.mark.parametrize("environment", ON_THIS_MACHINE)
def test_it_stays_on_this_machine_where_ros_would(environment: dict[str, str]) -> None:
    """The peer announces itself to this machine alone, and hears nobody who does not. And a device
    that is acquired again is there again."""
    whole = {**os.environ, "CYCLONEDDS_URI": "", **environment}
    with listening(topics.MICRO_TURN, namespace=NAMESPACE) as peer:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITING], stdin=-1, stdout=-1, text=True, env=whole
        )
        assert process.stdin is not None and process.stdout is not None
        with process:
            try:
                for _ in range(2):
                    assert process.stdout.readline() == "there\n"
                    peer.await_writers()
                    print(file=process.stdin, flush=True)
                    peer.wait_until(lambda: not peer.has_writers())
                    print(file=process.stdin, flush=True)
                assert process.wait(30) == 0
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("OFF", "nobody finds the topics of ros.dds"),
        ("localhost", "'localhost'; one of LOCALHOST, SUBNET"),
    ],
)
def test_a_range_that_cannot_be_meant_is_told(
    wanted: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", wanted)
    with pytest.raises(ConfigError, match=words), DdsWire(DOMAIN, "/", "edge"):
        pass


def test_without_cyclonedds_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedds.core", None)
    with pytest.raises(ConfigError, match=r"edge-runtime\[dds\]"), DdsWire(DOMAIN, "/", "edge"):
        pass


@needs_espeak
def test_a_device_is_on_the_topics_where_its_configuration_says_so(tmp_path: Path) -> None:
    config = written(
        tmp_path / "edge.yaml", f"ros: {{dds: true, domain: {DOMAIN}, namespace: {NAMESPACE}}}"
    )
    sound = spoken(tmp_path / "talk.wav", seconds=4.0)
    wanted = (topics.MICRO_TURN, topics.SPEECH_AUDIO, topics.DIAGNOSTICS)
    with listening(*wanted, namespace=NAMESPACE) as peer:
        result = edge("run", "--config", config, "--audio", sound, "--tail", "0", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        peer.wait_until(lambda: all(peer.counts().values()))
    names = {status.name for one in peer.messages["/diagnostics"] for status in one.status}
    assert {"edge: loop", "edge: microphone"} <= names


@needs_espeak
@pytest.mark.parametrize(
    ("audio", "gain"), [({"volume": 0.25}, 0.25), ({"mute": True, "volume": 0.25}, 0.0)]
)
def test_what_is_said_is_as_loud_as_the_loudspeaker_shall_be(
    audio: dict[str, object], gain: float, tmp_path: Path
) -> None:
    sound = spoken(tmp_path / "talk.wav", seconds=4.0)
    config = Config.model_validate(
        {
            "audio": {"source": str(sound), **audio},
            "ros": {"dds": True, "domain": DOMAIN, "namespace": NAMESPACE},
        }
    )
    control, kept = RemoteControl(), Kept()
    control.say("The door is open.")
    senses = senses_for(config, realtime=True)
    with (
        listening(topics.SPEECH_AUDIO, namespace=NAMESPACE) as peer,
        device(config, senses, [kept], control=control) as ready,
    ):
        peer.await_writers()
        ready.loop.run()
        arrived = peer.messages["speech_audio"]
        peer.wait_until(lambda: any(kept.played[one.index].any() for one in arrived))
    for one in arrived:
        np.testing.assert_array_equal(one.data, pcm16(kept.played[one.index] * gain))


class Kept(NothingHeld):
    """A sink that keeps what was given to the loudspeaker, by micro-turn."""

    def __init__(self) -> None:
        self.played: dict[int, Pcm] = {}

    def publish(self, record: TurnRecord) -> None:
        assert record.played is not None
        self.played[record.turn.index] = record.played


def test_after_it_is_left_nothing_is_written() -> None:
    with listening(topics.UTTERANCE) as peer:
        wire = DdsWire(DOMAIN, "/", "edge")
        with wire:
            peer.await_writers()
        wire.write(TurnMessages({}, "head").halt("halt-1", 0)[0])
        peer.wait_until(lambda: not peer.has_writers())
    assert peer.counts() == {"utterance": 0}


def test_events_of_a_run_are_told_in_their_order(sink: TopicsSink) -> None:
    with listening(topics.DELEGATION, namespace=NAMESPACE) as peer:
        peer.await_writers()
        for index, kind in enumerate((EventKind.LINK_UP, EventKind.LINK_DOWN)):
            sink.publish(a_turn(index, events=(Event(kind),)))
        peer.wait_until(lambda: peer.counts()["delegation"] == 2)
    assert [one.state for one in peer.messages["delegation"]] == [6, 7]


MOVES = f"""
ros: {{dds: true, domain: {DOMAIN}, namespace: {NAMESPACE}}}
actions:
  come: {{ros_topic: cmd_vel, ros_type: geometry_msgs/Twist, forward_m_s: 0.25, for_s: 60}}
"""
CMD_VEL = action_topics({"come": ACTIONS["come"]})[0]


@needs_espeak
@pytest.mark.parametrize("by", ["a signal", "the end of the recording"])
def test_a_run_that_ends_leaves_a_robot_that_stands(tmp_path: Path, by: str) -> None:
    """In the middle of a motion, and `stop_motion` is mapped to nothing."""
    config = written(tmp_path / "edge.yaml", MOVES)
    sound = spoken(tmp_path / "talk.wav", seconds=60.0 if by == "a signal" else 10.0)
    program = str(Path(__file__).parent / "coming_device.py")
    with listening(CMD_VEL, topics.ACTION, namespace=NAMESPACE) as peer:
        process = subprocess.Popen(
            [
                *(sys.executable, program, "run", "--config", str(config)),
                *("--audio", str(sound), "--tail", "0"),
            ],
            stdout=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        try:
            speeds = peer.messages["cmd_vel"]
            peer.wait_until(lambda: any(one.linear.x == 0.25 for one in speeds))
            if by == "a signal":
                process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
        peer.wait_until(lambda: not peer.has_writers())
    assert [one.linear.x for one in speeds[-11:]] == [0.0] * 11
    told = peer.messages["action"][-1]
    assert (told.name, told.source) == ("stop_motion", 2)
    assert "-halt-1" in told.id


@needs_espeak
@pytest.mark.parametrize("staged", [False, True])
def test_what_is_not_now_or_not_here_moves_no_robot(tmp_path: Path, staged: bool) -> None:
    """A recording on a virtual clock, and a device on a stage. What is entered later is seen, and
    nothing of these."""
    sound = spoken(tmp_path / "talk.wav")
    config = Config.model_validate(
        {"audio": {"source": str(sound)}, "ros": {"dds": True, "domain": DOMAIN}}
    )
    heard = senses_for(config, realtime=staged)
    senses = Senses(heard.audio, heard.frames, heard.clock, heard.realtime, staged=staged)
    later = DdsWire(DOMAIN, "/later", "edge")
    with (
        listening(topics.MICRO_TURN) as peer,
        listening(topics.MICRO_TURN, namespace="/later") as other,
        device(config, senses) as ready,
    ):
        ready.loop.run()
        with later:
            other.await_writers()
            assert not peer.has_writers()
    assert peer.counts() == {"micro_turn": 0}


@needs_espeak
def test_a_demonstration_moves_no_robot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")
    config = written(tmp_path / "edge.yaml", MOVES)
    with listening(topics.MICRO_TURN, topics.ACTION, namespace=NAMESPACE) as peer:
        result = edge("demo", "--config", config, "--seconds", "4", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert not peer.has_writers()
    assert peer.counts() == {"micro_turn": 0, "action": 0}
