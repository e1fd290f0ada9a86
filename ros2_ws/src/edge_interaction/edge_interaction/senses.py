"""The node's subscriptions: what drivers hear and see, and what the body acknowledges."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.node import Node

from edge_interaction.wire import message_class, qos_profile
from edge_runtime.config import Config
from edge_runtime.senses import Senses
from edge_runtime.sinks import topics
from edge_runtime.sinks.topics_sink import TopicsSink
from edge_runtime.sources.ros_topics import TopicCamera, TopicMicrophone


class Subscriptions:
    """Hands messages on to the senses that want them, in the executor's thread."""

    def __init__(self, node: Node, config: Config, senses: Senses, sink: TopicsSink) -> None:
        self._node = node
        self._subscriptions: list[Any] = []
        self._names: list[str] = []
        self._subscribe(topics.ACTION_ACK, sink.take_ack)
        ear, eye = senses.audio, senses.frames
        if isinstance(ear, TopicMicrophone):
            self._subscribe(topics.AUDIO_IN, ear.feed)
            rate_hz, channels = config.ros.audio_rate_hz, config.ros.audio_channels
            try:
                self._subscribe(
                    topics.AUDIO_STAMPED, lambda heard: ear.feed_raw(heard, rate_hz, channels)
                )
                self._subscribe(topics.AUDIO_INFO, ear.take_info)
            except (ModuleNotFoundError, AttributeError) as error:
                node.get_logger().debug(f"audio_common_msgs (ros-drivers) is not there: {error}")
        if isinstance(eye, TopicCamera):
            feeds = {topics.IMAGE: eye.feed, topics.COMPRESSED_IMAGE: eye.feed_compressed}
            for topic in topics.IMAGES[config.ros.image_transport]:
                self._subscribe(topic, feeds[topic])
        heard = (node.resolve_topic_name(name) for name in self._names)
        node.get_logger().info(f"it listens on {', '.join(heard)}")

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _subscribe(self, topic: topics.Topic, take: Any) -> None:
        self._subscriptions.append(
            self._node.create_subscription(
                message_class(topic.type), topic.name, take, qos_profile(topic.qos)
            )
        )
        self._names.append(topic.name)


def whence(node: Node, wanted: Iterable[topics.Topic]) -> str:
    """The whole names of those topics whose messages are installed, and how many publish each."""
    names = [node.resolve_topic_name(topic.name) for topic in wanted if _installed(topic)]
    counts = [node.count_publishers(name) for name in names]
    said = {0: "nobody publishes it", 1: "1 publisher"}
    return " or ".join(
        f"{name} ({said.get(count, f'{count} publishers')})"
        for name, count in zip(names, counts, strict=True)
    )


def _installed(topic: topics.Topic) -> bool:
    try:
        message_class(topic.type)
    except (ModuleNotFoundError, AttributeError):
        return False
    return True
