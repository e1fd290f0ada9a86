"""What several commands share: consoles, options, and how a run is ended."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError
from edge_runtime.service_files import CONFIGS, CREDENTIALS

log = logging.getLogger(__name__)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
MOMENT_S = 0.5

ConfigOption = Annotated[Optional[Path], typer.Option("--config", help="A YAML configuration.")]  # noqa: UP045
JudgedOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--engine", help="A model folder; default: the configured one."),
]
DataOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--data",
        help="A folder of recordings with a manifest.csv: split=dev; without one all but train.",
    ),
]
OutOption = Annotated[Optional[Path], typer.Option("--out", help="Write the run's files here.")]  # noqa: UP045


class Speed(str, Enum):
    REAL = "real"
    MAX = "max"


def with_engine_folder(config: Config, folder: Path | None) -> Config:
    """The configuration with another model, if one is given."""
    if folder is None:
        return config
    engine = config.engine.model_copy(update={"folder": folder})
    return config.model_copy(update={"engine": engine})


def log_as_a_service() -> None:
    """What goes on, too, and not only what is wrong; a log in front of a person stays short."""
    if not errors.is_terminal:
        logging.getLogger().setLevel(logging.INFO)


def stop_on_signals() -> threading.Event:
    """Set by SIGINT, SIGTERM and a terminal that is closed, so that a run ends between two
    micro-turns. `nohup` keeps it running."""
    stop = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda *_: stop.set())
    return stop


def tell_at_ease(notes: Sequence[str]) -> None:
    """Print notes, and wait only a moment: a terminal that stands still must not keep a device from
    its beginning and its end."""
    text = "\n".join(f"[dim]{escape(note)}[/dim]" for note in notes)
    if text:
        telling = threading.Thread(
            target=console.print, args=(text,), kwargs={"soft_wrap": True}, daemon=True
        )
        telling.start()
        telling.join(MOMENT_S)


def with_credentials_of_the_service(path: Path | None) -> None:
    """A service's configuration finds its secrets where its unit has them, if we may look there."""
    of_a_service = path is not None and path.absolute().is_relative_to(CONFIGS)
    if of_a_service and os.access(CREDENTIALS, os.X_OK):
        os.environ.setdefault("CREDENTIALS_DIRECTORY", str(CREDENTIALS))


def tell_doubts(config: Config) -> None:
    """What people may say to this device in vain, and a voice of another language, in the log."""
    from edge_runtime.background.doubts import doubts
    from edge_runtime.voice import spoken_language

    for doubt in filter(None, [spoken_language.doubt(config), *doubts(config)]):
        log.warning("%s", doubt)


def write_json(path: Path, content: object, option: str = "--json") -> None:
    """Figures for other programs; `option` named the path. Raises ConfigError where the file cannot
    be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}. Give {option} another path."
        ) from error
