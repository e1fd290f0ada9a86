"""What a test needs of ROS: a node that drives, asks and listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python

from edge_interaction.wire import message_class, qos_profile, service_class
from edge_runtime.sinks.topics import Topic

PATIENCE_S = 60.0
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


class Robot:
    """Talks to the node `name`; a thread of its own spins."""

    def __init__(self, name: str = "/edge_interaction") -> None:
        self._name = name
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        # Early: an answer is lost on a client that the node has not discovered yet.
        self._clients: dict[str, Any] = {}
        for kind, service in (
            (GetState, "get_state"),
            (ChangeState, "change_state"),
            (GetParameters, "get_parameters"),
            (SetParameters, "set_parameters"),
        ):
            self._client(kind, f"{name}/{service}")
        self._closing = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _spin(self) -> None:
        while not self._closing:
            self._executor.spin_once(timeout_sec=0.05)

    def wait_until(self, true: Callable[[], bool], what: str = "it") -> None:
        end = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not true():
            assert time.monotonic() < end, f"{what} did not happen"
            pause.wait(0.02)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self._client(kind, name)
        assert client.wait_for_service(PATIENCE_S), f"there is no service {name}"
        answer = client.call_async(request)
        self.wait_until(answer.done, f"an answer of {name}")
        return answer.result()

    def _client(self, kind: Any, name: str) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        return self._clients[name]

    def ask(self, service: str, **fields: Any) -> Any:
        """One of our own services."""
        kind = service_class(f"edge_interaction_msgs/{service}")
        names = {"Say": "/say", "SetMode": "/set_mode", "Cancel": "/cancel"}
        return self.call(kind, names[service], kind.Request(**fields))

    def change(self, transition: str) -> bool:
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        return bool(self.call(ChangeState, f"{self._name}/change_state", request).success)

    def shut_down_from(self, state: str) -> bool:
        request = ChangeState.Request()
        request.transition.id = getattr(Transition, f"TRANSITION_{state.upper()}_SHUTDOWN")
        return bool(self.call(ChangeState, f"{self._name}/change_state", request).success)

    @property
    def state(self) -> str:
        client = self._client(GetState, f"{self._name}/get_state")
        assert client.wait_for_service(PATIENCE_S), "there is no node"
        answers = []

        def asked_and_answered() -> bool:
            """Ask again now and then: the very first answer may be lost."""
            if len(answers) < ticks[0] // 100 + 1:
                answers.append(client.call_async(GetState.Request()))
            ticks[0] += 1
            return any(answer.done() for answer in answers)

        ticks = [0]
        self.wait_until(asked_and_answered, "an answer of get_state")
        newest = [answer for answer in answers if answer.done()][-1]
        return str(newest.result().current_state.label)

    def set(self, **values: Any) -> Any:
        """Set parameters; a `__` stands for the dot. Returns the first result."""
        request = SetParameters.Request()
        request.parameters = [
            Parameter(name.replace("__", "."), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        return self.call(SetParameters, f"{self._name}/set_parameters", request).results[0]

    def get(self, *names: str) -> list[Any]:
        """The values of parameters."""
        request = GetParameters.Request(names=names)
        answer = self.call(GetParameters, f"{self._name}/get_parameters", request)
        return [parameter_value_to_python(value) for value in answer.values]

    def listen(self, topic: Topic) -> list[Any]:
        """All messages of a topic from now on."""
        found: list[Any] = []
        self.node.create_subscription(
            message_class(topic.type), topic.name, found.append, qos_profile(topic.qos)
        )
        return found
