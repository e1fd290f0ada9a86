"""The launch files bring the node up by itself, under a namespace, with their own parameters."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
launch_pytest = pytest.importorskip("launch_pytest", reason="launch_pytest is not installed")
pytest.importorskip("edge_interaction_msgs", reason="the workspace is not built and sourced")

from dataclasses import replace  # noqa: E402

from launch import LaunchDescription  # noqa: E402
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch.substitutions import PathJoinSubstitution  # noqa: E402
from launch_ros.substitutions import FindPackageShare  # noqa: E402
from robot import Robot  # noqa: E402

from edge_runtime.sinks import topics  # noqa: E402


def included(name: str, **arguments: str) -> LaunchDescription:
    path = PathJoinSubstitution([FindPackageShare("edge_interaction"), "launch", name])
    source = PythonLaunchDescriptionSource(path)
    return LaunchDescription(
        [
            IncludeLaunchDescription(source, launch_arguments=arguments.items()),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@launch_pytest.fixture
def alone() -> LaunchDescription:
    return included("interaction.launch.py", namespace="robot", image="camera/image_raw")


@launch_pytest.fixture
def with_a_microphone() -> LaunchDescription:
    return included(
        "interaction.launch.py",
        namespace="robot",
        audio="microphone",
        video="0",
        autostart="false",
    )


@launch_pytest.fixture
def with_a_loudspeaker() -> LaunchDescription:
    return included(
        "interaction.launch.py",
        namespace="robot",
        autostart="false",
        loudspeaker="true",
        loudspeaker_device="no such device",
    )


@launch_pytest.fixture
def in_conversation() -> LaunchDescription:
    return included("demo.launch.py", namespace="stage", seconds="60.0")


@pytest.mark.launch(fixture=alone)
def test_it_configures_and_activates_itself_under_its_namespace() -> None:
    with Robot("/robot/edge_interaction") as robot:
        turns = robot.listen(replace(topics.MICRO_TURN, name="/robot/micro_turn"))
        robot.wait_until(lambda: bool(turns), "a micro-turn")
        assert robot.state == "active"
        for name in ("/robot/camera/image_raw", "/robot/camera/image_raw/compressed"):
            robot.wait_until(lambda: robot.node.count_subscribers(name) == 1, name)  # noqa: B023
        # From the configuration that comes with it.
        robot.wait_until(lambda: robot.node.count_publishers("/robot/look_at") == 1, "look_at")


@pytest.mark.launch(fixture=with_a_microphone)
def test_microphone_and_camera_of_this_machine_stand_above_the_parameter_file() -> None:
    with Robot("/robot/edge_interaction") as robot:
        names = ("audio.source", "video.source", "ros.frame_id")
        assert robot.get(*names) == ["microphone", 0, "base_link"]


@pytest.mark.launch(fixture=with_a_loudspeaker)
def test_a_loudspeaker_waits_for_its_device_and_says_so() -> None:
    pytest.importorskip("pyaudio", reason="PyAudio is not installed")
    with Robot("/robot/edge_interaction") as robot:
        told = robot.listen(topics.DIAGNOSTICS)
        name = "/robot/speech_audio"
        robot.wait_until(lambda: robot.node.count_subscribers(name) == 1, name)
        names = {"robot/loudspeaker: loudspeaker"}
        robot.wait_until(lambda: names & {one.status[0].name for one in told}, "its diagnostics")
        (status,) = next(one.status for one in told if one.status[0].name in names)
        assert "No loudspeaker" in status.message or "no loudspeaker" in status.message


@pytest.mark.launch(fixture=in_conversation)
def test_the_demonstration_is_heard_and_seen_and_spoken_to() -> None:
    with Robot("/stage/edge_interaction") as robot:
        turns = robot.listen(replace(topics.MICRO_TURN, name="/stage/micro_turn"))
        said = robot.listen(replace(topics.UTTERANCE, name="/stage/utterance"))
        seen = robot.listen(replace(topics.SEEN, name="/stage/seen"))
        robot.wait_until(lambda: bool(turns) and turns[-1].has_frame, "a picture")
        robot.wait_until(lambda: turns[-1].lost_samples == 0, "sound")
        robot.wait_until(lambda: bool(said), "a word of greeting")
        robot.wait_until(lambda: any(one.present for one in seen), "the person to be seen")
        assert {"present", "waving"} <= set(seen[-1].names)
