"""The report's pictures: curves, and conversations to look at and listen to."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.evaluation.clip import Cue, first
from edge_runtime.evaluation.metrics import AFTERMATH, STOPPED_WITHIN
from edge_runtime.evaluation.system_level import Played
from edge_runtime.micro_turn import SAMPLE_RATE_HZ

COLOURS = {
    "model": "#c1121f",
    "silero_500": "#8ecae6",
    "silero_800": "#219ebc",
    "silero_smart_turn": "#6a994e",
    "silero_smart_turn_200ms": "#386641",
}
LATEST_MS = 3000
NAMES = {
    "pause": "pause",
    "end": "the turn is over",
    "interruption": "interruption",
    "side talk": "not for the device",
}


def draw_curves(curves: Mapping[str, Any], decoding: Mapping[str, float]) -> bytes:
    """An SVG: for each material, false cut-offs against latency, and what eagerness does."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = max(1, len(curves))
    figure = Figure(figsize=(5.2 * columns, 8.0), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(2, columns, squeeze=False)
    for column, (material, found) in enumerate(curves.items()):
        _latency(axes[0, column], material, found.get("rows", {}), decoding)
        _eagerness(axes[1, column], material, found.get("eagerness", []))
    buffer = io.BytesIO()
    # A fixed date and fixed ids: the same figures give the same file.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _latency(
    axes: Any, material: str, rows: Mapping[str, Any], decoding: Mapping[str, float]
) -> None:
    for name, points in rows.items():
        kept = [p for p in points if p["latency_ms"] is not None and p["latency_ms"] <= LATEST_MS]
        if not kept:
            continue
        colour = COLOURS.get(name, "#777777")
        x, y = [p["latency_ms"] for p in kept], [100 * p["cutoffs"] for p in kept]
        axes.plot(x, y, label=name, color=colour, lw=2.2 if name == "model" else 1.4)
        if name == "model":
            here = min(kept, key=lambda p: abs(p["threshold"] - decoding["speak"]))
            axes.plot(here["latency_ms"], 100 * here["cutoffs"], "o", color=colour, ms=7)
    axes.set(
        title=material, xlabel="median response latency, ms", xlim=(0, LATEST_MS), ylim=(0, 100)
    )
    axes.set_ylabel("pauses cut off, %")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=7)


def _eagerness(axes: Any, material: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        x = [100 * row["false_takeover_rate"] for row in rows]
        y = [100 * row["takeover_rate"] for row in rows]
        axes.plot(x, y, "o-", color=COLOURS["model"], ms=4)
        for row, left, up in zip(rows, x, y, strict=True):
            note = f"{row['eagerness']:+.2g}"
            axes.annotate(note, (left, up), xytext=(5, -9), textcoords="offset points", fontsize=8)
    axes.set(title=f"{material}: eagerness", xlabel="pauses spoken into, %", xlim=(0, 100))
    axes.set(ylabel="ends taken within 2 s, %", ylim=(0, 102))
    axes.grid(alpha=0.3)


def scenes(run: Played) -> list[dict[str, Any]]:
    """What happened in a clip and whether it went well, as a timeline shows it."""
    found = []
    for cue in run.clip.of(*NAMES):
        end = cue.end
        if cue.kind == "interruption":
            end = cue.start + STOPPED_WITHIN
        found.append(
            {
                "name": NAMES[cue.kind],
                "ok": _went_well(cue, run),
                "start_s": cue.start / SAMPLE_RATE_HZ,
                "end_s": min(end, len(run.played)) / SAMPLE_RATE_HZ,
            }
        )
    return found


def _went_well(cue: Cue, run: Played) -> bool:
    if cue.kind == "end":
        return run.answered(cue) is not None
    if cue.kind == "pause":
        return not run.spoke_into(cue)
    if cue.kind == "interruption":
        return run.stopped(cue.start, cue.start + STOPPED_WITHIN) is not None
    if cue.kind == "backchannel":
        return run.stopped(cue.start, cue.end + AFTERMATH) is None
    return first([*run.takes, *run.backchannels], cue.start, cue.end) is None


def write_timeline(run: Played, folder: Path, number: int) -> tuple[Path, Path]:
    """A picture and a sound file (left what the microphone heard, right the device)."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    picture, sound = folder / f"{number}.png", folder / f"{number}.ogg"
    run.timeline.draw(picture, scenes(run))
    both = np.stack([run.heard, run.played], 1)
    loudest = float(np.abs(both).max())
    soundfile.write(sound, both * min(1.0, 0.9 / max(loudest, 1e-3)), SAMPLE_RATE_HZ)
    return picture, sound
