"""What the person says reaches those who speak ROS4HRI."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("edge_interaction_msgs", reason="the workspace is not built and sourced")
pytest.importorskip("hri_msgs", reason="hri_msgs is not installed")

from hri_msgs.msg import IdsList, LiveSpeech
from robot import Robot

from edge_interaction.hri import SPEECH, TRACKED, VOICE, HriWire
from edge_interaction.wire import RosWire, qos_profile
from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication, stamp


def test_a_transcript_is_live_speech_too() -> None:
    found: list[LiveSpeech] = []
    voices: list[IdsList] = []
    with Robot() as robot:
        node = robot.node
        node.create_subscription(LiveSpeech, SPEECH, found.append, qos_profile(topics.EVENTS))
        node.create_subscription(IdsList, TRACKED, voices.append, qos_profile(topics.STATE))
        inner = RosWire(node, [topics.USER_SPEECH])
        wire = HriWire(node, inner, "en")
        robot.wait_until(lambda: node.count_subscribers(SPEECH) == 1)
        for final in (False, True):
            header = {"stamp": stamp(5_000_000_001), "frame_id": "head"}
            message = {"header": header, "text": "WHAT TIME", "final": final}
            wire.write(Publication("user_speech", topics.USER_SPEECH.type, message))
        robot.wait_until(lambda: len(found) == 2 and bool(voices))
        wire.close()
        inner.close()
    assert [(one.incremental, one.final) for one in found] == [("WHAT TIME", ""), ("", "WHAT TIME")]
    assert (found[0].header.stamp.sec, found[0].header.stamp.nanosec) == (5, 1)
    assert voices[0].ids == [VOICE]
