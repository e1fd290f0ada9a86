"""Whether what the model decides can reach the body. No ROS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edge_runtime.config import ActionConfig

BASE = "cmd_vel"
"""The topic that the launch file remaps for the base."""
REMEDY = (
    "A file in `config:=` takes the place of the one that comes with the node and maps them: copy "
    "that, and change the copy: cp $(ros2 pkg prefix --share edge_interaction)/config/device.yaml ."
)


class ResolveTopicName(Protocol):
    """As rclpy's: the whole name of a topic; `only_expand`: without what is remapped."""

    def __call__(self, topic: str, *, only_expand: bool = False) -> str: ...


def warning(
    actions: Mapping[str, ActionConfig], file: str, resolve: ResolveTopicName
) -> str | None:
    """What somebody who wants the robot to move has overlooked; None: nothing. `file` is the
    configuration's, empty where there is none."""
    mapped = {resolve(one.ros_topic) for one in actions.values() if one.ros_topic is not None}
    base = resolve(BASE)
    if base != resolve(BASE, only_expand=True) and base not in mapped:
        return (
            f"`{BASE}` is remapped to {base}, and no action goes there (actions.NAME.ros_topic): "
            f"the base is never moved. {REMEDY}"
        )
    if file and not mapped:
        return (
            f"{file} maps no action to a topic (actions.NAME.ros_topic): what is decided goes out "
            f"on `action` alone, and moves only who listens there. {REMEDY}"
        )
    return None
