"""Opens what a camera is given as: a device, a stream's address, a GStreamer pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_runtime.errors import SourceError
from edge_runtime.sources.camera_devices import PIPELINE, shown

if TYPE_CHECKING:
    import cv2

OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 3000, 2000
"""Of a stream. OpenCV's own 30 s would leave the device without eyes for so long."""


def open_capture(target: str | int, size: tuple[int, int]) -> cv2.VideoCapture:
    """Not opened where the device is busy or the stream does not answer; `isOpened` tells.

    `size` is the width and height that a local device is asked for. Raises SourceError for a
    pipeline where OpenCV has no GStreamer.
    """
    import cv2

    if isinstance(target, str) and PIPELINE in target:
        return _open_pipeline(target)
    if isinstance(target, str) and "://" in target:
        return cv2.VideoCapture(target, cv2.CAP_FFMPEG, _limits())
    capture = cv2.VideoCapture(target)
    if capture.isOpened() and isinstance(target, int):
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _open_pipeline(pipeline: str) -> cv2.VideoCapture:
    import cv2

    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"The camera {shown(pipeline)} is a GStreamer pipeline, and this OpenCV was built "
            "without GStreamer, as PyPI's packages are. Use the system's: apt install "
            "python3-opencv (JetPack brings its own), make the environment with python3 -m venv "
            "--system-site-packages, and pip uninstall opencv-python-headless. Or give a device "
            "or an rtsp:// address."
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
