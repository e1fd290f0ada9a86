"""What an action becomes on a topic of the robot, as the configuration maps it. Plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_runtime.config import SPEED_TYPES, ActionConfig

STAMPED_SPEED = "geometry_msgs/TwistStamped"


def robot_message(
    name: str, chosen: ActionConfig, bearing_rad: float | None, header: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The message that the configuration wants beside the Action `name`; None: a point without a
    bearing."""
    if chosen.ros_type == "std_msgs/String":
        return {"data": name if chosen.text is None else chosen.text}
    if chosen.ros_type == "std_msgs/Bool":
        return {"data": chosen.data}
    if chosen.ros_type in SPEED_TYPES:
        return speed(chosen.ros_type, header, chosen.forward_m_s, chosen.turn_rad_s)
    if bearing_rad is None:
        return None
    ahead, left = math.cos(bearing_rad), math.sin(bearing_rad)
    point = _vector(chosen.distance_m * ahead, chosen.distance_m * left, chosen.height_m)
    return {"header": header, "point": point}


def speed(
    type_name: str, header: Mapping[str, Any], forward_m_s: float = 0.0, turn_rad_s: float = 0.0
) -> Mapping[str, Any]:
    """One of SPEED_TYPES."""
    twist = {
        "linear": _vector(forward_m_s, 0.0, 0.0),
        "angular": _vector(0.0, 0.0, turn_rad_s),
    }
    return {"header": header, "twist": twist} if type_name == STAMPED_SPEED else twist


def _vector(x: float, y: float, z: float) -> Mapping[str, Any]:
    return {"x": x, "y": y, "z": z}
