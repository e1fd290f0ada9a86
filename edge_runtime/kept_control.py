"""Mode, switches and volume of a service, kept over restarts: what was closed stays closed.

A crash, an upgrade or a power cut must not open what somebody in the room has switched off. So
each change is on the disk before whoever asked for it is told that it is done, and is read before
anything is opened. Where the file is damaged nobody knows what was off: then all of it is.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.health import HealthMonitor, State
from edge_runtime.remote_control import Mode, RemoteControl
from edge_runtime.whole_file import write_whole

log = logging.getLogger(__name__)
FILE = "control.json"
SWITCHES = "switches"
"""As a part of the device's health."""


class Kept(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, strict=True)

    mode: Mode
    microphone_on: bool
    camera_on: bool
    volume: float | None = Field(None, ge=0.0, le=1.0)
    """None: as it is configured."""

    @property
    def shut(self) -> str:
        """What it takes away from the device, for people; empty where that is nothing."""
        parts = [
            *(() if self.microphone_on else ("the microphone is off",)),
            *(() if self.camera_on else ("the camera is off",)),
            *(() if self.mode is Mode.NORMAL else (f"the mode is {self.mode.value}",)),
        ]
        return ", ".join(parts)


UNKNOWN = Kept(mode=Mode.QUIET, microphone_on=False, camera_on=False)
"""Of a file that cannot be read: all that a smart home can have asked for."""


class KeptControl:
    """Makes the RemoteControl of a service, as it was left. What is wrong with its file is a part
    of the health, and no error."""

    def __init__(self, path: Path, health: HealthMonitor) -> None:
        self._path, self._health = path, health
        self._writing = threading.Lock()
        """Held from reading the control to its being on the disk: the last change is the last."""

    def load(self) -> RemoteControl:
        try:
            kept, why = Kept.model_validate_json(self._path.read_bytes()), "as before the restart"
        except FileNotFoundError:
            return RemoteControl(on_change=self._keep)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            kept, why = UNKNOWN, f"for {self._path} cannot be read: {reason}"
            self._health.report(SWITCHES, State.DEGRADED, f"{kept.shut}, {why}")
        if kept.shut:
            log.warning(
                "%s, %s. Switch it on again, or end the service and remove %s",
                *(kept.shut, why, self._path),
            )
        on = kept.microphone_on, kept.camera_on
        return RemoteControl(kept.mode, *on, self._keep, kept.volume)

    def _keep(self, control: RemoteControl) -> None:
        with self._writing:
            now = Kept(
                mode=control.mode,
                microphone_on=control.microphone_on,
                camera_on=control.camera_on,
                volume=control.set_to,
            )
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._path, now.model_dump_json(), durably=True)
            except OSError as error:
                text = f"{self._path} cannot be written ({error.strerror}): a restart undoes them"
                log.warning("%s", text)
                self._health.report(SWITCHES, State.DEGRADED, text)
            else:
                self._health.report(SWITCHES, State.OK)


def kept_path(device: str, environment: Mapping[str, str] = os.environ, file: str = FILE) -> Path:
    """In systemd's state folder where a unit has one, else in the user's, by the device's name."""
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given) / file
    home = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "edge_runtime" / f"{quote(device, safe='')}.{file}"
