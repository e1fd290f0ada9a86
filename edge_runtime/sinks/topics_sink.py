"""Publishes every record on the topics: a stop at once and until it is heeded, the rest in turn."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol

from typing_extensions import Self

from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TURN_MS, TurnRecord
from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication, TurnMessages
from edge_runtime.sinks.queue import QueueSink

log = logging.getLogger(__name__)
QUEUE = 25
"""Records that may wait for the network: 5 s."""
TURNS_PER_S = 1000 // TURN_MS
REPEAT_EVERY_S, REPEAT_FOR_S = 0.1, 1.0
"""How often and how long a stop is published again while nobody acknowledges it."""


class Wire(Protocol):
    """What carries messages: rclpy, or DDS without ROS. Its methods may be called by any thread."""

    def write(self, publication: Publication) -> None: ...


class TopicsSink:
    """A Sink over a wire. `wall_ns` is the time that stamps are in; without `realtime` the run's
    own clock says nothing about it, and a record is stamped when it comes."""

    def __init__(
        self,
        wire: Wire,
        messages: TurnMessages,
        realtime: bool = True,
        wall_ns: Callable[[], int] = time.time_ns,
        diagnose: Callable[[int], Publication] | None = None,
    ) -> None:
        """`diagnose` gives /diagnostics for a stamp; None: somebody else publishes it."""
        self._wire, self._messages = wire, messages
        self._realtime, self._wall_ns, self._diagnose = realtime, wall_ns, diagnose
        self._repeater = StopRepeater(wire.write)
        self._queue = QueueSink(_Others(self), "topics", QUEUE)
        self._halts = itertools.count(1)
        self._newest = -1
        """The index of the last record."""

    def __enter__(self) -> Self:
        self._repeater.__enter__()
        self._queue.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.__exit__(kind, error, trace)
        self._repeater.__exit__(kind, error, trace)

    @property
    def dropped(self) -> int:
        """Records that the wire was too slow for. A stop is never among them."""
        return self._queue.dropped

    @property
    def stopping(self) -> bool:
        """A stop is being repeated."""
        return self._repeater.repeating

    def publish(self, record: TurnRecord) -> None:
        self._newest = record.turn.index
        stops = self._messages.stops(record, self._stamp_ns(record))
        if stops:
            self._repeater.start(stops, self._newest)
        self._queue.publish(record)

    def halt(self) -> None:
        """Tell the body to stop, outside of any micro-turn."""
        stops = self._messages.halt(f"halt-{next(self._halts)}", self._wall_ns())
        self._repeater.start(stops, self._newest)

    def acknowledge(self, action_id: str) -> None:
        """An ActionAck has come: no need to repeat."""
        self._repeater.acknowledge(action_id)

    def publish_others(self, record: TurnRecord) -> None:
        """All but a stop; called by the queue's thread."""
        stamp_ns = self._stamp_ns(record)
        for publication in self._messages.others(record, stamp_ns):
            self._repeater.give_way(publication.topic, record.turn.index)
            self._wire.write(publication)
        if self._diagnose is not None and record.turn.index % TURNS_PER_S == 0:
            self._wire.write(self._diagnose(stamp_ns))

    def _stamp_ns(self, record: TurnRecord) -> int:
        """When the last sample of the record was captured."""
        if not self._realtime:
            return self._wall_ns()
        captured_ns = record.turn.deadline_ns - TURN_MS * 1_000_000
        return self._wall_ns() - (time.monotonic_ns() - captured_ns)


class _Others(NothingHeld):
    """What stands behind the queue."""

    def __init__(self, sink: TopicsSink) -> None:
        self._sink = sink

    def publish(self, record: TurnRecord) -> None:
        self._sink.publish_others(record)


class StopRepeater:
    """Publishes a stop at once, in the caller's thread, and then again every 100 ms for a second
    or until it is acknowledged. Leaving it waits for that, so that a stop outlives its sender.

    What is mapped to a topic of the robot, such as a Twist of zeros, is repeated there until an
    action that was decided later is published on it; the Action itself goes on.
    """

    def __init__(
        self,
        write: Callable[[Publication], None],
        every_s: float = REPEAT_EVERY_S,
        for_s: float = REPEAT_FOR_S,
    ) -> None:
        self._write = write
        self._every_s, self._times = every_s, round(for_s / every_s)
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        """Held while a repetition is written, so that none follows what it gives way to."""
        self._stops: Sequence[Publication] = ()
        self._index = -1
        """Of the micro-turn that the stop belongs to."""
        self._starts = 0
        self._left = 0
        self._closing = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="stop-repeater", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    @property
    def repeating(self) -> bool:
        with self._changed:
            return self._left > 0

    def start(self, stops: Sequence[Publication], index: int) -> None:
        """`stops`: an Action, and what else the configuration wants published with it. `index`: of
        the micro-turn that it belongs to; nothing that was decided until then is given way to."""
        with self._changed:
            self._stops, self._index, self._left = stops, index, self._times
            self._starts += 1
            self._changed.notify_all()
        for stop in stops:
            self._write_one(stop)

    def give_way(self, topic: str, index: int) -> None:
        """Something of the micro-turn `index` is about to be published on `topic`."""
        with self._writing, self._changed:
            if index > self._index and topic != topics.ACTION.name:
                self._stops = [stop for stop in self._stops if stop.topic != topic]

    def acknowledge(self, action_id: str) -> None:
        with self._changed:
            if any(stop.message.get("id") == action_id for stop in self._stops):
                self._left = 0
                self._changed.notify_all()

    def _run(self) -> None:
        while (stops := self._next()) is not None:
            for stop in stops:
                with self._writing:
                    if self._holds(stop):
                        self._write_one(stop)

    def _next(self) -> Sequence[Publication] | None:
        """Wait until a repetition is due; None: there is none left and the sink is closing."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._left or self._closing)
                if not self._left:
                    return None
                start = self._starts
                changed = self._changed.wait_for(
                    lambda start=start: not self._left or self._starts != start,  # type: ignore[misc]
                    self._every_s,
                )
                if not changed:
                    self._left -= 1
                    return self._stops

    def _holds(self, stop: Publication) -> bool:
        with self._changed:
            return any(stop is one for one in self._stops)

    def _write_one(self, stop: Publication) -> None:
        try:
            self._write(stop)
        except Exception as error:  # the next repetition may get through
            log.warning("a stop could not be published on %s: %s", stop.topic, error)
