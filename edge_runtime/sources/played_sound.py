"""What our loudspeaker played, kept for as long as it may still be heard. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import Pcm

HALF_TAPS = 8
"""Of the interpolation, to either side: flat to 6 kHz within 0.1 dB at 16 kHz."""


class PlayedSound:
    """The newest samples, by their number since the start; before and after them is silence."""

    def __init__(self, length: int) -> None:
        """`length` samples are kept at least."""
        self._length = length
        self._kept: Pcm = np.zeros(2 * length, np.float32)
        self._filled = 0
        self.count = 0
        """Samples played since the start: the number of the next one."""

    def append(self, pcm: Pcm) -> None:
        """Float32 (n,), the samples played next."""
        self.count += pcm.size
        if pcm.size > self._length:
            pcm, self._filled = pcm[-self._length :], 0
        if self._filled + pcm.size > self._kept.size:
            keep = min(self._filled, self._length)
            self._kept[:keep] = self._kept[self._filled - keep : self._filled].copy()
            self._filled = keep
        self._kept[self._filled : self._filled + pcm.size] = pcm
        self._filled += pcm.size

    def window(self, first: int, count: int) -> Pcm:
        """Float32 (count,): the samples numbered `first` and on."""
        out = np.zeros(count, np.float32)
        oldest = self.count - self._filled
        begin, end = max(first, oldest), min(first + count, self.count)
        if begin < end:
            out[begin - first : end - first] = self._kept[begin - oldest : end - oldest]
        return out

    def at(self, positions: NDArray[np.float64]) -> Pcm:
        """Float32 (n,): the sound between the samples, at ascending positions, by a windowed sinc.

        On whole positions it gives the samples themselves.
        """
        whole = np.floor(positions).astype(np.int64)
        fraction = (positions - whole)[:, None]
        taps = np.arange(1 - HALF_TAPS, HALF_TAPS + 1)
        first = int(whole[0]) + int(taps[0])
        near = self.window(first, int(whole[-1]) + int(taps[-1]) - first + 1)
        away = taps - fraction
        weights = np.sinc(away) * np.cos(np.pi * away / (2 * HALF_TAPS + 2)) ** 2
        gathered = near[(whole - first)[:, None] + taps]
        return np.asarray((gathered * weights).sum(axis=1), np.float32)
