"""`edge-runtime evaluate`: how good a model's conversation is, beside its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from edge_runtime.commands.common import (
    ConfigOption,
    DataOption,
    JudgedOption,
    console,
    with_engine_folder,
)
from edge_runtime.config import load_config


def evaluate(
    engine: JudgedOption = None,
    data: DataOption = None,
    baselines: Annotated[bool, typer.Option(help="Detectors and timers on the same clips.")] = True,
    share: Annotated[
        float, typer.Option(min=0.02, max=10.0, help="Of the clips of a full run; more is surer.")
    ] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="The same as --share 0.1.")] = False,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Only this scenario, and no proofs; may be given more than once: `answers`, ..."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Other voices, rooms and times.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("evaluation-out"),
    proofs: Annotated[bool, typer.Option(help="The seven proofs.")] = True,
    system: Annotated[bool, typer.Option(help="The whole runtime, too.")] = True,
    ticks: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A folder with models trained at other ticks: 200, 400, 1000."),
    ] = None,
    card: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Evaluate nothing: write this report.json as a card's table and figures."
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Judge a model: scenarios, baselines, proofs; writes report.json and report.html."""
    from edge_runtime.evaluation.plan import QUICK_SHARE
    from edge_runtime.evaluation.run import Order
    from edge_runtime.evaluation.run import evaluate as run

    if card is not None:
        from edge_runtime.evaluation.card import write_card

        table, figures = write_card(card, out)
        console.print(f"{escape(str(table))}, {escape(str(figures))}", soft_wrap=True)
        return
    settings = with_engine_folder(load_config(config), engine)
    part = QUICK_SHARE if quick else share
    order = Order(settings, out, data, baselines, part, seed, ticks, proofs, system, only or ())
    run(order, console)
    console.print(f"[dim]in {escape(str(out))}: report.html, report.json[/dim]", soft_wrap=True)
