"""`edge-runtime calibrate`: a model's int8 graph from recordings, and a device's senses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge_runtime.commands.calibrate_echo import calibrate_echo
from edge_runtime.commands.calibrate_sensors import calibrate_sensors
from edge_runtime.commands.common import console, errors, write_json

calibrate_app = typer.Typer(name="calibrate", invoke_without_command=True)
calibrate_app.command("echo")(calibrate_echo)
calibrate_app.command("sensors")(calibrate_sensors)


@calibrate_app.callback()
def calibrate(
    context: typer.Context,
    recording: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            help="A recording.mcap of the device; may be given several times. The last one, or the "
            "second half of a single one, is not calibrated on but checked with."
        ),
    ] = None,
    engine: Annotated[Optional[Path], typer.Option(help="A model folder.")] = None,  # noqa: UP045
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write the model folder with its int8 graph here; default: in place."),
    ] = None,
    turns: Annotated[int, typer.Option(min=16, help="To measure ranges on, at most.")] = 256,
    keep: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A layer to leave in float16; may be given several times."),
    ] = None,
    report: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Write all figures here."),
    ] = None,
) -> None:
    """Make a model's int8 (Q/DQ) graph from recordings, and say what it costs; by name, measure
    echo and sensors."""
    if context.invoked_subcommand is not None:
        return
    if not recording:
        raise typer.BadParameter("give at least one", context, param_hint="--recording")
    from edge_runtime.calibrate import calibrate as make
    from edge_runtime.inference.manifest import load_manifest
    from edge_runtime.reference_engine import reference_engine_folder
    from edge_runtime.replay import read_turns

    folder = engine or reference_engine_folder()
    manifest = load_manifest(folder)
    streams = [read_turns(path, manifest) for path in recording]
    columns = TextColumn("{task.description}"), TextColumn("{task.completed}/{task.total}")
    with Progress(*columns, TimeElapsedColumn(), console=errors, transient=True) as shown:
        task = shown.add_task("", total=1)
        made = make(
            folder,
            out or folder,
            streams,
            turns,
            keep or [],
            lambda what, done, total: shown.update(
                task, description=escape(what), completed=done, total=total
            ),
        )
    table = Table("layer", "operator", "error alone", "", title="the most sensitive layers")
    for one in made.sensitivities[:12]:
        kept = "float16" if one.layer in made.kept else "int8"
        table.add_row(escape(one.layer), one.operator, f"{one.error:.3%}", kept)
    console.print(table)
    decisions = made.check.decisions["free"]
    console.print(
        f"{made.layers - len(made.kept)} of {made.layers} layers in int8, calibrated on "
        f"{made.turns} micro-turns. On {made.checked_turns} others: decisions alike "
        f"{decisions['share']:.2%}, transcript alike {decisions['heard']:.2%}.",
        soft_wrap=True,
    )
    if report is not None:
        write_json(report, made.as_dict())
