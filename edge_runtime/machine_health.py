"""Health of the machine itself: room on the disk, and its temperature."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edge_runtime.every import Every
from edge_runtime.health import DISK, TEMPERATURE, HealthMonitor, State

THERMAL = Path("/sys/class/thermal")
EVERY_S = 10.0


class MachineHealth(Every):
    """Looks every ten seconds, in a thread of its own: a disk that hangs holds nobody else up."""

    def __init__(
        self,
        monitor: HealthMonitor,
        folder: Path,
        min_free_mb: float,
        max_temperature_c: float,
        thermal: Path = THERMAL,
    ) -> None:
        """`folder` is where the device writes, or would; it need not exist yet."""
        self._monitor, self._folder, self._thermal = monitor, folder, thermal
        self._min_free_mb, self._max_temperature_c = min_free_mb, max_temperature_c
        super().__init__(EVERY_S, self.look, "the machine's health")

    def look(self) -> None:
        """Report both, now."""
        self._look_at_the_disk()
        self._look_at_the_temperature()

    def _look_at_the_disk(self) -> None:
        free_mb = free_bytes(self._folder) / 1e6
        low = free_mb < self._min_free_mb
        self._monitor.report(
            DISK,
            State.DEGRADED if low else State.OK,
            f"{free_mb:.0f} MB are free; {self._min_free_mb:.0f} are wanted" if low else "",
            {"free_mb": round(free_mb)},
        )

    def _look_at_the_temperature(self) -> None:
        hottest_c = hottest(self._thermal)
        if hottest_c is None:
            return
        hot = hottest_c > self._max_temperature_c
        self._monitor.report(
            TEMPERATURE,
            State.DEGRADED if hot else State.OK,
            f"{hottest_c:.0f} °C; at most {self._max_temperature_c:.0f} are well" if hot else "",
            {"hottest_c": hottest_c},
        )


def free_bytes(folder: Path) -> int:
    """On the disk where this folder is, or would be made. Raises OSError."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return shutil.disk_usage(there).free


def hottest(thermal: Path = THERMAL) -> float | None:
    """The highest temperature of the kernel's thermal zones, in °C; None where there are none.

    A zone whose unit is powered down, as on a Jetson, cannot be read and is left out.
    """
    found = []
    for zone in thermal.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)
