"""`edge-runtime calibrate echo`: how late and how loud the loudspeaker is in the microphone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from edge_runtime.commands.common import ConfigOption, console, errors
from edge_runtime.config import load_config


def calibrate_echo(
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option(help="Keep it here, beside that of other devices.")] = Path(
        "echo.yaml"
    ),
) -> None:
    """Play a sweep of 2 s and measure its echo: delay and level, kept for audio.echo_file."""
    from edge_runtime.senses import microphone_for
    from edge_runtime.sources.echo_calibration import devices_name, keep, measure, steps

    settings = load_config(config)
    name = devices_name(settings.audio.input_device, settings.audio.output_device)
    with (
        microphone_for(settings, bare=True) as microphone,
        Progress(console=errors, transient=True) as shown,
    ):
        task = shown.add_task("a sweep, and its echo", total=steps())
        echo = measure(microphone, lambda: shown.advance(task))
    keep(out, name, echo)
    clipped = " [yellow]The microphone clips: lower the volume.[/yellow]" if echo.clipped else ""
    console.print(
        f"{escape(name)}: {echo.delay_ms:+.1f} ms ({echo.delay_samples:+d} samples) against what "
        f"the devices say, {echo.level_db:+.1f} dB.{clipped}\n"
        f"Kept in {escape(str(out))}; to use it: audio.echo_file: {escape(str(out))}",
        soft_wrap=True,
    )
