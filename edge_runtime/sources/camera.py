"""A camera: the latest picture and when it was taken, from a thread of its own."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import Frame, FrameReading

if TYPE_CHECKING:
    import cv2

log = logging.getLogger(__name__)
SYSFS = Path("/sys/class/video4linux")
FIRST_FRAME_TIMEOUT_S = 5.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0
KEPT_FRAMES = 4
"""The sound of a micro-turn ends a little before now: its picture may not be the very newest."""


@dataclass(frozen=True)
class CameraDevice:
    """A camera as the kernel names it."""

    number: int
    name: str

    @property
    def path(self) -> str:
        return f"/dev/video{self.number}"


class CameraSource:
    """A FrameSource. Its thread reads the camera, and reopens it with growing pauses when it fails.

    The device is a number, a path such as /dev/video0, a stream's address, or a part of the
    camera's name. Entering waits for the first picture; it raises SourceError, with a remedy, when
    the camera is missing, busy or mute. Switched off, the camera is closed.
    """

    def __init__(self, device: str | int, width: int = 640, height: int = 480) -> None:
        """`width` and `height` are what the camera is asked for; it may give another size."""
        self._device = device
        self._size = (width, height)
        self._target: str | int = 0
        self._changed = threading.Condition()
        self._frames: deque[FrameReading] = deque(maxlen=KEPT_FRAMES)
        self._stopping = threading.Event()
        self._on = True
        """Guarded by `_changed`."""
        self._thread: threading.Thread | None = None
        self.frames = 0
        """Pictures taken."""
        self.reopened = 0
        """Attempts to open the camera again."""

    def __enter__(self) -> Self:
        self._target = find_camera(self._device)
        capture = self._open()
        if not capture.isOpened():
            raise SourceError(
                f"The camera {self._device!r} cannot be opened. Close other programs that use it "
                f"(fuser -v {_path(self._target)}), and check your rights: sudo usermod -aG video "
                "$USER. Or run without a camera."
            )
        self._thread = threading.Thread(
            target=self._run, args=(capture,), name="camera", daemon=True
        )
        self._thread.start()
        if not self._wait_for_a_frame(FIRST_FRAME_TIMEOUT_S):
            self._stop()
            raise SourceError(
                f"The camera {self._device!r} gave no picture in {FIRST_FRAME_TIMEOUT_S:.0f} s. "
                "Unplug it and plug it in again, or choose another: `edge-runtime devices` lists "
                "what there is."
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def latest(self, now_ns: int) -> FrameReading | None:
        """The newest picture taken at or before `now_ns` on the monotonic clock."""
        with self._changed:
            taken = [reading for reading in self._frames if reading.captured_ns <= now_ns]
        return taken[-1] if taken else None

    def switch(self, on: bool) -> None:
        """Off: no picture is handed out from now on, and the camera is closed at once."""
        with self._changed:
            self._on = on
            self._frames.clear()
            self._changed.notify_all()

    def _wait_for_a_frame(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._frames), timeout_s)

    def _stop(self) -> None:
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _open(self) -> cv2.VideoCapture:
        import cv2

        capture = cv2.VideoCapture(self._target)
        if capture.isOpened() and isinstance(self._target, int):
            width, height = self._size
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _run(self, capture: cv2.VideoCapture) -> None:
        """The camera's thread: read until it fails, then open it again, until told to stop."""
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            if self._read_while_it_gives(capture):
                if self._on:
                    log.warning("the camera %r stopped giving pictures; reopening it", self._device)
                backoff_s = FIRST_BACKOFF_S
            capture.release()
            if not self._on:
                self._wait_to_be_switched_on()
            else:
                self._stopping.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            if self._stopping.is_set():
                return
            self.reopened += 1
            capture = self._reopen() or capture
        capture.release()

    def _wait_to_be_switched_on(self) -> None:
        log.info("the camera is off, and closed")
        with self._changed:
            self._changed.wait_for(lambda: self._on or self._stopping.is_set())

    def _reopen(self) -> cv2.VideoCapture | None:
        """A camera that comes back may have another number: it is looked up again."""
        try:
            self._target = find_camera(self._device)
        except SourceError as error:
            log.debug("%s", error)
            return None
        return self._open()

    def _read_while_it_gives(self, capture: cv2.VideoCapture) -> bool:
        """Whether it gave anything before it stopped."""
        any_frame = False
        while self._on and not self._stopping.is_set() and capture.grab():
            captured_ns = time.monotonic_ns()
            decoded, picture = capture.retrieve()
            if not decoded:
                break
            frame: Frame = np.ascontiguousarray(picture[:, :, ::-1], np.uint8)
            with self._changed:
                if not self._on:
                    break
                self._frames.append(FrameReading(frame, captured_ns))
                self.frames += 1
                self._changed.notify_all()
            any_frame = True
        return any_frame and not self._stopping.is_set()


def cameras(sysfs: Path = SYSFS) -> list[CameraDevice]:
    """All cameras, by number. A camera's further nodes (such as its metadata) are left out."""
    found = []
    for node in sysfs.glob("video*"):
        if not node.name[5:].isdecimal() or _read(node / "index") not in ("", "0"):
            continue
        found.append(CameraDevice(int(node.name[5:]), _read(node / "name") or node.name))
    return sorted(found, key=lambda camera: camera.number)


def find_camera(device: str | int, sysfs: Path = SYSFS) -> str | int:
    """What OpenCV opens for a number, a path, an address or a part of a name.

    Raises SourceError when there is no such camera, or when a name fits several.
    """
    there = cameras(sysfs)
    listed = ", ".join(f"{camera.number} {camera.name!r}" for camera in there) or "none"
    numbered = re.fullmatch(r"(?:/dev/video)?(\d+)", str(device))
    if numbered:
        number = int(numbered[1])
        if Path(f"/dev/video{number}").exists() or any(c.number == number for c in there):
            return number
    elif "://" in str(device) or Path(str(device)).exists():
        return str(device)
    else:
        fitting = [camera for camera in there if str(device).lower() in camera.name.lower()]
        if len(fitting) == 1:
            return fitting[0].number
        if fitting:
            names = ", ".join(f"{camera.number} {camera.name!r}" for camera in fitting)
            raise SourceError(
                f"{device!r} fits several cameras: {names}. Give more of the name, or the number."
            )
    raise SourceError(
        f"There is no camera {device!r} on this machine. Cameras found: {listed}. Connect one, "
        "give --video a video file, or run without a camera."
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _path(target: str | int) -> str:
    return f"/dev/video{target}" if isinstance(target, int) else target
