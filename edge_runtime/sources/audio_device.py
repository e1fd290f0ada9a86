"""Microphones and loudspeakers as values, and how one is chosen: never by its number. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.errors import MissingDeviceError, SourceError

AudioKind = Literal["microphone", "loudspeaker"]
SYSFS = Path("/sys/class/sound")
DEV = Path("/dev/snd")
_WITHOUT = "or run without one: --audio FILE."


@dataclass(frozen=True)
class AudioDevice:
    """A microphone or a loudspeaker, as PortAudio sees it."""

    kind: AudioKind
    index: int
    """PortAudio's, of now: it changes with what is plugged in."""
    name: str
    channels: int
    rate_hz: int
    default: bool
    serial: str = ""
    """Of a USB device that has one."""
    usb_path: str = ""
    """Where a USB device is plugged in, such as 1-2.3: the same after a restart."""


def choose(devices: Sequence[AudioDevice], kind: AudioKind, wanted: str | None) -> AudioDevice:
    """The device with this serial number or USB path, or whose name contains `wanted`, in any case;
    None: the default one.

    Raises MissingDeviceError when there is none, SourceError when several fit and none is named
    exactly so.
    """
    there = [device for device in devices if device.kind == kind]
    if not there:
        sought = "" if wanted is None else f" (looked for {wanted!r})"
        raise MissingDeviceError(
            f"There is no {kind} on this machine{sought}. {_rights()}Connect one, {_WITHOUT}"
        )
    if wanted is None:
        return next((device for device in there if device.default), there[0])
    for exact in ("serial", "usb_path", "name"):
        for device in there:
            if wanted.lower() == getattr(device, exact).lower():
                return device
    fitting = [device for device in there if wanted.lower() in device.name.lower()]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(repr(device.name) for device in fitting or there)
    if fitting:
        raise SourceError(
            f"{wanted!r} fits several {kind}s: {names}. Give more of the name, the serial number "
            "or the USB path; `edge-runtime devices` lists them."
        )
    raise MissingDeviceError(f"No {kind} is called {wanted!r}. There are: {names}.")


def usb_identity(name: str, sysfs: Path = SYSFS) -> tuple[str, str]:
    """Serial number and USB path of a device that PortAudio names `... (hw:1,0)`; empty where it
    is none of ALSA's cards, or not on USB."""
    card = re.search(r"\(hw:(\d+),\d+\)$", name)
    if card is None:
        return "", ""
    device = (sysfs / f"card{card[1]}" / "device").resolve()
    for folder in (device, *device.parents):
        if (folder / "idVendor").exists():
            return _read(folder / "serial"), folder.name
    return "", ""


def no_rights(dev: Path = DEV) -> bool:
    """There are sound devices, and this process may open none of them."""
    try:
        devices = [path for path in dev.iterdir() if path.name.startswith("pcm")]
    except OSError:
        return False
    return bool(devices) and not any(_may_open(path) for path in devices)


def _rights() -> str:
    if not no_rights():
        return ""
    return (
        f"This user may not open the sound devices in {DEV}: sudo usermod -aG audio $USER, and log "
        "in again. "
    )


def _may_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
