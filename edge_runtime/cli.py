"""The commands, and nothing else."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any, Optional

import typer
from rich.logging import RichHandler
from rich.markup import escape

from edge_runtime import __version__
from edge_runtime.commands.background import background
from edge_runtime.commands.bench_delegation import bench_delegation
from edge_runtime.commands.calibrate import calibrate_app
from edge_runtime.commands.common import (
    ConfigOption,
    OutOption,
    Speed,
    console,
    errors,
    stop_on_signals,
    tell_at_ease,
    tell_doubts,
    with_engine_folder,
)
from edge_runtime.commands.config import config as config_command
from edge_runtime.commands.doctor import doctor
from edge_runtime.commands.engine import engine_app
from edge_runtime.commands.evaluate import evaluate
from edge_runtime.commands.export import export
from edge_runtime.commands.privacy import privacy
from edge_runtime.commands.service import install_service, serve, status, uninstall_service
from edge_runtime.commands.thresholds import thresholds
from edge_runtime.config import Config, load_config
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.journal import JournalHandler, goes_to_the_journal
from edge_runtime.masking import masked

log = logging.getLogger(__name__)
LONGEST_S = 86_400
FILES = ("conversation.wav", "recording.mcap")
"""Of a run with `--out`."""
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A 5 Hz runtime for full-duplex interaction models.",
)


def with_inputs(
    config: Config, audio: str | None, video: str | None, engine: Path | None = None
) -> Config:
    """The configuration with what the command line says in its place."""
    from edge_runtime.senses import MICROPHONE

    changes: dict[str, Any] = {}
    if audio is not None:
        ending = Path(audio).suffix[1:]  # of digits: a USB path, a version
        looks_so = "/" in audio or (ending.isalnum() and not ending.isdigit())
        known = audio == MICROPHONE or looks_so or Path(audio).exists()
        fields = {"source": audio} if known else {"source": MICROPHONE, "input_device": audio}
        changes["audio"] = config.audio.model_copy(update=fields)
    if video is not None:
        changes["video"] = config.video.model_copy(update={"source": video})
    return with_engine_folder(config.model_copy(update=changes), engine)


@app.command()
def run(
    config: ConfigOption = None,
    audio: Annotated[
        str | None,
        typer.Option(
            help="A sound file; or a microphone: part of its name, serial number, USB path."
        ),
    ] = None,
    video: Annotated[
        str | None, typer.Option(help="A video, a folder of frames, or a camera.")
    ] = None,
    speed: Annotated[
        Speed,
        typer.Option(
            help="Recordings: in real time, or as fast as it can; then nothing goes to a broker, "
            "Home Assistant or DDS."
        ),
    ] = Speed.REAL,
    engine: Annotated[Optional[Path], typer.Option(help="A model folder.")] = None,  # noqa: UP045
    out: OutOption = None,
    tail: Annotated[
        float, typer.Option(min=0, max=LONGEST_S, help="Seconds of silence after a recording.")
    ] = 6.0,
) -> None:
    """Run the device on its microphone and camera, or on recordings of them."""
    from edge_runtime.app import device
    from edge_runtime.senses import senses_for
    from edge_runtime.sinks.queue import QueueSink
    from edge_runtime.sinks.transcript import TranscriptPrinter

    settings = with_inputs(load_config(config), audio, video, engine)
    tell_doubts(settings)
    tail_turns = 0 if math.isnan(tail) else int(tail * 5)
    senses = senses_for(settings, speed is Speed.REAL, tail_turns)
    stop = stop_on_signals()
    printer = TranscriptPrinter(console)
    # A terminal that stands still must not keep the device from hearing.
    told = QueueSink(printer, "transcript") if speed is Speed.REAL else printer
    earlier = out is not None and any(map(Path.exists, map(out.joinpath, FILES)))
    # The device is released first: a robot must not wait for a terminal.
    with (
        told,
        device(settings, senses, [told], out, must_record=True, stop=stop.is_set) as ready,
    ):
        kept = [f"{out}: what an earlier run has left there is kept, under its time"] * earlier
        tell_at_ease([*ready.notes, *kept])
        ready.loop.run(stop.is_set)
    console.print_json(json.dumps(ready.statistics.summary()))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the files go.")] = Path("demo-out"),
    seconds: Annotated[float, typer.Option(min=1, max=LONGEST_S, help="How long at most.")] = 90.0,
    seed: Annotated[int, typer.Option(help="Another person, voice and room.")] = 1,
    speed: Annotated[Speed, typer.Option(help="In real time, or as fast as it can.")] = Speed.REAL,
    config: ConfigOption = None,
) -> None:
    """A generated person in a conversation with the device: what it hears, says and does."""
    from edge_runtime.demo.run import run_demo

    stop = stop_on_signals()
    run_demo(load_config(config), out, seconds, seed, speed is Speed.REAL, console, stop.is_set)


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="A recording.mcap of a run.")],
    config: ConfigOption = None,
    engine: Annotated[Optional[Path], typer.Option(help="A model folder.")] = None,  # noqa: UP045
) -> None:
    """Run the engine again on a recording and compare every decision; exit 1 if one differs."""
    from edge_runtime.app import decider_for, engine_for
    from edge_runtime.replay import eagerness, engine_changes, metadata
    from edge_runtime.replay import replay as replay_recording

    noted = metadata(recording)
    settings = with_inputs(load_config(config), None, None, engine)
    if config is None and (eager := eagerness(noted)) is not None:
        decision = settings.decision.model_copy(update={"eagerness": eager})
        settings = settings.model_copy(update={"decision": decision})
    with engine_for(settings) as ready:
        decider = decider_for(settings, ready.manifest)
        report = replay_recording(recording, ready, decider, ready.identity["sha256"])
        changes = engine_changes(noted, ready.identity)
    if told := _told_of(report.same_engine, changes):
        console.print(f"[yellow]{escape(told)}[/yellow]", soft_wrap=True)
    if report.difference is None:
        worst = report.max_output_difference
        console.print(
            f"{report.turns} micro-turns, every decision the same "
            f"(largest difference of an output {worst:g})."
        )
        return
    first = report.difference
    was, now = escape(repr(first.recorded)), escape(repr(first.replayed))
    console.print(
        f"[red]micro-turn {first.index}: {first.field} was {was}, is {now}[/red]", soft_wrap=True
    )
    if first.missing is not None:
        console.print(
            f"[yellow]Not all that the model knew is in the recording, which may be why: "
            f"{escape(first.missing)}.[/yellow]",
            soft_wrap=True,
        )
    raise typer.Exit(1)


def _told_of(same_graph: bool, changes: Mapping[str, tuple[str, str]]) -> str:
    """What a replay's result is to be read with; empty where the engine is the same."""
    another = not same_graph and "precision" not in changes  # int8 is a graph of its own
    if another or changes.keys() & {"name", "version"}:
        return "The recording was made with another model."
    if not changes:
        return ""
    fields = "; ".join(f"{name} {was}, now {now}" for name, (was, now) in changes.items())
    return (
        f"The recording was made with another engine ({fields}): small differences are expected, "
        "and `edge-runtime engine verify` judges them."
    )


@app.command()
def devices() -> None:
    """List microphones, loudspeakers and cameras."""
    from rich.table import Table

    from edge_runtime.sources.devices import list_devices

    table = Table("kind", "name", "detail")
    for found in list_devices():
        name = found.name + (" (default)" if found.default else "")
        table.add_row(found.kind, escape(name), escape(found.detail))
    console.print(table)


@app.command()
def bench(
    hours: Annotated[float, typer.Option(help="Length of the long run.")] = 2.0,
    config: ConfigOption = None,
) -> None:
    """What a micro-turn costs, and that neither time nor memory grows over a long run."""
    from edge_runtime.demo.bench import run_bench

    run_bench(load_config(config), hours, console)


app.command()(export)
app.command()(background)
app.command()(bench_delegation)
app.command()(serve)
app.command()(status)
app.command()(install_service)
app.command()(uninstall_service)
app.command()(privacy)
app.command("config")(config_command)
app.command()(doctor)
app.add_typer(calibrate_app)
app.add_typer(engine_app)
app.command()(evaluate)
app.command()(thresholds)


@app.command()
def version() -> None:
    """The version."""
    console.print(__version__)


def _version_and_end(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    told: Annotated[
        bool,
        typer.Option("--version", callback=_version_and_end, is_eager=True, help="The version."),
    ] = False,
) -> None:
    """Options of every command; they act on their own."""


def main() -> None:
    """Run a command; an error of ours is one message and its exit code, never a traceback."""
    # These libraries write to standard error by themselves; what matters of it is in our errors.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without umlauts ends nothing
    in_journal = goes_to_the_journal()
    handler: logging.Handler
    if in_journal:
        handler = JournalHandler()
    elif errors.is_terminal:
        handler = RichHandler(console=errors, show_path=False, rich_tracebacks=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logging.INFO if in_journal else logging.WARNING
    if not errors.is_terminal:
        threading.excepthook = _log_crash_of_thread
    try:
        with _apart(handler) if errors.is_terminal else nullcontext(handler) as chosen:
            logging.basicConfig(level=level, format="%(message)s", handlers=[chosen])
            app()
    except EdgeRuntimeError as error:
        if in_journal:
            log.error("%s", error)
        else:
            errors.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if errors.is_terminal:
            raise
        _log_crash("it has crashed", error)
        sys.exit(1)


@contextmanager
def _apart(handler: logging.Handler) -> Iterator[logging.Handler]:
    """One that logs in a thread of its own: a terminal that stands still holds nobody else up."""
    lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
    listener = QueueListener(lines, handler)
    listener.start()
    try:
        yield QueueHandler(lines)
    finally:
        listener.stop()


def _log_crash(what: str, error: BaseException) -> None:
    """Among what is wrong, where a traceback on standard error would be one line of many."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    log.critical("%s", masked(f"{what}: {type(error).__name__}: {error}\n{trace}"))


def _log_crash_of_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is not SystemExit:
        name = "a thread" if told.thread is None else f"the thread {told.thread.name}"
        _log_crash(f"{name} has crashed", told.exc_value or told.exc_type())


if __name__ == "__main__":
    main()
