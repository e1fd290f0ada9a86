"""mypy --strict of the TensorRT engine against signatures from NVIDIA's own bindings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prepare import BINDINGS, folder_for
from stubs import corrected, generate

pytest.importorskip("pybind11_stubgen", reason="stubs are generated: pip install pybind11-stubgen")
pytest.importorskip("mypy")
FILE = Path("edge_runtime") / "inference" / "tensorrt.py"


def check(file: Path, stubs: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    options = ("--strict", "--no-warn-unused-ignores", "--follow-imports=silent")
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", str(stubs / "mypy"), str(file)],
        env={**os.environ, "MYPYPATH": str(stubs)},
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def stubs_of(version: str, environment: dict[str, str]) -> Path:
    """A folder with stubs of one version, kept from run to run."""
    return folder_for(f"stubs-{version}", lambda to: generate(version, environment, to))


@pytest.mark.parametrize("version", BINDINGS)
def test_every_call_is_one_that_nvidia_has(
    version: str, make_environment: Callable[[str], dict[str, str]], repository: Path
) -> None:
    result = check(FILE, stubs_of(version, make_environment(version)), repository)
    assert result.returncode == 0, result.stdout


def test_a_wrong_call_would_be_noticed(
    make_environment: Callable[[str], dict[str, str]], repository: Path, tmp_path: Path
) -> None:
    """The stubs are really in use: what comes back as None, and a name that does not exist."""
    version = next(iter(BINDINGS))
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import tensorrt as trt\n"
        "def load(runtime: trt.Runtime, plan: bytes) -> trt.ICudaEngine:\n"
        "    return runtime.deserialize_cuda_engine(plan)\n"
        "def run(context: trt.IExecutionContext) -> None:\n"
        "    context.execute_v2_async(1)\n"
    )
    result = check(wrong, stubs_of(version, make_environment(version)), repository)
    assert result.returncode == 1
    assert "| None" in result.stdout
    assert "execute_v2_async" in result.stdout


def test_signatures_become_python() -> None:
    text = corrected(
        "class Dims:\n    pass\n"
        "def f(self, in: nvinfer1::v_1_0::IThing = None, x: bool) -> IHostMemory:\n"
        '    """Returns the thing or None if there is none."""\n'
    )
    assert (
        "def f(self, in_: IThing | None=None, x: builtins.bool=...) -> IHostMemory | None" in text
    )
    assert "def __iter__" in text
