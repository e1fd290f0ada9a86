"""Opens what a camera is given as: a device, a stream's address, a GStreamer pipeline, a file."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge_runtime.errors import SourceError
from edge_runtime.sources.camera_devices import PIPELINE, shown

if TYPE_CHECKING:
    import cv2

OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 10_000, 2000
"""Of a stream, which some cameras do not describe before their next keyframe. OpenCV's own 30 s
would leave the device without eyes for so long."""

FALLBACK_FPS, LONGEST_PERIOD_S = 25.0, 1.0
"""Of a file whose header says nothing, or that a thread would sleep over for too long."""


class Capture(Protocol):
    """What is used of cv2.VideoCapture."""

    def isOpened(self) -> bool: ...

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, cv2.typing.MatLike]: ...

    def release(self) -> None: ...


def open_capture(target: str | int, size: tuple[int, int]) -> Capture:
    """Not opened where the device is busy or the stream does not answer; `isOpened` tells.

    `size` is the width and height that a local device is asked for. Raises SourceError for a
    pipeline where OpenCV has no GStreamer.
    """
    import cv2

    if isinstance(target, str) and PIPELINE in target:
        return _open_pipeline(target)
    if isinstance(target, str) and is_stream(target):
        return cv2.VideoCapture(target, cv2.CAP_FFMPEG, _limits())
    capture = cv2.VideoCapture(target)
    if isinstance(target, str) and Path(target).is_file():
        return _Clip(capture)
    if capture.isOpened() and isinstance(target, int):
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def is_stream(target: str | int) -> bool:
    """Whether it comes over a network: then its first picture is a keyframe away."""
    return isinstance(target, str) and "://" in target


def _open_pipeline(pipeline: str) -> cv2.VideoCapture:
    import cv2

    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"The camera {shown(pipeline)} is a GStreamer pipeline, and this OpenCV was built "
            "without GStreamer, as PyPI's packages are. Use the system's: apt install "
            "python3-opencv (JetPack brings its own), make the environment with python3 -m venv "
            "--system-site-packages, pip uninstall opencv-python-headless, and pip install "
            "'numpy<2', which that OpenCV was built for. Or give a device or an rtsp:// address."
        )
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER, _limits())
    if not capture.isOpened():  # an older OpenCV refuses the limits
        capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    return capture


def _limits() -> list[int]:
    import cv2

    return [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS),
    ]


class _Clip:
    """A video file in a camera's place: its pictures come at its own rate."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        import cv2

        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if math.isfinite(fps) and fps > 0 else FALLBACK_FPS
        self._period_s = min(1 / fps, LONGEST_PERIOD_S)
        self._due_s: float | None = None
        self._capture = capture
        self.isOpened, self.retrieve = capture.isOpened, capture.retrieve
        self.release = capture.release

    def grab(self) -> bool:
        """Waits until the next picture shows."""
        now_s = time.monotonic()
        due_s = now_s if self._due_s is None else max(now_s, self._due_s)
        time.sleep(due_s - now_s)
        self._due_s = due_s + self._period_s
        return self._capture.grab()
