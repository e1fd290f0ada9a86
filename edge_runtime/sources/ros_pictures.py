"""Pictures of sensor_msgs, as the runtime wants them. Messages are anything with their fields."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.errors import WireError
from edge_runtime.micro_turn import Frame

_CHANNELS = {
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "mono8": 1,
    "yuyv": 2,
    "yuv422_yuy2": 2,
    "uyvy": 2,
    "yuv422": 2,
}
"""Bytes a pixel of the encodings of sensor_msgs/Image that we read. `yuv422_yuy2` is an older name
of `yuyv`, and `yuv422` of `uyvy`."""
_YUV = {
    "yuyv": "COLOR_YUV2RGB_YUY2",
    "yuv422_yuy2": "COLOR_YUV2RGB_YUY2",
    "uyvy": "COLOR_YUV2RGB_UYVY",
    "yuv422": "COLOR_YUV2RGB_UYVY",
}


def picture(message: Any) -> Frame:
    """uint8 (H, W, 3) RGB of a sensor_msgs/Image. Raises WireError for another encoding, and where
    the data does not fit its size."""
    height, width, step = message.height, message.width, message.step
    depth = _CHANNELS.get(message.encoding)
    if depth is None:
        raise WireError(
            f"encoding {message.encoding!r}; known are {', '.join(_CHANNELS)}, and compressed ones"
        )
    data = np.frombuffer(message.data, np.uint8)
    row = width * depth
    if not (height and width) or step < row or data.size < step * height:
        raise WireError(
            f"{data.size} bytes in rows of {step} for {width}x{height} {message.encoding}"
        )
    pixels = data[: step * height].reshape(height, step)[:, :row].reshape(height, width, depth)
    if message.encoding in _YUV:
        return _from_yuv(np.ascontiguousarray(pixels), message.encoding)
    if message.encoding == "mono8":
        return np.repeat(pixels, 3, axis=2)
    if message.encoding.startswith("rgb"):
        rgb: Frame = pixels[..., :3].copy()
        return rgb
    return np.ascontiguousarray(pixels[..., 2::-1])


def _from_yuv(pixels: Frame, encoding: str) -> Frame:
    if pixels.shape[1] % 2:
        raise WireError(
            f"a {encoding} picture {pixels.shape[1]} pixels wide; an even width is wanted"
        )
    import cv2

    return np.asarray(cv2.cvtColor(pixels, getattr(cv2, _YUV[encoding])), np.uint8)


def compressed_picture(message: Any) -> Frame:
    """uint8 (H, W, 3) RGB of a sensor_msgs/CompressedImage. Raises WireError."""
    import cv2

    data = np.frombuffer(message.data, np.uint8)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:  # too large, for one
        raise WireError(f"a picture that OpenCV refuses: {error.err or error}") from error
    if bgr is None:
        raise WireError(f"{data.size} bytes of {message.format!r} that OpenCV cannot decode")
    return np.ascontiguousarray(bgr[..., ::-1], np.uint8)
