"""Measures how long a decision takes to a subscriber: from the end of the loop's work to here.

ros2 run edge_interaction latency --ros-args -p messages:=300
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from edge_interaction.main import spin, stop_on_signals
from edge_interaction.wire import message_class, qos_profile
from edge_runtime.sinks import topics


class LatencyNode(Node):
    def __init__(self) -> None:
        super().__init__("latency")
        self.wanted: int = self.declare_parameter("messages", 300).value
        self.latencies_ms: list[float] = []
        self._first = True
        topic = topics.MICRO_TURN
        self.create_subscription(
            message_class(topic.type), topic.name, self._take, qos_profile(topic.qos)
        )

    def _take(self, message: Any) -> None:
        now_ns = time.time_ns()
        if self._first:  # latched: it may be old
            self._first = False
            return
        captured_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        since_capture_ms = (now_ns - captured_ns) / 1e6
        self.latencies_ms.append(since_capture_ms - message.late_ms - message.total_ms)


def main(args: Sequence[str] | None = None) -> int:
    stop = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = LatencyNode()
    try:
        spin(node, lambda: stop.is_set() or len(node.latencies_ms) >= node.wanted)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if not node.latencies_ms:
        print("no message came: is the node active?", file=sys.stderr)
        return 1
    p50, p99 = np.percentile(node.latencies_ms, [50, 99])
    worst = max(node.latencies_ms)
    print(
        f"{len(node.latencies_ms)} messages: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {worst:.2f} ms"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
