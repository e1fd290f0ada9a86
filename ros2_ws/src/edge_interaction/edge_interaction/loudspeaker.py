"""Plays `speech_audio` on a loudspeaker of this machine.

ros2 run edge_interaction loudspeaker --ros-args -p output_device:="USB Speaker"
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from edge_interaction.main import RosLog, end_without, ends, spin, stop_on_signals
from edge_interaction.wire import RosWire, message_class, qos_profile
from edge_runtime.errors import SourceError
from edge_runtime.health import Health
from edge_runtime.sinks import topics
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sources.loudspeaker import Loudspeaker

TELL_EVERY_S = 1.0
"""REP-107: /diagnostics at 1 Hz."""


class LoudspeakerNode(Node):
    """Its `sound` has to be entered; it is fed while the node spins."""

    def __init__(self) -> None:
        super().__init__("loudspeaker")
        about = "A part of its name, its serial number or USB path; default: the system's."
        # Of any type, since rcl takes a serial number of digits for a number.
        about_it = ParameterDescriptor(description=about, read_only=True, dynamic_typing=True)
        self._device = self.declare_parameter("output_device", "", about_it).value
        self.sound = Loudspeaker(str(self._device) or None)
        self._told = RosWire(self, [topics.DIAGNOSTICS])
        topic = topics.SPEECH_AUDIO
        self.create_subscription(
            message_class(topic.type), topic.name, self.sound.feed, qos_profile(topic.qos)
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TELL_EVERY_S, self._tell, clock=steady)

    def check(self) -> None:
        """Raises SourceError where the parameter cannot be meant."""
        if not isinstance(self._device, str):
            raise SourceError(
                f"output_device: {self._device!r} was read as a number. Put quotes into it: -p "
                "output_device:=\"'0012345'\""
            )

    def _tell(self) -> None:
        _, loudspeaker = self.sound.status().parts()
        name = self.get_fully_qualified_name().lstrip("/")
        now_ns = int(self.get_clock().now().nanoseconds)
        device = str(loudspeaker.values["device"])
        self._told.write(diagnostics(device, Health((loudspeaker,)), now_ns, name))


def main(args: Sequence[str] | None = None) -> int:
    stop = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = LoudspeakerNode()
    logging.basicConfig(
        level=logging.INFO, format="%(name)s: %(message)s", handlers=[RosLog(node.get_logger())]
    )
    refused: list[SourceError] = []
    # As in main: a sound system may hang, and the signal would never be heard.
    work = threading.Thread(target=_play, args=(node, stop, refused), name="sound", daemon=True)
    if not ends(work, stop.is_set):
        end_without()
    return len(refused)


def _play(node: LoudspeakerNode, stop: threading.Event, refused: list[SourceError]) -> None:
    try:
        node.check()
        with node.sound:
            spin(node, stop.is_set)
    except SourceError as error:
        node.get_logger().error(str(error))
        refused.append(error)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
