"""How the node ends: shut down from every state, by either signal, and when it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
launch_pytest = pytest.importorskip("launch_pytest", reason="launch_pytest is not installed")
pytest.importorskip("edge_interaction_msgs", reason="the workspace is not built and sourced")

from launch import LaunchDescription  # noqa: E402
from launch_ros.actions import LifecycleNode  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from robot import PATIENCE_S, Robot  # noqa: E402

from edge_interaction.node import InteractionNode  # noqa: E402
from edge_runtime.errors import EngineError  # noqa: E402
from edge_runtime.sinks import topics  # noqa: E402

SIGNALS = int(os.environ.get("EDGE_SIGNAL_RUNS", "2"))
"""How often each signal is tried; a start takes seconds."""


@launch_pytest.fixture
def a_node() -> LaunchDescription:
    node = LifecycleNode(
        package="edge_interaction",
        executable="interaction",
        name="edge_interaction",
        namespace="",
        parameters=[{"audio.source": "ros"}],
        output="screen",
    )
    return LaunchDescription([node, launch_pytest.actions.ReadyToTest()])


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


@pytest.mark.launch(fixture=a_node)
@pytest.mark.parametrize("before", ["unconfigured", "inactive", "active"])
def test_it_can_be_shut_down_from_every_state(robot: Robot, before: str) -> None:
    for state, transition in (("inactive", "configure"), ("active", "activate")):
        if before in (state, "active"):
            assert robot.change(transition)
    assert robot.state == before
    assert robot.shut_down_from(before)
    assert robot.state == "finalized"


@pytest.mark.parametrize("attempt", range(SIGNALS))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it(number: signal.Signals, attempt: int, tmp_path: Path) -> None:
    """While it is active."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "edge_interaction.main", "--ros-args"),
                *("-p", "autostart:=true", "-p", "audio.source:=ros"),
            ],
            stdout=out,
            stderr=out,
        )
    try:
        with Robot() as robot:
            turns = robot.listen(topics.MICRO_TURN)
            robot.wait_until(lambda: len(turns) >= 2, "a micro-turn")
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
    assert "Traceback" not in log.read_text()


def test_a_loop_that_fails_stops_the_body_and_may_be_configured_again() -> None:
    """In this process: no file makes a good engine fail later."""

    def fail(stop: object) -> int:
        raise EngineError("the model is gone")

    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "-p", "audio.source:=ros"], context=context)
    node = InteractionNode(context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        with Robot() as robot:
            actions = robot.listen(topics.ACTION)
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            node._runtime.device.loop.run = fail
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            for _ in range(int(PATIENCE_S / 0.05)):
                executor.spin_once(timeout_sec=0.05)
                if node._runtime is None:
                    break
            robot.wait_until(lambda: bool(actions), "a stop")
        assert {one.name for one in actions} == {"stop_motion"}
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        node.leave()
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


HANGS = """
import sys, time
from edge_interaction import main
from edge_runtime.inference.onnx import OnnxEngine
step = OnnxEngine.step
def hang(engine, turn):
    if turn.index >= 3:
        time.sleep(1000)
    return step(engine, turn)
OnnxEngine.step = hang
sys.exit(main.main())
"""
BUILDS = """
import sys, time
from edge_interaction import main, runtime
runtime.app.device = lambda *arguments, **options: time.sleep(1000)
sys.exit(main.main())
"""


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", script, "--ros-args"),
            *("-p", "autostart:=true", "-p", "audio.source:=ros"),
        ]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_loop_that_hangs_stops_the_body_and_ends_the_process() -> None:
    with Robot() as robot:
        actions, turns = robot.listen(topics.ACTION), robot.listen(topics.MICRO_TURN)
        with running(HANGS) as process:
            robot.wait_until(lambda: bool(turns), "a micro-turn")
            assert process.wait(PATIENCE_S) == 1
        robot.wait_until(lambda: bool(actions), "a stop")
        assert {one.name for one in actions} == {"stop_motion"}


def test_a_signal_ends_it_while_it_is_configured() -> None:
    with Robot() as robot:
        told = robot.listen(topics.DIAGNOSTICS)

        def configuring() -> bool:
            return bool(told) and told[-1].status[0].message == "configuring"

        with running(BUILDS) as process:
            robot.wait_until(configuring, "word of what it does")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 1


def test_a_node_that_cannot_start_by_itself_ends_with_an_error(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "edge_interaction.main", "--ros-args"),
            *("-p", "autostart:=true", "-p", "voice.rate_wpm:=9999"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert result.returncode == 1
    assert "voice.rate_wpm" in result.stdout + result.stderr
