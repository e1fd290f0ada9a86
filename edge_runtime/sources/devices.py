"""What there is to hear, speak and see with on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import SourceError
from edge_runtime.sources.audio_device import AudioDevice
from edge_runtime.sources.camera_devices import LINKS, SYSFS, CameraDevice, cameras
from edge_runtime.sources.portaudio import audio_devices

KINDS = ("microphone", "loudspeaker", "camera")


@dataclass(frozen=True)
class Device:
    """One device, or what is missing of a kind: then `name` is empty and `detail` says why."""

    kind: str
    """`microphone`, `loudspeaker` or `camera`."""
    name: str
    detail: str
    default: bool = False

    @property
    def missing(self) -> bool:
        return not self.name


def list_devices(sysfs: Path = SYSFS, links: Path = LINKS) -> list[Device]:
    """All devices by kind; for a kind that has none, one entry that says what to do."""
    sound, problem = _sound()
    seen = [
        Device("camera", camera.name, _paths(camera), default=place == 0)
        for place, camera in enumerate(cameras(sysfs, links))
    ]
    listed: list[Device] = []
    for kind in KINDS:
        found = [device for device in [*sound, *seen] if device.kind == kind]
        why = problem if kind != "camera" and problem else f"none found: connect a {kind}"
        listed += found or [Device(kind, "", why)]
    return listed


def _sound() -> tuple[Sequence[Device], str]:
    """Microphones and loudspeakers, and what keeps us from seeing any."""
    try:
        return [_device(device) for device in audio_devices()], ""
    except SourceError as error:
        return [], str(error)


def _device(device: AudioDevice) -> Device:
    channels = "1 channel" if device.channels == 1 else f"{device.channels} channels"
    places = (("serial", device.serial), ("USB", device.usb_path))
    known = [f"{device.rate_hz} Hz", channels, *(f"{what} {it}" for what, it in places if it)]
    return Device(device.kind, device.name, ", ".join(known), device.default)


def _paths(camera: CameraDevice) -> str:
    """Its path, and the name by which it is found again whatever its number is then."""
    return ", ".join([camera.path, *camera.links[:1]])
