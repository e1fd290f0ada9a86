"""Runs the program as a user does, on small files made for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the device speaks with espeak-ng"
)


def edge(
    *arguments: str | Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
        timeout=300,
        check=False,
    )


def spoken(path: Path, seconds: float = 1.2, rate_hz: int = 16_000, channels: int = 1) -> Path:
    """Something to hear: a chirp is enough, nothing here is about what the model makes of it."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = 0.2 * np.sin(2 * np.pi * (200 + 150 * time_s) * time_s)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate_hz)
    return path


def filmed(path: Path, seconds: float) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (64, 48))
    for index in range(int(seconds * 10)):
        writer.write(np.full((48, 64, 3), 20 * index % 256, np.uint8))
    writer.release()
    return path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def assert_refused(result: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    """This exit code, nothing on standard output, and one message with these words on the other."""
    said = " ".join(result.stderr.split())
    assert result.returncode == code, said
    assert "Traceback" not in said
    assert result.stdout == ""
    assert len(re.findall(r"(?im)^error: |─ error ─", result.stderr)) == 1, said
    assert result.stderr.startswith(("error: ", "Usage: ")), "something else was printed before"
    for word in words:
        assert word in said
