"""The TensorRT engine through NVIDIA's bindings and pycuda, with the stand-in behind them.

What this shows: calls, types, shapes, lifetimes, threads, and what happens when something fails.
What it cannot show: whether TensorRT takes a graph, how fast it runs it, and how exactly.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_model import write_tiny_model

from edge_runtime.errors import EngineError
from edge_runtime.replay import read

Result = subprocess.CompletedProcess[str]
SMALL = "engine: {backend: tensorrt, precision: fp32, folder: model, cache: plans}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny model beside a configuration that runs it on TensorRT."""
    (tmp_path / "edge.yaml").write_text(SMALL)
    return write_tiny_model(tmp_path / "model")


def edge(environment: Mapping[str, str], where: Path, *arguments: str, **limits: Any) -> Result:
    return subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=where,
        env={**environment, "COLUMNS": "200"},
        timeout=120,
        check=False,
        **limits,
    )


def build(environment: Mapping[str, str], where: Path, **limits: Any) -> Result:
    return edge(environment, where, "engine", "build", "--config", "edge.yaml", **limits)


def said(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


def the_plan(where: Path) -> Path:
    (plan,) = (where / "plans").glob("*.plan")
    return plan


def run_sound(environment: Mapping[str, str], where: Path, seconds: float = 2.0) -> Result:
    """`run` on a sound, as fast as it can, with a recording."""
    rng = np.random.default_rng(1)
    soundfile.write(where / "a.wav", 0.1 * rng.standard_normal(int(16_000 * seconds)), 16_000)
    options = ("--speed", "max", "--tail", "0", "--out", "out")
    return edge(environment, where, "run", "--config", "edge.yaml", "--audio", "a.wav", *options)


needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the device speaks with espeak-ng"
)


class TestEveryVersion:
    def test_it_is_onnx_runtime_to_the_bit_and_leaks_nothing(
        self,
        each_version: dict[str, str],
        python: Callable[..., Any],
        repository: Path,
        tmp_path: Path,
        model: Path,
    ) -> None:
        """200 turns with state in a thread other than the one that loaded, while a third one works
        on the same device; then 20 times loaded and unloaded."""
        reference = repository / "engines" / "reference"
        told = python(
            each_version, "exercise.py", reference, tmp_path / "plans", "fp32", 200, model, 20
        )
        assert told["worst"] == 0.0
        assert told["after_reset"] == 0.0
        assert told["copies"] > 0
        assert min(told["in_use"]) > 0
        assert told["live"] == [[0, 0]] * 20
        assert told["first_phases"] == ["building", "loading", "ready", "inactive"]
        assert told["later_phases"] == ["loading", "ready", "inactive"]
        assert told["identity"]["tensorrt"] in each_version["PYTHONPATH"]

    def test_it_builds_with_what_was_asked_for_and_shows_progress(
        self, each_version: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        log = tmp_path / "built"
        environment = {**each_version, "STAND_IN_BUILD_LOG": str(log)}
        settings = ("--workspace-mb", "96", "--optimization", "1", "--cache", "plans")
        result = edge(environment, tmp_path, "engine", "build", "--engine", "model", *settings)
        assert result.returncode == 0, said(result)
        assert log.read_text().endswith(" 96 MB, level 1\n")
        assert "building" in result.stderr
        assert "2/2" in result.stderr
        _, _, command = result.stdout.rstrip().rpartition("edge-runtime ")
        shown = edge(environment, tmp_path, *shlex.split(command), "--json")
        about = json.loads(shown.stdout)
        assert about["sidecar"]["key"]["precision"] == "fp16"
        assert about["sidecar"]["key"]["gpu"] == "Stand-in GPU"
        assert about["plan"]["Layers"][0]["LayerType"] == "Stand-in"
        assert (tmp_path / "plans" / "timing.cache").read_bytes() == b"stand-in timings"


class TestPlans:
    def test_a_plan_that_matches_is_used_and_none_is_built(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        environment = {**stand_in, "STAND_IN_BUILD_LOG": str(tmp_path / "built")}
        assert build(environment, tmp_path).returncode == 0
        assert build(environment, tmp_path).returncode == 0
        assert len((tmp_path / "built").read_text().splitlines()) == 1

    def test_timings_of_another_version_are_measured_anew(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        timings = tmp_path / "plans" / "timing.cache"
        timings.parent.mkdir()
        timings.write_bytes(b"of another version")
        assert build(stand_in, tmp_path).returncode == 0
        assert timings.read_bytes() == b"stand-in timings"

    @pytest.mark.parametrize("honest", [False, True])
    def test_garbage_in_place_of_a_plan(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path, honest: bool
    ) -> None:
        """Also when its sidecar describes the garbage: then TensorRT refuses it."""
        assert build(stand_in, tmp_path).returncode == 0
        plan = the_plan(tmp_path)
        good = plan.read_bytes()
        plan.write_bytes(b"garbage")
        if honest:
            sidecar = json.loads(plan.with_suffix(".json").read_text())
            sidecar["plan_sha256"] = hashlib.sha256(b"garbage").hexdigest()
            plan.with_suffix(".json").write_text(json.dumps(sidecar))
        result = run_sound(stand_in, tmp_path)
        assert result.returncode == 0, said(result)
        assert ("TensorRT refuses the plan" if honest else "is damaged") in said(result)
        assert plan.read_bytes() == good

    @pytest.mark.parametrize(
        ("change", "field"),
        [({"tensorrt": "10.13.3.9"}, "tensorrt"), ({"gpu": "Orin"}, "gpu")],
    )
    def test_a_plan_from_elsewhere_under_the_right_name(
        self,
        stand_in: dict[str, str],
        tmp_path: Path,
        model: Path,
        change: dict[str, str],
        field: str,
    ) -> None:
        assert build(stand_in, tmp_path).returncode == 0
        sidecar_path = the_plan(tmp_path).with_suffix(".json")
        sidecar = json.loads(sidecar_path.read_text())
        sidecar["key"] |= change
        sidecar_path.write_text(json.dumps(sidecar))
        result = build(stand_in, tmp_path)
        assert result.returncode == 0
        assert f"was built for another {field}: not used" in said(result)
        assert json.loads(sidecar_path.read_text())["key"][field] != change[field]

    @pytest.mark.parametrize("other", [{"STAND_IN_GPU": "Orin"}, {"STAND_IN_MULTIPROCESSORS": "8"}])
    def test_another_gpu_has_a_plan_of_its_own(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path, other: dict[str, str]
    ) -> None:
        """Another kind, or another board of its family, or power mode."""
        assert build(stand_in, tmp_path).returncode == 0
        assert build({**stand_in, **other}, tmp_path).returncode == 0
        assert len(list((tmp_path / "plans").glob("*.plan"))) == 2

    @needs_espeak
    def test_what_tensorrt_warns_of_while_a_plan_loads_is_a_warning(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        warning = "Using an engine plan file across different models of devices"
        environment = {**stand_in, "STAND_IN_WARNING": warning}
        assert warning not in said(build(environment, tmp_path)), "checked after it was built"
        assert f"WARNING TensorRT: {warning}" in said(run_sound(environment, tmp_path))

    def test_a_disk_that_is_full(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        """`build` says so and leaves nothing half; `run` goes on with the plan in memory."""

        def full() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

        result = build(stand_in, tmp_path, preexec_fn=full)
        assert result.returncode == 1
        assert "could not be kept" in said(result)
        assert "set engine.cache to another folder" in said(result)
        left = {path.suffix for path in (tmp_path / "plans").iterdir()}
        assert left <= {".lock", ".cache"}
        blocked = write_config(tmp_path, "/proc/no-folder-can-be-made-here")
        result = run_sound(stand_in, tmp_path)
        assert result.returncode == 0, said(result)
        assert f"could not be kept in {blocked}" in said(result)
        assert "built again at the next start" in said(result)

    def test_two_processes_build_one_plan(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        log, go = tmp_path / "built", tmp_path / "go"
        environment = {
            **stand_in,
            "STAND_IN_BUILD_LOG": str(log),
            "STAND_IN_BUILD_UNTIL": str(go),
        }
        command = [sys.executable, "-m", "edge_runtime.cli", "engine", "build"]
        command += ["--config", "edge.yaml"]

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(
                command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
            )

        with start() as first, start() as second:
            try:
                wait_until(log.exists)
                both = [first.stderr, second.stderr]
                builder = int(log.read_text().split()[0])
                waiting = both[first.pid == builder]
                assert waiting is not None
                assert "another process builds this plan; waiting" in waiting.readline()
            finally:
                go.touch()
            assert (first.wait(60), second.wait(60)) == (0, 0)
        assert len(log.read_text().splitlines()) == 1


def wait_until(ready: Callable[[], object], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def write_config(where: Path, cache: str) -> str:
    (where / "edge.yaml").write_text(SMALL.replace("cache: plans", f"cache: {cache}"))
    return cache


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
class TestInterruption:
    """Of builds that would take an hour; a service is asked to end in the same way as a run."""

    def interrupted(
        self, environment: Mapping[str, str], where: Path, number: int, *arguments: str
    ) -> tuple[int, str]:
        """The exit code and what was said, after the signal came while a plan was built."""
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_runtime.cli", *arguments, "--config", "edge.yaml"],
            cwd=where,
            env={**environment, "STAND_IN_STEPS": "360000", "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_until(lambda: list((where / "plans").glob("*.lock")))
            process.send_signal(number)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        assert not list((where / "plans").glob("*.plan"))
        return process.returncode, output

    @pytest.mark.parametrize("command", [("engine", "build"), ("run", "--audio", "a.wav")])
    def test_a_command(
        self,
        stand_in: dict[str, str],
        tmp_path: Path,
        model: Path,
        number: int,
        command: tuple[str, ...],
    ) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
        code, output = self.interrupted(stand_in, tmp_path, number, *command)
        assert code == 1
        assert "Stopped while TensorRT built the plan" in output
        assert "memory" not in output

    def test_a_service_ends_as_it_was_asked_to(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path, number: int
    ) -> None:
        code, output = self.interrupted(stand_in, tmp_path, number, "serve")
        assert code == 0, output
        assert "INFO Stopped while TensorRT built the plan" in output


class TestRefusals:
    def test_a_model_that_was_changed(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        with (model / "model.onnx").open("ab") as file:
            file.write(b"\0")
        result = build(stand_in, tmp_path)
        assert result.returncode == 2
        assert "is not the file its manifest describes" in said(result)
        assert not (tmp_path / "plans").exists()

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            (
                {"outputs.0.name": "ground"},
                "output ground: manifest float32 [1, 5], graph has none",
            ),
            (
                {"states.0.shape": [1, 2]},
                "input state_sum: manifest float32 [1, 2], graph float32 [1, 1]",
            ),
        ],
    )
    def test_a_plan_that_is_not_what_the_manifest_says(
        self,
        stand_in: dict[str, str],
        tmp_path: Path,
        model: Path,
        changes: dict[str, Any],
        problem: str,
    ) -> None:
        write_tiny_model(model, changes)
        result = build(stand_in, tmp_path)
        assert result.returncode == 2
        assert problem in said(result)
        assert not list((tmp_path / "plans").glob("*.plan"))

    def test_a_graph_that_the_parser_refuses_in_its_own_words(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        def unknown(graph: Any) -> None:
            graph.node[0].op_type = "Reducer"

        write_tiny_model(model, edit_graph=unknown)
        result = build(stand_in, tmp_path)
        assert result.returncode == 2
        assert "TensorRT's parser refuses the graph" in said(result)
        assert "No Op registered for Reducer" in said(result)
        assert "`edge-runtime engine lint`" in said(result)

    def test_no_memory_for_the_build(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        result = build({**stand_in, "STAND_IN_FAULT": "build"}, tmp_path)
        assert result.returncode == 1
        assert "GPU memory (536870912 bytes) could not be allocated" in said(result)
        assert "lower engine.workspace_mb" in said(result)
        assert not list((tmp_path / "plans").glob("*.plan"))

    @needs_espeak
    @pytest.mark.parametrize(
        ("fault", "problem"),
        [
            ({"STAND_IN_MEMORY_BYTES": "1000"}, "out of memory"),
            ({"STAND_IN_NO_CONTEXT": "1"}, "no execution context"),
            ({"STAND_IN_GPU": ""}, "no CUDA-capable device"),
        ],
    )
    def test_an_engine_that_cannot_be_loaded(
        self,
        stand_in: dict[str, str],
        tmp_path: Path,
        model: Path,
        fault: dict[str, str],
        problem: str,
    ) -> None:
        result = run_sound({**stand_in, **fault}, tmp_path)
        assert result.returncode == 1
        assert problem in said(result)
        assert "Traceback" not in said(result)
        assert not (tmp_path / "out").exists()


@needs_espeak
class TestRun:
    def test_run_and_replay(self, stand_in: dict[str, str], tmp_path: Path, model: Path) -> None:
        assert run_sound(stand_in, tmp_path).returncode == 0
        again = edge(stand_in, tmp_path, "replay", "out/recording.mcap", "--config", "edge.yaml")
        assert again.returncode == 0
        assert "10 micro-turns, every decision the same (largest difference of an output 0)" in (
            said(again)
        )

    def test_a_run_that_fails_midway_stops_safely_and_gives_nothing_stale(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        """Three warm-up turns, four good ones, and then execute_async_v3 returns False."""
        result = run_sound({**stand_in, "STAND_IN_FAULT": "execute:8"}, tmp_path)
        assert result.returncode == EngineError.exit_code
        assert "micro-turn 4: TensorRT's execute_async_v3 returned False" in said(result)
        assert "the device has stopped" in said(result)
        recorded = list(read(tmp_path / "out" / "recording.mcap"))
        assert [turn.decision.stop for turn in recorded] == [False] * 4 + [True]
        assert [action.name for action in recorded[-1].decision.actions] == ["stop_motion"]
        assert dict(recorded[-1].output.tensors) == {}


class TestVerify:
    def verified(
        self, environment: dict[str, str], where: Path, candidate: str
    ) -> tuple[Result, list[dict[str, Any]]]:
        assert run_sound(environment, where, 24.0).returncode == 0
        options = ("--recording", "out/recording.mcap", "--json", "figures.json")
        result = edge(
            environment, where, "engine", "verify", "--config", "edge.yaml",
            "--candidate", candidate, *options,
        )  # fmt: skip
        return result, json.loads((where / "figures.json").read_text())

    @needs_espeak
    def test_a_plan_that_is_right(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        """The stand-in computes with ONNX Runtime: nothing differs."""
        result, (figures,) = self.verified(stand_in, tmp_path, "tensorrt:fp32")
        assert result.returncode == 0, said(result)
        assert "within its limits" in said(result)
        assert figures["turns"] == 120
        assert figures["forced"]["floor"]["max"] == figures["free"]["floor"]["max"] == 0.0
        assert figures["candidate"]["tensorrt"] == "10.3.0"
        assert figures["deterministic"] and figures["resets"]

    @needs_espeak
    def test_a_plan_that_is_not_exact_enough(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        """A state that float16 cannot hold: it counts in steps of 4 from 5000."""
        write_tiny_model(model, {"states.0.initial": 5000.0})
        result, (figures,) = self.verified(stand_in, tmp_path, "tensorrt:fp16")
        assert result.returncode == 1
        assert "floor: error" in said(result)
        assert "refused" in said(result)
        assert figures["passed"] is False

    def test_an_engine_that_does_not_exist(
        self, stand_in: dict[str, str], tmp_path: Path, model: Path
    ) -> None:
        (tmp_path / "r.mcap").write_bytes(b"")
        options = ("--config", "edge.yaml", "--recording", "r.mcap")
        for candidate, word in (("abacus:fp32", "abacus"), ("tensorrt:fp64", "fp64")):
            result = edge(
                stand_in, tmp_path, "engine", "verify", *options, "--candidate", candidate
            )
            assert result.returncode == 2
            assert word in said(result)
