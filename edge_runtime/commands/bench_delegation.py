"""`edge-runtime bench-delegation`: the cost and the growth of delegation."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from edge_runtime.commands.common import ConfigOption, console
from edge_runtime.config import load_config


def bench_delegation(
    broker: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of an idle broker; default: a Mosquitto started for this."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=2, help="Of each measurement.")] = 10.0,
    devices: Annotated[int, typer.Option(min=1, help="At most so many devices at once.")] = 200,
    config: ConfigOption = None,
) -> None:
    """Overhead of a delegated question, throughput by workers, latency by load."""
    from edge_runtime.bench.delegation import DEVICES, run_bench

    counts = [count for count in DEVICES if count < devices] + [devices]
    run_bench(load_config(config), broker, seconds, counts, console)
