"""How recordings are named: the newest, the one that is still written, and earlier ones."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path


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
    return path.parent.glob(f"{path.stem}-[0-9]*T[0-9]*{path.suffix}")
