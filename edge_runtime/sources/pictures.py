"""Pictures as the runtime wants them, whatever a camera or a file gives."""

from __future__ import annotations

import math

import numpy as np

from edge_runtime.micro_turn import Frame

MOST_PIXELS = 640 * 480
"""What a camera is asked for. A larger picture costs time, memory and room in the recording, and
tells a model that looks at a hundredth of it no more."""


def bounded(picture: Frame) -> Frame:
    """uint8 (H, W) or (H, W, C): itself, or where it is larger, scaled by area to `MOST_PIXELS` in
    its own proportions. What the model sees is so what is recorded, to the bit."""
    height, width = picture.shape[:2]
    if height * width <= MOST_PIXELS:
        return picture
    import cv2

    scale = math.sqrt(MOST_PIXELS / (height * width))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
