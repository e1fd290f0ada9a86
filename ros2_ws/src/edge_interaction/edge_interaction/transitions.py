"""What rclpy leaves out of a lifecycle node's transitions: a log of what failed, and a refusal."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logged(transition: Transition) -> Transition:
    """rclpy turns an exception of a transition into ERROR, and says nothing about it. It becomes
    the node's `trouble`."""

    @functools.wraps(transition)
    def with_log(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            node.trouble = f"{transition.__name__} failed: {error}"
            raise

    return with_log


def refuse_impossible_ones(node: LifecycleNode) -> None:
    """Up to Jazzy's, rclpy lets a request for a transition that the state does not know end the
    process, whoever made it."""
    for service in node.services:
        if service.srv_name.endswith("/change_state"):
            service.callback = _refusing(service.callback)


def _refusing(change_state: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def change_or_refuse(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except rclpy_implementation.RCLError:
            response.success = False
            return response

    return change_or_refuse
