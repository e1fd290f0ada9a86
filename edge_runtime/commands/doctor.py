"""`edge-runtime doctor`: what is there and works, and what to do about the rest."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape
from rich.status import Status

from edge_runtime.commands.common import (
    ConfigOption,
    console,
    errors,
    with_credentials_of_the_service,
    write_json,
)
from edge_runtime.config import load
from edge_runtime.doctor.finding import Finding, Verdict
from edge_runtime.service_files import service_of

QUIETEST_DBFS = -80.0
BARS = 24
"""Of the level meter."""
_MARKS = {
    Verdict.OK: "[green]OK[/green]      ",
    Verdict.WARNING: "[yellow]warning[/yellow] ",
    Verdict.FAILED: "[red]FAILED[/red]  ",
    Verdict.ABSENT: "[dim]not here[/dim]",
}


def doctor(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for support.")] = False,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write doctor.json and a picture of each camera here."),
    ] = None,
    tone: Annotated[bool, typer.Option("--tone", help="Play a tone for a second.")] = False,
    background: Annotated[
        bool, typer.Option("--background", help="A worker's configuration: its model, its tools.")
    ] = False,
) -> None:
    """Look at everything the device, or a worker, needs; exit 1 if something has failed."""
    if background:
        _doctor_of_a_worker(config, as_json, out)
        return
    from edge_runtime.doctor.examine import examine
    from edge_runtime.doctor.finding import Case
    from edge_runtime.doctor.machine import configuration

    with_credentials_of_the_service(config)
    settings, about = configuration(config)
    # What would be logged is in the findings.
    logging.getLogger("edge_runtime").setLevel(logging.CRITICAL)
    if not as_json:
        show(about)
    with errors.status("") as status:
        case = Case(
            settings,
            configured=config is not None and about.verdict is not Verdict.FAILED,
            service=None if config is None else service_of(config),
            out=out,
            tone=tone,
            on_level=lambda dbfs: status.update(f"microphone {meter(dbfs)}"),
        )
        found = examine(case, on_begin=lambda name: _begin(status, name))
        _tell(found, status, as_json, out, [about])


def _doctor_of_a_worker(config: Path | None, as_json: bool, out: Path | None) -> None:
    from edge_runtime.background.worker_config import WorkerConfig
    from edge_runtime.doctor.worker import examine

    chosen = load(config, WorkerConfig)
    logging.getLogger("edge_runtime").setLevel(logging.CRITICAL)
    with errors.status("") as status:
        _tell(examine(chosen, lambda name: _begin(status, name)), status, as_json, out, [])


def _tell(
    found: Iterable[Finding], status: Status, as_json: bool, out: Path | None, before: list[Finding]
) -> None:
    from edge_runtime.doctor.examine import any_failed, report

    findings = list(before)
    for finding in found:
        findings.append(finding)
        if not as_json:
            status.stop()  # while it turns, standard output would go where it is
            show(finding)
            status.start()
    status.stop()
    if as_json:
        console.print_json(json.dumps(report(findings)))
    if out is not None:
        write_json(out / "doctor.json", report(findings), "--out")
    if any_failed(findings):
        raise typer.Exit(1)


def show(finding: Finding) -> None:
    console.print(
        f"{_MARKS[finding.verdict]}  {escape(finding.name):<12} {escape(finding.text)}",
        soft_wrap=True,
    )
    if finding.remedy:
        console.print(f"{'':<24}[dim]-> {escape(finding.remedy)}[/dim]", soft_wrap=True)


def meter(dbfs: float) -> str:
    """A bar for a level in dBFS."""
    share = min(1.0, max(0.0, 1 - dbfs / QUIETEST_DBFS))
    full = round(share * BARS)
    return f"{'█' * full}{'·' * (BARS - full)} {dbfs:.0f} dBFS"


def _begin(status: Status, name: str) -> None:
    status.update(escape(name))
