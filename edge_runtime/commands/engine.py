"""`edge-runtime engine`: from an ONNX graph to a plan that is known to be right."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge_runtime.commands.common import (
    ConfigOption,
    console,
    errors,
    stop_on_signals,
    write_json,
)
from edge_runtime.config import Config, load_config
from edge_runtime.errors import ConfigError

if TYPE_CHECKING:
    from edge_runtime.inference.engine import ModelEngine
    from edge_runtime.inference.lint import Finding
    from edge_runtime.inference.manifest import Precision
    from edge_runtime.inference.verify import Report

engine_app = typer.Typer(
    name="engine",
    no_args_is_help=True,
    help="Check a model's graph, build a TensorRT plan of it, and compare the two.",
)
EngineOption = Annotated[Optional[Path], typer.Option("--engine", help="A model folder.")]  # noqa: UP045


@engine_app.command()
def lint(
    model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="An ONNX file or a model folder; default: the reference model."),
    ] = None,
) -> None:
    """What TensorRT 10.3 would not take of a graph, as it is and in fp16; exit 1 if there is an
    error."""
    from edge_runtime.inference.lint import lint as lint_graph
    from edge_runtime.inference.lint import lint_as_fp16

    wrong = 0
    for path, opset in _graphs(model):
        found = [(str(path), lint_graph(path, opset))]
        if (halved := lint_as_fp16(path)) is not None:
            found.append((f"{path} as fp16", halved))
        for title, findings in found:
            _show_findings(title, findings)
            wrong += sum(finding.severity == "error" for finding in findings)
    if wrong:
        raise typer.Exit(1)


def _show_findings(title: str, findings: Sequence[Finding]) -> None:
    if not findings:
        console.print(f"{escape(title)}: nothing found.", soft_wrap=True)
        return
    table = Table("", "where", "problem", "source", title=escape(title))
    for found in findings:
        colour = "red" if found.severity == "error" else "yellow"
        table.add_row(
            f"[{colour}]{found.severity}[/{colour}]",
            escape(found.where),
            escape(found.problem),
            escape(found.source),
        )
    console.print(table)


def _graphs(model: Path | None) -> list[tuple[Path, int | None]]:
    """Files, and the opset that a manifest says of them."""
    from edge_runtime.inference.manifest import load_manifest
    from edge_runtime.reference_engine import reference_engine_folder

    if model is not None and model.is_file():
        return [(model, None)]
    manifest = load_manifest(model or reference_engine_folder())
    files = [manifest.model, *manifest.variants.values()]
    return [(manifest.folder / file.file, file.opset) for file in files]


@engine_app.command()
def build(
    config: ConfigOption = None,
    engine: EngineOption = None,
    precision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="fp32, fp16 or int8; default: the configured one, or fp16."),
    ] = None,
    workspace_mb: Annotated[Optional[int], typer.Option(help="Of a layer.")] = None,  # noqa: UP045
    optimization: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="0 builds quickly .. 5 searches longest."),
    ] = None,
    cache: Annotated[Optional[Path], typer.Option(help="Folder of plans.")] = None,  # noqa: UP045
    force: Annotated[bool, typer.Option("--force", help="Build also where one matches.")] = False,
) -> None:
    """Build the TensorRT plan for this machine, so that `run` finds it."""
    from edge_runtime.app import engine_for
    from edge_runtime.inference.plan import read_sidecar
    from edge_runtime.inference.tensorrt import TensorRtEngine

    changes = {
        "folder": engine,
        "precision": precision,
        "workspace_mb": workspace_mb,
        "optimization_level": optimization,
        "cache": cache,
    }
    settings = on_tensorrt(load_config(config), changes)
    ready = engine_for(settings, stop=stop_on_signals().is_set)
    assert isinstance(ready, TensorRtEngine)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=errors) as shown:
        tasks: dict[str, Any] = {}

        def progress(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = shown.add_task(escape(phase), total=total)
            shown.update(tasks[phase], completed=done, total=total)

        path = ready.build(progress, force)
    sidecar = read_sidecar(path)
    assert sidecar is not None
    key = sidecar.key
    console.print(
        f"{escape(str(path))}: {sidecar.plan_bytes / 1e6:.1f} MB, {key.precision}, TensorRT "
        f"{key.tensorrt}, {escape(key.gpu)}, built in {sidecar.build_s:.0f} s\n"
        f"Its layers: edge-runtime engine inspect {escape(shlex.quote(str(path)))}",
        soft_wrap=True,
    )


def on_tensorrt(config: Config, changes: dict[str, Any]) -> Config:
    """The configuration with TensorRT as its backend and what the command line says."""
    given = {key: value for key, value in changes.items() if value is not None}
    engine = {**config.engine.model_dump(), **given, "backend": "tensorrt"}
    return with_engine(config, engine)


def with_engine(config: Config, engine: dict[str, Any]) -> Config:
    """The configuration with another section `engine`, checked. Raises ConfigError."""
    try:
        checked = type(config.engine).model_validate(engine)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        given = problem.get("input")
        raise ConfigError(f"engine.{key}: {problem['msg']}; given: {given!r}.") from None
    return config.model_copy(update={"engine": checked})


@engine_app.command()
def inspect(
    plan: Annotated[Path, typer.Argument(help="A plan that `engine build` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="All that TensorRT tells.")] = False,
) -> None:
    """A plan's layers with their types, its tensors, and what it was built for."""
    from edge_runtime.inference.plan import read_sidecar
    from edge_runtime.inference.tensorrt import inspect_plan

    try:
        data = plan.read_bytes()
    except OSError as error:
        raise ConfigError(f"The plan {plan} cannot be read: {error.strerror}.") from error
    told = json.loads(inspect_plan(data))
    sidecar = read_sidecar(plan)
    if as_json:
        about = None if sidecar is None else sidecar.model_dump(mode="json")
        console.print_json(json.dumps({"sidecar": about, "plan": told}))
        return
    if sidecar is not None:
        for name, value in sidecar.key:
            console.print(f"{name:20} {value}", soft_wrap=True, markup=False)
        tensors = Table("tensor", "", "dtype", "shape", title="inputs and outputs")
        for tensor in sidecar.tensors:
            tensors.add_row(tensor.name, tensor.mode, tensor.dtype, str(list(tensor.shape)))
        console.print(tensors)
    layers = Table("layer", "type", "gives", title=f"{len(told.get('Layers', []))} layers")
    for layer in told.get("Layers", []):
        layers.add_row(*map(escape, _layer(layer)))
    console.print(layers)


def _layer(layer: Any) -> tuple[str, str, str]:
    """Name, type and what it gives; a plan built with little detail has names only."""
    if not isinstance(layer, dict):
        return str(layer), "", ""
    outputs = layer.get("Outputs", [])
    formats = {str(out.get("Format/Datatype", "")) for out in outputs if isinstance(out, dict)}
    return str(layer.get("Name", "")), str(layer.get("LayerType", "")), ", ".join(sorted(formats))


@engine_app.command()
def verify(
    recording: Annotated[
        list[Path], typer.Option(help="A recording.mcap of a run; may be given several times.")
    ],
    config: ConfigOption = None,
    engine: EngineOption = None,
    candidate: Annotated[
        str, typer.Option(help="What is examined: BACKEND:PRECISION.")
    ] = "tensorrt:fp16",
    reference: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="What it is held against; default: onnx:fp32, for int8 onnx:int8 too."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Write all figures here."),
    ] = None,
) -> None:
    """Compare two engines of a model on recorded micro-turns; exit 1 beyond the limits."""
    from edge_runtime.inference.verify import LIMITS, REFERENCES
    from edge_runtime.inference.verify import verify as compare
    from edge_runtime.replay import read_turns

    settings = load_config(config)
    examined = _chosen(settings, engine, candidate)
    streams = [read_turns(path, examined.manifest) for path in recording]
    precision = candidate.partition(":")[2]
    limits_by_name = {(str(one), str(other)): limits for (one, other), limits in LIMITS.items()}
    against = reference or [f"onnx:{name}" for name in REFERENCES[cast("Precision", precision)]]
    against = [name for name in against if name != candidate] or against
    reports = []
    for name in against:
        limits = limits_by_name.get((name.partition(":")[2], precision))
        if limits is None:
            raise ConfigError(f"There are no limits for {candidate} against {name}.")
        with _chosen(settings, engine, name) as one, examined as other:
            reports.append(compare(one, other, streams, limits))
        _show(f"{candidate} against {name}", reports[-1])
    if out is not None:
        write_json(out, [report.as_dict() for report in reports])
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _chosen(config: Config, folder: Path | None, name: str) -> ModelEngine:
    """`tensorrt:fp16` and the like as an engine, not yet active. Raises ConfigError."""
    from edge_runtime.app import engine_for

    backend, _, precision = name.partition(":")
    engine = {**config.engine.model_dump(), "backend": backend, "precision": precision}
    if folder is not None:
        engine["folder"] = folder
    return engine_for(with_engine(config, engine))


def _show(title: str, report: Report) -> None:
    """One table of errors, and what matters in the end in a few lines."""
    table = Table("output", title=f"{escape(title)}, {report.turns} micro-turns")
    for mode in ("one turn", "running free"):
        for figure in ("max", "p99", "cosine"):
            table.add_column(f"{mode}\n{figure}", justify="right")
    for name in report.free:
        figures = [report.forced[name], report.free[name]]
        cells = [f"{f[key]:.4g}" for f in figures for key in ("max", "p99", "cosine")]
        table.add_row(escape(name), *cells)
    console.print(table)
    decisions, latency = report.decisions["free"], report.latency_ms
    console.print(
        f"decisions alike {decisions['share']:.2%}, transcript alike {decisions['heard']:.2%}; "
        f"deterministic: {_yes(report.deterministic)}; resets: {_yes(report.resets)}; compute p50 "
        f"{latency['p50']:.2f} ms, p99 {latency['p99']:.2f} ms, max {latency['max']:.2f} ms",
        soft_wrap=True,
    )
    for violation in report.violations:
        console.print(f"[red]{escape(violation)}[/red]", soft_wrap=True)
    console.print("[green]within its limits[/green]" if report.passed else "[red]refused[/red]")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@engine_app.command()
def estimate(
    model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="A model folder; default: the reference model."),
    ] = None,
) -> None:
    """What a micro-turn costs at least on the boards of the Jetson family (roofline)."""
    from edge_runtime.inference.estimate import BOARDS, LAUNCH_US, cost
    from edge_runtime.inference.manifest import load_manifest
    from edge_runtime.reference_engine import reference_engine_folder

    manifest = load_manifest(model or reference_engine_folder())
    wanted: list[Precision] = ["fp32", "fp16"]
    wanted += list(manifest.variants)
    costs = [cost(manifest, precision) for precision in wanted]
    parts = Table("precision", title="a micro-turn")
    for name in ("weights MB", "states MB", "million operations", "kernels at most"):
        parts.add_column(name, justify="right")
    for one in costs:
        parts.add_row(
            one.precision,
            f"{one.weight_bytes / 1e6:.2f}",
            f"{one.state_bytes / 1e6:.2f}",
            f"{one.operations / 1e6:.1f}",
            str(one.kernels),
        )
    console.print(parts)
    table = Table("board", "precision", title="in microseconds")
    for name in ("memory", "arithmetic", "at least", f"kernels at {LAUNCH_US:g} us, at most"):
        table.add_column(name, justify="right")
    for board in BOARDS:
        for one in costs:
            memory, compute = one.memory_us(board), one.compute_us(board)
            launches = f"{one.kernels * LAUNCH_US:.0f}"
            cells = (f"{memory:.0f}", f"{compute:.1f}", f"{one.at_least_us(board):.0f}", launches)
            table.add_row(board.name, one.precision, *cells)
    console.print(table)
