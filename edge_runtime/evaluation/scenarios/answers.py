"""Scenario 10: a result arrives while the person makes small talk, while we speak, in silence, late
or after a cancel; or none does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.material import Spoken, speech_samples
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.stage import Stage, samples
from edge_runtime.micro_turn import TURN_SAMPLES, EventKind

KINDS = ("person speaks", "silence", "we speak", "cancelled", "person speaks", "failed")
LATE_KINDS = ("late", "taken back")
LATE_S, AFTER_CANCEL_S = (12.0, 16.0), (0.5, 3.0)
"""So long after the device has said that it asks, and after the cancel."""
WAITS_S = 4.0
"""For the delivery, after the floor is free."""


def answer(casting: Casting, index: int) -> Clip | None:
    """A question is out; then the answer comes at one of six moments."""
    kind = KINDS[index % len(KINDS)]
    material = casting.material
    if not material.asks:
        return None
    rng = casting.rng("answers", index)
    stage = casting.stage(rng, 26.0)
    starts, free = _ask(stage, index)
    turn = free // TURN_SAMPLES
    if kind == "cancelled":
        return _cancelled(casting, stage, index, starts, free)
    if kind == "we speak":
        arrives = starts + 1
    elif kind == "person speaks":
        spoken = _talk(casting, index)
        at = free + samples(rng.uniform(0.6, 1.2))
        inner = [samples(0.4)] * (len(spoken.segments) - 1)
        said = stage.say(spoken, at, inner, tail=samples(1.0))[-1][1]
        arrives = at // TURN_SAMPLES + 1
        stage.cue("busy floor", arrives * TURN_SAMPLES, said)
        # What the person says is answered first, as it would be without a question that is out.
        free = stage.device(_short(stage), (said // TURN_SAMPLES + 2) * TURN_SAMPLES)
    else:
        arrives = turn + int(rng.integers(6, 14))
    _arrive(stage, starts, arrives, failed=kind == "failed")
    ready = max(free, arrives * TURN_SAMPLES)
    name = "no answer" if kind == "failed" else "answer"
    stage.cue(name, ready, ready + samples(WAITS_S), kind)
    return _end(stage.finish("answers"), ready)


def _cancelled(casting: Casting, stage: Stage, index: int, starts: int, free: int) -> Clip:
    end = _take_back(casting, stage, index // len(KINDS), free)
    until = end + samples(2.0)
    stage.background(starts, until // TURN_SAMPLES, pending=True)  # as long as nobody takes it
    stage.cue("cancel", end, until)
    stage.cue("no answer", end, end + samples(WAITS_S), "cancelled")
    return _end(stage.finish("answers"), end)


def late_answer(casting: Casting, index: int) -> Clip | None:
    """The answer comes long after the question, or when nobody wants it any more: the cancel was
    not taken, or not yet, else the runtime would keep the answer to itself."""
    if not casting.material.asks:
        return None
    kind, rng = LATE_KINDS[index % len(LATE_KINDS)], casting.rng("late answers", index)
    stage = casting.stage(rng, 40.0)
    starts, free = _ask(stage, index)
    if kind == "late":
        arrives = (free + samples(rng.uniform(*LATE_S))) // TURN_SAMPLES
        _arrive(stage, starts, arrives)
        ready = end = arrives * TURN_SAMPLES
        stage.cue("answer", ready, ready + samples(WAITS_S), kind)
    else:
        end = _take_back(casting, stage, index // len(LATE_KINDS), free)
        ready = end + samples(rng.uniform(*AFTER_CANCEL_S))
        _arrive(stage, starts, ready // TURN_SAMPLES)
        stage.cue("taken back", end, ready + samples(WAITS_S))
    return _end(stage.finish("answers"), ready)


def _ask(stage: Stage, index: int) -> tuple[int, int]:
    """A question, and "one moment": the turn in which that begins, and the sample after it."""
    question = stage.material.deal_asking("delegate", index)
    pauses = [samples(0.4)] * (len(question.segments) - 1)
    asked = stage.say(question, samples(1.0), pauses, tail=samples(0.5))[-1][1]
    starts = asked // TURN_SAMPLES + 2
    return starts, stage.device(_short(stage), starts * TURN_SAMPLES)


def _arrive(stage: Stage, starts: int, arrives: int, failed: bool = False) -> None:
    """What was asked in the turn `starts` is out until the turn `arrives`."""
    event = EventKind.FAILED if failed else EventKind.RESULT
    stage.event(arrives, event, "request-1", "the answer")
    stage.background(starts, arrives, pending=True)
    stage.background(arrives, stage.turns, ready=not failed)


def _take_back(casting: Casting, stage: Stage, number: int, free: int) -> int:
    """Returns the sample where the cancel ends: all that there are come in turn."""
    spoken = casting.material.deal("cancel", number)
    at = free + samples(stage.rng.uniform(0.6, 1.4))
    return stage.say(spoken, at, tail=samples(1.0))[-1][1]


def follow_up(casting: Casting, index: int) -> Clip | None:
    """Small talk while a question is out: it is answered at once."""
    material, rng = casting.material, casting.rng("follow-ups", index)
    if not material.asks:
        return None
    stage = casting.stage(rng, 24.0)
    starts, free = _ask(stage, index + 1)
    stage.background(starts, stage.turns, pending=True)
    spoken = material.deal_asking("none", index)
    inner = [samples(0.4)] * (len(spoken.segments) - 1)
    at = free + samples(rng.uniform(0.6, 1.4))
    end = stage.say(spoken, at, inner, tail=samples(2.0))[-1][1]
    stage.cue("follow-up", end, end + samples(2.0), spoken.intent)
    return _end(stage.finish("answers"), end)


def asked_on(casting: Casting, index: int) -> Clip | None:
    """After an answer somebody wants it gone on with, told again, or asks about it."""
    material, rng = casting.material, casting.rng("asked on", index)
    if not material.has("asked_on"):
        return None
    stage = casting.stage(rng, 14.0)
    free = stage.device(stage.long_utterance(2.0)[: samples(4.0)], samples(1.0))
    at = free + samples(rng.uniform(0.6, 1.4))
    end = stage.say(material.deal("asked_on", index), at, tail=samples(2.0))[-1][1]
    stage.cue("asked on", end, end + samples(2.0))
    return _end(stage.finish("answers"), end)


def _talk(casting: Casting, index: int) -> Spoken:
    """Small talk that goes on for a while, if there is any."""
    for number in range(index, index + 20):
        spoken = casting.material.deal_asking("none", number)
        if speech_samples(spoken) >= samples(0.8):
            break
    return spoken


def _short(stage: Stage) -> NDArray[np.float32]:
    """ "One moment": at most 2 s, int16 scale (n,)."""
    return stage.long_utterance(0.4)[: samples(2.0)]


def _end(clip: Clip, sample: int) -> Clip:
    return clip.until(sample + samples(WAITS_S + 0.4))
