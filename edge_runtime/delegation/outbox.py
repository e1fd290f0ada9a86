"""Requests that must not get lost, in a SQLite file, until their answer has begun to be spoken.

What a method has written is on the disk when it returns: the journal is a write-ahead log, and
`synchronous=FULL` syncs it with every change. So it survives `kill -9` and a power cut, as far as
the disk tells the truth about a sync. A file that is damaged is moved aside, never deleted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge_runtime.errors import UnavailableError

log = logging.getLogger(__name__)
MAX_KEPT = 100
"""More are not kept: someone must have lost sight of them."""
CLOCK_SET_S = 60.0
"""A clock that is so far from where it would be was set."""
LAYOUT = 1
SET_LAYOUT = f"PRAGMA user_version = {LAYOUT}"
TABLE = """CREATE TABLE IF NOT EXISTS kept (
    id TEXT PRIMARY KEY, asked_s REAL NOT NULL, transcript TEXT NOT NULL,
    message BLOB NOT NULL, answer TEXT) STRICT"""


@dataclass(frozen=True)
class Row:
    id: str
    transcript: str
    answer: str | None
    """Of a worker, and not spoken yet; None while there is none."""


class _NewerError(sqlite3.OperationalError):
    """It is not for this version."""


class Outbox:
    """For one thread at a time. `keep_for_s` is how long a request matters.

    `wall_s` is the time of day in seconds, which goes on while the device is off; where the clock
    was set back meanwhile, a request counts as new. `run_s` goes on whoever sets the clock, also
    while the machine sleeps: by it a request of this run has its age.
    """

    def __init__(
        self,
        path: Path,
        keep_for_s: float,
        wall_s: Callable[[], float] = time.time,
        run_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._path, self._keep_for_s = path, keep_for_s
        self._wall_s, self._run_s = wall_s, run_s
        self._file: sqlite3.Connection | None = None
        self._added_s: dict[str, float] = {}
        """When each of this run was, by `run_s`."""
        self.trouble = ""
        """What is wrong with it, for people; empty while all is well."""

    def __enter__(self) -> Self:
        """Where the disk takes nothing, nothing is kept: `trouble` says so, and `open_again` tries
        it. Raises UnavailableError where there can be no such file."""
        try:
            self._open_or_replace()
        except (OSError, sqlite3.Error) as error:
            self._without(error)
            if not self._could_be(error):
                raise UnavailableError(
                    f"The outbox {self._path} cannot be used: {error}. Check that its folder "
                    "exists and that this user may write there, or leave out delegation.outbox."
                ) from error
            log.warning("the outbox: %s", self.trouble)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def open_again(self) -> bool:
        """Whether it is open now and was not before."""
        if self._file is not None:
            return False
        try:
            self._open_or_replace()
        except (OSError, sqlite3.Error) as error:
            self._without(error)
            return False
        self.trouble = ""
        return True

    def add(self, id: str, transcript: str, message: bytes) -> None:
        """Raises sqlite3.Error: nothing was kept then. The same id again replaces what there is."""
        file = self._opened()
        (count,) = file.execute("SELECT count(*) FROM kept WHERE id != ?", (id,)).fetchone()
        if count >= MAX_KEPT:
            raise sqlite3.OperationalError(f"{MAX_KEPT} requests are waiting already")
        row = (id, self._wall_s(), transcript, message)
        try:
            file.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, NULL)", row)
        except sqlite3.Error as error:
            self.trouble = f"nothing can be kept in {self._path}: {error}"
            raise
        self.trouble = ""
        self._added_s[id] = self._run_s()

    def message(self, id: str) -> tuple[bytes, float] | None:
        """What `add` was given, and how many seconds ago; None if it has gone or is too old."""
        query = "SELECT message, asked_s FROM kept WHERE id = ?"
        found = self._opened().execute(query, (id,)).fetchone()
        if found is None:
            return None
        waited_s = self._waited_s(id, found[1])
        if waited_s > self._keep_for_s:
            log.warning("%s has waited for %.1f h and is dropped", id, waited_s / 3600)
            return None
        return bytes(found[0]), max(0.0, waited_s)

    def answered(self, id: str, answer: str) -> None:
        self._opened().execute("UPDATE kept SET answer = ? WHERE id = ?", (answer, id))

    def remove(self, id: str) -> None:
        self._added_s.pop(id, None)
        if self._file is not None:
            self._file.execute("DELETE FROM kept WHERE id = ?", (id,))

    def rows(self) -> list[Row]:
        """Those that still matter, oldest first; the others are dropped."""
        self.drop_old()
        if self._file is None:
            return []
        query = "SELECT id, transcript, answer FROM kept WHERE asked_s >= ? ORDER BY asked_s, rowid"
        return [Row(*found) for found in self._file.execute(query, (self._oldest_s(),))]

    def drop_old(self) -> list[str]:
        """Those that matter no longer are removed, where the disk lets them; returns their ids."""
        if self._file is None:
            return []
        try:
            dropped = self._drop_old(self._file)
            if self.trouble:
                self._file.execute(SET_LAYOUT)  # a disk that takes this takes more
        except sqlite3.Error as error:
            self.trouble = self.trouble or f"what is too old cannot be removed: {error}"
            return []
        self.trouble = ""
        if dropped:
            log.warning("%d kept requests have become too old and are dropped", len(dropped))
        for id in dropped:
            self._added_s.pop(id, None)
        return dropped

    def _drop_old(self, file: sqlite3.Connection) -> list[str]:
        for id, added_s in self._added_s.items():  # a later run has the time of day alone
            asked_s = self._wall_s() - (self._run_s() - added_s)
            file.execute(
                "UPDATE kept SET asked_s = ? WHERE id = ? AND abs(asked_s - ?) > ?",
                (asked_s, id, asked_s, CLOCK_SET_S),
            )
        delete = "DELETE FROM kept WHERE asked_s < ? RETURNING id"
        return [id for (id,) in file.execute(delete, (self._oldest_s(),)).fetchall()]

    def _oldest_s(self) -> float:
        return self._wall_s() - self._keep_for_s

    def _waited_s(self, id: str, asked_s: float) -> float:
        added_s = self._added_s.get(id)
        return self._wall_s() - asked_s if added_s is None else self._run_s() - added_s

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            raise sqlite3.OperationalError(self.trouble or "the outbox is closed")
        return self._file

    def _could_be(self, error: Exception) -> bool:
        """There is a place for it: a disk may take it later."""
        folder = self._path.parent
        placed = os.path.isdir(folder) and os.access(folder, os.X_OK)
        return placed and not (os.path.isdir(self._path) or isinstance(error, _NewerError))

    def _without(self, error: Exception) -> None:
        self._close()
        self.trouble = (
            f"nothing is kept, and it is tried again every minute: {self._path} cannot be used: "
            f"{error}. Make room, and let this user write there"
        )

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open_or_replace(self) -> None:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise
            self._set_aside(error)
            self._open()

    def _open(self) -> None:
        # What people said is nobody else's business; SQLite gives its other files the same rights.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._file = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")
        (layout,) = self._file.execute("PRAGMA user_version").fetchone()
        if layout > LAYOUT:
            raise _NewerError("a newer version has written it")
        self._file.execute(TABLE)
        self._file.execute(SET_LAYOUT)
        self._file.execute("SELECT count(*) FROM kept").fetchone()

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        if self._file is not None:
            self._file.close()
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(self._wall_s())}")
        log.error("the outbox %s is damaged (%s): moved to %s", self._path, error, aside)
        self._path.rename(aside)
        for rest in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + rest).unlink()


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return not isinstance(error, sqlite3.OperationalError)
