"""Ends a service whose loop hangs where nobody else does: in a container, or under a supervisor
that has no watchdog. Both start again what has ended."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

from typing_extensions import Self

from edge_runtime.every import Every
from edge_runtime.micro_turn import TurnRecord

log = logging.getLogger(__name__)
LOOKS = 10
"""Without a micro-turn in between."""
LOOK_EVERY_S = 1.0
TELL_S = 2.0
"""To tell why. The log may be what hangs: a full pipe that nobody reads."""
EXIT = 70
"""EX_SOFTWARE of sysexits.h."""


def end() -> None:
    """At once: whatever is waited for may be what hangs. Where every thread is goes to the log, if
    that takes anything."""
    untold = threading.Timer(TELL_S, os._exit, (EXIT,))
    untold.daemon = True
    untold.start()
    log.critical("the loop has given no sign for %d s, and nothing goes on without it", LOOKS)
    faulthandler.dump_traceback()
    os._exit(EXIT)


class SelfWatchdog:
    """A Sink, fed by completed micro-turns alone; from the first one on it watches.

    Looks are counted and not time: a process that was frozen is not one that hangs. Where systemd
    watches (WATCHDOG_USEC) it does nothing. Unlike systemd it does not see a hang that lets no
    other thread run: compiled code that keeps Python's lock.
    """

    def __init__(
        self,
        end: Callable[[], None] = end,
        environment: Mapping[str, str] = os.environ,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._end = end
        self._needed = "WATCHDOG_USEC" not in environment
        self._begun = False
        self._looks = 0
        self._looking = Every(look_every_s, self._look, "the watchdog", at_once=False)

    def __enter__(self) -> Self:
        if self._needed:
            self._looking.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._needed:
            self._looking.__exit__(kind, error, trace)

    def publish(self, record: TurnRecord) -> None:
        if record.output.tensors:  # else a safe stop: a part has failed
            self._begun, self._looks = True, 0

    def _look(self) -> None:
        self._looks += self._begun
        if self._looks > LOOKS:
            self._end()
