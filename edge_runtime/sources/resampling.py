"""Between a device's own rate and the runtime's 16 kHz, with known delays. Uses soxr."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Channels, Pcm

QUALITY = "LQ"
"""It passes speech, and answers sooner than the high ones."""


class FromDevice:
    """What a microphone gives, at 16 kHz. Sample k is what was heard k / 16,000 s after the first;
    samples come in uneven blocks."""

    def __init__(self, rate_hz: int, channels: int = 1) -> None:
        self._resampler = _resampler(rate_hz, SAMPLE_RATE_HZ, channels)

    def take(self, heard: NDArray[np.float32]) -> Channels:
        """Float32 (n, channels) at the device's rate -> (channels, m) at 16 kHz."""
        if self._resampler is None:
            return np.ascontiguousarray(heard.T)
        return np.ascontiguousarray(self._resampler.resample_chunk(heard).T)


class ToDevice:
    """What a loudspeaker shall play, at its rate.

    Resamplers give their output in uneven blocks. A cushion of silence ahead of the device is what
    these are drawn from; it is as long as they ever lag, and so the latency is known to the sample.
    """

    def __init__(self, rate_hz: int, cushion: int = 0) -> None:
        """`cushion`: samples at the device's rate."""
        self._rate_hz = rate_hz
        self._resampler = _resampler(SAMPLE_RATE_HZ, rate_hz, 1)
        self._ready: Pcm = np.zeros(cushion, np.float32)
        self._wanted = self._pulled = 0
        self.latency_samples = round(cushion * SAMPLE_RATE_HZ / rate_hz)
        """What it adds to the way from playing to hearing, at 16 kHz."""

    def give(self, pcm: Pcm, count: int) -> Pcm:
        """Take float32 (n,) at 16 kHz, return (count,) at the device's rate."""
        more = pcm if self._resampler is None else self._resampler.resample_chunk(pcm)
        ready = np.concatenate([self._ready, more])
        self._ready = ready[count:]
        return ready[:count]

    def fill(self, count: int, source: Callable[[int], Pcm]) -> Pcm:
        """Return float32 (count,) at the device's rate, made from as many samples of `source`, at
        16 kHz, as that is long."""
        self._wanted += count
        upto = math.ceil(self._wanted * SAMPLE_RATE_HZ / self._rate_hz)
        pcm, self._pulled = source(upto - self._pulled), upto
        return self.give(pcm, count)


class RateAdapter:
    """Lets one stream with a rate of its own talk to a DuplexBuffer: resamples both ways, in step.

    A device at 16 kHz passes as it is.
    """

    def __init__(self, device_rate_hz: int, channels: int = 1) -> None:
        same = device_rate_hz == SAMPLE_RATE_HZ
        self._from_device = FromDevice(device_rate_hz, channels)
        self._to_device = ToDevice(device_rate_hz, 0 if same else _there_and_back(device_rate_hz))
        self.latency_samples = self._to_device.latency_samples
        """What it adds to the way from playing to hearing, at 16 kHz."""

    def callback(self, heard: NDArray[np.float32], inner: Callable[[Channels], Pcm]) -> Pcm:
        """Take float32 (n, channels) at the device's rate, return (n,) to play.

        `inner` is DuplexBuffer.callback or the like: (channels, m) -> (m,), at 16 kHz.
        """
        return self._to_device.give(inner(self._from_device.take(heard)), heard.shape[0])


def one_way(device_rate_hz: int) -> ToDevice:
    """For a loudspeaker that has a stream and a clock of its own."""
    if device_rate_hz == SAMPLE_RATE_HZ:
        return ToDevice(device_rate_hz)
    return ToDevice(device_rate_hz, _there(device_rate_hz))


def _resampler(from_hz: int, to_hz: int, channels: int) -> Any:
    """None where there is nothing to do."""
    if from_hz == to_hz:
        return None
    import soxr

    return soxr.ResampleStream(from_hz, to_hz, channels, quality=QUALITY)


def _there_and_back(device_rate_hz: int) -> int:
    """The most device samples by which a way to 16 kHz and back ever lags."""
    down = FromDevice(device_rate_hz)
    return _longest_lag(device_rate_hz, lambda block: down.take(block[:, None])[0])


def _there(device_rate_hz: int) -> int:
    """The most device samples by which the way from 16 kHz ever lags."""
    wanted = pulled = 0

    def as_many(block: Pcm) -> Pcm:
        nonlocal wanted, pulled
        wanted += block.size
        upto = math.ceil(wanted * SAMPLE_RATE_HZ / device_rate_hz)
        new, pulled = upto - pulled, upto
        return np.zeros(new, np.float32)

    return _longest_lag(device_rate_hz, as_many)


def _longest_lag(device_rate_hz: int, source: Callable[[Pcm], Pcm]) -> int:
    """Tried for a second, a millisecond at a time."""
    up = _resampler(SAMPLE_RATE_HZ, device_rate_hz, 1)
    block: Pcm = np.zeros(device_rate_hz // 1000, np.float32)
    lag = longest = 0
    for _ in range(1000):
        lag += block.size
        longest = max(longest, lag)
        lag -= up.resample_chunk(source(block)).size
    return longest + block.size
