"""Secrets: read from files, which may be systemd's credentials."""

from __future__ import annotations

import os
from pathlib import Path

from edge_runtime.errors import ConfigError


def located(path: Path) -> Path:
    """Where the file is: a relative path is looked up among systemd's credentials first.

    `LoadCredential=broker.password:/etc/edge/broker.password` in a unit makes `broker.password` a
    file that only this service can read. The units of this project load a whole folder under the
    name `edge`, and systemd calls its files `edge_broker.password`.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and not path.is_absolute():
        for there in (Path(folder) / path, Path(folder) / f"edge_{path}"):
            if there.is_file():
                return there
    return path


def secret(path: Path) -> str:
    """The only line of a file, without the space around it.

    Raises ConfigError, whose message never holds what was read.
    """
    try:
        text = located(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            f"The file {path} cannot be read: {what}. Check its path and its owner."
        ) from None
    if not text or not text.isprintable():
        raise ConfigError(f"The file {path} must contain one line, the secret.")
    return text
