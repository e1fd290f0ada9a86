"""What a measurement needs beside itself: a broker, and workers in processes of their own.

As a program this is such a worker: python -m edge_runtime.bench.programs URL NAME WORK_MS SLOTS.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_runtime.background.answerer import Reply
from edge_runtime.background.worker import Worker
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.wire import ReplyKind, RequestMessage
from edge_runtime.errors import ConfigError
from edge_runtime.micro_turn import Pcm

START_S = 20.0
SETTINGS = """
allow_anonymous true
log_type error
max_queued_messages 10000
set_tcp_nodelay true
"""
LARGE = "large"
"""Asked so, a worker answers with a megabyte."""
MEGABYTE = 1_000_000


class Task:
    """Takes its time without the processor, as a worker does that waits for a language model."""

    def __init__(self, work_s: float) -> None:
        self._work_s = work_s

    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        cancelled.wait(self._work_s)
        text = "It is noon."
        if request.transcript == LARGE:
            text = (f"{text} " * (MEGABYTE // len(text)))[:MEGABYTE].strip()
        reply(ReplyKind.RESULT, text)


@contextmanager
def local_broker() -> Iterator[str]:
    """The URL of a Mosquitto on this machine, while the block lasts. Raises ConfigError."""
    places = "/usr/sbin:/usr/local/sbin"
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=places)
    if program is None:
        raise ConfigError(
            "There is no mosquitto here: apt-get install mosquitto, or name a broker with --broker."
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\n{SETTINGS}")
        with running([program, "-c", str(settings)]):
            _await_port(port)
            yield f"mqtt://127.0.0.1:{port}"


@contextmanager
def workers(url: str, count: int, work_ms: int, slots: int) -> Iterator[None]:
    """Processes that are ended with the block; that they are online, a device sees."""
    with ExitStack() as stack:
        for number in range(count):
            name = f"bench-{number}"
            program = [sys.executable, "-m", "edge_runtime.bench.programs"]
            stack.enter_context(running([*program, url, name, str(work_ms), str(slots)]))
        yield


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


def _await_port(port: int) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise ConfigError("Mosquitto did not start; run it by hand to see why, and use --broker.")


def main(url: str, name: str, work_ms: str, slots: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the measurement, which ends this
    task = Task(int(work_ms) / 1000)
    with Worker(BrokerSettings(url), name, task, "bench", int(slots), waiting=64, grace_s=0.1):
        stop.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
