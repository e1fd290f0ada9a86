"""`edge-runtime demo`: the device, a generated person, and everything that can be seen of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_runtime.app import device
from edge_runtime.config import Config
from edge_runtime.demo.person import TURNS_PER_S, Person
from edge_runtime.demo.scenes import Log, Stage
from edge_runtime.errors import InputError
from edge_runtime.interfaces import Clock, NothingHeld, Sink
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TurnRecord
from edge_runtime.pacing import MonotonicClock, VirtualClock
from edge_runtime.senses import Senses
from edge_runtime.sinks.queue import QueueSink
from edge_runtime.sinks.timeline import Timeline
from edge_runtime.sinks.view import LiveView
from edge_runtime.whole_file import write_whole


class _Keeper(NothingHeld):
    """Keeps the run's decisions for the judges: 300 turns of a minute are little."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def publish(self, record: TurnRecord) -> None:
        self._log.records.append(record)


def run_demo(
    config: Config,
    out: Path,
    seconds: float,
    seed: int,
    realtime: bool,
    console: Console,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Runs the conversation, writes the files into `out`, and returns what summary.json holds.
    Ended by `stop` it does so with what there was until then."""
    _check_can_draw()
    if config.asks_workers:
        alone = config.delegation.model_copy(update={"workers": False})
        config = config.model_copy(update={"delegation": alone})
        console.print("[dim]The demo answers by itself: no worker is asked.[/dim]")
    clock: Clock = MonotonicClock() if realtime else VirtualClock()
    person = Person(seed, clock, realtime, max_turns=round(seconds * TURNS_PER_S))
    stage, log, timeline = Stage(person), Log(), Timeline()
    view = LiveView(console, lambda: stage.current.name if stage.current else "")
    shown: list[Sink] = [_Keeper(log)]
    queued = [QueueSink(view, "view", 16), QueueSink(timeline, "timeline", 512)]
    senses = Senses(person, person, clock, realtime, staged=True)
    with device(config, senses, [*shown, *queued], out) as ready:
        for scene in stage.scenes:
            person.prepare(scene.texts)
        person.script = stage.script()
        for sink in queued:
            sink.__enter__()
        try:
            ready.loop.run(stop)
        finally:
            for sink in queued:
                sink.__exit__(None, None, None)
        summary = summarise(ready.statistics.summary(), stage.results(log), seed, ready.engine)
    words = [(one.start / SAMPLE_RATE_HZ, one.text) for one in person.diary.speech]
    timeline.draw(out / "timeline.png", summary["scenes"], words)
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    show(summary, out, console)
    return summary


def _check_can_draw() -> None:
    """Before the conversation, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The demo draws its timeline with matplotlib ({error}). Install it: "
            "pip install 'edge-runtime[demo]'"
        ) from error


def summarise(
    statistics: dict[str, Any], scenes: list[dict[str, Any]], seed: int, engine: Any
) -> dict[str, Any]:
    def latencies(name: str) -> list[float]:
        return [round(row[name], 1) for row in scenes if row.get(name) is not None]

    return statistics | {
        "response_latency_ms": latencies("response_latency_ms"),
        "stop_latency_ms": latencies("stop_latency_ms"),
        "scenes": scenes,
        "seed": seed,
        "engine": dict(engine),
    }


def show(summary: dict[str, Any], out: Path, console: Console) -> None:
    table = Table("", "scene", "expected", "what happened", title="The conversation")
    marks = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[dim]-[/dim]"}
    for row in summary["scenes"]:
        table.add_row(marks[row["ok"]], row["name"], row["expected"], escape(row["happened"]))
    console.print(table)
    compute = summary["compute_ms"]
    console.print(
        f"{summary['micro_turns']} micro-turns, {summary['missed']} missed; compute p50 "
        f"{compute['p50']} ms, p99 {compute['p99']} ms; {summary['rss_mb']:.0f} MB resident"
    )
    console.print(
        f"[dim]in {escape(str(out))}: conversation.wav, timeline.png, recording.mcap, "
        "summary.json[/dim]"
    )
    console.print(
        "[dim]The demo is silent; conversation.wav has the person left, the device right."
    )
