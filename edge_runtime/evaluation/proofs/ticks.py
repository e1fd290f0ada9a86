"""Proof 7: five decisions a second are worth it. It needs models that were trained at other ticks.

A folder of them holds one engine folder for each, named by its tick in ms: `200`, `400`, `1000`.
Each is a model of the runtime's own contract (200 ms a step) that was trained to decide at its tick
only; it is asked no more often than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edge_runtime.app import decider_for, engine_for
from edge_runtime.config import Config
from edge_runtime.evaluation.figures import Figure
from edge_runtime.evaluation.metrics import Tally
from edge_runtime.evaluation.model_level import Model
from edge_runtime.evaluation.proofs import Bench, proof
from edge_runtime.evaluation.scenarios import clips
from edge_runtime.evaluation.scenarios.speaking import interruption
from edge_runtime.evaluation.scenarios.turns import turn
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.micro_turn import TURN_MS

TICKS_MS = (200, 400, 1000)
SHOWN = (
    "takeover_rate",
    "false_takeover_rate",
    "turn_auc",
    "latency_ms_at_5pct_cutoffs",
    "response_latency_ms_p50",
    "stop_miss_rate",
    "stop_latency_ms_p50",
    "stop_latency_ms_p95",
)
MISSES_MORE = 0.05
CLAIM = (
    "a model that decides every 200 ms answers sooner than one of 400 or 1000 ms where each cuts "
    "off one pause in twenty, stops sooner, and misses no more interruptions"
)


def check_ticks(folder: Path) -> None:
    """Raises ManifestError where one of the models is missing or is none."""
    for tick_ms in TICKS_MS:
        load_manifest(folder / str(tick_ms))


def ticks(bench: Bench) -> dict[str, Any]:
    """Beside the proof, the model at hand is asked less often: what slower decisions alone cost."""
    held = {
        str(tick_ms): _figures(bench, bench.model.asked_every(tick_ms // TURN_MS))
        for tick_ms in TICKS_MS
    }
    found: dict[str, Any] = {"this_model_asked_less_often": held}
    if bench.ticks is None:
        reason = (
            "not run: it needs small models trained at 200, 400 and 1000 ms (--ticks FOLDER with "
            "an engine folder for each)"
        )
        return proof(CLAIM, found, None, reason)
    trained = {str(tick_ms): _trained(bench, bench.ticks, tick_ms) for tick_ms in TICKS_MS}
    found["trained_at"] = trained
    return proof(CLAIM, found, pays(trained))


def _trained(bench: Bench, folder: Path, tick_ms: int) -> dict[str, Figure]:
    config = Config()
    engine = config.engine.model_copy(update={"folder": folder / str(tick_ms)})
    with ExitStack() as stack:
        ready = stack.enter_context(engine_for(config.model_copy(update={"engine": engine})))
        decider = decider_for(config, ready.manifest)
        model = Model(ready, decider, ready.manifest, tick_ms // TURN_MS)
        return _figures(bench, model)


def _figures(bench: Bench, model: Model) -> dict[str, Figure]:
    """Scenarios 1, 2 and 4."""
    casting, tally = bench.casts[0], Tally()
    for render, count in ((turn, bench.count(80)), (interruption, bench.count(60))):
        for clip in clips(render, casting, count):
            tally.add(clip, model.run(clip))
    figures = tally.figures(bench.seed)
    return {name: figures[name] for name in SHOWN}


def pays(trained: Mapping[str, Mapping[str, Figure]]) -> bool:
    """Whether the fastest is worth it, from the figures of each tick.

    Answers are compared where all cut off as many pauses, each at a threshold of its own: whoever
    decides less often looks into a pause less often, and with one threshold for all would seem
    patient for that alone.
    """

    def value(tick: str, name: str) -> float:
        found = trained[tick][name]["value"]
        return math.inf if found is None else float(found)

    fast = str(TICKS_MS[0])
    return all(
        value(fast, "latency_ms_at_5pct_cutoffs") < value(slow, "latency_ms_at_5pct_cutoffs")
        and value(fast, "stop_latency_ms_p50") < value(slow, "stop_latency_ms_p50")
        and value(fast, "stop_miss_rate") <= value(slow, "stop_miss_rate") + MISSES_MORE
        for slow in map(str, TICKS_MS[1:])
    )
