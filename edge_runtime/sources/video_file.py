"""Any video, or a folder of pictures, as the picture that shows at a time."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import Frame
from edge_runtime.sources.ffprobe import first_track
from edge_runtime.sources.pictures import bounded, rgb

log = logging.getLogger(__name__)
PICTURES = frozenset({".png", ".jpg", ".jpeg"})
TOLERANCE_S = 1e-3
"""Containers round time stamps to milliseconds."""
FALLBACK_FPS = 25.0


class VideoFile:
    """Decodes in order and holds only the picture that shows now.

    Entering opens the video and decodes its first picture. Raises SourceError, with a remedy, when
    there is no file or no picture in it.
    """

    def __init__(self, path: Path, folder_fps: float = 5.0) -> None:
        """`folder_fps`: the rate at which a folder's pictures follow each other."""
        self._path = Path(path)
        self._folder_fps = folder_fps
        self._reader: _Reader | None = None
        self._frames: Iterator[tuple[float, Frame]] = iter(())
        self._shown: Frame | None = None
        self._next: tuple[float, Frame] | None = None
        self._end_s = 0.0
        self._size = ""

    def __enter__(self) -> Self:
        if not self._path.exists():
            raise SourceError(
                f"{self._path} does not exist. Give --video the path of a video, or of a folder "
                "of PNG or JPEG pictures."
            )
        if self._path.is_dir():
            self._reader = _Folder(self._path, self._folder_fps)
        else:
            self._reader = _Container(self._path)
        self._frames = self._reader.frames()
        self._advance()
        if self._next is None:
            self._reader.close()
            raise SourceError(
                f"{self._path} holds no picture that OpenCV can decode. Give --video a video such "
                "as MP4, MKV, WebM or AVI, or convert it: ffmpeg -i FILE -c:v libx264 out.mp4"
            )
        height, width, _ = self._next[1].shape
        self._size = f"{width}x{height}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def description(self) -> str:
        """One line: what the video is, and how it is shown."""
        reader = self._opened()
        length = "length unknown" if self.duration_s is None else f"{self.duration_s:.1f} s"
        return f"{self._path.name}: {self._size}, {reader.description}, {length}"

    @property
    def duration_s(self) -> float | None:
        """As the file's header says; None where it says nothing."""
        return self._opened().duration_s

    def frame_at(self, t_s: float) -> Frame | None:
        """The picture that shows at `t_s` seconds: uint8 (H, W, 3) RGB, `bounded`, not to be
        written to.

        None before the first picture and after the end. Time only goes on: for an earlier `t_s`
        than that of the last call, the picture of the last call.
        """
        return None if self.ended_at(t_s) else self._shown

    def ended_at(self, t_s: float) -> bool:
        """Whether the last picture's time is over at `t_s`. Decodes up to there."""
        self._opened()
        while self._next is not None and self._next[0] <= t_s + TOLERANCE_S:
            self._shown = bounded(self._next[1])
            self._advance()
        return self._next is None and t_s >= self._end_s - TOLERANCE_S

    def _advance(self) -> None:
        before_s = self._next[0] if self._next is not None else None
        self._next = next(self._frames, None)
        if self._next is None and before_s is not None:
            self._end_s = before_s + 1 / self._opened().fps

    def _opened(self) -> _Reader:
        if self._reader is None:
            raise RuntimeError("VideoFile is used outside its `with` block")
        return self._reader


class _Reader(Protocol):
    """Pictures in order."""

    fps: float
    duration_s: float | None
    description: str

    def frames(self) -> Iterator[tuple[float, Frame]]:
        """Seconds since the start, never falling, and the picture."""
        ...

    def close(self) -> None: ...


class _Container:
    """A video file. Pictures that begin later than their file are shown later, in step with its
    sound."""

    def __init__(self, path: Path) -> None:
        import cv2

        self._capture = cv2.VideoCapture(str(path))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known = math.isfinite(fps) and fps > 0
        self.fps = fps if known else FALLBACK_FPS
        self.duration_s = count / self.fps if known and count > 0 else None
        self.description = f"{self.fps:.4g} frames/s"
        track = first_track(path, "v")
        self._late_s = track.late_s if track is not None else 0.0
        if self._late_s:
            self.description += f", after {self._late_s:.1f} s without"
        # ffmpeg renders any text file as a picture of its letters.
        fourcc = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        self._is_text = fourcc.to_bytes(4, "little", signed=True).lower() == b"ansi"

    def frames(self) -> Iterator[tuple[float, Frame]]:
        import cv2

        time_s = 0.0
        for index in itertools.count():
            if self._is_text or not self._capture.grab():
                return
            stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            # Some containers carry no time stamps: their pictures are evenly spaced.
            time_s = max(time_s, stamp_s if stamp_s > 0 else index / self.fps)
            decoded, picture = self._capture.retrieve()
            if decoded:
                yield self._late_s + time_s, rgb(np.asarray(picture, np.uint8))

    def close(self) -> None:
        self._capture.release()


class _Folder:
    """Pictures in a folder, in the order of the numbers in their names."""

    def __init__(self, path: Path, fps: float) -> None:
        self._paths = sorted(
            (entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES),
            key=_natural_order,
        )
        if not self._paths:
            raise SourceError(
                f"{path} holds no pictures. Give --video a folder of .png or .jpg files."
            )
        self.fps = fps
        self.duration_s: float | None = len(self._paths) / fps
        self.description = f"{len(self._paths)} pictures at {fps:.4g} frames/s"

    def frames(self) -> Iterator[tuple[float, Frame]]:
        import cv2

        for index, path in enumerate(self._paths):
            try:
                picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            except cv2.error as error:  # too large, for one
                log.debug("%s: %s", path, error)
                picture = None
            if picture is None:
                log.warning("%s is not a picture that OpenCV can decode; left out", path)
            else:
                yield index / self.fps, rgb(np.asarray(picture, np.uint8))

    def close(self) -> None:
        self._paths = []


def _natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
