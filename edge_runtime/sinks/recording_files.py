"""How recordings are named: the newest, the one that is still written, and earlier ones."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from edge_runtime.errors import RecordingError


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
    return RecordingError(
        f"{path} cannot be written: {error.strerror}. Give another place with --out or "
        "recording.path, or check its rights."
    )


def unfinished(path: Path) -> Path:
    """The recording of `path` while it is written, and after its run was killed."""
    return path.with_name(path.name + ".part")


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


def earlier(path: Path) -> Iterator[Path]:
    """What was put aside for `path`."""
    names = path.parent.glob(f"{path.stem}-[0-9]*T[0-9]*{path.suffix}")
    return (name for name in names if name.is_file())
