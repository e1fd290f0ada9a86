"""Whether a camera really sees: judged by its pictures, not by whether it gives any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.health import CameraState
from edge_runtime.micro_turn import Frame
from edge_runtime.sources.pictures import bounded, checked, rgb

STALE_S = 1.5
"""A camera that has given nothing for so long is lost, whatever its driver says."""
BLACK_S = 1.5
BLACK_LEVEL = 20
"""Of 255. A covered sensor with its gain up stays below; a night with one lamp in it does not."""
BLACK_PART = 0.998
SPARSE = 4
"""Every so many rows and columns are looked at for black."""
_TURNS = (90, 180, 270)
"""Clockwise, in the order of cv2.RotateFlags."""
PROVED_S = 0.5
"""A camera that came back is trusted after so long."""


@dataclass(frozen=True)
class View:
    """What of the camera's picture the device sees."""

    rotate: int = 0
    """0, 90, 180 or 270 degrees, clockwise."""
    crop: tuple[float, ...] | None = None
    """Left, top, right, bottom of the turned picture, each 0 to 1 of its size."""

    def of(self, picture: NDArray[Any]) -> Frame:
        """uint8 BGR (H, W, 3), BGRA or gray as OpenCV gives it, to contiguous RGB of this view,
        `bounded`. Raises SourceError for anything else."""
        return rgb(self.cut(checked(picture)))

    def cut(self, picture: Frame) -> Frame:
        """uint8 (H, W) or (H, W, C) to this view of it, `bounded`; it may share its memory."""
        import cv2

        turned = np.rot90(picture, -self.rotate // 90)
        if self.crop is not None:
            height, width = turned.shape[:2]
            left, right = _span(self.crop[0], self.crop[2], width)
            top, bottom = _span(self.crop[1], self.crop[3], height)
            turned = turned[top:bottom, left:right]
        # Turned back it is a part of `picture` as that lies in memory: OpenCV takes no copy of it.
        part = bounded(np.rot90(turned, self.rotate // 90))
        if self.rotate:
            part = np.asarray(cv2.rotate(part, _TURNS.index(self.rotate)), np.uint8)
        return part


def _span(begin: float, end: float, length: int) -> tuple[int, int]:
    """At least one pixel of it."""
    first = min(int(begin * length), length - 1)
    return first, max(first + 1, round(end * length))


class PictureWatch:
    """Told of every opening, picture and loss; says what to think of the camera.

    Not thread-safe: its owner guards it. Times are nanoseconds on the monotonic clock.
    """

    def __init__(self, frozen_s: float) -> None:
        """Pictures that are the same to the bit for `frozen_s` are frozen; 0: never."""
        self._frozen_s = frozen_s
        self.forget()

    def forget(self) -> None:
        """As at the start: the camera was switched off, or was never on."""
        self._last: Frame | None = None
        self._seen_ns = self._changed_ns = self._opened_ns = 0
        self._black_since_ns: int | None = None
        self._open = self._left_frozen = False
        self._proving = False
        self._proving_since_ns: int | None = None

    def opened(self, now_ns: int, again: bool) -> None:
        """`again`: it has to prove itself before it is trusted."""
        self._open, self._opened_ns = True, now_ns
        self._proving, self._proving_since_ns = again, None

    def closed(self) -> None:
        """It failed, could not be opened, or was closed because it was stuck."""
        self._left_frozen = self._open and self.stuck
        self._open = False
        if not self._left_frozen:  # whatever comes next is a new picture
            self._last = self._black_since_ns = None

    def saw(self, picture: Frame, now_ns: int) -> None:
        """A picture, uint8 (H, W, 3), kept until the next one."""
        changed = self._last is None or not np.array_equal(picture, self._last)
        if changed:
            self._changed_ns, self._left_frozen = now_ns, False
            if not _is_black(picture):
                self._black_since_ns = None
            elif self._black_since_ns is None:
                self._black_since_ns = now_ns
        if self._proving_since_ns is None and (changed or not self._frozen_s):
            self._proving_since_ns = now_ns
        self._last, self._seen_ns, self._open = picture, now_ns, True

    @property
    def stuck(self) -> bool:
        """It gives the same picture again and again, and had its time since it was opened.

        A black picture that never changes is a covered lens rather than a fault.
        """
        same_ns = self._seen_ns - max(self._opened_ns, self._changed_ns)
        return 0 < self._frozen_s <= same_ns / 1e9 and self._black_since_ns is None

    @property
    def changed_since_opened(self) -> bool:
        """It gave a new picture since it was last opened."""
        return self._changed_ns >= self._opened_ns

    def state(self, now_ns: int) -> CameraState:
        """What the camera is worth at `now_ns`; that it is off is its owner's to say."""
        if not self._open:
            return CameraState.FROZEN if self._left_frozen else CameraState.LOST
        last_sign_ns = max(self._seen_ns, self._opened_ns)
        if self._last is None or now_ns - last_sign_ns >= STALE_S * 1e9:
            return CameraState.LOST
        if self._black_since_ns is not None and now_ns - self._black_since_ns >= BLACK_S * 1e9:
            return CameraState.BLACK
        if self._left_frozen or self.stuck:
            return CameraState.FROZEN
        since_ns = self._proving_since_ns
        if self._proving and (since_ns is None or now_ns - since_ns < PROVED_S * 1e9):
            return CameraState.RECOVERING
        return CameraState.PRESENT


def _is_black(picture: Frame) -> bool:
    return bool(np.mean(picture[::SPARSE, ::SPARSE] < BLACK_LEVEL) >= BLACK_PART)
