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
from edge_runtime.health import RECORDING, HealthMonitor, State
from edge_runtime.machine_health import free_bytes
from edge_runtime.micro_turn import TURN_MS, TurnRecord
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sinks.recording_files import check_place, finished, put_aside, unwritable

log = logging.getLogger(__name__)
CHECK_EVERY_TURNS = 10_000 // TURN_MS
RETRY_TURNS = 60_000 // TURN_MS
ROOM_TO_BEGIN_AGAIN = 1.2
"""Of what is to stay free, after it was less: else one file after the other would be begun."""


@dataclass(frozen=True)
class Limits:
    """When a file is full, and what is kept of all, the one that is written among them."""

    max_bytes: float
    max_s: float
    keep_bytes: float
    keep_s: float
    min_free_bytes: float = 0.0
    """To be left on the disk, for what else the device has to write."""

    @property
    def file_bytes(self) -> float:
        """Files are removed whole: with fewer than four of them most of what may be kept would not
        be."""
        return min(self.max_bytes, self.keep_bytes / 4)

    @property
    def file_s(self) -> float:
        return min(self.max_s, self.keep_s / 4)


class Rotation:
    """A Sink of recorders: `make` gives one for a path. Behind a QueueSink, as a recorder is.

    The newest recording is at `path`; earlier ones beside it, named by the time at which they
    ended, those that were cut off among them. Only these are ever removed, while it is entered: by
    size the oldest first, by age what may have begun too long ago. Within one run, only the first
    file replays: a later one begins with a state of the model that it does not hold.

    Where less than `limits.min_free_bytes` is free, the oldest make room, and where the newest is
    all that there is, the file is ended and none begun. Where nothing can be written, `health` is
    told and it is tried again every minute. `must_begin`: where it cannot even be begun, entering
    raises RecordingError. It always does where the path itself is wrong.
    """

    def __init__(
        self,
        make: Callable[[Path], Recorder],
        path: Path,
        limits: Limits,
        now_s: Callable[[], float] = time.time,
        health: HealthMonitor | None = None,
        must_begin: bool = True,
        free_bytes: Callable[[Path], float] = free_bytes,
    ) -> None:
        self._make, self._path, self._limits, self._now_s = make, path, limits, now_s
        self._health, self._must_begin = health or HealthMonitor(), must_begin
        self._free_bytes = free_bytes
        self._recorder: Recorder | None = None
        self._begun_s = 0.0
        self._turns = 0
        self._retry_turn = 0
        self._counted_bytes = 0
        self._ill = ""
        """Why nothing is recorded, until something is again."""
        self._unremoved = ""
        """Why something old is still there."""
        self._finished_bytes = self._finished_files = 0
        self.written_bytes = 0
        """Of all files, since the start."""

    def __enter__(self) -> Self:
        check_place(self._path)
        if self._must_begin:
            self._begin()
        else:
            self._try_to_begin()
        self._remove_old()
        self._report()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(kind, error, trace)
        self._remove_old()

    @property
    def on(self) -> bool:
        """Whether it records; a new try does once it has written something."""
        return not self._ill

    def publish(self, record: TurnRecord) -> None:
        self._turns += 1
        due = self._turns >= self._retry_turn if self._recorder is None else self._full()
        if due:
            self._end()
            self._try_to_begin()
            self._remove_old()
        if self._recorder is not None:
            self._recorder.publish(record)
            self._look_at(self._recorder)
        if self._turns % CHECK_EVERY_TURNS == 0 or self._too_much():
            self._remove_old()
            self._leave_room()
            self._report()

    def _begin(self) -> None:
        """Raises RecordingError. What is there is touched only once nobody else can write here."""
        recorder = self._make(self._path)
        recorder.quiet = not self.on
        recorder.__enter__()
        try:
            self._make_room()
            put_aside(self._path, self._path)
        except OSError as error:
            recorder.__exit__(OSError, error, None)
            raise unwritable(self._path, error) from error
        except RecordingError as error:
            recorder.__exit__(RecordingError, error, None)
            raise
        self._recorder, self._begun_s, self._counted_bytes = recorder, self._now_s(), 0
        self._count(recorder)

    def _try_to_begin(self) -> None:
        """A disk that takes no file, or somebody else who writes this one, ends the recording, and
        not the run."""
        try:
            self._begin()
        except RecordingError as error:
            level = logging.WARNING if self.on else logging.DEBUG
            log.log(level, "recording stopped, the run goes on: %s", error)
            self._stopped(str(error))

    def _make_room(self) -> None:
        """Raises RecordingError where too little is free, also without old recordings."""
        self._remove_old()
        if self._missing_bytes() > 0:
            free_mb, wanted_mb = self._free_bytes(self._path.parent) / 1e6, self._wanted_bytes / 1e6
            raise RecordingError(
                f"{free_mb:.0f} MB are free at {self._path.parent}, and {wanted_mb:.0f} are wanted "
                "to begin a recording. Make room, or lower health.min_free_mb."
            )

    def _leave_room(self) -> None:
        """Below what is to stay free the file is ended; it may make an older one superfluous."""
        if self._recorder is not None and self._missing_bytes() > 0:
            self._end()
            self._try_to_begin()

    @property
    def _wanted_bytes(self) -> float:
        return self._limits.min_free_bytes * (1.0 if self.on else ROOM_TO_BEGIN_AGAIN)

    def _missing_bytes(self) -> float:
        """More than 0: so much too little is free. What cannot be asked is told when it cannot be
        written."""
        try:
            return self._wanted_bytes - self._free_bytes(self._path.parent)
        except OSError:
            return 0.0

    def _end(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        if self._recorder is not None:
            self._recorder.__exit__(kind, error, trace)
            self._count(self._recorder)
            self._ill = self._ill or _why(self._recorder)
            self._recorder = None

    def _look_at(self, recorder: Recorder) -> None:
        """After each turn that it was given."""
        self._count(recorder)
        if why := _why(recorder):
            self._stopped(why)
        elif self._ill and recorder.holds_turns:
            self._ill = ""
            self._report()

    def _stopped(self, why: str) -> None:
        self._ill, self._recorder = why, None
        self._retry_turn = self._turns + RETRY_TURNS
        self._report()

    def _report(self) -> None:
        if self._ill:
            reason = f"nothing is recorded, and it is tried again every minute: {self._ill}"
            self._health.report(RECORDING, State.DEGRADED, reason)
        elif self._unremoved:
            reason = f"what is too old cannot be removed: {self._unremoved}"
            self._health.report(RECORDING, State.DEGRADED, reason)
        else:
            kept = {"kept_mb": round((self._finished_bytes + self._current_bytes) / 1e6)}
            self._health.report(RECORDING, State.OK, values=kept)

    def _count(self, recorder: Recorder) -> None:
        self.written_bytes += recorder.written_bytes - self._counted_bytes
        self._counted_bytes = recorder.written_bytes

    def _full(self) -> bool:
        """Or gone: what was removed while it is written is nobody's recording."""
        assert self._recorder is not None
        age_s = self._now_s() - self._begun_s
        # A clock that was set back begins a new file too: else there might never be one.
        full = self._recorder.holds_turns and self._current_bytes > self._limits.file_bytes
        return full or not 0 <= age_s <= self._limits.file_s or not self._recorder.in_place

    @property
    def _current_bytes(self) -> int:
        return 0 if self._recorder is None else self._recorder.written_bytes

    def _too_much(self) -> bool:
        """And there is more than the newest, which does not go for its size: else every turn would
        look through the folder in vain."""
        kept_bytes = self._finished_bytes + self._current_bytes
        return self._finished_files > 1 and kept_bytes > self._limits.keep_bytes

    def _remove_old(self) -> None:
        """Never the newest for its size alone, nor to make room."""
        limits, now_s, kept_bytes = self._limits, self._now_s(), self._current_bytes
        self._unremoved, kept = "", []
        try:
            found = finished(self._path)
        except OSError as error:
            self._unremoved, found = str(error), []
        for number, (path, status) in enumerate(found):
            kept_bytes += status.st_size
            # When it began nobody knows, but that no file is longer than `file_s`.
            old = now_s - status.st_mtime > limits.keep_s - limits.file_s
            if old or (number > 0 and kept_bytes > limits.keep_bytes):
                self._remove(path)
            else:
                kept.append((path, status.st_size))
        missing_bytes = self._missing_bytes()
        while missing_bytes > 0 and len(kept) > 1:
            path, size = kept.pop()
            self._remove(path)
            missing_bytes -= size  # a file system may take its time to give it back
        self._finished_bytes, self._finished_files = sum(size for _, size in kept), len(kept)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
            log.info("the recording %s is removed", path)
        except OSError as error:
            self._unremoved = str(error)


def _why(recorder: Recorder) -> str:
    """It has ended; empty where it has not."""
    failure = recorder.failure
    return "" if failure is None else failure.strerror or str(failure)
