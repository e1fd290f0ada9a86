"""Publishes again what one message is not enough for: a stop, and a speed while it lasts."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import Self

from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication

log = logging.getLogger(__name__)
EVERY_S, FOR_S = 0.1, 1.0
"""How often, and how long a stop is published again."""


@dataclass
class _Plan:
    """What is still to go out on one topic, one every 100 ms."""

    topic: str
    left: deque[Publication]
    due_s: float
    """When the next one does, on the monotonic clock."""
    index: int
    """Of the micro-turn that it belongs to."""


class Repeater:
    """The first of everything goes out at once, in the caller's thread.

    A stop is published again every 100 ms for a second: its Action until that is acknowledged, what
    is mapped to a topic of the robot until something that was decided later goes out there. A speed
    is published again for as long as it says, and then zeros are for a second, unless a stop or
    another speed takes its place. What was decided until a stop does not follow it.

    Leaving it waits for the stops, and cuts each speed short to its zeros: a stop outlives its
    sender, and a motion does not.
    """

    def __init__(
        self,
        write: Callable[[Publication], None],
        every_s: float = EVERY_S,
        for_s: float = FOR_S,
    ) -> None:
        self._write = write
        self._every_s, self._times = every_s, round(for_s / every_s)
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        """Held while a repetition is written, so that none follows what it gives way to. A stop
        does not wait for it: what it overtakes is followed by the next repetition."""
        self._plans: dict[str, _Plan] = {}
        """By topic."""
        self._stopped_at = -1
        """The micro-turn of the newest stop."""
        self._closing = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="repeater", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        with self._changed:
            self._closing = True
            for plan in self._plans.values():
                while len(plan.left) > self._times + 1:
                    plan.left.popleft()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    @property
    def repeating(self) -> bool:
        with self._changed:
            return bool(self._plans)

    def stop(self, stops: Sequence[Publication], index: int) -> None:
        """`stops`: an Action, and what goes out with it. `index`: of the micro-turn that it belongs
        to; nothing for the body that was decided until then is published any more."""
        with self._changed:
            self._stopped_at = max(self._stopped_at, index)
            for stop in stops:
                self._plan(stop.topic, [stop] * self._times, index)
        for stop in stops:
            self._write_one(stop)

    def move(self, speed: Publication, index: int) -> None:
        """A speed of the micro-turn `index`."""
        again = max(1, round(speed.for_s / self._every_s)) - 1
        zeros = [speed.at_rest()] * (self._times + 1)
        with self._writing, self._changed:
            if index <= self._stopped_at:
                return
            self._plan(speed.topic, [*[speed] * again, *zeros], index)
        self._write_one(speed)

    def gives_way(self, topic: str, index: int) -> bool:
        """Whether something for the body of the micro-turn `index` may be published on `topic`;
        what is repeated there is over then."""
        with self._writing, self._changed:
            if index <= self._stopped_at:
                return False
            plan = self._plans.get(topic)
            if plan is not None and index > plan.index and topic != topics.ACTION.name:
                del self._plans[topic]
            return True

    def acknowledge(self, action_id: str) -> None:
        with self._changed:
            plan = self._plans.get(topics.ACTION.name)
            if plan is not None and plan.left[0].message["id"] == action_id:
                del self._plans[topics.ACTION.name]

    def _plan(self, topic: str, left: Iterable[Publication], index: int) -> None:
        due_s = time.monotonic() + self._every_s
        self._plans[topic] = _Plan(topic, deque(left), due_s, index)
        self._changed.notify_all()

    def _run(self) -> None:
        while (plan := self._next_due()) is not None:
            with self._writing:
                if (publication := self._take(plan)) is not None:
                    self._write_one(publication)

    def _next_due(self) -> _Plan | None:
        """Wait until one is due; None: there is none left and the sink is closing."""
        with self._changed:
            while self._plans or not self._closing:
                plan = min(self._plans.values(), key=lambda one: one.due_s, default=None)
                if plan is None:
                    self._changed.wait()
                elif (wait_s := plan.due_s - time.monotonic()) > 0:
                    self._changed.wait(wait_s)
                else:
                    return plan
        return None

    def _take(self, plan: _Plan) -> Publication | None:
        """Its next one; None: something else has taken its place."""
        with self._changed:
            if self._plans.get(plan.topic) is not plan:
                return None
            plan.due_s += self._every_s
            publication = plan.left.popleft()
            if not plan.left:
                del self._plans[plan.topic]
            return publication

    def _write_one(self, publication: Publication) -> None:
        try:
            self._write(publication)
        except Exception as error:  # the next repetition may get through
            log.warning("%s could not be published: %s", publication.topic, error)
