"""What a graph in another precision costs on the headline figures, not only on tensors.

`python -m calibration.int8.cost --out calibration/int8/cost.json`. The graphs that ship are run
turn by turn over the same held-out conversations and measured as in `engines.reference.measure`.
Exits with 1 when a headline figure is more than two points worse, or stands on so few clips that
one of them is more than two points.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from calibration.int8.draw import micro_turns
from edge_runtime.inference.manifest import Precision, load_manifest
from edge_runtime.inference.onnx import OnnxEngine, OnnxOptions
from engines.reference.command import command
from engines.reference.corpus.factory import build_composers
from engines.reference.corpus.human import check_measures
from engines.reference.measure import measure
from engines.reference.model import Outputs
from engines.reference.train import Settings

HEADLINE = {
    "takeover_rate": 1,
    "false_takeover_rate": -1,
    "stop_miss_rate": -1,
    "selectivity": 1,
}
"""The pairs that count, and whether more is better."""
POINTS = 0.02
LEAST = round(1 / POINTS)
"""Clips that a figure must stand on."""


class GraphModel:
    """An engine folder's graph where `measure` expects the network: whole conversations at once."""

    def __init__(self, engine: OnnxEngine) -> None:
        self._engine = engine

    def __call__(
        self, audio: Tensor, pictures: Tensor, picture_of: Tensor, *others: Tensor
    ) -> Outputs:
        """Shapes as of `InteractionModel.forward`. Heads that the graph does not have are empty."""
        rows = [
            self._run(sound, pictures[seen], *rest)
            for sound, seen, *rest in zip(audio, picture_of, *others, strict=True)
        ]
        heads = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return Outputs(**{field: heads.get(field, torch.zeros(0)) for field in Outputs._fields})

    def _run(self, *conversation: Tensor) -> dict[str, Tensor]:
        """Each head over the turns of one conversation; (10 T, symbols) for the transcript."""
        words = self._engine.manifest.vocabularies
        self._engine.reset()
        steps = [
            self._engine.step(turn).tensors
            for turn in micro_turns(*(tensor.numpy() for tensor in conversation), words)
        ]
        heads = {name: np.stack([step[name][0] for step in steps]) for name in steps[0]}
        heads["transcript"] = heads["transcript"].reshape(-1, heads["transcript"].shape[-1])
        return {name: torch.from_numpy(head) for name, head in heads.items()}


def figures(
    folder: Path, precision: Precision, settings: Settings, split: str, human: bool, count: int
) -> dict[str, Any]:
    torch.set_num_threads(1)
    with OnnxEngine(folder, OnnxOptions(precision=precision)) as engine:
        model: Any = GraphModel(engine)
        return measure(model, settings, split, human, count)


def worse(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Headline figures that lost more than two points, and how many."""
    lost = {}
    for name, sign in HEADLINE.items():
        one, other = before.get(name, {}).get("value"), after.get(name, {}).get("value")
        if one is not None and other is not None and sign * (one - other) > POINTS:
            lost[name] = round(sign * (one - other), 4)
    return lost


def too_few(figures: dict[str, Any]) -> dict[str, int]:
    """Headline figures of which one clip is more than two points, and on how many they stand."""
    counts = {name: int(figures.get(name, {}).get("n", 0)) for name in HEADLINE}
    return {name: count for name, count in counts.items() if count < LEAST}


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, default=Path("engines/reference"))
    parser.add_argument("--precision", choices=get_args(Precision), default="int8")
    parser.add_argument("--data", type=Path, help="a folder of human speech (see CARD.md)")
    parser.add_argument("--count", type=int, default=160, help="conversations per material")
    parser.add_argument("--scale", type=float, default=0.15, help="of the test banks")
    parser.add_argument("--out", type=Path, default=Path("calibration/int8/cost.json"))
    chosen = parser.parse_args()
    report: dict[str, Any] = {"graph": load_manifest(chosen.engine).graph(chosen.precision).sha256}
    if chosen.data is not None:
        check_measures(chosen.data)  # before minutes of synthesis
    settings = Settings(data=chosen.data, scale=chosen.scale, seed=1)
    materials = {"generated_seen": ("test_seen", False), "generated_unseen": ("test_unseen", False)}
    if chosen.data is not None:
        materials["human"] = ("test_seen", True)
    for split in {split for split, _ in materials.values()}:
        build_composers(settings, print, split)  # once, before several processes want its bank
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {
            (material, precision): pool.submit(
                figures, chosen.engine, precision, settings, split, human, chosen.count
            )
            for material, (split, human) in materials.items()
            for precision in ("fp32", chosen.precision)
        }
        measured = {key: one.result() for key, one in running.items()}
    lost: dict[str, dict[str, float]] = {}
    few: dict[str, dict[str, int]] = {}
    for material in materials:
        before, after = (measured[material, which] for which in ("fp32", chosen.precision))
        report[material] = {"fp32": before, chosen.precision: after}
        lost[material] = worse(before, after)
        few[material] = too_few(before)
        for name in sorted(before):
            one, other = before[name], after.get(name, {})
            mark = "  <-- worse" if name in lost[material] else ""
            print(
                f"{material:17s} {name:32s} fp32 {one['value']!s:>8} {chosen.precision} "
                f"{other.get('value')!s:>8} (n {one['n']}){mark}"
            )
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    if any(lost.values()):
        sys.exit(f"more than two points worse: {lost}")
    if any(few.values()):
        sys.exit(f"too few clips to tell, give more by --count: {few}")


if __name__ == "__main__":
    main()
