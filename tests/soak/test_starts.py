"""Starting and stopping leaves nothing behind: no process, thread, file or open handle.

STARTS=50 make soak ARGS='-k starts'        # default 1,000
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
from tiny_model import write_tiny_model

from edge_runtime.app import device
from edge_runtime.config import Config
from edge_runtime.senses import senses_for
from edge_runtime.sinks.statistics import resident_mb

pytestmark = pytest.mark.soak
STARTS = int(os.environ.get("STARTS", "1000"))
WARM = 20
"""Starts after which everything that is loaded once is loaded."""


def children() -> list[str]:
    tasks = Path(f"/proc/{os.getpid()}/task")
    return [text for task in tasks.iterdir() for text in (task / "children").read_text().split()]


def left_behind(folder: Path) -> dict[str, int]:
    gc.collect()
    return {
        "threads": threading.active_count(),
        "processes": len(children()),
        "handles": len(list(Path("/proc/self/fd").iterdir())),
        "files": len(list(folder.rglob("*"))),
    }


def test_a_thousand_starts_and_stops_leave_nothing(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model", {"vocabularies.act": ["none", "greet"]})
    sound = tmp_path / "noise.wav"
    soundfile.write(sound, 0.01 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    config = Config.model_validate(
        {
            "engine": {"folder": model},
            "audio": {"source": str(sound)},
            "recording": {"path": tmp_path / "last.mcap"},
        }
    )
    before: dict[str, int] = {}
    memory_mb = 0.0
    for number in range(WARM + STARTS):
        with device(config, senses_for(config, realtime=False)) as ready:
            assert ready.loop.run(max_turns=3) == 3
        if number == WARM - 1:
            before, memory_mb = left_behind(tmp_path), resident_mb()
    after = left_behind(tmp_path)
    grown_mb = resident_mb() - memory_mb
    print(f"\n{STARTS} starts: before {before}, after {after}, memory {grown_mb:+.1f} MB")
    assert after == before
    assert grown_mb < 0.03 * STARTS + 5
