"""Which cameras there are, and which of them a name, a serial number or a USB socket means."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import MissingDeviceError, SourceError
from edge_runtime.masking import masked

log = logging.getLogger(__name__)
SYSFS = Path("/sys/class/video4linux")
LINKS = Path("/dev/v4l")
"""udev's names that stay: by-id has maker, model and serial number; by-path the USB socket."""
PIPELINE = " ! "
"""Between the elements of a GStreamer pipeline, and in no other kind of source."""


@dataclass(frozen=True)
class CameraDevice:
    """A camera as the kernel names it."""

    number: int
    name: str
    links: tuple[str, ...] = ()
    """Its names under /dev/v4l, such as `by-id/usb-046d_BRIO_8A2B-video-index0`."""

    @property
    def path(self) -> str:
        return f"/dev/video{self.number}"

    def is_called(self, text: str) -> bool:
        """Whether `text` is a part of its name or of a link's."""
        return any(text.lower() in name.lower() for name in (self.name, *self.links))


def cameras(sysfs: Path = SYSFS, links: Path = LINKS) -> list[CameraDevice]:
    """All cameras, by number. A camera's further nodes (such as its metadata) are left out."""
    linked: dict[str, list[str]] = {}
    for link in sorted(links.glob("by-*/*")):
        linked.setdefault(link.resolve().name, []).append(str(link.relative_to(links)))
    found = []
    for node in sysfs.glob("video*"):
        if not node.name[5:].isdecimal() or _read(node / "index") not in ("", "0"):
            continue
        name = _read(node / "name") or node.name
        found.append(CameraDevice(int(node.name[5:]), name, tuple(linked.get(node.name, ()))))
    return sorted(found, key=lambda camera: camera.number)


def find_camera(device: str | int, sysfs: Path = SYSFS, links: Path = LINKS) -> str | int:
    """What OpenCV opens for a device: a number for /dev/videoN, else an address or a pipeline.

    `device` is a GStreamer pipeline, a stream's address, a path, a number, or a part of the
    camera's name, of its serial number or of its USB path. Raises MissingDeviceError when there is
    no such camera, SourceError when a name fits several.
    """
    text = str(device)
    if PIPELINE in text or "://" in text:
        return text
    there = cameras(sysfs, links)
    numbered = re.fullmatch(r"(?:/dev/video)?(\d+)", text)
    if numbered:
        number = int(numbered[1])
        if Path(f"/dev/video{number}").exists() or any(c.number == number for c in there):
            return number
    elif Path(text).exists():
        node = re.fullmatch(r"/dev/video(\d+)", str(Path(text).resolve()))
        return int(node[1]) if node else text
    else:
        fitting = [camera for camera in there if camera.is_called(text)]
        if len(fitting) == 1:
            return fitting[0].number
        if fitting:
            raise SourceError(
                f"{device!r} fits several cameras: {_listed(fitting)}. Give more of the name, or "
                f"the serial number or USB path as in {LINKS}/by-id and {LINKS}/by-path."
            )
    raise MissingDeviceError(
        f"There is no camera {device!r} on this machine. Cameras found: "
        f"{_listed(there) or 'none'}. Connect one, give --video a video file, or run without a "
        "camera."
    )


def lasting_name(device: str | int, links: Path = LINKS) -> str | None:
    """For a camera given by its number: a path that still means it after it was plugged in anew."""
    numbered = re.fullmatch(r"(?:/dev/video)?(\d+)", str(device))
    if numbered is None:
        return None
    for link in sorted(links.glob("by-*/*")):  # by-id before by-path
        if link.resolve().name == f"video{int(numbered[1])}":
            return str(link)
    return None


def shown(device: str | int) -> str:
    """A source for people and logs: without the password of an address."""
    return repr(masked(str(device)))


def _listed(found: list[CameraDevice]) -> str:
    return ", ".join(f"{camera.number} {camera.name!r}" for camera in found)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
