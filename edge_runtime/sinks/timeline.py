"""The run as one picture: both voices, what was seen, what the model thought, and what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TURN_MS, TURN_SAMPLES, Delegation, Frame, TurnRecord
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.acts import acts

TURN_S = TURN_MS / 1000
POINTS = 10
"""Envelope points a micro-turn: 50 Hz."""
ROW_S = 30.0
STRETCH = 0.25
"""A rest of a row that is shorter than this share makes the rows longer, and not one more."""
MAX_TURNS = 3000
"""10 minutes; what comes later is not drawn, so that memory stays bounded."""
THUMBNAIL_TURNS = 10
THUMBNAIL_SHARE = 1.7 / 30
"""Of a row's width."""
COLOURS = {
    "listen": "#d9dee6",
    "backchannel": "#e9c46a",
    "speak": "#2a9d8f",
    "yield": "#e76f51",
    "hold": "#8ecae6",
    "hesitate": "#b5838d",
}
PERSON, DEVICE = "#3a5a8c", "#2a9d8f"


@dataclass(frozen=True)
class _Label:
    at_s: float
    text: str
    colour: str


class Timeline(NothingHeld):
    """Collects a summary of each micro-turn; `draw` makes the picture, in rows of about `row_s`."""

    def __init__(self, row_s: float = ROW_S) -> None:
        self._row_s = row_s
        self._envelopes: list[NDArray[np.float32]] = []
        self._floor: list[Mapping[str, float]] = []
        self._labels: list[_Label] = []
        self._thumbnails: list[tuple[float, Frame]] = []

    def publish(self, record: TurnRecord) -> None:
        if len(self._floor) >= MAX_TURNS:
            return
        turn, decision = record.turn, record.decision
        blocks = np.abs(turn.audio).reshape(2, POINTS, TURN_SAMPLES // POINTS)
        self._envelopes.append(blocks.max(2))
        self._floor.append(decision.probabilities.get("floor", {}))
        end_s = len(self._floor) * TURN_S
        if record.said is not None:
            self._labels.append(_Label(end_s, f"“{record.said.text}”", DEVICE))
        if decision.stop:
            self._labels.append(_Label(end_s, "yield", COLOURS["yield"]))
        elif decision.hesitate and not turn.voice.paused:
            self._labels.append(_Label(end_s, "hesitate", COLOURS["hesitate"]))
        self._labels += [
            _Label(end_s, f"[{action.name}]", "#9b2f8a") for action, _ in acts(record, Mode.NORMAL)
        ]
        if decision.delegation is not Delegation.NONE:
            self._labels.append(_Label(end_s, decision.delegation.value, PERSON))
        if turn.frame is not None and turn.index % THUMBNAIL_TURNS == 0:
            step = max(1, turn.frame.shape[0] // 80)
            self._thumbnails.append((end_s - TURN_S, turn.frame[::step, ::step].copy()))

    def draw(
        self,
        path: Path,
        scenes: Sequence[Mapping[str, Any]] = (),
        words: Sequence[tuple[float, str]] = (),
    ) -> None:
        """Write a PNG; `scenes` have name, ok, start_s, end_s. `words` are what the person really
        said and when, in seconds, where that is known."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        total_s = max(len(self._floor) * TURN_S, 1.0)
        rows = max(1, int(np.ceil(total_s / self._row_s - STRETCH)))
        row_s = max(self._row_s, total_s / rows)
        figure = Figure(figsize=(16, 3.6 * rows), dpi=110)
        FigureCanvasAgg(figure)
        heights = [0.9, 1.6, 0.5]
        grid = figure.add_gridspec(
            rows * 4, 1, height_ratios=[*heights, 0.35] * rows, hspace=0.04, left=0.05, right=0.99,
            top=0.985, bottom=0.01,
        )  # fmt: skip
        for row in range(rows):
            span = (row * row_s, (row + 1) * row_s)
            top, wave, strip = (figure.add_subplot(grid[row * 4 + i]) for i in range(3))
            self._draw_pictures(top, span, scenes)
            self._draw_sound(wave, span)
            self._draw_words(wave, span, words)
            self._draw_floor(strip, span, legend=row == 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)

    def _draw_pictures(
        self, axes: Any, span: tuple[float, float], scenes: Sequence[Mapping[str, Any]]
    ) -> None:
        axes.set(xlim=span, ylim=(0, 1), xticks=[], yticks=[])
        axes.axis("off")
        for at_s, picture in self._thumbnails:
            if span[0] <= at_s < span[1]:
                extent = (at_s, at_s + THUMBNAIL_SHARE * (span[1] - span[0]), 0.0, 0.72)
                axes.imshow(picture, extent=extent, aspect="auto", zorder=1)
        for scene in scenes:
            start_s, end_s = scene.get("start_s"), scene.get("end_s")
            if start_s is None or end_s is None or end_s <= span[0] or start_s >= span[1]:
                continue
            mark = {True: "✓ ", False: "✗ ", None: ""}[scene.get("ok")]
            colour = {True: "#1f7a4d", False: "#b5341f", None: "#555555"}[scene.get("ok")]
            left = max(start_s, span[0])
            axes.plot([left, min(end_s, span[1])], [0.8, 0.8], color=colour, lw=2)
            axes.text(
                left, 0.84, mark + str(scene["name"]), color=colour, fontsize=9, weight="bold",
                parse_math=False,
            )  # fmt: skip
        axes.set(xlim=span, ylim=(0, 1))

    def _draw_sound(self, axes: Any, span: tuple[float, float]) -> None:
        if self._envelopes:
            both = np.concatenate(self._envelopes, 1)
            time_s = (np.arange(both.shape[1]) + 0.5) * TURN_S / POINTS
            inside = (time_s >= span[0]) & (time_s < span[1])
            scale = 0.9 / max(float(both.max()), 0.05)
            axes.fill_between(time_s[inside], 0, both[0, inside] * scale, color=PERSON, lw=0)
            axes.fill_between(time_s[inside], 0, -both[1, inside] * scale, color=DEVICE, lw=0)
        axes.axhline(0, color="#888888", lw=0.5)
        level = 0
        for label in self._labels:
            if span[0] <= label.at_s < span[1]:
                height = -0.55 - 0.22 * (level % 3)
                level += 1
                axes.axvline(label.at_s, color=label.colour, lw=0.8, alpha=0.6)
                text = label.text if len(label.text) < 62 else label.text[:60] + "…”"
                box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
                axes.text(
                    label.at_s + 0.05, height, text, color=label.colour, fontsize=7.5, bbox=box,
                    clip_on=True, parse_math=False,
                )  # fmt: skip
        axes.set(xlim=span, ylim=(-1.15, 1.0), yticks=[0.5, -0.5], xticks=[])
        axes.set_yticklabels(["person", "device"], fontsize=9)

    @staticmethod
    def _draw_words(
        axes: Any, span: tuple[float, float], words: Sequence[tuple[float, str]]
    ) -> None:
        """Above the person's side, each a little higher than the one before it."""
        inside = [(at_s, text) for at_s, text in words if span[0] <= at_s < span[1]]
        for place, (at_s, text) in enumerate(inside):
            axes.text(
                at_s, 0.82 - 0.17 * (place % 2), f"“{text}”", color=PERSON, fontsize=7.5,
                clip_on=True, parse_math=False,
            )  # fmt: skip

    def _draw_floor(self, axes: Any, span: tuple[float, float], legend: bool) -> None:
        first, last = int(span[0] / TURN_S), min(len(self._floor), int(span[1] / TURN_S))
        names = list(self._floor[0]) if self._floor else []
        edges_s = (np.arange(first, last) + 1) * TURN_S
        if names and last > first:
            stack = [[self._floor[i].get(name, 0.0) for i in range(first, last)] for name in names]
            colours = [COLOURS.get(name, "#aaaaaa") for name in names]
            axes.stackplot(edges_s, stack, colors=colours, labels=names, step="pre", lw=0)
        if legend and names:
            axes.legend(loc="lower right", ncols=len(names), fontsize=7, framealpha=0.9)
        axes.set(xlim=span, ylim=(0, 1), yticks=[])
        axes.set_ylabel("floor", fontsize=9, rotation=0, ha="right", va="center")
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xticks(np.arange(2 * np.ceil(span[0] / 2), span[1] + 1e-6, 2))
