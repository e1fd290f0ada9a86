"""What can be told of the TensorRT engine without TensorRT; the rest is in tests/stand_in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.inference.tensorrt import too_old


@pytest.mark.parametrize("version", ["8.6.2", "9.3.0", "10.2.0.post1"])
def test_versions_that_lack_what_is_used(version: str) -> None:
    told = too_old(version)
    assert told is not None and told.startswith(f"TensorRT {version} is too old; 10.3 or later")


@pytest.mark.parametrize("version", ["10.3.0", "10.13.3.9", "11.4.0.106", "unknown"])
def test_versions_that_may_run(version: str) -> None:
    assert too_old(version) is None


def test_a_service_on_an_old_jetpack_says_so_and_is_not_started_again(tmp_path: Path) -> None:
    """Modules stand for NVIDIA's, of which only the version is asked."""
    (tmp_path / "tensorrt.py").write_text('__version__ = "8.6.2"\n')
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "driver.py").touch()
    (tmp_path / "edge.yaml").write_text("engine: {backend: tensorrt}\nvideo: {source: null}\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", "serve", "--config", "edge.yaml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, paths)), "COLUMNS": "200"},
        timeout=60,
        check=False,
    )
    assert ran.returncode == 78, ran.stderr
    assert "TensorRT 8.6.2 is too old" in ran.stderr
    assert "JetPack 6.1 or later, or engine.backend onnx." in ran.stderr
