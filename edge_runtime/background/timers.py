"""Timers that speak when they are due."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edge_runtime.interfaces import Clock


@dataclass(frozen=True, slots=True)
class Timer:
    id: str
    due_ns: int
    says: str


class Timers:
    """A set of timers on a clock; safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._timers: list[Timer] = []
        self._count = 0

    def start(self, seconds: float, says: str) -> Timer:
        with self._lock:
            self._count += 1
            due_ns = self._clock.now_ns() + int(seconds * 1e9)
            timer = Timer(f"timer-{self._count}", due_ns, says)
            self._timers = sorted([*self._timers, timer], key=lambda t: t.due_ns)
            return timer

    def cancel_all(self) -> int:
        """Returns how many were running."""
        with self._lock:
            count, self._timers = len(self._timers), []
            return count

    def seconds_left(self) -> float | None:
        """Of the timer that is due next; None when none is running."""
        with self._lock:
            if not self._timers:
                return None
            return max(0.0, (self._timers[0].due_ns - self._clock.now_ns()) / 1e9)

    def due(self) -> list[Timer]:
        """Timers that have run out since the last call."""
        with self._lock:
            now = self._clock.now_ns()
            done = [timer for timer in self._timers if timer.due_ns <= now]
            self._timers = [timer for timer in self._timers if timer.due_ns > now]
            return done
