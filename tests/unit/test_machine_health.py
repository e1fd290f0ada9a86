"""Room on the disk and temperature, from the kernel's own files."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from edge_runtime.health import DISK, TEMPERATURE, HealthMonitor, Part, State
from edge_runtime.machine_health import MachineHealth, hottest


def zone(thermal: Path, number: int, text: str) -> None:
    folder = thermal / f"thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "temp").write_text(text)


def looked(folder: Path, thermal: Path, min_free_mb: float = 0.0) -> HealthMonitor:
    monitor = HealthMonitor()
    MachineHealth(monitor, folder, min_free_mb, max_temperature_c=90, thermal=thermal).look()
    return monitor


def part(monitor: HealthMonitor, name: str) -> Part:
    found = monitor.snapshot().part(name)
    assert found is not None
    return found


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    disk = part(looked(tmp_path / "not" / "yet", tmp_path), DISK)
    assert disk.state is State.OK
    assert disk.values["free_mb"] == pytest.approx(shutil.disk_usage(tmp_path).free / 1e6, rel=0.05)


def test_too_little_room_is_degraded(tmp_path: Path) -> None:
    disk = part(looked(tmp_path, tmp_path, min_free_mb=1e12), DISK)
    assert disk.state is State.DEGRADED
    assert "MB are free; 1000000000000 are wanted" in disk.reason


@pytest.mark.parametrize(("millidegrees", "state"), [(45_000, State.OK), (95_500, State.DEGRADED)])
def test_the_hottest_zone_counts(tmp_path: Path, millidegrees: int, state: State) -> None:
    zone(tmp_path, 0, "30000\n")
    zone(tmp_path, 1, f"{millidegrees}\n")
    temperature = part(looked(tmp_path, tmp_path), TEMPERATURE)
    assert temperature.state is state
    assert temperature.values["hottest_c"] == millidegrees / 1000


def test_a_zone_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    zone(tmp_path, 0, "")
    (tmp_path / "thermal_zone1" / "temp").mkdir(parents=True)
    zone(tmp_path, 2, "41500\n")
    assert hottest(tmp_path) == 41.5


def test_a_machine_without_zones_says_nothing_of_its_temperature(tmp_path: Path) -> None:
    assert looked(tmp_path, tmp_path).snapshot().part(TEMPERATURE) is None


def test_its_thread_looks_at_once_and_ends_with_it(tmp_path: Path) -> None:
    reported: list[str] = []

    class Told(HealthMonitor):
        def report(self, name: str, *rest: object, **more: object) -> None:  # type: ignore[override]
            reported.append(name)

    threads = threading.active_count()
    with MachineHealth(Told(), tmp_path, 0, 90, thermal=tmp_path):
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert DISK in reported
