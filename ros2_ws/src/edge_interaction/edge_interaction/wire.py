"""What carries messages in ROS: plain messages into ROS's own, on rclpy publishers."""

from __future__ import annotations

import array
from collections.abc import Iterable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosidl_runtime_py.utilities import get_message, get_service

from edge_runtime.sinks import topics
from edge_runtime.sinks.message_types import Field, message_type
from edge_runtime.sinks.messages import Message, Publication


def qos_profile(qos: topics.Qos) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if qos.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if qos.latched else DurabilityPolicy.VOLATILE),
    )


def message_class(name: str) -> Any:
    """The class of `package/Name`. Raises ModuleNotFoundError where its package is missing."""
    return get_message(name.replace("/", "/msg/"))


def service_class(name: str) -> Any:
    return get_service(name.replace("/", "/srv/"))


class RosWire:
    """A Wire over rclpy publishers, which any thread may use."""

    def __init__(self, node: Node, wanted: Iterable[topics.Topic]) -> None:
        self._node = node
        self._publishers = {
            topic.name: node.create_publisher(
                message_class(topic.type), topic.name, qos_profile(topic.qos)
            )
            for topic in wanted
        }

    def write(self, publication: Publication) -> None:
        publisher = self._publishers[publication.topic]
        publisher.publish(to_ros(publication.type, publication.message))

    def close(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)


def to_ros(name: str, message: Message) -> Any:
    """A ROS message of type `package/Name` with the values of a plain one."""
    made = message_class(name)()
    for field in message_type(name).fields:
        setattr(made, field.name, _value(field, message[field.name]))
    return made


def _value(field: Field, value: Any) -> Any:
    if field.nested:
        if field.array:
            return [to_ros(field.type, one) for one in value]
        return to_ros(field.type, value)
    if field.type == "byte":
        return bytes([value])
    if isinstance(value, np.ndarray):
        return array.array(value.dtype.char, value.tobytes())  # 50 times faster than the ndarray
    return value
