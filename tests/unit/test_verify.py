"""Comparing engines: every kind of wrong engine is noticed, and a right one passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny_model

from edge_runtime.errors import EngineError
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.inference.verify import LIMITS, Limits, Report, verify
from edge_runtime.micro_turn import TURN_SAMPLES, EngineOutput, MicroTurn

LIMIT = Limits(error=0.1, error_p99=0.05, cosine=0.99, agreement=0.9)


def stream(count: int = 100, loudness: float = 0.01) -> list[MicroTurn]:
    sound = np.full((2, TURN_SAMPLES), loudness, np.float32)
    return [MicroTurn(index, 0, sound) for index in range(count)]


class Off(OnnxEngine):
    """Wrong by a constant in every output, from a turn on."""

    by, since = 0.0, 0

    def step(self, turn: MicroTurn) -> EngineOutput:
        output = super().step(turn)
        wrong = self.by if turn.index >= self.since else 0.0
        return EngineOutput(turn.index, {k: v + wrong for k, v in output.tensors.items()})


class Drifting(OnnxEngine):
    """Loses a little of its state whenever it goes on by itself."""

    def step(self, turn: MicroTurn) -> EngineOutput:
        output = super().step(turn)
        super().restore({name: value * 0.9 for name, value in self.state().items()})
        return output


class Random(OnnxEngine):
    """Never the same bits twice."""

    def step(self, turn: MicroTurn) -> EngineOutput:
        output = super().step(turn)
        self.count = getattr(self, "count", 0) + 1
        off = np.float32(1e-4 * self.count)
        return EngineOutput(turn.index, {k: v + off for k, v in output.tensors.items()})


class Forgetful(OnnxEngine):
    """Resets to something else after the first time."""

    resets = 0

    def reset(self) -> None:
        super().reset()
        self.resets += 1
        if self.resets > 3:  # twice on entering, and once before the stream
            self.restore({name: value + 0.01 for name, value in self.state().items()})


def compared(folder: Path, candidate: OnnxEngine, turns: list[MicroTurn] | None = None) -> Report:
    with OnnxEngine(write_tiny_model(folder)) as reference, candidate:
        return verify(reference, candidate, [turns or stream()], LIMIT)


def test_an_engine_is_like_itself(tmp_path: Path) -> None:
    report = compared(tmp_path, OnnxEngine(tmp_path))
    assert report.passed
    assert report.turns == 100
    assert set(report.forced) == {"floor", "state_sum"}
    assert report.forced["floor"] == {"max": 0.0, "p99": 0.0, "cosine": pytest.approx(1.0)}
    assert report.decisions["free"] == {"share": 1.0, "heard": 1.0, "first_difference": None}
    latency = report.latency_ms
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]
    assert json.loads(json.dumps(report.as_dict()))["passed"] is True


def test_a_large_error_in_one_turn(tmp_path: Path) -> None:
    wrong = Off(tmp_path)
    wrong.by, wrong.since = 0.5, 99
    report = compared(tmp_path, wrong)
    assert "floor: error 0.5, at most 0.1" in report.violations
    assert report.forced["state_sum"]["max"] == 0.0


def test_an_error_that_is_small_but_everywhere(tmp_path: Path) -> None:
    wrong = Off(tmp_path)
    wrong.by = 0.08
    assert compared(tmp_path, wrong).violations == ["floor: error p99 0.08, at most 0.05"]


def test_errors_that_add_up_show_when_it_runs_free(tmp_path: Path) -> None:
    report = compared(tmp_path, Drifting(tmp_path))
    assert report.forced["floor"]["max"] == 0.0
    assert report.free["floor"]["max"] > 1.0


def test_other_decisions(tmp_path: Path) -> None:
    """The floor's first logit falls from 10: turned around, it speaks where it should listen."""

    class Turned(OnnxEngine):
        def step(self, turn: MicroTurn) -> EngineOutput:
            output = super().step(turn)
            floor = np.roll(output.tensors["floor"], 2, axis=1)
            return EngineOutput(turn.index, {"floor": floor})

    report = compared(tmp_path, Turned(tmp_path))
    assert report.decisions["free"]["share"] == 0.0
    assert report.decisions["free"]["first_difference"] == 0
    assert any("decisions: 0.00% alike" in violation for violation in report.violations)


def test_an_engine_that_is_not_deterministic(tmp_path: Path) -> None:
    report = compared(tmp_path, Random(tmp_path))
    assert not report.deterministic
    assert "the same turn from the same state gave other bits" in report.violations


def test_a_reset_that_is_not_whole(tmp_path: Path) -> None:
    report = compared(tmp_path, Forgetful(tmp_path))
    assert report.deterministic
    assert not report.resets
    assert "after a reset the stream gave other bits" in report.violations


def test_nan_is_an_error_and_not_a_figure(tmp_path: Path) -> None:
    turns = stream()
    turns[50] = replace(turns[50], audio=np.full((2, TURN_SAMPLES), np.nan, np.float32))
    with pytest.raises(EngineError, match="NaN or infinity in micro-turn 50"):
        compared(tmp_path, OnnxEngine(tmp_path), turns)


def test_too_few_turns_prove_nothing(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="99 recorded micro-turns are too few"):
        compared(tmp_path, OnnxEngine(tmp_path), stream(99))


def test_limits_grow_with_the_distance_of_the_precisions() -> None:
    order = [LIMITS[pair] for pair in (("fp32", "fp32"), ("fp32", "fp16"), ("fp32", "int8"))]
    assert [limit.error for limit in order] == sorted(limit.error for limit in order)
    assert [-limit.agreement for limit in order] == sorted(-limit.agreement for limit in order)
