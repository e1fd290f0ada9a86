"""How recordings are named: the newest, the one that is still written, and earlier ones; and who
may write."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import re
import stat
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from edge_runtime.errors import RecordingError

log = logging.getLogger(__name__)
LOCKS = Path("/proc/locks")


def check_place(path: Path) -> None:
    """Raises RecordingError unless a recording of this path would replace a file or nothing."""
    if not path.name or (path.exists() and not path.is_file()):
        kind = "a folder" if path.is_dir() else "no file"
        raise RecordingError(
            f"A recording cannot be written to {path}: it is {kind}. Give a file, such as "
            f"{path / 'last.mcap' if path.is_dir() else 'last.mcap'}, with recording.path or --out."
        )


def unwritable(path: Path, error: OSError) -> RecordingError:
    """What to say where the system refuses it."""
    remedy = "Check its rights, or choose another recording.path (`run`: --out)."
    if error.errno == errno.EROFS:
        remedy = (
            "Its file system is mounted read-only, or a service's sandbox keeps it so: sudo "
            "systemctl edit edge-runtime, with the lines [Service] and ReadWritePaths=/mnt/usb. Or "
            "choose another recording.path."
        )
    return RecordingError(f"{path.absolute()} cannot be written: {error.strerror}. {remedy}")


def unfinished(path: Path) -> Path:
    """The recording of `path` while it is written, and after its run was killed."""
    return path.with_name(path.name + ".part")


def open_unfinished(path: Path) -> IO[bytes]:
    """The unfinished recording of `path`, empty, and locked for as long as it is open.

    What a run that was cut off has left is put aside, with a warning. Raises RecordingError where
    somebody else is writing it, and OSError.
    """
    while True:
        file = unfinished(path).open("ab")  # not "wb": it may be somebody else's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its writer may have finished and renamed it between the two.
            ours = is_unfinished(file, path)
            left = put_aside(unfinished(path), path) if ours else None
        except BlockingIOError as error:
            with file:
                raise RecordingError(
                    f"{path} is being written by {_writer(file)}. Give this run a place of its own "
                    "with --out, or another recording.path."
                ) from error
        except OSError:
            file.close()
            raise
        if ours and left is None:
            return file
        file.close()
        if left is not None:
            log.warning("an earlier run was cut off; its recording is %s", left)


def is_unfinished(file: IO[bytes], path: Path) -> bool:
    """Whether this open file still is the unfinished recording of `path`: it may have been removed
    or renamed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), unfinished(path).stat())
    except FileNotFoundError:
        return False


def _writer(file: IO[bytes]) -> str:
    """Who holds the lock on it, as far as the kernel tells."""
    inode = str(os.fstat(file.fileno()).st_ino)
    lines = LOCKS.read_text().splitlines() if LOCKS.exists() else []
    for _, kind, _, _, process, place, *_ in map(str.split, lines):
        if kind == "FLOCK" and place.rpartition(":")[2] == inode:
            return f"process {process}"
    return "another process"


def put_aside(written: Path, path: Path) -> Path | None:
    """Name `written` as an earlier recording of `path`, by the time at which it ended; returns the
    new name. None where there is nothing in it, or nothing at all. Raises OSError."""
    if not written.is_file() or not (status := written.stat()).st_size:
        return None
    stamp = datetime.fromtimestamp(status.st_mtime, timezone.utc).strftime("%Y%m%dT%H%M%S")
    more = itertools.chain([""], (f"-{number}" for number in itertools.count()))
    names = (path.with_name(f"{path.stem}-{stamp}{one}{path.suffix}") for one in more)
    aside = next(name for name in names if not name.exists())
    os.replace(written, aside)
    return aside


def finished(path: Path) -> list[tuple[Path, os.stat_result]]:
    """The recording at `path` and what was put aside for it, the newest first. Raises OSError."""
    name = re.compile(rf"{re.escape(path.stem)}(-\d{{8}}T\d{{6}}(-\d+)?)?{re.escape(path.suffix)}")
    found = []
    for one in path.parent.iterdir():
        if name.fullmatch(one.name):
            with suppress(FileNotFoundError):  # somebody else has just removed it
                found.append((one, one.stat()))
    files = [(one, status) for one, status in found if stat.S_ISREG(status.st_mode)]
    return sorted(files, key=lambda file: file[1].st_mtime_ns, reverse=True)
