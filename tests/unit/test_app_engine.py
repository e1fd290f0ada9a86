"""The engine that a configuration asks for, and what health hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_runtime.app import _tell, engine_for
from edge_runtime.config import Config, EngineConfig
from edge_runtime.health import ENGINE, HealthMonitor, State
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.inference.plan import default_cache
from edge_runtime.inference.tensorrt import TensorRtEngine


def engine(**settings: Any) -> Any:
    return engine_for(Config(engine=EngineConfig(**settings)))


def test_by_default_onnx_runtime_on_the_cpu_in_float32() -> None:
    made = engine()
    assert isinstance(made, OnnxEngine)
    assert (made.options.provider, made.options.precision) == ("cpu", "fp32")


def test_a_desktops_gpu(tmp_path: Path) -> None:
    made = engine(provider="cuda", precision="fp16", cache=tmp_path, threads=2)
    assert isinstance(made, OnnxEngine)
    chosen = made.options
    assert (chosen.provider, chosen.precision, chosen.threads) == ("cuda", "fp16", 2)
    assert chosen.cache == tmp_path


def test_tensorrt_in_float16_with_plans_in_the_cache() -> None:
    made = engine(backend="tensorrt")
    assert isinstance(made, TensorRtEngine)
    assert (made.options.precision, made.options.cache) == ("fp16", default_cache())


def test_what_is_configured_reaches_the_builder(tmp_path: Path) -> None:
    settings = {"precision": "int8", "workspace_mb": 64, "optimization_level": 5}
    made = engine(backend="tensorrt", folder=tmp_path, cache=tmp_path / "plans", **settings)
    assert made.folder == tmp_path
    assert vars(made.options) == {**settings, "cache": tmp_path / "plans"}


@pytest.mark.parametrize(
    ("phases", "state", "reason"),
    [
        (["building"], State.DEGRADED, "it builds its plan, which can take minutes"),
        (["building", "loading"], State.OK, ""),
        (["building", "loading", "ready"], State.OK, ""),
        (["building", "failed"], State.FAILED, "it could not be started"),
        (["ready", "inactive"], State.OK, ""),
    ],
)
def test_health_says_what_the_engine_does(phases: Any, state: State, reason: str) -> None:
    health = HealthMonitor(lambda: 0)
    for phase in phases:
        _tell(health, phase)
    part = health.snapshot().part(ENGINE)
    assert part is not None
    assert (part.state, part.reason) == (state, reason)
