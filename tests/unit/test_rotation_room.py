"""Recordings leave room on the disk for what else the device has to write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_rotation import Clock, loud_turns, old, recording, recordings, size, turns
from test_rotation import clock as clock

from edge_runtime.errors import RecordingError
from edge_runtime.health import HealthMonitor, State
from edge_runtime.replay import read
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sinks.rotation import CHECK_EVERY_TURNS, RETRY_TURNS, Limits, Rotation

LEAVE = Limits(1e12, 1e12, keep_bytes=1e12, keep_s=1e12, min_free_bytes=5e6)
CHECK_BYTES = CHECK_EVERY_TURNS * 30_000
"""No more is written between two looks at the disk."""


class Disk:
    """A disk of `room_bytes` for a folder and for what others write."""

    def __init__(self, room_bytes: float) -> None:
        self.room_bytes, self.others_bytes = room_bytes, 0.0

    def free_bytes(self, folder: Path) -> float:
        return self.room_bytes - self.others_bytes - size(folder)


def rotation(
    folder: Path,
    disk: Disk,
    clock: Clock,
    limits: Limits = LEAVE,
    health: HealthMonitor | None = None,
    must_begin: bool = False,
) -> Rotation:
    def make(path: Path) -> Recorder:
        return Recorder(path, {})

    return Rotation(make, recording(folder), limits, clock, health, must_begin, disk.free_bytes)


def test_the_oldest_make_room_and_no_more_of_them_than_needed(tmp_path: Path, clock: Clock) -> None:
    files = [
        old(tmp_path, f"last-202311{day:02}T000000.mcap", (15 - day) * 3600, 1_000_000, clock)
        for day in (10, 11, 12, 13)
    ]
    with rotation(tmp_path, Disk(7.5e6), clock) as sink:
        turns(sink, 1)
        assert sink.on
    assert [path.exists() for path in files] == [False, False, True, True]


def test_the_newest_stays_and_no_other_is_begun(tmp_path: Path, clock: Clock) -> None:
    before = old(tmp_path, "last.mcap", 60, 1_000_000, clock)
    with rotation(tmp_path, Disk(1e6), clock) as sink:
        turns(sink, 1)
        assert not sink.on
        assert list(tmp_path.iterdir()) == [before]


def test_it_ends_before_the_disk_is_full_says_so_once_and_goes_on_when_there_is_room(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    health, disk = HealthMonitor(), Disk(8e6)
    with rotation(tmp_path, disk, clock, health=health) as sink:
        loud_turns(sink, 2 * CHECK_EVERY_TURNS)
        assert sink.on and health.snapshot().state is State.OK
        loud_turns(sink, RETRY_TURNS, 2 * CHECK_EVERY_TURNS)
        assert not sink.on
        assert disk.free_bytes(tmp_path) > LEAVE.min_free_bytes - CHECK_BYTES
        assert list(tmp_path.iterdir()) == [recording(tmp_path)], "whole, and none beside it"
        assert len(list(read(recording(tmp_path)))) > 2 * CHECK_EVERY_TURNS
        loud_turns(sink, 2 * RETRY_TURNS, 1000)
        line = health.snapshot().line
        assert "degraded: recording: nothing is recorded" in line
        assert "MB are free" in line and "Make room, or lower health.min_free_mb" in line
        stopped = [one.levelname for one in caplog.records if "recording stopped" in one.message]
        assert stopped == ["WARNING"]

        disk.room_bytes += 0.2e6  # just enough for now: it would end at once
        loud_turns(sink, 2 * RETRY_TURNS, 3000)
        assert not sink.on
        disk.room_bytes += 10e6
        loud_turns(sink, RETRY_TURNS + CHECK_EVERY_TURNS, 5000)
        assert sink.on and health.snapshot().state is State.OK


def test_a_recording_before_gives_way_to_one_that_goes_on(tmp_path: Path, clock: Clock) -> None:
    """The newest of those that have ended, and not the newest any more once the next has."""
    before = old(tmp_path, "last-20231110T000000.mcap", 3600, 4_000_000, clock)
    disk = Disk(12e6)
    with rotation(tmp_path, disk, clock) as sink:
        loud_turns(sink, 2 * CHECK_EVERY_TURNS)
        assert before.exists() and len(recordings(tmp_path)) == 1
        loud_turns(sink, 2 * CHECK_EVERY_TURNS, 2 * CHECK_EVERY_TURNS)
        assert not before.exists()
        assert sink.on
    assert len(recordings(tmp_path)) == 2
    assert sum(len(list(read(path))) for path in recordings(tmp_path)) == 4 * CHECK_EVERY_TURNS


def test_a_run_that_must_record_is_told_at_once(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(RecordingError, match=r"1 MB are free .*5 are wanted.*min_free_mb"):
        rotation(tmp_path, Disk(1e6), clock, must_begin=True).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_nothing_makes_room_for_a_run_that_is_refused(tmp_path: Path, clock: Clock) -> None:
    before = old(tmp_path, "last-20231110T000000.mcap", 3600, 4_000_000, clock)
    with Recorder(recording(tmp_path), {}) as other:
        turns(other, 1)
        with pytest.raises(RecordingError, match="being written by process"):
            rotation(tmp_path, Disk(1e6), clock, must_begin=True).__enter__()
    assert before.exists()


def test_a_disk_that_does_not_tell_is_written_to(tmp_path: Path, clock: Clock) -> None:
    def gone(folder: Path) -> float:
        raise OSError(5, "Input/output error")

    limits = Limits(1e12, 1e12, keep_bytes=1e12, keep_s=1e12, min_free_bytes=1e12)
    with Rotation(
        lambda path: Recorder(path, {}), recording(tmp_path), limits, clock, free_bytes=gone
    ) as sink:
        turns(sink, CHECK_EVERY_TURNS)
        assert sink.on


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from test_rotation import loud_turns
from edge_runtime.machine_health import free_bytes
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sinks.rotation import Limits, Rotation
folder = Path(sys.argv[1])
limits = Limits(2e6, 1e12, keep_bytes=1e12, keep_s=1e12, min_free_bytes=4e6)
with Rotation(lambda path: Recorder(path, {}), folder / "last.mcap", limits) as sink:
    for index in range(600):
        loud_turns(sink, 1, index)
        assert free_bytes(folder) > 2e6
    print(sink.on, sink.written_bytes)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_real_disk_is_left_with_room(tmp_path: Path) -> None:
    """Ten megabytes, and more than that recorded."""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=10m none "$0" && exec "$@"', tmp_path,
         sys.executable, "-c", ON_A_SMALL_DISK, tmp_path],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    on, written_bytes = done.stdout.split()
    assert on == "True" and int(written_bytes) > 10e6
