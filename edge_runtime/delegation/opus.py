"""Sound into Ogg/Opus: all at once, or piece by piece while it comes."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm

if TYPE_CHECKING:
    from soundfile import SoundFile

OPUS_LEVEL = 0.8
"""libsndfile's compression: half the processor time of its default, for twice the bytes."""


def encode(pcm: Pcm) -> bytes:
    """float32 (n,), 16 kHz -> Ogg/Opus; empty for no sound. 10 ms or more for each second."""
    stream = OpusStream()
    if len(pcm):
        stream.add(pcm)
    return stream.end()()


class OpusStream:
    """Implements `interfaces.SoundStream`. The result is the same as of `encode`.

    `later` runs a call on a thread that has time. Where it is behind, whoever asks for the whole
    does the rest.
    """

    def __init__(self, later: Callable[[Callable[[], object]], None] = lambda step: None) -> None:
        self._later = later
        self._waiting: deque[Pcm] = deque()
        self._dropped = False
        self._lock = threading.Lock()
        """For all below."""
        self._buffer = io.BytesIO()
        self._file: SoundFile | None = None

    def add(self, pcm: Pcm) -> None:
        self._waiting.append(pcm)
        self._later(self._advance)

    def end(self) -> Callable[[], bytes]:
        self._later(self._finish)
        return self._finish

    def drop(self) -> None:
        self._dropped = True
        self._later(self._finish)

    def _advance(self) -> None:
        with self._lock:
            self._encode()

    def _finish(self) -> bytes:
        with self._lock:
            self._encode()
            if self._file is not None:
                self._file.close()
                self._file = None
            return self._buffer.getvalue()

    def _encode(self) -> None:
        while self._waiting and not self._dropped:
            if self._file is None:
                self._file = _opened(self._buffer)
            self._file.write(np.clip(np.nan_to_num(self._waiting[0]), -1.0, 1.0))
            self._waiting.popleft()


def _opened(buffer: io.BytesIO) -> SoundFile:
    import soundfile

    return soundfile.SoundFile(
        buffer,
        "w",
        SAMPLE_RATE_HZ,
        channels=1,
        format="OGG",
        subtype="OPUS",
        compression_level=OPUS_LEVEL,
    )
