"""What is remapped, and moved by nothing, is told of when the node is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("edge_interaction_msgs", reason="the workspace is not built and sourced")

from rcl_interfaces.msg import Log  # noqa: E402
from robot import Robot  # noqa: E402

from edge_interaction.node import InteractionNode  # noqa: E402


@pytest.mark.parametrize("topic", ["gesture", "cmd_vel", "/base/cmd_vel"])
def test_a_base_that_no_action_moves_is_warned_of(topic: str, tmp_path: Path) -> None:
    config = tmp_path / "device.yaml"
    config.write_text(f"actions: {{nod: {{ros_topic: {topic}}}}}\n")
    chosen = ("audio.source:=ros", "background.recogniser:=none", f"config_file:={config}")
    arguments = ["--ros-args", "-r", "__ns:=/robot", "-r", "cmd_vel:=/base/cmd_vel"]
    arguments += [word for one in chosen for word in ("-p", one)]
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)
    node = InteractionNode(context=context)
    found: list[Any] = []
    try:
        with Robot() as robot:
            robot.node.create_subscription(Log, "/rosout", found.append, 100)
            robot.wait_until(lambda: robot.node.count_publishers("/rosout") > 1, "a log")
            node.trigger_configure()
            node.get_logger().warning("configured")
            robot.wait_until(lambda: any(one.msg == "configured" for one in found), "its end")
            node.leave()
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    warned = [one.msg for one in found if "/base/cmd_vel, and no action goes there" in one.msg]
    assert len(warned) == (topic == "gesture")
