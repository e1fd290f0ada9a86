"""Cameras, tried as the runtime uses them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np

from edge_runtime.config import Audio, Config, Video
from edge_runtime.doctor.finding import (
    Case,
    Finding,
    Value,
    absent,
    failed,
    ok,
    warning,
)
from edge_runtime.doctor.service import told_by_service
from edge_runtime.errors import ConfigError, SourceError
from edge_runtime.interfaces import FrameSource
from edge_runtime.micro_turn import Frame, FrameReading
from edge_runtime.senses import MICROPHONE, TOPICS, senses_for
from edge_runtime.sources.camera_devices import PIPELINE
from edge_runtime.sources.camera_devices import cameras as cameras_of

LOOK_S = 1.0
POLL_S = 0.01
BLACK, FLAT = 12.0, 4.0
"""Of 255: darker on average than this, and with no more contrast, a lens is covered."""
SLOW_HZ = 5.0
"""Fewer pictures a second than micro-turns."""


def cameras(case: Case) -> list[Finding]:
    """The configured one; without one every camera that is there."""
    source = case.config.video.source
    if source == TOPICS:
        return [absent("camera", "pictures come from ROS topics")]
    recorded = isinstance(source, str) and PIPELINE not in source
    if recorded and (Path(str(source)).is_dir() or Path(str(source)).is_file()):
        return [absent("camera", f"pictures come from {source}")]
    if in_use := told_by_service(case, ("camera",)):
        return in_use
    if source is not None:
        return [examined(case, "camera", source)]
    there = cameras_of(case.at("/sys/class/video4linux"))
    if not there:
        return [absent("camera", "none is configured, and none is there")]
    return [examined(case, f"camera {camera.number}", camera.number) for camera in there]


def examined(case: Case, name: str, source: str | int) -> Finding:
    """One second of one camera; its last picture is written where the case says."""
    try:
        with _frames(source) as camera:
            taken = look(camera)
    except SourceError as error:
        # Nobody asked for one that the configuration does not name.
        worse = failed if case.config.video.source is not None else warning
        return worse(name, str(error))
    return camera_finding(name, taken, case.out)


def _frames(source: str | int) -> FrameSource:
    only = Config(audio=Audio(source=MICROPHONE), video=Video(source=source))
    frames = senses_for(only, realtime=True).frames
    assert frames is not None
    return frames


def look(camera: FrameSource) -> list[FrameReading]:
    """The pictures of one second, each once."""
    taken: dict[int, FrameReading] = {}
    until_s = time.monotonic() + LOOK_S
    while time.monotonic() < until_s:
        reading = camera.latest(time.monotonic_ns())
        if reading is not None:
            taken[reading.captured_ns] = reading
        time.sleep(POLL_S)
    return [taken[captured_ns] for captured_ns in sorted(taken)]


def camera_finding(name: str, taken: list[FrameReading], out: Path | None) -> Finding:
    """By the pictures of one second, of which there is at least one."""
    frame = taken[-1].frame
    height, width = frame.shape[:2]
    span_s = (taken[-1].captured_ns - taken[0].captured_ns) / 1e9
    rate_hz = round((len(taken) - 1) / span_s, 1) if span_s else 0.0
    brightness, contrast = float(frame.mean()), float(frame.std())
    values: dict[str, Value] = {
        "width": width,
        "height": height,
        "rate_hz": rate_hz,
        "brightness": round(brightness, 1),
    }
    text = f"{width}x{height}, {rate_hz:g} pictures a second, as the model gets them"
    if out is not None:
        path = out / (re.sub(r"\W+", "-", name) + ".jpg")
        write_picture(path, frame)
        values["picture"] = str(path)
        text += f"; one is in {path}"
    if brightness < BLACK and contrast < FLAT:
        remedy = "Uncover the lens, and give it light."
        return warning(name, f"{text}; it is black", remedy, **values)
    if len(taken) > 1 and all(np.array_equal(one.frame, frame) for one in taken):
        remedy = "Unplug it and plug it in again."
        return warning(name, f"{text}; they are all the same", remedy, **values)
    if rate_hz < SLOW_HZ:
        remedy = "Give it light and a USB socket of its own; 5 a second are of use."
        return warning(name, f"{text}; that is slow", remedy, **values)
    return ok(name, text, **values)


def write_picture(path: Path, frame: Frame) -> None:
    """uint8 (H, W, 3) RGB as a JPEG. Raises ConfigError where it cannot be written."""
    import cv2

    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    try:
        if not done:
            raise OSError("the picture could not be coded")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}. Give another --out.") from error
