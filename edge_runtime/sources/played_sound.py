"""What our loudspeaker played, kept for as long as it may still be heard. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm

LONGEST_LATENCY_S = 1.0
"""From playing a sample to hearing it."""

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


class PlayedTurns:
    """What is played somewhere else, a block after each turn and one after the other: what of it is
    heard in which turn.

    A block that is given after a turn stands beside the next one, however long it took to compute:
    where reference and echo move by a millisecond, a canceller begins anew.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain
        """May be changed at any time; of what is given from then on."""
        self._waiting: Pcm = np.zeros(0, np.float32)
        self._played = PlayedSound(round(LONGEST_LATENCY_S * SAMPLE_RATE_HZ) + TURN_SAMPLES)

    def play(self, pcm: Pcm) -> None:
        """Float32 (n,), -1..1, after what was given before."""
        self._waiting = np.concatenate([self._waiting, np.clip(pcm * self.gain, -1.0, 1.0)])

    def flush(self) -> int:
        """Drop what was given since the last turn; returns how many samples that were."""
        dropped, self._waiting = self._waiting.size, self._waiting[:0]
        return dropped

    def next_turn(self, latency_samples: int) -> Pcm:
        """Float32 (3200,): what is heard in the next turn, `latency_samples` after its time."""
        block, self._waiting = self._waiting[:TURN_SAMPLES], self._waiting[TURN_SAMPLES:]
        self._played.append(np.pad(block, (0, TURN_SAMPLES - block.size)))
        first = self._played.count - TURN_SAMPLES - latency_samples
        return self._played.window(first, TURN_SAMPLES)
