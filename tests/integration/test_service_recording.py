"""A service and its recording: what it tells of it, and that it goes on without."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest
from broker import wait_until
from program import needs_espeak
from test_service import Service, running

from edge_runtime.sinks.recorder import Recorder

pytest.importorskip("prometheus_client")


def recording_service(folder: Path, more: str = "") -> Service:
    path = folder / "rec" / "last.mcap"
    senses = f"audio: {{source: {folder / 'noise.wav'}}}\nrecording: {{path: {path}}}"
    return Service(folder, f"{senses}\n{more}")


def told(service: Service) -> tuple[str, str]:
    """State and reason of the recording, on the page /health."""
    part = json.loads(service.page("/health"))["parts"]["recording"]
    return part["state"], part["reason"]


@needs_espeak
def test_while_another_process_writes_it_a_service_runs_without_and_says_so(tmp_path: Path) -> None:
    service = recording_service(tmp_path)
    path = tmp_path / "rec" / "last.mcap"
    with Recorder(path, {}), running(service) as process:
        before = (tmp_path / "rec" / "last.mcap.part").stat().st_ino
        service.await_told("READY=1")
        state, reason = told(service)
        assert state == "degraded"
        assert f"last.mcap is being written by process {os.getpid()}" in reason
        figures = service.page("/metrics")
        assert 'edge_health_state{part="recording"} 1.0' in figures
        assert "\nedge_recording_on 0.0" in figures and "\nedge_recording_bytes_total 0" in figures
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert b"recording stopped, the run goes on" in output
        (part,) = path.parent.iterdir()
        assert part.stat().st_ino == before
    assert path.exists()


@needs_espeak
def test_a_full_disk_degrades_a_service_that_was_well(tmp_path: Path) -> None:
    service = recording_service(tmp_path)
    with running(service) as process:
        service.await_told("READY=1")
        assert told(service) == ("ok", "")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        wait_until(lambda: told(service)[0] == "degraded")
        assert "File too large" in told(service)[1]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0


@needs_espeak
def test_a_disk_with_little_room_is_left_to_the_rest_of_the_service(tmp_path: Path) -> None:
    service = recording_service(tmp_path, "health: {min_free_mb: 1.0e+12}")
    with running(service) as process:
        service.await_told("READY=1")
        state, reason = told(service)
        assert state == "degraded"
        assert "MB are free" in reason and "lower health.min_free_mb" in reason
        assert list((tmp_path / "rec").iterdir()) == []
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert output.count(b"recording stopped, the run goes on") == 1
