"""What the person says for ROS4HRI (REP-155), where `hri_msgs` is installed: one voice, of somebody
who is not known."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rosidl_runtime_py.utilities import get_message

from edge_interaction.wire import qos_profile
from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication
from edge_runtime.sinks.topics_sink import Wire

VOICE = "anonymous_speaker"
"""As other recognisers call a voice that they do not tell apart."""
TRACKED = "/humans/voices/tracked"
SPEECH = f"/humans/voices/{VOICE}/speech"


class HriWire:
    """Writes what it is given, and a LiveSpeech beside each UserSpeech.

    Raises ModuleNotFoundError where `hri_msgs` is not installed.
    """

    def __init__(self, node: Node, inner: Wire, language: str) -> None:
        self._node, self._inner, self._language = node, inner, language
        ids = get_message("hri_msgs/msg/IdsList")
        self._speech_class = get_message("hri_msgs/msg/LiveSpeech")
        self._tracked = node.create_publisher(ids, TRACKED, qos_profile(topics.STATE))
        self._speech = node.create_publisher(self._speech_class, SPEECH, qos_profile(topics.EVENTS))
        self._tracked.publish(ids(ids=[VOICE]))

    def write(self, publication: Publication) -> None:
        self._inner.write(publication)
        if publication.topic == topics.USER_SPEECH.name:
            self._speech.publish(self._live_speech(publication))

    def close(self) -> None:
        for publisher in (self._tracked, self._speech):
            self._node.destroy_publisher(publisher)

    def _live_speech(self, publication: Publication) -> Any:
        """Without a confidence: the model tells none."""
        heard, speech = publication.message, self._speech_class()
        stamp = heard["header"]["stamp"]
        speech.header.stamp.sec, speech.header.stamp.nanosec = stamp["sec"], stamp["nanosec"]
        speech.header.frame_id = heard["header"]["frame_id"]
        setattr(speech, "final" if heard["final"] else "incremental", heard["text"])
        # One and the same, in different versions of the message.
        for name in ("language", "locale"):
            if hasattr(speech, name):
                setattr(speech, name, self._language)
        return speech
