"""Plans on disk: only what matches in every field is loaded, and nothing is ever half there."""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.errors import EngineError, StoppedError
from edge_runtime.inference.plan import (
    BuiltPlan,
    PlanCache,
    PlanKey,
    default_cache,
    read_sidecar,
    sidecar_path,
)

KEY = PlanKey(
    model="tiny-1.0.0",
    precision="fp16",
    onnx_sha256="a" * 64,
    graph_sha256="b" * 64,
    tensorrt="10.3.0",
    gpu="Orin",
    compute_capability=(8, 7),
    multiprocessors=16,
    workspace_mb=512,
    optimization_level=3,
)
OTHER = {
    "precision": "int8",
    "onnx_sha256": "c" * 64,
    "graph_sha256": "c" * 64,
    "tensorrt": "10.13.3",
    "gpu": "Thor",
    "compute_capability": (11, 0),
    "multiprocessors": 8,
    "workspace_mb": 64,
    "optimization_level": 5,
}


class Builder:
    """Counts how often it is asked."""

    def __init__(self, data: bytes = b"a plan") -> None:
        self.data, self.calls = data, 0

    def __call__(self) -> BuiltPlan:
        self.calls += 1
        return BuiltPlan(self.data, ())


def never() -> BuiltPlan:
    raise AssertionError("a plan that matches was built again")


def test_what_was_built_is_found_again(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "deep" / "plans")
    assert cache.get(KEY, Builder()) == b"a plan"
    assert PlanCache(cache.folder).get(KEY, never) == b"a plan"
    sidecar = read_sidecar(cache.plan_path(KEY))
    assert sidecar is not None
    assert (sidecar.key, sidecar.plan_bytes) == (KEY, 6)


@pytest.mark.parametrize("field", OTHER)
def test_another_key_is_another_plan(tmp_path: Path, field: str) -> None:
    cache, builder = PlanCache(tmp_path), Builder()
    cache.get(KEY, builder)
    other = KEY.model_copy(update={field: OTHER[field]})
    assert cache.plan_path(other) != cache.plan_path(KEY)
    cache.get(other, builder)
    assert builder.calls == 2


@pytest.mark.parametrize("field", OTHER)
def test_a_plan_under_a_wrong_name_is_not_loaded(
    tmp_path: Path, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody copied it: the sidecar tells."""
    cache = PlanCache(tmp_path)
    other = KEY.model_copy(update={field: OTHER[field]})
    cache.get(KEY, Builder())
    for path in (cache.plan_path, lambda key: sidecar_path(cache.plan_path(key))):
        path(other).write_bytes(path(KEY).read_bytes())
    assert cache.load(other) is None
    assert f"another {field}" in caplog.text


def no_sidecar(plan: Path) -> None:
    sidecar_path(plan).unlink()


def broken_sidecar(plan: Path) -> None:
    sidecar_path(plan).write_text("{")


def extended_sidecar(plan: Path) -> None:
    content = json.loads(sidecar_path(plan).read_text())
    sidecar_path(plan).write_text(json.dumps({**content, "more": 1}))


def cut_plan(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-1])


def no_plan(plan: Path) -> None:
    plan.unlink()


@pytest.mark.parametrize(
    "damage", [no_sidecar, broken_sidecar, extended_sidecar, cut_plan, no_plan]
)
def test_what_is_damaged_is_built_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache, builder = PlanCache(tmp_path), Builder()
    cache.get(KEY, builder)
    damage(cache.plan_path(KEY))
    assert cache.load(KEY) is None
    assert cache.get(KEY, builder) == b"a plan"
    assert builder.calls == 2
    assert cache.load(KEY) == b"a plan"


def test_forced_it_builds_where_one_matches(tmp_path: Path) -> None:
    cache, builder = PlanCache(tmp_path), Builder()
    cache.ensure(KEY, builder)
    assert cache.ensure(KEY, never) == cache.plan_path(KEY)
    builder.data = b"a better plan"
    cache.ensure(KEY, builder, force=True)
    assert cache.load(KEY) == b"a better plan"


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = PlanCache(tmp_path / "file" / "plans")
    with pytest.raises(EngineError, match=r"could not be kept in .*set engine\.cache"):
        cache.ensure(KEY, Builder())
    assert cache.get(KEY, Builder()) == b"a plan"
    assert "built again at the next start" in caplog.text


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> BuiltPlan:
        raise EngineError("no memory")

    cache = PlanCache(tmp_path)
    with pytest.raises(EngineError, match="no memory"):
        cache.get(KEY, fail)
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}
    assert cache.get(KEY, Builder()) == b"a plan", "the lock was given back"


def test_waiting_for_another_process_ends_when_it_is_asked_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock belongs to an open file, so that another cache is as good as another process."""
    asked = iter((False, True))

    def build() -> BuiltPlan:
        with pytest.raises(StoppedError, match="another process built"):
            PlanCache(tmp_path, lambda: next(asked)).get(KEY, never)
        return BuiltPlan(b"a plan", ())

    assert PlanCache(tmp_path).get(KEY, build) == b"a plan"
    assert caplog.text.count("another process builds this plan; waiting for it") == 1


def test_a_file_system_without_locks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some network shares are: ENOLCK."""

    def refused(file: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert PlanCache(tmp_path).get(KEY, Builder()) == b"a plan"
    assert "No locks available" in caplog.text
    assert "another process may build too" in caplog.text
    assert PlanCache(tmp_path).get(KEY, never) == b"a plan"


def test_a_discarded_plan_is_gone(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.get(KEY, Builder())
    cache.discard(KEY)
    cache.discard(KEY)
    assert cache.load(KEY) is None


def test_timings_are_kept(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "plans")
    assert cache.timing_cache() == b""
    cache.store_timing_cache(b"timings")
    assert cache.timing_cache() == b"timings"


def test_the_cache_is_the_services_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/.cache")
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    assert default_cache() == Path("/home/me/.cache/edge_runtime/plans")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/edge:/var/cache/more")
    assert default_cache() == Path("/var/cache/edge/plans")
