"""Publishes every record on the topics: a stop at once and again, the rest in turn."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from typing_extensions import Self

from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TURN_MS, TurnRecord
from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication, TurnMessages, stamp
from edge_runtime.sinks.queue import QueueSink
from edge_runtime.sinks.repeater import Repeater
from edge_runtime.sinks.robot_messages import STAMPED_SPEED
from edge_runtime.sparing_log import SparingLog

log = logging.getLogger(__name__)
QUEUE = 25
"""Records that may wait for the network: 5 s."""
TURNS_PER_S = 1000 // TURN_MS
_TELL = {topic.name for topic in topics.PUBLISHED} - {topics.ACTION.name}
"""What goes out on all other topics is for the body to do."""


class Wire(Protocol):
    """What carries messages: rclpy, or DDS without ROS. Its methods may be called by any thread."""

    def write(self, publication: Publication) -> None: ...


class TopicsSink:
    """A Sink over a wire, of a run in real time. `wall_ns` is the time that stamps are in."""

    def __init__(
        self,
        wire: Wire,
        messages: TurnMessages,
        wall_ns: Callable[[], int] = time.time_ns,
        diagnose: Callable[[int], Publication] | None = None,
    ) -> None:
        """`diagnose` gives /diagnostics for a stamp; None: somebody else publishes it."""
        self._wire, self._messages = wire, messages
        self._wall_ns, self._diagnose = wall_ns, diagnose
        self._repeater = Repeater(self._write)
        self._queue = QueueSink(_Others(self), "topics", QUEUE)
        self._refusals = SparingLog(log)
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
        self._refusals.tell(at_end=True)

    @property
    def dropped(self) -> int:
        """Records that the wire was too slow for. A stop is never among them."""
        return self._queue.dropped

    @property
    def stopping(self) -> bool:
        """A stop is being repeated, or a motion is not over."""
        return self._repeater.repeating

    def publish(self, record: TurnRecord) -> None:
        self._newest = record.turn.index
        stops = self._messages.stops(record, self._stamp_ns(record))
        if stops:
            self._repeater.stop(stops, self._newest)
        self._queue.publish(record)

    def halt(self) -> None:
        """Tell the body to stop, outside of any micro-turn; what the one that is under way decides
        does not go out any more either."""
        stops = self._messages.halt(f"halt-{next(self._halts)}", self._wall_ns())
        self._repeater.stop(stops, self._newest + 1)

    def take_ack(self, ack: Any) -> None:
        """Take an ActionAck, from any thread. One that refuses its Action is logged."""
        if ack.accepted:
            self.acknowledge(ack.id)
            return
        name, why = f"{ack.id!r:.100}", f"{ack.detail!r:.300}"
        self._refusals.warn(name, f"the body refuses the action {name}: {why}")

    def acknowledge(self, action_id: str) -> None:
        """The body has accepted it: no need to repeat that Action."""
        self._repeater.acknowledge(action_id)

    def publish_others(self, record: TurnRecord) -> None:
        """All but a stop; called by the queue's thread."""
        self._refusals.tell()
        stamp_ns, index = self._stamp_ns(record), record.turn.index
        for publication in self._messages.others(record, stamp_ns):
            if publication.for_s:
                self._repeater.move(publication, index)
            elif publication.topic in _TELL or self._repeater.gives_way(publication.topic, index):
                self._wire.write(publication)
        if self._diagnose is not None and index % TURNS_PER_S == 0:
            self._wire.write(self._diagnose(stamp_ns))

    def _stamp_ns(self, record: TurnRecord) -> int:
        """When the last sample of the record was captured."""
        captured_ns = record.turn.deadline_ns - TURN_MS * 1_000_000
        return self._wall_ns() - (time.monotonic_ns() - captured_ns)

    def _write(self, publication: Publication) -> None:
        """A base refuses a speed with an old stamp, so each repetition has its own."""
        if publication.type == STAMPED_SPEED:
            header = {**publication.message["header"], "stamp": stamp(self._wall_ns())}
            publication = publication._replace(message={**publication.message, "header": header})
        self._wire.write(publication)


class _Others(NothingHeld):
    """What stands behind the queue."""

    def __init__(self, sink: TopicsSink) -> None:
        self._sink = sink

    def publish(self, record: TurnRecord) -> None:
        self._sink.publish_others(record)
