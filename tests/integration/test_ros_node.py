"""The lifecycle node with a stand-in for rclpy; ros2_ws has the tests with ROS itself."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ros_stand_in
from broker import PATIENCE_S, wait_until
from program import needs_espeak
from ros_stand_in import Result

from edge_interaction import runtime
from edge_runtime.health import ENGINE, State
from edge_runtime.micro_turn import Action

pytestmark = needs_espeak
WITH_ROS = ("hri", "main", "node", "senses", "services", "transitions", "wire")
"""Our modules that import rclpy."""
OK, WARN, ERROR = range(3)
MAIN = """
import sys, time
sys.path[:0] = {paths!r}
import ros_stand_in
sys.modules.update(ros_stand_in.modules())
from edge_interaction import main, runtime
main.LEAVE_S = 1.0
parameters = {{"autostart": True, "audio.source": "ros", "background.recogniser": "none"}}
from edge_interaction.node import InteractionNode as Node
import edge_interaction.node
edge_interaction.node.InteractionNode = lambda: Node(overrides=parameters)
{more}
sys.exit(main.main())
"""


@pytest.fixture
def node_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    for name, module in ros_stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    names = [f"edge_interaction.{name}" for name in WITH_ROS]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("edge_interaction.node").InteractionNode
    for name in names:
        sys.modules.pop(name, None)


NewNode = Callable[..., Any]


@pytest.fixture
def a_node(node_class: type, repository: Path) -> Iterator[NewNode]:
    """Makes a node with its own configuration and further parameters, and lets go of it."""
    made: list[Any] = []
    config = repository / "ros2_ws/src/edge_interaction/config/device.yaml"

    def new(**parameters: Any) -> Any:
        chosen = {"audio.source": "ros", "background.recogniser": "none"}
        chosen |= {"config_file": str(config), "device.name": "kiosk"}
        chosen |= {name.replace("__", "."): value for name, value in parameters.items()}
        made.append(node_class(overrides=chosen))
        return made[-1]

    yield new
    for node in made:
        node.leave()


def activate(node: Any) -> None:
    """Returns when micro-turns are done."""
    assert node.trigger_configure() is Result.SUCCESS
    assert node.trigger_activate() is Result.SUCCESS
    wait_until(lambda: bool(node.sent("micro_turn")))


def parts(node: Any) -> Any:
    return node._runtime.device.loop._parts


class Stuck:
    """A call that does not come back until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, of: Any, name: str) -> None:
        self._free, self.entered = threading.Event(), threading.Event()
        self._inner = getattr(of, name)
        monkeypatch.setattr(of, name, self._call)

    def _call(self, *arguments: Any) -> Any:
        self.entered.set()
        self._free.wait(PATIENCE_S)
        return self._inner(*arguments)

    def free(self) -> None:
        self._free.set()


def always_come(monkeypatch: pytest.MonkeyPatch, node: Any) -> None:
    """Each micro-turn decides to drive."""
    decider = parts(node).decider
    decide = decider.decide

    def drives(*arguments: Any) -> Any:
        return replace(decide(*arguments), actions=(Action("come"),))

    monkeypatch.setattr(decider, "decide", drives)


def names(node: Any) -> list[str]:
    return [action.name for action in node.sent("action")]


def speeds(node: Any) -> list[float]:
    return [twist.linear.x for twist in node.sent("cmd_vel")]


def a_second_passes(node: Any) -> None:
    for timer in node.timers:
        timer()


def told(node: Any) -> dict[str, Any]:
    """The newest status of each part, by its name."""
    a_second_passes(node)
    return {one.name: one for one in node.sent("/diagnostics")[-1].status}


def values(status: Any) -> dict[str, str]:
    return {one.key: one.value for one in status.values}


# -- stopping -----------------------------------------------------------------------------


def test_a_loop_that_hangs_is_noticed_and_the_body_told(
    a_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = a_node(autostart=True)
    activate(node)
    monkeypatch.setattr(runtime, "SILENT_S", 1.0, raising=False)
    monkeypatch.setattr(runtime, "STOP_S", 0.1, raising=False)
    engine = Stuck(monkeypatch, parts(node).engine, "step")
    closed: list[object] = []
    monkeypatch.setattr(parts(node).engine, "__exit__", closed.append, raising=False)
    loop = node._runtime._thread
    assert engine.entered.wait(PATIENCE_S)

    def over() -> bool:
        a_second_passes(node)
        return node.state != "active"

    wait_until(over)
    assert node.state == "finalized" and node.failed and node.hung
    assert names(node)[0] == "stop_motion" and speeds(node)[-1] == 0.0
    mine = told(node)["robot/edge_interaction: node"]
    assert mine.level == bytes([ERROR])
    assert mine.message == "finalized: the loop has given no sign for 1 s"
    assert not closed, "a model that runs must not be freed"
    engine.free()
    loop.join(PATIENCE_S)


def test_deactivating_does_not_wait_for_a_loop_that_hangs(
    a_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = a_node()
    activate(node)
    monkeypatch.setattr(runtime, "STOP_S", 0.1, raising=False)
    always_come(monkeypatch, node)
    engine = Stuck(monkeypatch, parts(node).engine, "step")
    loop = node._runtime._thread
    assert engine.entered.wait(PATIENCE_S)
    assert node.trigger_deactivate() is Result.ERROR
    assert node.state == "finalized" and not node.answers
    driven = speeds(node)
    assert driven[-1] == 0.0
    engine.free()  # what it has decided in the meantime is not done any more
    loop.join(PATIENCE_S)
    assert not loop.is_alive() and set(speeds(node)[len(driven) :]) <= {0.0}


@pytest.mark.parametrize("transition", ["deactivate", "shutdown"])
def test_what_the_last_micro_turn_decides_does_not_move_the_body(
    a_node: NewNode, monkeypatch: pytest.MonkeyPatch, transition: str
) -> None:
    node = a_node()
    activate(node)
    always_come(monkeypatch, node)
    wait_until(lambda: speeds(node)[-1:] == [0.2])
    engine = Stuck(monkeypatch, parts(node).engine, "step")
    assert engine.entered.wait(PATIENCE_S)
    before = len(names(node))
    leaving = threading.Thread(target=getattr(node, f"trigger_{transition}"))
    leaving.start()
    wait_until(lambda: "stop_motion" in names(node)[before:])
    engine.free()
    leaving.join(PATIENCE_S)
    node.leave()
    assert node.state in ("inactive", "finalized")
    assert speeds(node)[-1] == 0.0 and set(names(node)[before:]) == {"stop_motion"}


def test_a_stop_service_waits_for_nothing(a_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = a_node()
    assert node.trigger_configure() is Result.SUCCESS
    assert node.call("stop").success and names(node)[0] == "stop_motion"
    assert node.trigger_activate() is Result.SUCCESS
    assert node.call("say", text="The door is open.", when=1).accepted
    wait_until(lambda: any(one.state == 1 for one in node.sent("utterance")))
    engine = Stuck(monkeypatch, parts(node).engine, "step")
    assert engine.entered.wait(PATIENCE_S)
    before = len(names(node))
    assert node.call("stop").success
    assert "stop_motion" in names(node)[before:]
    engine.free()
    wait_until(lambda: any(one.unsaid for one in node.sent("utterance")))


# -- what is mapped -----------------------------------------------------------------------

COPY = "config/device.yaml ."


def warnings_of(node: Any, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Those of a configure that name the file to copy."""
    capsys.readouterr()
    assert node.trigger_configure() is Result.SUCCESS
    return [line for line in capsys.readouterr().err.splitlines() if COPY in line]


def test_a_configuration_of_one_s_own_that_moves_nothing_is_warned_of_once(
    a_node: NewNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "device.yaml"
    config.write_text("voice: {rate_wpm: 150}\n")
    node = a_node(config_file=str(config))
    (warning,) = warnings_of(node, capsys)
    assert f"{config} maps no action to a topic" in warning
    config.write_text("actions: {nod: {ros_topic: gesture}}\n")
    assert node.trigger_cleanup() is Result.SUCCESS
    assert warnings_of(node, capsys) == []


@pytest.mark.parametrize(
    ("topic", "warned"), [("gesture", True), ("cmd_vel", False), ("/base/cmd_vel", False)]
)
def test_a_base_that_is_remapped_and_never_moved_is_warned_of(
    a_node: NewNode, tmp_path: Path, capsys: pytest.CaptureFixture[str], topic: str, warned: bool
) -> None:
    config = tmp_path / "device.yaml"
    config.write_text(f"actions: {{nod: {{ros_topic: {topic}}}}}\n")
    node = a_node(config_file=str(config))
    node.remapped["cmd_vel"] = "/base/cmd_vel"
    found = warnings_of(node, capsys)
    assert len(found) == warned
    assert all("`cmd_vel` is remapped to /base/cmd_vel" in one for one in found)


@pytest.mark.parametrize("given", [{}, {"config_file": ""}])
def test_the_node_s_own_configuration_and_none_at_all_warn_of_nothing(
    a_node: NewNode, capsys: pytest.CaptureFixture[str], given: dict[str, str]
) -> None:
    """A demonstration has none."""
    assert warnings_of(a_node(**given), capsys) == []


# -- the mode -----------------------------------------------------------------------------


def test_a_mode_outlives_the_configuration_and_is_shown(a_node: NewNode) -> None:
    node = a_node()
    activate(node)
    a_second_passes(node)
    assert [one.data for one in node.sent("mode")] == ["normal"]
    assert node.call("set_mode", mode=1).accepted
    assert node.trigger_deactivate() is Result.SUCCESS
    assert node.trigger_cleanup() is Result.SUCCESS
    assert not node.answers
    activate(node)
    assert "quiet" in node.call("say", text="Hello", when=1).message
    assert values(told(node)["robot/edge_interaction: node"]) == {
        "lifecycle_state": "active",
        "mode": "quiet",
    }
    assert [one.data for one in node.sent("mode")] == ["normal", "quiet"]


def test_it_starts_in_the_mode_it_is_given_and_moves_nobody(
    a_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = a_node(initial_mode="standby")
    assert node.trigger_configure() is Result.SUCCESS
    always_come(monkeypatch, node)
    assert node.trigger_activate() is Result.SUCCESS
    wait_until(lambda: len(node.sent("micro_turn")) >= 2)
    assert names(node) == []
    assert node.call("set_mode", mode=0).accepted
    wait_until(lambda: "come" in names(node))


def test_a_mode_that_is_none_is_refused(a_node: NewNode) -> None:
    node = a_node(initial_mode="loud")
    assert node.trigger_configure() is Result.FAILURE
    assert node.state == "unconfigured"
    message = told(node)["robot/edge_interaction: node"].message
    assert "'loud'" in message and "normal, quiet, standby" in message


# -- diagnostics --------------------------------------------------------------------------


def test_every_part_is_told_of_from_its_first_word_on(a_node: NewNode) -> None:
    node = a_node()
    assert list(told(node)) == ["robot/edge_interaction: node"]
    activate(node)
    wait_until(lambda: "robot/edge_interaction: compute" in told(node))
    active = told(node)
    assert active["robot/edge_interaction: node"].message == "active"
    assert active["robot/edge_interaction: loop"].message == "ok"
    assert {one.hardware_id for one in active.values()} == {"kiosk"}
    assert node.trigger_deactivate() is Result.SUCCESS
    inactive = told(node)
    assert list(inactive) == list(active)
    assert {one.message for one in inactive.values()} == {"inactive"}
    assert {one.level for one in inactive.values()} == {bytes([OK])}
    assert node.trigger_cleanup() is Result.SUCCESS
    assert list(told(node)) == list(active)
    assert told(node)["robot/edge_interaction: node"].message == "unconfigured"


def test_a_driver_that_is_not_there_is_looked_for_where_it_should_publish(
    a_node: NewNode,
) -> None:
    node = a_node(video__source="ros", ros__image_transport="raw")
    node.remapped["image"] = "/camera/image_raw"
    activate(node)

    def said(part: str) -> str:
        status = told(node).get(f"robot/edge_interaction: {part}")
        return "" if status is None else str(status.message)

    wait_until(lambda: "/robot/audio_in (nobody publishes it)" in said("microphone"))
    wait_until(lambda: "/camera/image_raw (nobody publishes it)" in said("camera"))
    microphone = told(node)["robot/edge_interaction: microphone"]
    assert {"refused_blocks", "late_blocks", "bad_stamps"} <= set(values(microphone))


def test_what_the_loop_said_when_it_ran_before_is_past(
    a_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtime.sinks.turn_health.HOLDS_S", 0.0)
    node = a_node()
    activate(node)
    assert node.trigger_deactivate() is Result.SUCCESS
    engine = Stuck(monkeypatch, parts(node).engine, "step")
    assert node.trigger_activate() is Result.SUCCESS
    loop = told(node)["robot/edge_interaction: loop"]
    assert (loop.level, loop.message) == (bytes([WARN]), "no micro-turn yet")
    engine.free()


def test_it_tells_of_itself_while_it_is_configured(
    a_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = a_node()
    device = runtime.app.device
    words = "it builds its plan, which can take minutes"

    def seen() -> bool:
        newest = {one.name: one for one in node.sent("/diagnostics")[-1].status}
        engine = newest.get("robot/edge_interaction: engine", SimpleNamespace(message=""))
        return engine.message == words

    @contextmanager
    def slow(*arguments: Any, health: Any, **options: Any) -> Iterator[Any]:
        wait_until(lambda: bool(node.sent("/diagnostics")))
        health.report(ENGINE, State.DEGRADED, words)
        wait_until(seen)
        with device(*arguments, health=health, **options) as ready:
            yield ready

    monkeypatch.setattr(runtime.app, "device", slow)
    assert node.trigger_configure() is Result.SUCCESS
    configuring = node.sent("/diagnostics")[-1].status[0]
    assert configuring.message == "configuring"


# -- the process --------------------------------------------------------------------------


@pytest.fixture
def started(repository: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(more: str) -> subprocess.Popen[str]:
        """Returns when it has said that it is where it is wanted."""
        paths = [str(repository / name) for name in ("tests", "ros2_ws/src/edge_interaction")]
        script = MAIN.format(paths=paths, more=more)
        process = subprocess.Popen([sys.executable, "-c", script], stdout=-1, stderr=-1, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


BUILDING = """
def building(*arguments, **options):
    print("there", flush=True)
    time.sleep(1000)
runtime.app.device = building
"""
HANGING = """
from edge_runtime.inference.onnx import OnnxEngine
runtime.SILENT_S, runtime.STOP_S = 0.5, 0.1
def hang(*arguments):
    print("there", flush=True)
    time.sleep(1000)
OnnxEngine.step = hang
"""


def test_a_signal_ends_it_while_it_is_configured(
    started: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = started(BUILDING)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 1


def test_a_loop_that_hangs_ends_the_process_for_somebody_to_restart(
    started: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = started(HANGING)
    assert process.wait(PATIENCE_S) == 1
    _, errors = process.communicate()
    assert "the loop has given no sign" in errors and "in hang" in errors


def test_a_signal_ends_it_while_its_loop_hangs(
    started: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = started(HANGING + "runtime.SILENT_S = 1000.0")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 1
