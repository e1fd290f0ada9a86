"""A report as a model's card shows it, and as its manifest keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.evaluation.figures import Figure
from edge_runtime.evaluation.report import (
    HEADLINE,
    HEARING,
    MARKS,
    MODEL_ONLY,
    SYSTEM,
    by_clock,
    put,
    read_report,
)

BESIDE = {"silero_800": "Silero 800 ms", "silero_smart_turn": "smart-turn"}
"""Baselines whose columns stand beside the model's: a plain timer, and a detector of ends as it
ships."""


def write_card(report_path: Path, out: Path) -> tuple[Path, Path]:
    """Writes card.md (tables for a CARD.md) and evaluation.json (for a manifest's `evaluation`).

    Raises InputError where the report cannot be read.
    """
    report = read_report(report_path)
    out.mkdir(parents=True, exist_ok=True)
    table, figures = out / "card.md", out / "evaluation.json"
    table.write_text("\n".join(card_lines(report)) + "\n", encoding="utf-8")
    kept = manifest_figures(report)
    figures.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return table, figures


def manifest_figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """The model's row, its proofs, and where they come from."""
    found: dict[str, Any] = {
        material: {name: figure for name, figure in figures.items() if figure["n"]}
        for material, figures in report["rows"]["model"].items()
    }
    if "proofs" in report:
        found["proofs"] = {name: proof["holds"] for name, proof in report["proofs"].items()}
    if "system" in report:
        found["system"] = report["system"]
    found["run"] = {name: report[name] for name in ("revision", "seed", "share")}
    return found


def card_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Markdown: the headline beside baselines, what only a model can do, the proofs, the whole
    runtime."""
    rows = report["rows"]
    materials = list(rows["model"])
    heads = [m.replace("_", " ") for m in materials]
    model = [rows["model"][material] for material in materials]
    baselines: list[Mapping[str, Figure]] = []
    for name in (name for name in BESIDE if name in rows):
        heads += [f"{BESIDE[name]}, {m.replace('_', ' ')}" for m in materials]
        baselines += [rows[name].get(material, {}) for material in materials]
    yield from _table(heads, _lines(model + baselines, HEADLINE))
    yield ""
    if baselines:
        yield from (HEARING, "")
    yield from _table(heads[: len(materials)], _lines(model, MODEL_ONLY))
    if "proofs" in report:
        yield ""
        for name, proof in report["proofs"].items():
            reason = f" ({proof['reason']})" if proof["reason"] else ""
            yield f"- {MARKS[proof['holds']]} {name.replace('_', ' ')}: {proof['claim']}{reason}"
    if "system" in report:
        yield ""
        whole = by_clock(report["system"])
        yield from _table(list(whole), _lines(list(whole.values()), SYSTEM))


def _lines(
    columns: Sequence[Mapping[str, Figure]], names: Sequence[tuple[str, str, str]]
) -> Iterator[list[str]]:
    for key, words, unit in names:
        yield [words, *(put(figures.get(key), unit) for figures in columns)]


def _table(heads: Sequence[str], lines: Iterator[list[str]]) -> Iterator[str]:
    yield f"| | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for line in lines:
        yield f"| {' | '.join(line)} |"
