"""Silences in and after a turn: how well an end is told from a pause, at every threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.evaluation import figures
from edge_runtime.evaluation.clip import CUT, RESPONSE_MS, SCORED_AFTER, TORN
from edge_runtime.evaluation.figures import Figure, Floats

TAKEN_WITHIN_MS = 2000.0
EAGERNESS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Gap:
    """A silence in or after a turn, as one of the judged saw it."""

    ended: bool
    detail: str
    speech: int
    length: int
    score: float
    """0.4 s into it."""
    times_ms: Floats
    scores: Floats
    text: str = ""
    """What was said, by whom, and in which file."""
    voice: str = ""
    recording: str = ""

    @property
    def scored(self) -> bool:
        return self.length >= SCORED_AFTER


def turn_figures(gaps: Sequence[Gap], seed: int, late_ms: float = 0.0) -> dict[str, Figure]:
    """How well true ends are told from pauses, over all thresholds; `late_ms` comes on top of every
    latency."""
    ends = [gap for gap in gaps if gap.ended]
    pauses = [gap for gap in gaps if not gap.ended]
    scored = [gap for gap in pauses if gap.scored]
    natural = [gap for gap in scored if gap.detail not in (CUT, TORN)]
    cut = [gap for gap in scored if gap.detail == CUT]
    answered = crossings(ends, RESPONSE_MS + late_ms)
    curve = figures.trade_off(answered, crossings(pauses))
    return {
        "turn_auc": _auc(ends, natural, False, seed),
        "turn_auc_matched": _auc(ends, natural, True, seed),
        "turn_auc_cut": _auc(ends, cut, False, seed),
        "turn_auc_cut_matched": _auc(ends, cut, True, seed),
        "latency_ms_at_5pct_cutoffs": figures.latency_at_cutoffs(
            answered, crossings(pauses), seed=seed
        ),
        "cutoffs_at_300ms": figures.cutoffs_at_latency(curve, len(pauses)),
    }


def crossings(gaps: Sequence[Gap], late_ms: float = 0.0) -> figures.Crossings:
    return figures.Crossings([(gap.times_ms + late_ms, gap.scores) for gap in gaps])


def _auc(ends: Sequence[Gap], pauses: Sequence[Gap], matched: bool, seed: int) -> Figure:
    def column(gaps: Sequence[Gap], value: Callable[[Gap], float]) -> Floats:
        return np.array([value(gap) for gap in gaps], np.float64)

    lengths = None
    if matched:
        lengths = (column(ends, lambda g: g.speech), column(pauses, lambda g: g.speech))
    scores = column(ends, lambda g: g.score), column(pauses, lambda g: g.score)
    texts = [gap.text for gap in ends], [gap.text for gap in pauses]
    voices = [gap.voice for gap in ends], [gap.voice for gap in pauses]
    files = [gap.recording for gap in ends], [gap.recording for gap in pauses]
    alike = (texts, voices, files) if any(map(any, files)) else (texts, voices)
    found = figures.auc_figure(*scores, lengths, seed, alike)
    return found | figures.few_recordings(files[0] + files[1])


def curve(gaps: Sequence[Gap], late_ms: float = 0.0) -> list[dict[str, float | None]]:
    """False cut-offs against the median latency, threshold by threshold."""
    ends = crossings([gap for gap in gaps if gap.ended], RESPONSE_MS + late_ms)
    pauses = crossings([gap for gap in gaps if not gap.ended])
    return [
        {
            "threshold": round(threshold, 5),
            "cutoffs": round(cut, 4),
            "latency_ms": round(latency, 1) if math.isfinite(latency) else None,
            "taken": round(taken, 4),
        }
        for threshold, cut, latency, taken in figures.trade_off(ends, pauses)
    ]


def eagerness_curve(
    gaps: Sequence[Gap], threshold: float, logits_per_unit: float, late_ms: float = 0.0
) -> list[dict[str, Any]]:
    """What the one knob does: the same scores, their logit shifted by `eagerness`."""
    ends = crossings([gap for gap in gaps if gap.ended])
    pauses = crossings([gap for gap in gaps if not gap.ended])
    if not len(ends) or not len(pauses):
        return []
    rows = []
    for eagerness in EAGERNESS:
        odds = threshold / (1 - threshold) / math.exp(logits_per_unit * eagerness)
        limit = odds / (1 + odds)
        latency = ends.first_ms(limit)
        taken = latency[np.isfinite(latency)]
        rows.append(
            {
                "eagerness": eagerness,
                "takeover_rate": round(float((latency <= TAKEN_WITHIN_MS).mean()), 4),
                "false_takeover_rate": round(float((pauses.highest() >= limit).mean()), 4),
                "response_latency_ms_p50": round(float(np.median(taken)) + RESPONSE_MS + late_ms, 1)
                if len(taken)
                else None,
            }
        )
    return rows
