"""`edge-runtime privacy`: what the configuration means for the people around the device."""

from __future__ import annotations

from rich.markup import escape

from edge_runtime.commands.common import ConfigOption, console
from edge_runtime.config import load_config


def privacy(config: ConfigOption = None) -> None:
    """What the device hears, sees, keeps and hands on, in plain words."""
    from edge_runtime.privacy import privacy as answers

    for answer in answers(load_config(config)):
        console.print(f"[bold]{answer.question}[/bold]")
        for line in answer.lines:
            console.print(f"  {escape(line)}")
