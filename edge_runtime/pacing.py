"""Clocks, and the pacer that keeps absolute deadlines on them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge_runtime.interfaces import Clock
from edge_runtime.micro_turn import TURN_MS

TURN_NS = TURN_MS * 1_000_000


class MonotonicClock:
    """The machine's monotonic clock; never set, never jumps."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        """Return at `deadline_ns` or as soon after as the system allows; at once if it is past."""
        while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)


def boot_ns() -> int:
    """As the monotonic clock, and it goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class VirtualClock:
    """Starts at 0 and moves only when someone sleeps on it: recordings as fast as they can."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)


@dataclass(frozen=True, slots=True)
class Tick:
    """One deadline that was waited for."""

    index: int
    """Of the deadline, from 0; skipped deadlines keep their numbers."""
    due_ns: int
    late_ms: float
    """From the due time to the return of `wait`; below one period."""
    skipped: int
    """Deadlines that went by unserved just before this one."""


class Pacer:
    """Gives deadlines at start + period, start + 2 periods, ...: lateness never adds up.

    The start is the clock's reading at the first `wait`. Whoever comes late by whole periods gets
    the newest deadline that is past and is told how many were skipped before it. The grid stays
    where it is: nothing runs faster to catch up.
    """

    def __init__(self, clock: Clock, period_ns: int = TURN_NS) -> None:
        if period_ns <= 0:
            raise ValueError(f"period_ns must be positive, not {period_ns}")
        self._clock = clock
        self._period_ns = period_ns
        self._start_ns: int | None = None
        self._next_index = 0

    def wait(self) -> Tick:
        """Sleep until the next deadline; return at once when it is past."""
        now_ns = self._clock.now_ns()
        if self._start_ns is None:
            self._start_ns = now_ns
        skipped = max(0, (now_ns - self._due_ns(self._next_index)) // self._period_ns)
        index = self._next_index + skipped
        due_ns = self._due_ns(index)
        self._clock.sleep_until(due_ns)
        self._next_index = index + 1
        late_ms = max(0, self._clock.now_ns() - due_ns) / 1e6
        return Tick(index, due_ns, late_ms, skipped)

    def _due_ns(self, index: int) -> int:
        assert self._start_ns is not None
        return self._start_ns + (index + 1) * self._period_ns
