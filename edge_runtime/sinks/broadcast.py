"""Server-Sent Events to several listeners: what happens, and to who comes, what holds now.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

MOST = 8
"""Listeners at a time."""
WAITING = 256
"""Events that may wait for a listener; it loses the oldest."""
KEEP_ALIVE = b":\n\n"
"""A comment: nobody sees it, and whoever cannot be reached any more is noticed."""


class Listener:
    """What waits for one of them. Guarded by the broadcast's lock."""

    def __init__(self, first: Iterable[bytes], size: int) -> None:
        self.waiting: deque[bytes] = deque(first, size)
        self.lost = False

    def put(self, event: bytes) -> None:
        self.lost |= len(self.waiting) == self.waiting.maxlen
        self.waiting.append(event)


class Broadcast:
    """Any thread may tell, none waits for a listener."""

    def __init__(self, most: int = MOST, waiting: int = WAITING) -> None:
        self.most, self._size = most, waiting
        self._changed = threading.Condition()
        """Guards all that follows; notified of every event, and of the end."""
        self._listeners: list[Listener] = []
        self._holds: dict[str, bytes] = {}
        self._closed = False

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        """What holds from now on, until the next of its kind; an event where it is news."""
        event = _event(kind, data)
        with self._changed:
            if self._holds.get(kind) != event:
                self._holds[kind] = event
                self._put(event)

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """What happens, to who listens now."""
        with self._changed:
            self._put(_event(kind, data))

    def drop(self, kind: str) -> None:
        """What was shown of this kind holds no more."""
        with self._changed:
            self._holds.pop(kind, None)

    def _put(self, event: bytes) -> None:
        for listener in self._listeners:
            listener.put(event)
        self._changed.notify_all()

    @contextmanager
    def listening(self) -> Iterator[Listener | None]:
        """Somebody who is told first what holds now; None where there are `most` already."""
        with self._changed:
            listener = None
            if len(self._listeners) < self.most:
                listener = Listener(self._holds.values(), self._size)
                self._listeners.append(listener)
        try:
            yield listener
        finally:
            with self._changed:
                if listener is not None:
                    self._listeners.remove(listener)

    def take(self, listener: Listener, wait_s: float) -> bytes | None:
        """All that waits for it, `KEEP_ALIVE` where nothing came in `wait_s`; None at the end.

        Who has lost events is told anew what holds.
        """
        with self._changed:
            self._changed.wait_for(lambda: listener.waiting or self._closed, wait_s)
            if self._closed:
                return None
            events = [*listener.waiting, *(self._holds.values() if listener.lost else ())]
            listener.waiting.clear()
            listener.lost = False
        return b"".join(events) or KEEP_ALIVE

    def close(self) -> None:
        """Nobody is told anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
