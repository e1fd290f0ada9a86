"""`edge-runtime calibrate sensors`: room, speech, echo and camera of a device, with a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from edge_runtime.commands.common import ConfigOption, console, errors
from edge_runtime.commands.doctor import meter, show
from edge_runtime.config import load_config


def calibrate_sensors(
    config: ConfigOption = None,
    out: Annotated[
        Path, typer.Option(help="The configuration to be written; it must not exist.")
    ] = Path("calibrated.yaml"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not wait for Enter.")] = False,
) -> None:
    """Measure room, speech, bearing (of an array) and echo, look through the camera, and write a
    configuration."""
    from edge_runtime.calibrate_sensors import calibrate_sensors as calibrate
    from edge_runtime.calibrate_sensors import write
    from edge_runtime.doctor.finding import Case
    from edge_runtime.doctor.seeing import cameras
    from edge_runtime.errors import ConfigError

    settings = load_config(config)
    if out.exists():
        raise ConfigError(f"{out} is there already, and stays: give another --out.")
    with errors.status("opening microphone and loudspeaker") as status:

        def ask(text: str) -> None:
            status.stop()
            errors.print(escape(text))
            if not yes:
                typer.prompt("Enter when ready", default="", show_default=False, err=True)
            status.start()

        found = calibrate(settings, ask, lambda what, dbfs: status.update(f"{what} {meter(dbfs)}"))
        status.update("camera")
        seen = cameras(Case(settings, configured=config is not None))
    for line in found.lines:
        console.print(escape(line), soft_wrap=True)
    for finding in seen:
        show(finding)
    write(out, settings, found)
    console.print(f"{escape(str(out))} is written: edge-runtime run --config {escape(str(out))}")
