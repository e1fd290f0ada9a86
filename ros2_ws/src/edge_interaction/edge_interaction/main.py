"""The process around a node: signals, log, executor, exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

POLL_S = 0.2
"""How long a signal may wait: rclpy's own wait is not interrupted by one."""
LEAVE_S = 8.0
"""For stopping and releasing; launch kills after ten seconds. What takes longer cannot be ended: a
plan that is being built, a GPU that hangs."""
log = logging.getLogger(__name__)


class RosLog(logging.Handler):
    """What the runtime logs, in ROS's log."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        # One line for each level: rclpy wants a level to stay with its line.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def stop_on_signals() -> threading.Event:
    """Set at the first SIGINT or SIGTERM. ROS's own handlers would take the topics away before the
    body has been told to stop."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def spin(node: Node, until: Callable[[], bool]) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not until():
            executor.spin_once(timeout_sec=POLL_S)
    finally:
        executor.remove_node(node)
        executor.shutdown()


def ends(work: threading.Thread, told: Callable[[], bool]) -> bool:
    """Start it, and whether it ends in time once it is told to."""
    work.start()
    while work.is_alive() and not told():
        work.join(POLL_S)
    work.join(LEAVE_S)
    return not work.is_alive()


def end_without() -> NoReturn:
    """End the process with 1, whatever hangs in it."""
    sys.stderr.write("edge_interaction: something hangs; the process ends without it\n")
    sys.stderr.flush()
    os._exit(1)


def run(node: Any, stop: threading.Event) -> None:
    """Until `stop`, or until the node has failed; leaves nothing behind that can be released."""
    try:
        try:
            node.start_by_itself(stop.is_set)
            spin(node, lambda: stop.is_set() or node.failed)
        finally:
            node.leave()
    except Exception:
        log.exception("the node has failed")
        node.failed = True
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def main(args: Sequence[str] | None = None) -> int:
    from edge_interaction.node import InteractionNode

    stop = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node: Any = InteractionNode()
    logging.basicConfig(
        level=logging.INFO, format="%(name)s: %(message)s", handlers=[RosLog(node.get_logger())]
    )
    # Signals are handled in this thread, also while the other one is in a call that takes minutes.
    work = threading.Thread(target=run, args=(node, stop), name="executor", daemon=True)
    if not ends(work, lambda: stop.is_set() or node.failed) or node.hung:
        end_without()
    return int(node.failed)


if __name__ == "__main__":
    sys.exit(main())
