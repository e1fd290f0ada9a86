"""`edge-runtime config`: all that can be configured, and what a file changes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_runtime.commands.common import tell_doubts, with_credentials_of_the_service
from edge_runtime.config import Config, load

if TYPE_CHECKING:
    from edge_runtime.background.worker_config import WorkerConfig

DEVICE = "## Every key of a device\n"
WORKER = "## Every key of a worker\n"
"""Chapters of docs/configuration.md, which end it."""


def config(
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="One section or key, such as decision or voice.rate_wpm."),
    ] = None,
    worker: Annotated[
        bool, typer.Option("--background", help="The worker's configuration, not the device's.")
    ] = False,
    check: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Read this file, and print what differs from the defaults."),
    ] = None,
    phrases: Annotated[
        bool,
        typer.Option("--phrases", help="The built-in phrases, to be changed for voice.phrases."),
    ] = False,
    document: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(hidden=True, help="Renew the reference in docs/configuration.md."),
    ] = None,
) -> None:
    """Print all that can be configured, as YAML with the defaults; or look at a file of yours."""
    from edge_runtime.background.worker_config import WorkerConfig
    from edge_runtime.config_reference import reference
    from edge_runtime.voice.phrases import shipped_text

    if sum((name is not None, check is not None, phrases)) > 1:
        raise typer.BadParameter("give a name, --check or --phrases, not several")
    kind = WorkerConfig if worker else Config
    if phrases:
        typer.echo(shipped_text(), nl=False)
    elif document is not None:
        text = document.read_text(encoding="utf-8")
        document.write_text(renewed(text), encoding="utf-8")
    elif check is not None:
        _check(check, kind)
    else:
        typer.echo(reference(kind, name), nl=False)


def renewed(document: str) -> str:
    """docs/configuration.md with the reference of today."""
    from edge_runtime.background.worker_config import WorkerConfig
    from edge_runtime.config_reference import markdown

    head = document.partition(DEVICE)[0]
    return f"{head}{DEVICE}\n{markdown(Config)}\n{WORKER}\n{markdown(WorkerConfig)}"


def _check(path: Path, kind: type[Config] | type[WorkerConfig]) -> None:
    from edge_runtime.config_changes import changes

    with_credentials_of_the_service(path)
    found = load(path, kind)
    if isinstance(found, Config):
        tell_doubts(found)
    for line in list(changes(found)) or ["Nothing differs from the defaults."]:
        typer.echo(line)
