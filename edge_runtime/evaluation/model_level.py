"""The exported step graph over a clip, decoded as the runtime decodes it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.clip import GAPS, SCORED_AFTER, Clip, Trace, score_at
from edge_runtime.inference.encode import Encoder
from edge_runtime.inference.manifest import Manifest
from edge_runtime.interfaces import Decider, Engine
from edge_runtime.micro_turn import TURN_SAMPLES, Decision, Delegation, EngineOutput


class Model:
    """One engine with its decider, from silence at the beginning of each clip."""

    name = "model"

    def __init__(
        self, engine: Engine, decider: Decider, manifest: Manifest, every: int = 1
    ) -> None:
        self._engine, self._decider, self._manifest = engine, decider, manifest
        self._every = every
        """It is asked in each `every`-th micro-turn only: a slower tick. It hears all of them."""
        self.compute_ms: list[float] = []

    @property
    def graph(self) -> Path:
        return self._manifest.model_path

    def asked_every(self, turns: int) -> Model:
        """The same model with a slower tick."""
        return Model(self._engine, self._decider, self._manifest, turns)

    def run(self, clip: Clip) -> Trace:
        return trace(clip, self.decide(clip), self._every)

    def decide(self, clip: Clip) -> list[Decision]:
        self._engine.reset()
        self._decider.reset()
        decisions = []
        for turn in clip.micro_turns():
            begun = time.perf_counter()
            output = self._engine.step(turn)
            self.compute_ms.append((time.perf_counter() - begun) * 1000)
            if (turn.index + 1) % self._every == 0:  # who is not asked does not doubt either
                decisions.append(self._decider.decide(output, turn))
        return decisions

    def outputs(self, clip: Clip) -> list[EngineOutput]:
        """The raw tensors of each turn."""
        self._engine.reset()
        return [self._engine.step(turn) for turn in clip.micro_turns()]

    def encoded(self, clip: Clip) -> list[dict[str, NDArray[Any]]]:
        """The input tensors of each turn, as the runtime fills them."""
        encoder, turns = Encoder(self._manifest), []
        for turn in clip.micro_turns():
            turns.append(encoder.arrays())
            encoder.encode(turn, turns[-1])
        return turns


def trace(clip: Clip, decisions: Sequence[Decision], every: int = 1) -> Trace:
    """Decisions as moments: each counts from the end of its micro-turn."""
    asked = [d for d in decisions if (d.index + 1) % every == 0]
    at = {d.index: (d.index + 1) * TURN_SAMPLES for d in asked}
    times = np.array([at[d.index] for d in asked], np.int64)
    speak = np.array([d.probabilities["floor"].get("speak", 0.0) for d in asked])
    stop = np.array([d.probabilities["floor"].get("yield", 0.0) for d in asked])
    takes = [d for d in asked if d.floor == "speak"]
    gaps = [cue.start for cue in clip.of(*GAPS)]
    return Trace(
        times=times,
        speak=speak,
        stop=stop,
        takes=tuple(at[d.index] for d in takes),
        stops=tuple(at[d.index] for d in asked if d.stop),
        hesitations=tuple(_hesitations(asked, at)),
        backchannels=tuple(at[d.index] for d in asked if d.floor == "backchannel"),
        acts={at[d.index]: best_act(d) for d in takes if "act" in d.probabilities},
        actions=tuple((at[d.index], a.name) for d in asked for a in d.actions),
        delegations=tuple(
            (at[d.index], d.delegation.value) for d in asked if d.delegation is not Delegation.NONE
        ),
        heard=tuple(((d.index + 1) * TURN_SAMPLES, d.heard) for d in decisions),
        letters=tuple(
            ((d.index + 1) * TURN_SAMPLES, d.letters) for d in decisions if d.letters is not None
        ),
        gap_scores={gap: score_at(times, speak, gap + SCORED_AFTER) for gap in gaps},
    )


def _hesitations(asked: Sequence[Decision], at: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    begun: int | None = None
    for decision in asked:
        if decision.hesitate:
            begun = at[decision.index] if begun is None else begun
        elif begun is not None:
            yield begun, at[decision.index]
            begun = None
    if begun is not None:
        yield begun, at[asked[-1].index] + TURN_SAMPLES


def best_act(decision: Decision) -> str:
    """What it would say, also in a turn in which the decoder lets a first word go ahead."""
    acts = {n: p for n, p in decision.probabilities["act"].items() if n != "none"}
    return max(acts, key=lambda name: acts[name]) if acts else "acknowledge"
