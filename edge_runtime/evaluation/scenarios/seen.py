"""Scenario 8: what is only seen."""

from __future__ import annotations

from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.scenarios.speaking import hiss
from edge_runtime.evaluation.stage import Stage, samples
from edge_runtime.micro_turn import TURN_SAMPLES

QUIET_S = 90.0
"""Long, because false alarms are counted by the hour."""
KINDS = ("arrival", "wave", "hand", "quiet")


def seen(casting: Casting, index: int) -> Clip | None:
    """A person arrives, waves, raises a hand while the device speaks, or does none of these."""
    kind = KINDS[index % len(KINDS)]
    rng = casting.rng("vision", index)
    seconds = QUIET_S if kind == "quiet" else 10.0
    stage = casting.stage(rng, seconds)
    at = samples(rng.uniform(3.2, 4.5))
    if kind == "arrival":
        stage.pose(0, at // TURN_SAMPLES * TURN_SAMPLES, present=False)
        stage.cue(kind, at // TURN_SAMPLES * TURN_SAMPLES, at + samples(3.0))
    elif kind == "wave":
        _wave(stage, at, kind)
    elif kind == "hand":
        _speaks(stage)
        _hand(stage, at, kind)
    else:
        _quiet(stage)
        stage.cue(kind, TURN_SAMPLES * 3, len(stage.near))
        return stage.finish("vision", hiss(stage))  # what noise does is another scenario
    return stage.finish("vision")


def crossed(casting: Casting, index: int) -> Clip | None:
    """Each gesture where it does not ask for what the other one does: a hand is raised while nobody
    speaks, and a person waves while the device does. Whoever knows no more than that an arm is up
    gets one of them wrong."""
    rng = casting.rng("crossed gestures", index)
    stage = casting.stage(rng, 10.0)
    at = samples(rng.uniform(3.2, 4.5))
    if index % 2:
        _speaks(stage)
        _wave(stage, at, "wave while speaking")
    else:
        _hand(stage, at, "hand in silence")
    return stage.finish("vision")


def _speaks(stage: Stage) -> None:
    stage.device(stage.long_utterance(7.0)[: samples(8.0)], samples(1.0))


def _wave(stage: Stage, at: int, kind: str) -> None:
    length = samples(stage.rng.uniform(1.4, 2.4))
    stage.wave(at, at + length)
    stage.cue(kind, at // TURN_SAMPLES * TURN_SAMPLES, at + length + samples(0.4))


def _hand(stage: Stage, at: int, kind: str) -> None:
    stage.pose(at, at + samples(1.6), hand_raised=True)
    stage.cue(kind, at // TURN_SAMPLES * TURN_SAMPLES, at + samples(2.0))


def _quiet(stage: Stage) -> None:
    """Nobody there, or somebody who looks, turns away and leaves again: nothing to react to."""
    rng, end = stage.rng, len(stage.near)
    if rng.random() < 0.35:
        stage.pose(0, end, present=False)
        return
    at = samples(rng.uniform(3, 8))
    while at < end:
        comes_back = at + samples(rng.uniform(2, 6))
        stage.pose(at, comes_back, facing=False)
        at = comes_back + samples(rng.uniform(3, 9))
    if rng.random() < 0.5:
        stage.pose(int(end * rng.uniform(0.7, 0.95)), end, present=False)
