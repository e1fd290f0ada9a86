"""Stands where ROS 2 would: as much of rclpy as the lifecycle node uses, without any network.

What is published is kept, with its topic; services and timers are called by whoever tests. The
transitions are rclpy 7.1's: what a callback raises is an ERROR, after which comes `on_error`.
"""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from edge_runtime.sinks import topics
from edge_runtime.sinks.message_types import message_type

NOT_INSTALLED = ("hri_msgs", "audio_common_msgs")
RECEIVED = ("sensor_msgs",)
"""Packages of which nothing is published."""


class Result(enum.Enum):
    SUCCESS, FAILURE, ERROR = range(3)


class Publisher:
    def __init__(self, node: Node, topic: str) -> None:
        self._node, self._topic = node, topic

    def publish(self, message: Any) -> None:
        self._node.published.append((self._topic, message))


class Node:
    def __init__(self, name: str, overrides: dict[str, Any] | None = None) -> None:
        self.__name = name
        self.__overrides = dict(overrides or {})
        self.__parameters: dict[str, Any] = {}
        self.published: list[tuple[str, Any]] = []
        self.timers: list[Callable[[], None]] = []
        self.services: list[Any] = []
        self.answers: dict[str, Callable[[Any, Any], Any]] = {}
        self.heard: dict[str, Callable[[Any], None]] = {}
        """What is called with the messages of a topic."""
        self.remapped: dict[str, str] = {}
        """By relative name."""

    def sent(self, topic: str) -> list[Any]:
        return [message for name, message in list(self.published) if name == topic]

    def call(self, service: str, **fields: Any) -> Any:
        modes = {"NORMAL": 0, "QUIET": 1, "STANDBY": 2}
        moments = {"WHEN_FITTING": 0, "NOW": 1}
        request = SimpleNamespace(**modes, **moments, **fields)
        return self.answers[service](request, SimpleNamespace())

    def declare_parameter(self, name: str, default: Any = None, about: Any = None) -> Any:
        self.__parameters[name] = self.__overrides.get(name, default)
        return self.get_parameter(name)

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self.__parameters[name])

    def add_on_set_parameters_callback(self, callback: Any) -> None: ...

    def create_timer(self, period_s: float, callback: Callable[[], None], clock: Any) -> None:
        self.timers.append(callback)

    def create_publisher(self, kind: Any, topic: str, qos: Any) -> Publisher:
        return Publisher(self, topic)

    def create_subscription(self, kind: Any, topic: str, take: Any, qos: Any) -> str:
        self.heard[topic] = take
        return topic

    def create_service(self, kind: Any, name: str, answer: Any) -> str:
        self.answers[name] = answer
        return name

    def destroy_publisher(self, publisher: Publisher) -> None: ...

    def destroy_subscription(self, topic: str) -> None:
        del self.heard[topic]

    def destroy_service(self, name: str) -> None:
        del self.answers[name]

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        name = topic if only_expand else self.remapped.get(topic, topic)
        return topics.resolve("/robot", name)

    def count_publishers(self, topic: str) -> int:
        return 0

    def destroy_node(self) -> None: ...

    def get_name(self) -> str:
        return self.__name

    def get_fully_qualified_name(self) -> str:
        return f"/robot/{self.__name}"

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=time.time_ns()))

    def get_logger(self) -> Any:
        def say(text: str) -> None:
            sys.stderr.write(f"{text}\n")

        return SimpleNamespace(error=say, warning=say, info=say, debug=lambda text: None)


class LifecycleNode(Node):
    state = "unconfigured"

    def on_activate(self, state: Any) -> Result:
        return Result.SUCCESS

    def on_deactivate(self, state: Any) -> Result:
        return Result.SUCCESS

    def trigger_configure(self) -> Result:
        return self._change("on_configure", "unconfigured", "inactive")

    def trigger_activate(self) -> Result:
        return self._change("on_activate", "inactive", "active")

    def trigger_deactivate(self) -> Result:
        return self._change("on_deactivate", "active", "inactive")

    def trigger_cleanup(self) -> Result:
        return self._change("on_cleanup", "inactive", "unconfigured")

    def trigger_shutdown(self) -> Result:
        return self._change("on_shutdown", self.state, "finalized")

    def _change(self, callback: str, before: str, after: str) -> Result:
        assert self.state == before, f"{callback} while {self.state}"
        result = self._called(callback)
        if result is Result.ERROR:
            recovered = self._called("on_error") is Result.SUCCESS
            self.state = "unconfigured" if recovered else "finalized"
        else:
            self.state = after if result is Result.SUCCESS else before
        return result

    def _called(self, callback: str) -> Result:
        try:
            result: Result = getattr(self, callback)(None)
        except Exception:
            return Result.ERROR
        return result


class Executor:
    def add_node(self, node: Node) -> None:
        self._node, self._next_s = node, time.monotonic()

    def remove_node(self, node: Node) -> None: ...

    def shutdown(self) -> None: ...

    def spin_once(self, timeout_sec: float) -> None:
        time.sleep(timeout_sec)
        if time.monotonic() >= self._next_s:
            self._next_s += 1.0
            for timer in self._node.timers:
                timer()


def get_message(name: str) -> type:
    """A class of plain attributes for `package/msg/Name`."""
    package, _, short = name.split("/")
    if package in NOT_INSTALLED:
        raise ModuleNotFoundError(package)
    if package not in RECEIVED:
        message_type(f"{package}/{short}")
    return type(short, (SimpleNamespace,), {})


def modules() -> dict[str, ModuleType]:
    """What is imported instead, by name."""
    anything = SimpleNamespace
    contents: dict[str, dict[str, Any]] = {
        "rclpy": {"init": lambda **options: None, "try_shutdown": lambda: None},
        "rclpy.clock": {"Clock": anything, "ClockType": anything(STEADY_TIME=1)},
        "rclpy.executors": {"SingleThreadedExecutor": Executor},
        "rclpy.impl": {},
        "rclpy.impl.implementation_singleton": {
            "rclpy_implementation": anything(RCLError=RuntimeError)
        },
        "rclpy.impl.rcutils_logger": {"RcutilsLogger": object},
        "rclpy.lifecycle": {
            "LifecycleNode": LifecycleNode,
            "LifecycleState": object,
            "TransitionCallbackReturn": Result,
        },
        "rclpy.node": {"Node": Node},
        "rclpy.parameter": {"Parameter": object},
        "rclpy.qos": {
            "DurabilityPolicy": anything(TRANSIENT_LOCAL=1, VOLATILE=2),
            "HistoryPolicy": anything(KEEP_LAST=1),
            "QoSProfile": anything,
            "ReliabilityPolicy": anything(RELIABLE=1, BEST_EFFORT=2),
        },
        "rclpy.signals": {"SignalHandlerOptions": anything(NO=0)},
        "rcl_interfaces": {},
        "rcl_interfaces.msg": {"ParameterDescriptor": anything, "SetParametersResult": anything},
        "rosidl_runtime_py": {},
        "rosidl_runtime_py.utilities": {
            "get_message": get_message,
            "get_service": lambda name: name,
        },
    }
    made = {}
    for name, content in contents.items():
        made[name] = ModuleType(name)
        vars(made[name]).update(content)
    return made
