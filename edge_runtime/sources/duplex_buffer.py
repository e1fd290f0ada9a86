"""Between a full-duplex audio callback and the loop: what was heard, and what was played then.

Pure: no audio library, no device.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    TURN_SAMPLES,
    AudioReading,
    Pcm,
    StereoPcm,
)

TURN_S = TURN_MS / 1e3


class DuplexBuffer:
    """Counts samples: for every sample heard, the one that our loudspeaker played at that time.

    The audio thread calls `callback`; the loop calls `read_turn`, `play` and `flush`. Capture and
    playback run on one clock, so that counting is all it takes to keep them aligned.

    Playback keeps a cushion: where `play` finds nothing left to play, it first queues `cushion_ms`
    of silence, so that turns that come a few milliseconds late never tear an utterance.
    """

    def __init__(
        self,
        latency_samples: int = 0,
        cushion_ms: float = 40.0,
        capacity_s: float = 2.0,
        volume: float = 1.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`latency_samples`: from giving a sample to the device to hearing it in the capture."""
        capacity = round(capacity_s * SAMPLE_RATE_HZ)
        if capacity < 2 * TURN_SAMPLES:
            raise ValueError(f"capacity_s must be at least {2 * TURN_S}, not {capacity_s}")
        self._changed = threading.Condition()
        self._now_ns = now_ns
        self._cushion = round(cushion_ms * SAMPLE_RATE_HZ / 1e3)
        self._capacity = capacity
        self._volume = volume
        self._captured: StereoPcm = np.zeros((2, 0), np.float32)
        self._captured_until_ns = 0
        self._on_its_way: Pcm = np.zeros(latency_samples, np.float32)
        """Given to the device and not heard yet."""
        self._to_play: Pcm = np.zeros(0, np.float32)
        self._begun = False
        self._rebuild_cushion = True
        self._cut_off = False
        """A flush has just happened: the next block continues what it cut."""
        self._starved = False
        self.lost_samples = 0
        """Samples heard and dropped because nobody read them, and samples that never came."""
        self.underrun_samples = 0
        """Samples of silence played because the next block of `play` was late."""

    def callback(self, heard: Pcm, until_ns: int | None = None) -> Pcm:
        """Take what the microphone gave, float32 (n,); return the next float32 (n,) to play.

        `until_ns` is when the last sample was captured; None: now. A NaN is a sample that is known
        to be missing: it is read as 0 and counted as lost.
        """
        with self._changed:
            played = self._next_to_play(heard.size)
            self._on_its_way = np.concatenate([self._on_its_way, played])
            reference = self._on_its_way[: heard.size]
            self._on_its_way = self._on_its_way[heard.size :]
            both = np.stack([heard, reference])
            self._captured = np.concatenate([self._captured, both], axis=1)
            self._drop_captured(self._captured.shape[1] - self._capacity)
            self._captured_until_ns = self._now_ns() if until_ns is None else until_ns
            self._changed.notify_all()
        return played

    def read_turn(self, timeout_s: float = 2 * TURN_S) -> AudioReading:
        """Wait until 3,200 new samples have arrived, by count.

        After an overrun, micro-turns that are past are dropped and counted: the reading is the
        newest whole one. If the samples do not come within `timeout_s` (and from then on within
        200 ms), the reading is filled up with zeros: the device has stalled or is gone.
        """
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: self._captured.shape[1] >= TURN_SAMPLES,
                TURN_S if self._starved else timeout_s,
            )
            self._starved = not arrived
            waiting = self._captured.shape[1]
            self._drop_captured((waiting // TURN_SAMPLES - 1) * TURN_SAMPLES)
            turn = self._captured[:, :TURN_SAMPLES]
            self._captured = self._captured[:, TURN_SAMPLES:]
            missing = int(np.count_nonzero(np.isnan(turn[0])))
            self.lost_samples += missing
            turn = np.nan_to_num(turn, copy=True) if missing else turn
            if not arrived:
                return self._filled_up(turn, missing)
            behind_ns = self._captured.shape[1] * 1_000_000_000 // SAMPLE_RATE_HZ
            captured_ns = self._captured_until_ns - behind_ns
            return AudioReading(np.ascontiguousarray(turn), missing, captured_ns)

    def play(self, pcm: Pcm) -> None:
        """Queue float32 (n,), -1..1, after what is queued; never blocks.

        The queue is bounded like the capture, dropping the oldest: a stalled device does not speak
        later what it should have said before. What an overrun left in the queue beyond the cushion
        is made up for by shortening silent blocks, so that it does not delay all that follows.
        The first block after a `flush` continues what was cut off: while the fade-out runs, it is
        dropped, so that there is one fade and not two.
        """
        with self._changed:
            cut_off, self._cut_off = self._cut_off, False
            if cut_off and self._to_play.size:
                return
            if not pcm.any():
                pcm = pcm[max(0, self._to_play.size - self._cushion) :]
            rebuild = self._rebuild_cushion or not self._to_play.size
            gap = max(0, self._cushion - self._to_play.size) if rebuild else 0
            silence = np.zeros(gap, np.float32)
            self._to_play = np.concatenate([self._to_play, silence, pcm])[-self._capacity :]
            self._begun, self._rebuild_cushion = True, False

    def flush(self, fade_ms: float) -> int:
        """Silence within `fade_ms`, from the next sample on; returns how many samples were queued.

        They are dropped, but for the first `fade_ms`, which fade out.
        """
        with self._changed:
            queued = self._to_play.size
            fade = self._to_play[: round(fade_ms * SAMPLE_RATE_HZ / 1e3)]
            ramp = np.linspace(1.0, 0.0, fade.size + 1, dtype=np.float32)[1:]
            self._to_play = fade * ramp
            self._begun, self._rebuild_cushion, self._cut_off = False, True, True
            return queued

    def _next_to_play(self, count: int) -> Pcm:
        block = np.zeros(count, np.float32)
        ready = self._to_play[:count]
        block[: ready.size] = np.clip(ready * self._volume, -1.0, 1.0)
        self._to_play = self._to_play[count:]
        if self._begun:
            self.underrun_samples += count - ready.size
        return block

    def _drop_captured(self, count: int) -> None:
        if count > 0:
            self._captured = self._captured[:, count:]
            self.lost_samples += count

    def _filled_up(self, turn: StereoPcm, missing: int) -> AudioReading:
        pcm = np.zeros((2, TURN_SAMPLES), np.float32)
        pcm[:, : turn.shape[1]] = turn
        lost = TURN_SAMPLES - turn.shape[1]
        self.lost_samples += lost
        return AudioReading(pcm, missing + lost, self._now_ns())


class RateAdapter:
    """Lets a device with a rate of its own talk to a DuplexBuffer: resamples both ways, in step.

    Resamplers give their output in uneven blocks. A cushion of silence ahead of the device is what
    these are drawn from; it is as long as they ever lag, and so the latency is known to the sample.
    """

    def __init__(self, device_rate_hz: int) -> None:
        cushion = _longest_lag(device_rate_hz)
        self._down, self._up = _resamplers(device_rate_hz)
        self._for_device: Pcm = np.zeros(cushion, np.float32)
        self.latency_samples = round(cushion * SAMPLE_RATE_HZ / device_rate_hz)
        """What it adds to the way from playing to hearing, at 16 kHz."""

    def callback(self, heard: Pcm, inner: Callable[[Pcm], Pcm]) -> Pcm:
        """As DuplexBuffer.callback, at the device's rate; `inner` is that one, at 16 kHz."""
        played = self._up.resample_chunk(inner(self._down.resample_chunk(heard)))
        for_device = np.concatenate([self._for_device, played])
        self._for_device = for_device[heard.size :]
        return for_device[: heard.size]


def _resamplers(device_rate_hz: int) -> tuple[Any, Any]:
    """To 16 kHz and back. The low quality passes speech, and answers sooner than the high one."""
    import soxr

    return (
        soxr.ResampleStream(device_rate_hz, SAMPLE_RATE_HZ, 1, quality="LQ"),
        soxr.ResampleStream(SAMPLE_RATE_HZ, device_rate_hz, 1, quality="LQ"),
    )


def _longest_lag(device_rate_hz: int) -> int:
    """The most device samples by which a way there and back is ever behind, tried for a second."""
    down, up = _resamplers(device_rate_hz)
    block: Pcm = np.zeros(device_rate_hz // 1000, np.float32)
    lag = longest = 0
    for _ in range(1000):
        lag += block.size
        longest = max(longest, lag)
        lag -= up.resample_chunk(down.resample_chunk(block)).size
    return longest + block.size
