"""Files that nobody finds half written."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from pathlib import Path


def write_whole(
    path: Path, content: str | bytes, mode: int | None = None, *, durably: bool = False
) -> None:
    """Replaces `path` atomically: who reads it finds the old content or the new one, and a failure
    leaves the old one and nothing else. Text is UTF-8.

    `mode` are its permissions; None: what the process gives to new files. `durably` returns when it
    is on the disk, so that a power cut does not take it back. The folder must be there. Raises
    OSError.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(_part(path.name, str(os.getpid())))
    try:
        with temporary.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if durably:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durably:
        _sync_folder(path.parent)


def remove_parts(path: Path) -> None:
    """What writers of `path` that were killed have left; for the one who alone writes it now."""
    with suppress(OSError):
        for left in path.parent.glob(_part(glob.escape(path.name), "*")):
            left.unlink()


def _part(name: str, writer: str) -> str:
    return f".{name}.{writer}.part"


def _sync_folder(path: Path) -> None:
    """The new name, too."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
