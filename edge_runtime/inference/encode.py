"""A MicroTurn as the tensors a manifest asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.inference.manifest import Manifest
from edge_runtime.micro_turn import Frame, MicroTurn

SECONDS_LEFT_SCALE = 10.0
"""`seconds_left` reaches the model as a share of 10 s ..."""
MOST_SECONDS_LEFT = 2.0
"""... and no more of them than this. It tells when its voice is about to end; how long an answer
goes on after that is nothing to decide by, and a model that never met an answer as long as the
present one would be at a loss: the reference model let nobody interrupt it in the first half of a
story of ten seconds (up to 0.6 it was trained on less being left wherever somebody was about to
interrupt)."""


class Encoder:
    """Fills input arrays in place, so that a turn allocates nothing but a resized picture."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._events = {name: i for i, name in enumerate(manifest.vocabularies.events)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Zeroed input arrays by name."""
        return {t.name: np.zeros(t.shape, np.dtype(t.dtype)) for t in self._manifest.inputs}

    def encode(self, turn: MicroTurn, into: Mapping[str, NDArray[Any]]) -> None:
        for tensor in self._manifest.inputs:
            array = into[tensor.name]
            if tensor.role == "audio":
                array[0] = turn.audio
            elif tensor.role == "frame":
                array[0] = 0 if turn.frame is None else _fit(turn.frame, array.shape[1:3])
            elif tensor.role == "frame_valid":
                array[...] = float(turn.frame is not None)
            elif tensor.role == "events":
                array[...] = 0
                for event in turn.events:
                    if event.kind.value in self._events:
                        array[0, self._events[event.kind.value]] = 1
            else:
                array[0] = self._status(turn)

    def _status(self, turn: MicroTurn) -> list[float]:
        known = {
            "speaking": float(turn.voice.speaking),
            "seconds_left": left_as_share(turn.voice.seconds_left),
            "pending": float(turn.background.pending),
            "result_ready": float(turn.background.result_ready),
            "link_up": float(turn.background.link_up),
        }
        return [known.get(name, 0.0) for name in self._manifest.vocabularies.status]


def left_as_share(seconds_left: float) -> float:
    """How the status tensor tells how much is still to be said: 0 to 0.2."""
    return min(max(seconds_left, 0.0), MOST_SECONDS_LEFT) / SECONDS_LEFT_SCALE


def fitted(turns: Iterable[MicroTurn], manifest: Manifest) -> Iterator[MicroTurn]:
    """Turns to be kept, with their pictures in the model's size: an hour of full ones has 16 GB.
    What `encode` makes of them is the same to the last bit."""
    full, small = None, None
    for turn in turns:
        if turn.frame is not None and turn.frame is not full:
            full, small = turn.frame, in_models_size(turn.frame, manifest)
        yield turn if turn.frame is None else replace(turn, frame=small)


def in_models_size(frame: Frame, manifest: Manifest) -> Frame:
    """uint8 (H, W, 3) as the model takes it; `encode` makes the same of it to the last bit."""
    tensor = manifest.input("frame")
    size = (1, 1) if tensor is None else tensor.shape[1:3]  # it may ask whether there is one
    return _fit(frame, size)


def _fit(frame: Frame, size: tuple[int, ...]) -> Frame:
    """The middle of the picture in the model's proportions, scaled by area."""
    height, width = size
    have_height, have_width = frame.shape[:2]
    if (have_height, have_width) == (height, width):
        return frame
    import cv2

    crop_width = min(have_width, max(1, round(have_height * width / height)))
    crop_height = min(have_height, max(1, round(have_width * height / width)))
    left, top = (have_width - crop_width) // 2, (have_height - crop_height) // 2
    middle = frame[top : top + crop_height, left : left + crop_width]
    resized = cv2.resize(middle, (width, height), interpolation=cv2.INTER_AREA)
    return resized.astype(np.uint8, copy=False)
