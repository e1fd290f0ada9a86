"""The acoustics of the demonstration: what the microphone hears of the person and of the device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm

RESPONSE_SAMPLES = 2400
ECHO_DELAY_SAMPLES = SAMPLE_RATE_HZ * 40 // 1000


class Room:
    """A small room with a loudspeaker near the microphone; everything follows from the seed."""

    def __init__(self, seed: int, echo_db: float = -24.0, noise_db: float = -58.0) -> None:
        self._rng = rng = np.random.default_rng(seed)
        decay_s = float(rng.uniform(0.12, 0.3))
        self._to_mic = _response(rng, decay_s, 0.45)
        echo = np.concatenate([np.zeros(ECHO_DELAY_SAMPLES), _response(rng, decay_s, 0.6)])
        self._echo = (echo * 10 ** (echo_db / 20)).astype(np.float32)
        self._noise = 10 ** (noise_db / 20)
        self._tails = [np.zeros(0, np.float32), np.zeros(0, np.float32)]

    def hear(self, person: Pcm, played: Pcm) -> Pcm:
        """The microphone's float32 (n,) for the next n samples of both sides."""
        mic = self._through(0, person, self._to_mic) + self._through(1, played, self._echo)
        mic += self._noise * self._rng.standard_normal(len(person))
        heard: Pcm = np.clip(mic, -1, 1).astype(np.float32)
        return heard

    def _through(self, path: int, pcm: Pcm, response: Pcm) -> NDArray[np.float64]:
        """Overlap-add convolution; what rings on is kept for the next call."""
        size = len(pcm) + len(response) - 1
        spectrum = np.fft.rfft(pcm, size) * np.fft.rfft(response, size)
        full = np.fft.irfft(spectrum, size)
        tail = self._tails[path]
        full[: len(tail)] += tail
        self._tails[path] = full[len(pcm) :].astype(np.float32)
        out: NDArray[np.float64] = full[: len(pcm)]
        return out


def _response(rng: np.random.Generator, decay_s: float, reverberation: float) -> Pcm:
    time_s = np.arange(RESPONSE_SAMPLES) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(RESPONSE_SAMPLES) * np.exp(-6.9 * time_s / decay_s)
    tail *= reverberation / (np.sqrt((tail * tail).sum()) + 1e-9)
    tail[0] += 1.0
    return tail.astype(np.float32)
