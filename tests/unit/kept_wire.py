"""A wire that keeps what is written, and can be stuck."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_runtime.sinks.messages import Publication

WAIT_S = 30.0


class Wire:
    """Keeps what is written; its gate holds up everything but a stop."""

    def __init__(self) -> None:
        self.written: list[Publication] = []
        self.threads: list[int] = []
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.failures = 0
        self.passes = is_stop

    def write(self, publication: Publication) -> None:
        if not self.passes(publication):
            assert self.gate.wait(WAIT_S)
        with self.changed:
            self.written.append(publication)
            self.threads.append(threading.get_ident())
            self.changed.notify_all()
            if self.failures:
                self.failures -= 1
                raise OSError("the network is gone")

    def topics(self) -> list[str]:
        return [one.topic for one in self.written]

    def wait_for(self, count: int) -> None:
        self.wait_until(lambda: len(self.written) >= count)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_S)


def is_stop(publication: Publication) -> bool:
    return "stop_motion" in str(publication.message.get("id", ""))


def speed(publication: Publication) -> float | None:
    """Of a Twist."""
    linear = publication.message.get("linear")
    return None if linear is None else linear["x"]


def speeds(wire: Wire) -> list[float]:
    return [found for one in wire.written if (found := speed(one)) is not None]
