"""Recordings of a service that never ends: one file after the other, and the old ones removed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge_runtime.errors import RecordingError
from edge_runtime.interfaces import Sink
from edge_runtime.micro_turn import TURN_MS, TurnRecord
from edge_runtime.sinks.recording_files import (
    check_place,
    earlier,
    put_aside,
    unfinished,
    unwritable,
)

log = logging.getLogger(__name__)
CHECK_EVERY_TURNS = 10_000 // TURN_MS


@dataclass(frozen=True)
class Limits:
    """When a file is full, and what is kept of all."""

    max_bytes: float
    max_s: float
    keep_bytes: float
    keep_s: float


class Rotation:
    """A Sink before recorders: `make` gives one for a path. Behind a QueueSink, as a recorder is.

    The newest recording is at `path`; earlier ones beside it, named by the time at which they
    ended, those that were cut off among them. Only these are ever removed. Within one run, only the
    first file replays: a later one begins with a state of the model that it does not hold.
    """

    def __init__(
        self,
        make: Callable[[Path], Sink],
        path: Path,
        limits: Limits,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._make, self._path, self._limits, self._now_s = make, path, limits, now_s
        self._recorder: Sink | None = None
        self._begun_s = 0.0
        self._turns = 0

    def __enter__(self) -> Self:
        check_place(self._path)
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._recorder is not None:
            self._recorder.__exit__(kind, error, trace)
            self._recorder = None
        self._remove_old()

    def publish(self, record: TurnRecord) -> None:
        self._turns += 1
        if self._turns % CHECK_EVERY_TURNS == 0 and self._full():
            self._begin_another()
        if self._recorder is not None:
            self._recorder.publish(record)

    def _begin(self) -> None:
        """Raises RecordingError. What is there is touched only once nobody else can write here."""
        recorder = self._make(self._path).__enter__()
        try:
            put_aside(self._path, self._path)
        except OSError as error:
            recorder.__exit__(OSError, error, None)
            raise unwritable(self._path, error) from error
        self._recorder, self._begun_s = recorder, self._now_s()
        self._remove_old()

    def _begin_another(self) -> None:
        """A disk that takes no other file ends the recording, and not the run."""
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
            self._recorder = None
        try:
            self._begin()
        except RecordingError as error:
            log.warning("recording stopped, the run goes on: %s", error)

    def _full(self) -> bool:
        if self._recorder is None:
            return False
        written = unfinished(self._path)
        size = written.stat().st_size if written.exists() else 0
        age_s = self._now_s() - self._begun_s
        # A clock that was set back begins a new file too: else there might never be one.
        return size > self._limits.max_bytes or not 0 <= age_s <= self._limits.max_s

    def _remove_old(self) -> None:
        kept_bytes = self._path.stat().st_size if self._path.exists() else 0
        for path in sorted(earlier(self._path), reverse=True):
            status = path.stat()
            kept_bytes += status.st_size
            old = self._now_s() - status.st_mtime > self._limits.keep_s
            if old or kept_bytes > self._limits.keep_bytes:
                log.info("the recording %s is removed", path)
                path.unlink(missing_ok=True)
