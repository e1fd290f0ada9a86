"""A bounded queue before a slow sink: the newest turns stay, and the loop never waits."""

from __future__ import annotations

import logging
import threading
from collections import deque
from types import TracebackType

from typing_extensions import Self

from edge_runtime.interfaces import Sink
from edge_runtime.micro_turn import TurnRecord

log = logging.getLogger(__name__)
DRAIN_S = 2.0
"""For what still waits; systemd kills a service 5 s after it told it to stop."""
LEAVE_S = 1.0
"""For the turn that the sink is at."""


class QueueSink:
    """Runs `sink` in a thread of its own. What does not fit drops the oldest, and is counted.

    Leaving takes at most `DRAIN_S` and `LEAVE_S`: what a slow sink has not taken by then is dropped
    too, and one that does not come back from a turn is left behind in its thread, not exited.
    """

    def __init__(self, sink: Sink, name: str, size: int = 64) -> None:
        self._sink, self._name, self._size = sink, name, size
        self._queue: deque[TurnRecord] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.failures = 0

    def __enter__(self) -> Self:
        self._sink.__enter__()
        self._thread = threading.Thread(target=self._work, name=f"sink-{self._name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left = self._drain()
        if self.dropped:
            log.warning("%s: %d micro-turns dropped", self._name, self.dropped)
        if left:
            self._sink.__exit__(kind, error, trace)
        else:
            log.error(
                "%s: it does not come back from a micro-turn, and was not closed. Check what it "
                "writes to, a disk or a network",
                self._name,
            )

    @property
    def name(self) -> str:
        return self._name

    @property
    def depth(self) -> int:
        """Micro-turns that wait."""
        return len(self._queue)

    def publish(self, record: TurnRecord) -> None:
        with self._changed:
            if len(self._queue) >= self._size:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(record)
            self._changed.notify_all()

    def _drain(self) -> bool:
        """Whether the thread has ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(DRAIN_S)
        with self._changed:
            self.dropped += len(self._queue)
            self._queue.clear()
        self._thread.join(LEAVE_S)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (record := self._next()) is not None:
            try:
                self._sink.publish(record)
            except Exception as error:
                level = logging.DEBUG if self.failures else logging.WARNING
                self.failures += 1
                log.log(level, "%s: %s", self._name, error, exc_info=True)

    def _next(self) -> TurnRecord | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            return self._queue.popleft() if self._queue else None
