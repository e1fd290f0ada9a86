"""Pictures as the runtime wants them, whatever a camera or a file gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import Frame

MOST_PIXELS = 640 * 480
"""What a camera is asked for. A larger picture costs time, memory and room in the recording, and
tells a model that looks at a hundredth of it no more."""
_COLOURS = {(1,): "COLOR_GRAY2RGB", (3,): "COLOR_BGR2RGB", (4,): "COLOR_BGRA2RGB"}
"""By the number of channels."""


def bounded(picture: Frame) -> Frame:
    """uint8 (H, W) or (H, W, C): itself, or where it has more than `MOST_PIXELS`, divided by the
    smallest whole number that does, each pixel the mean of a square: 1920x1080 becomes 640x360.
    What the model sees is so what is recorded, to the bit."""
    height, width = picture.shape[:2]
    if height * width <= MOST_PIXELS:
        return picture
    import cv2

    # By a whole number OpenCV takes a quarter of the time: 3 ms of 1920x1080, not 14.
    by = math.ceil(math.sqrt(height * width / MOST_PIXELS))
    high, wide = max(1, height // by), max(1, width // by)
    whole = picture[: high * by, : wide * by]
    return np.asarray(cv2.resize(whole, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)


def checked(picture: NDArray[Any]) -> Frame:
    """uint8 (H, W) or (H, W, 1) gray, (H, W, 3) BGR or (H, W, 4) BGRA as it is; SourceError for
    anything else."""
    channels = picture.shape[2:] or (1,)
    if (
        picture.ndim < 2
        or not picture.size
        or picture.dtype != np.uint8
        or channels not in _COLOURS
    ):
        size = "x".join(str(length) for length in picture.shape)
        raise SourceError(
            f"It gives pictures of {size} {picture.dtype}, and known are 8 bits of gray, BGR or "
            "BGRA. Choose another format in its settings, or a GStreamer pipeline that ends in "
            "videoconvert ! video/x-raw,format=BGR ! appsink."
        )
    return picture


def rgb(picture: Frame) -> Frame:
    """What `checked` takes, to contiguous RGB."""
    import cv2

    code = getattr(cv2, _COLOURS[picture.shape[2:] or (1,)])
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)
