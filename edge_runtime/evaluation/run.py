"""`edge-runtime evaluate`: all scenarios, all who are judged, and the report."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from edge_runtime.app import decider_for, engine_for
from edge_runtime.config import Config
from edge_runtime.decide import EAGERNESS_LOGITS
from edge_runtime.evaluation.asked import FLOOR_ALONE, abilities, not_asked
from edge_runtime.evaluation.baselines import (
    TURN_ROWS,
    Always,
    Ears,
    SileroTimeout,
    SmartTurn,
    SpeechLength,
)
from edge_runtime.evaluation.clip import RESPONSE_MS, Clip, Judged
from edge_runtime.evaluation.detectors import Detectors
from edge_runtime.evaluation.figures import nothing
from edge_runtime.evaluation.gaps import curve, eagerness_curve
from edge_runtime.evaluation.material import (
    HUMAN,
    PHRASED,
    Material,
    load_materials,
    put_read,
    splits,
)
from edge_runtime.evaluation.metrics import Tally
from edge_runtime.evaluation.model_level import Model
from edge_runtime.evaluation.page import write_page
from edge_runtime.evaluation.plan import (
    PARTS,
    QUICK_SHARE,
    Part,
    bank_scale,
    chosen,
    portion,
)
from edge_runtime.evaluation.proofs import PROOFS, Bench, prove
from edge_runtime.evaluation.proofs.ticks import check_ticks
from edge_runtime.evaluation.report import check_can_draw, table, write_report
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.system_level import Played, SystemLevel
from edge_runtime.inference.manifest import Manifest
from edge_runtime.micro_turn import TURN_MS

log = logging.getLogger(__name__)
DEFAULT_FRAME_PX = 96


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    config: Config
    out: Path
    data: Path | None = None
    baselines: bool = True
    share: float = 1.0
    """Of the clips of a full run."""
    seed: int = 1
    ticks: Path | None = None
    proofs: bool = True
    system: bool = True
    only: Sequence[str] = ()
    """Scenarios by name; empty: all. With some, neither proofs nor the whole runtime follow."""


@dataclass
class Results:
    """Tallies by row and material, and who was played with what."""

    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)
    clips: dict[str, int] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)


def frame_px(manifest: Manifest) -> int:
    frame = manifest.input("frame")
    return DEFAULT_FRAME_PX if frame is None else max(frame.shape[1:3])


@contextmanager
def judges(order: Order, model: Model) -> Iterator[tuple[list[Judged], Ears | None]]:
    """The model first, then its baselines."""
    with ExitStack() as stack:
        found: list[Judged] = [model, Always(False), Always(True), SpeechLength()]
        ears = None
        if order.baselines:
            ears = Ears(stack.enter_context(Detectors()))
            found += [SileroTimeout(ears, 500), SileroTimeout(ears, 800), SmartTurn(ears, False)]
            if order.share > QUICK_SHARE:
                found.append(SmartTurn(ears, True))
        yield found, ears


def play(
    order: Order,
    parts: Sequence[Part],
    casts: Sequence[Casting],
    all_judges: Sequence[Judged],
    able: frozenset[str],
    progress: Progress,
) -> Results:
    """Every clip to everybody who is judged by it. A clip is kept no longer than that. `able` is
    the model; whoever else is judged knows the floor alone."""
    results = Results()
    for name, part, clip in clips_of(order, parts, casts, progress):
        for judge in part.judges(all_judges):
            row = results.tallies.setdefault(judge.name, {})
            tally = Tally(able if judge.name == Model.name else FLOOR_ALONE)
            row.setdefault(name, tally).add(clip, judge.run(clip))
        results.clips[name] = results.clips.get(name, 0) + 1
        results.minutes[name] = results.minutes.get(name, 0.0) + clip.minutes
    return results


def clips_of(
    order: Order, parts: Sequence[Part], casts: Sequence[Casting], progress: Progress
) -> Iterator[tuple[str, Part, Clip]]:
    """All clips with their materials' names; each counts as done when the next is asked for."""
    of_each = sum(portion(part.full, order.share) for part in parts)
    task = progress.add_task("scenarios", total=len(casts) * of_each)
    for done, casting in enumerate(casts, 1):
        name = casting.material.name
        for part in (part for part in parts if part.plays(name)):
            progress.update(task, description=f"{name}: {part.name}")
            for clip in part.play(casting, order.share):
                yield name, part, clip
                progress.advance(task)
        progress.update(task, completed=done * of_each)  # not every material has every part


def bars(console: Console) -> Progress:
    """Of what goes on, gone when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


def rows(results: Results, seed: int, late_ms: float) -> dict[str, dict[str, Any]]:
    """Figures by row and material; the model's latencies are `late_ms` longer. The length of the
    speech can only be scored, not decide."""
    found: dict[str, dict[str, Any]] = {}
    for name, tallies in results.tallies.items():
        found[name] = {}
        for material, tally in tallies.items():
            figures = tally.figures(seed, late_ms if name == Model.name else 0.0)
            if name == "speech_length":
                figures = {k: v if k in TURN_ROWS else nothing() for k, v in figures.items()}
            found[name][material] = figures
    return found


def curves(results: Results, manifest: Manifest, late_ms: float) -> dict[str, Any]:
    """By material: false cut-offs against latency for each row, and what `eagerness` does."""
    found: dict[str, Any] = {}
    for name, tallies in results.tallies.items():
        for material, tally in tallies.items():
            points = curve(tally.gaps, late_ms if name == Model.name else 0.0)
            if points and name not in ("speech_length", "always_silent", "always_talk"):
                found.setdefault(material, {}).setdefault("rows", {})[name] = points
            if name == Model.name:
                found.setdefault(material, {})["eagerness"] = eagerness_curve(
                    tally.gaps, manifest.decoding.speak, EAGERNESS_LOGITS, late_ms
                )
                found[material]["pauses"] = {
                    kind: {"false_takeovers": sum(taken), "n": len(taken)}
                    for kind, taken in sorted(tally.pauses.items())
                }
    return found


def revision() -> str:
    """The checkout's commit, with a + where it has been changed; `unknown` outside of one."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def evaluate(order: Order, console: Console) -> dict[str, Any]:
    """Runs everything, writes the report into `order.out`, and returns what report.json holds.

    report.json is written anew after each part, so that a run that is cut short leaves what it has.
    """
    check_can_draw()  # what must be refused is refused now, not after half an hour
    parts = chosen(PARTS, order.only)
    if order.data is not None:
        splits(order.data)
    if order.ticks is not None:
        check_ticks(order.ticks)
    order.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        progress = stack.enter_context(bars(console))
        engine = stack.enter_context(engine_for(order.config))
        manifest = engine.manifest
        model = Model(engine, decider_for(order.config, manifest), manifest)
        everyone, ears = stack.enter_context(judges(order, model))
        materials = materials_of(order, any(part.phrased for part in parts), progress)
        casts = [Casting(material, order.seed, frame_px(manifest)) for material in materials]
        results = play(order, parts, casts, everyone, abilities(manifest), progress)
        whole = [casting for casting in casts if casting.material.name != PHRASED]
        report = _model_level(order, results, model, manifest, engine.identity)
        report["data"] = next((m.read for m in materials if m.read is not None), None)
        report["warnings"] += [f"{m.name}: {lack}" for m in materials for lack in m.lacks]
        write_report(order.out, report)
        for warning in report["warnings"]:
            log.warning("%s", warning)
        if order.proofs and not order.only:
            bench = Bench(model, whole, ears, order.ticks, order.share, order.seed)
            report["proofs"] = _proofs(bench, progress)
            write_report(order.out, report)
        shown: list[Played] = []
        if order.system and not order.only:
            level = SystemLevel(order.config, order.seed, order.share)
            report["system"] = _system(level, whole, progress)
            shown = level.shown
    write_report(order.out, report)
    write_page(order.out, report, shown)
    table(report, console)
    return report


def materials_of(
    order: Order, phrased: bool, progress: Progress, tuning: bool = False
) -> list[Material]:
    """Who plays; `phrased`: also turns in templates that no training has; for `tuning` in phrases
    that no report has. Raises InputError."""
    reading = progress.add_task("materials", total=None)

    def say(text: str) -> None:
        progress.update(reading, description=text)

    scale = bank_scale(order.share)
    materials = load_materials(order.data, scale, order.seed, say, phrased, tuning)
    progress.remove_task(reading)
    for material in materials:
        if material.read is not None:
            progress.console.print(escape(put_read(material.read)), soft_wrap=True)
    return materials


def cost(compute_ms: Sequence[float]) -> dict[str, Any]:
    """What a micro-turn took, and how much of it latencies count: RESPONSE_MS, or the median where
    that is more."""
    p50, p99 = (round(float(ms), 2) for ms in np.percentile(compute_ms, [50, 99]))
    return {"p50": p50, "p99": p99, "turns": len(compute_ms), "counted": max(RESPONSE_MS, p50)}


def too_slow(p99_ms: float, allowed_ms: float) -> list[str]:
    """A warning where a device would be degraded by it."""
    if p99_ms <= allowed_ms:
        return []
    return [
        f"One micro-turn in a hundred takes this model {p99_ms:.0f} ms and more here. There are "
        f"{TURN_MS} ms for it, and above {allowed_ms:.0f} ms (health.compute_p99_ms) a device is "
        "degraded."
    ]


def _model_level(
    order: Order,
    results: Results,
    model: Model,
    manifest: Manifest,
    identity: Mapping[str, str],
) -> dict[str, Any]:
    compute = cost(model.compute_ms)
    late_ms = compute["counted"] - RESPONSE_MS
    return {
        "engine": dict(identity),
        "revision": revision(),
        "seed": order.seed,
        "share": order.share,
        "only": list(order.only),
        "material": {
            "generated": sum(n for name, n in results.clips.items() if name != HUMAN),
            "human": results.clips.get(HUMAN, 0),
        },
        "minutes": {name: round(value, 1) for name, value in results.minutes.items()},
        "decoding": manifest.decoding.model_dump(by_alias=True),
        "compute_ms": compute,
        "warnings": too_slow(compute["p99"], order.config.health.compute_p99_ms),
        "not_asked": not_asked(abilities(manifest)),
        "rows": rows(results, order.seed, late_ms),
        "curves": curves(results, manifest, late_ms),
    }


def _proofs(bench: Bench, progress: Progress) -> dict[str, Any]:
    task = progress.add_task("proofs", total=PROOFS)

    def advance(name: str) -> None:
        progress.update(task, description=f"proof: {name.replace('_', ' ')}", advance=1)

    return prove(bench, advance)


def _system(level: SystemLevel, casts: Sequence[Casting], progress: Progress) -> dict[str, Any]:
    task = progress.add_task("system", total=level.steps(casts))

    def advance(name: str) -> None:
        progress.update(task, description=f"whole runtime, {name}", advance=1)

    return level.run(casts, advance)
