"""The device's status as one plain value, and the file in which a running service keeps it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge_runtime import __version__
from edge_runtime.errors import InputError
from edge_runtime.every import Every
from edge_runtime.health import HealthMonitor, State
from edge_runtime.remote_control import RemoteControl
from edge_runtime.systemd_units import show_units
from edge_runtime.whole_file import write_whole

FILE = "status.json"
RUN = Path("/run")
"""Where the units' runtime folders are: edge-runtime, and edge-runtime@NAME for instances."""
DEVICES = ("edge-runtime.service", "edge-runtime@*.service")
EVERY_S = 1.0
STALE_S = 5.0
"""A running service writes every second."""


@dataclass(frozen=True)
class DeviceStatus:
    """What everybody outside is shown: health, mode, and what is switched off."""

    name: str
    health: HealthMonitor
    control: RemoteControl

    def as_dict(self) -> dict[str, Any]:
        """For JSON; no word of what was heard or said is in it."""
        return {
            "device": self.name,
            "version": __version__,
            **self.health.snapshot().as_dict(),
            "mode": self.control.mode.value,
            "capture": {name: "on" if on else "off" for name, on in self.control.capture.items()},
        }


class StatusFile:
    """Writes the status once a second, in a thread of its own, and removes it at the end."""

    def __init__(self, path: Path, status: DeviceStatus) -> None:
        self._path, self._status = path, status
        self._writing = Every(EVERY_S, self._write, "the status file")

    def __enter__(self) -> Self:
        self._writing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing.__exit__(kind, error, trace)
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        content = self._status.as_dict() | {"pid": os.getpid(), "written_at_s": time.time()}
        # Whoever is on this machine may know how the device is.
        write_whole(self._path, json.dumps(content), 0o644)


def status_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where this process shall keep its status: in the folder that systemd gave it, if it did."""
    folder = environment.get("RUNTIME_DIRECTORY")
    return None if not folder else Path(folder.split(":")[0]) / FILE


def running(run: Path = RUN) -> list[dict[str, Any]]:
    """The statuses of the services on this machine, with `age_s` added.

    One that has not been written for five seconds is not of a running service and says `failed`.
    Raises InputError where there is none, or where it cannot be read.
    """
    return _some(_told(run), run)


def services(run: Path = RUN) -> list[dict[str, Any]]:
    """What `running` gives; and each service that systemd shall run and does not, as `failed`, with
    its `unit`. Raises InputError where there is neither."""
    return _some([*_told(run), *_down(run)], run)


def _some(found: list[dict[str, Any]], run: Path) -> list[dict[str, Any]]:
    if not found:
        raise InputError(
            f"No service of edge-runtime is running here (nothing in {run / 'edge-runtime'}). "
            "Start it: sudo systemctl start edge-runtime; install it: sudo edge-runtime "
            "install-service --apply."
        )
    return found


def _told(run: Path) -> list[dict[str, Any]]:
    """What services keep in their runtime folders."""
    found = []
    for path in sorted(run.glob(f"edge-runtime*/{FILE}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from error
        age_s = max(0.0, time.time() - content.pop("written_at_s"))
        if age_s > STALE_S:
            reason = f"it has given no sign for {age_s:.0f} s"
            content |= {"state": "failed", "reasons": [f"service: {reason}"]}
        found.append(content | {"age_s": round(age_s, 1)})
    return found


def _down(run: Path) -> list[dict[str, Any]]:
    """Services that have no status, since systemd removes the folder of one that has ended."""
    try:
        units = show_units(DEVICES)
    except InputError:  # no systemd: there is nobody to ask
        return []
    found = []
    for unit in units:
        name = unit["Id"].removesuffix(".service")
        reason = _why_down(unit)
        if reason and not (run / name / FILE).exists():
            device = name.partition("@")[2] or name
            down = {"device": device, "unit": name, "state": State.FAILED.value}
            found.append(down | {"reasons": [f"service: {reason}"], "parts": {}})
    return found


def _why_down(unit: Mapping[str, str]) -> str:
    """Of one without a status; empty: it is not meant to be up."""
    state, sub = unit["ActiveState"], unit["SubState"]
    if state == "inactive":
        return "stopped" if unit["UnitFileState"] == "enabled" else ""
    if state == "failed":
        return unit["Result"]
    if sub == "auto-restart":
        return f"{unit['Result']}, it starts again"
    return f"{sub}, no status yet"
