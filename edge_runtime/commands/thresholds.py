"""`edge-runtime thresholds`: from which chances a model should act."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edge_runtime.commands.common import (
    ConfigOption,
    DataOption,
    JudgedOption,
    console,
    with_engine_folder,
    write_json,
)
from edge_runtime.config import load_config

OTHER_SEED = 7
"""Not that of `evaluate`: what is chosen on clips is better on them than elsewhere. What is said
for "mhm", to interrupt and to cancel differs as well."""


def thresholds(
    engine: JudgedOption = None,
    data: DataOption = None,
    share: Annotated[
        float, typer.Option(min=0.02, max=10.0, help="Of the clips of a full run; more is surer.")
    ] = 0.5,
    seed: Annotated[
        int, typer.Option(help="Other voices, rooms and times; report on another one.")
    ] = OTHER_SEED,
    json_out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Write all settings with their figures here."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Try every threshold of a model's manifest on the clips of `evaluate`, and suggest some."""
    from edge_runtime.evaluation.run import Order
    from edge_runtime.evaluation.thresholds import show
    from edge_runtime.evaluation.thresholds import thresholds as find

    settings = with_engine_folder(load_config(config), engine)
    if json_out is not None:
        write_json(json_out, {})  # what cannot be written is refused now, not after half an hour
    report = find(Order(settings, Path(), data, share=share, seed=seed), console)
    if json_out is not None:
        write_json(json_out, report)
    show(report, console)
