"""The node's services: say, set_mode, cancel, stop. Each answers at once; the loop heeds it in its
next micro-turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from edge_interaction.wire import service_class
from edge_runtime.errors import InputError
from edge_runtime.remote_control import Mode, Moment, RemoteControl
from edge_runtime.sinks.topics import SERVICES


class Services:
    def __init__(
        self,
        node: Node,
        control: RemoteControl,
        active: Callable[[], bool],
        halt: Callable[[], None],
    ) -> None:
        """`halt` tells the body to stop, whatever the loop is at."""
        self._node, self._control, self._active, self._halt = node, control, active, halt
        answers = {
            "say": self._answering(self._say),
            "set_mode": self._answering(self._set_mode, also_inactive=True),
            "cancel": self._answering(self._cancel),
            "stop": self._stop,
        }
        self._services = [
            node.create_service(service_class(kind), name, answers[name])
            for name, kind in SERVICES.items()
        ]

    def close(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)

    def _answering(
        self, handle: Callable[[Any], None], also_inactive: bool = False
    ) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            try:
                if not (also_inactive or self._active()):
                    raise InputError("The node is not active.")
                handle(request)
                response.accepted = True
            except InputError as error:
                response.accepted, response.message = False, str(error)
            return response

        return answer

    def _stop(self, request: Any, response: Any) -> Any:
        """Is never refused, and waits for no micro-turn."""
        self._halt()
        if self._active():
            self._control.stop()
        response.success = True
        return response

    def _say(self, request: Any) -> None:
        moments = {request.WHEN_FITTING: Moment.FITTING, request.NOW: Moment.NOW}
        if request.when not in moments:
            raise InputError(f"`when` is {request.when}; 0 (WHEN_FITTING) and 1 (NOW) are known.")
        self._control.say(request.text, moments[request.when])

    def _set_mode(self, request: Any) -> None:
        modes = {
            request.NORMAL: Mode.NORMAL,
            request.QUIET: Mode.QUIET,
            request.STANDBY: Mode.STANDBY,
        }
        if request.mode not in modes:
            raise InputError(f"`mode` is {request.mode}; 0 to {len(modes) - 1} are known.")
        self._control.set_mode(modes[request.mode])

    def _cancel(self, request: Any) -> None:
        self._control.cancel()
