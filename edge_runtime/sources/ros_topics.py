"""Microphone and camera whose data somebody else brings: a robot's driver nodes, over topics.

No ROS here: messages are anything with the fields of the .msg files. The node hands them to `feed`,
in its executor's thread; the loop reads in its own.
"""

from __future__ import annotations

import bisect
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.errors import WireError
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    AudioReading,
    Frame,
    FrameReading,
    Pcm,
)
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.pictures import bounded
from edge_runtime.sources.ros_pictures import compressed_picture, picture

log = logging.getLogger(__name__)
KEPT_FRAMES, APART_NS = 8, 50_000_000
"""But for the newest, pictures are kept so far apart: whatever their rate, some are old enough for
sound that comes 300 ms late."""
LONGEST_GAP_S = 1.0
"""A longer gap is a new stream: nobody wants seconds of silence made up."""
OLDEST_S, NEWEST_S = 5.0, 0.5
"""How far a stamp may be in the past and in the future; beyond, the time of arrival counts."""
MAX_DRIFT_NS = 2_000_000
RATES_HZ, CHANNELS = range(8_000, 192_001), range(1, 17)


class StampClock:
    """From the time that stamps are in to the monotonic clock."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._offset_ns: int | None = None
        self.bad_stamps = 0
        """Stamps that were unset, far in the past or in the future."""

    def monotonic(self, stamp: Any, more_ns: int = 0) -> int:
        """The monotonic time of `more_ns` after a stamp; the present for a bad stamp."""
        ns: int = stamp.sec * 10**9 + stamp.nanosec + more_ns
        now_ns = self._monotonic_ns()
        age_s = (now_ns + self._offset(now_ns) - ns) / 1e9
        if not -NEWEST_S <= age_s <= OLDEST_S:
            level = logging.DEBUG if self.bad_stamps else logging.WARNING
            self.bad_stamps += 1
            log.log(
                level,
                "a stamp is %.1f s old; the time of arrival counts. Do all machines and drivers "
                "keep the same clock?",
                age_s,
            )
            return now_ns
        return ns - self._offset(now_ns)

    def _offset(self, now_ns: int) -> int:
        """From monotonic to wall time. It stays as it is until the wall clock is set or drifts:
        two stamps that are equal must be so on the monotonic clock too."""
        offset_ns = self._wall_ns() - now_ns
        if self._offset_ns is None or abs(offset_ns - self._offset_ns) > MAX_DRIFT_NS:
            self._offset_ns = offset_ns
        return self._offset_ns


class TopicMicrophone(NothingHeld):
    """An AudioSource fed with blocks of sound. They are its clock: a micro-turn is due when 3,200
    samples have arrived, and filled up with silence when they do not.

    What it plays goes out on `speech_audio` by itself; here, it is what channel 1 is made of. It is
    heard `playback_latency_ms` after the loop gave it, on the microphone's sample count.
    """

    def __init__(self, playback_latency_ms: float = 0.0, stamps: StampClock | None = None) -> None:
        self.stamps = stamps or StampClock()
        latency = round(playback_latency_ms * SAMPLE_RATE_HZ / 1e3)
        self._buffer = DuplexBuffer(latency, cushion_ms=0.0)
        self._stream: _Stream | None = None
        self._direction_rad: float | None = None
        self.late_blocks = 0
        """Blocks or parts of them that came after what follows them, or twice; left out."""
        self.refused_blocks = 0

    @property
    def lost_samples(self) -> int:
        return self._buffer.lost_samples

    @property
    def dropped_samples(self) -> int:
        return self._buffer.dropped_samples

    def read_turn(self) -> AudioReading:
        reading = self._buffer.read_turn()
        return AudioReading(
            reading.pcm, reading.lost_samples, reading.captured_ns, self._direction_rad
        )

    def play(self, pcm: Pcm) -> None:
        self._buffer.play(pcm)

    def flush(self, fade_ms: float) -> int:
        return self._buffer.flush(fade_ms)

    def feed(self, message: Any) -> None:
        """Take an AudioIn. A message that makes no sense is counted and left out."""
        try:
            block = sound(message.data, message.channels)
            stream = self._stream_for(message.sample_rate_hz, block.size)
        except WireError as error:
            self._refuse(error)
            return
        samples, expected = block.size, stream.expected
        missing = stream.take_position(message.position, samples)
        if missing < 0:
            self._late(message.position, expected)
            block = block[-missing:]
        if not block.size:
            return
        direction = message.direction_rad
        self._direction_rad = float(direction) if math.isfinite(direction) else None
        length_ns = samples * 10**9 // stream.rate_hz
        self._hear(stream, block, missing, self.stamps.monotonic(message.header.stamp, length_ns))

    def feed_raw(self, message: Any, rate_hz: int, channels: int) -> None:
        """Take an AudioDataStamped of audio_common_msgs with S16LE samples: it has no position, so
        that a gap goes unnoticed."""
        try:
            data = bytes(message.audio.data)
            if len(data) % 2:
                raise WireError(f"{len(data)} bytes are no 16-bit samples")
            block = sound(np.frombuffer(data, "<i2"), channels)
            stream = self._stream_for(rate_hz, block.size)
        except WireError as error:
            self._refuse(error)
            return
        length_ns = block.size * 10**9 // stream.rate_hz
        self._hear(stream, block, 0, self.stamps.monotonic(message.header.stamp, length_ns))

    def _hear(self, stream: _Stream, block: Pcm, missing: int, until_ns: int) -> None:
        heard = stream.to_16_khz(block)
        if missing > 0:
            gap = np.full(missing * SAMPLE_RATE_HZ // stream.rate_hz, np.nan, np.float32)
            heard = np.concatenate([gap, heard])
        if heard.size:
            self._buffer.callback(heard, until_ns)

    def _stream_for(self, rate_hz: int, samples: int) -> _Stream:
        if rate_hz not in RATES_HZ:
            raise WireError(
                f"a sample rate of {rate_hz} Hz; {RATES_HZ[0]} to {RATES_HZ[-1]} will do"
            )
        if samples * 1000 > rate_hz * TURN_MS:  # it would hold two micro-turns, and one be dropped
            raise WireError(
                f"a block of {samples * 1000 / rate_hz:.1f} ms; at most {TURN_MS} will do: publish "
                "shorter ones"
            )
        if self._stream is None or self._stream.rate_hz != rate_hz:
            self._stream = _Stream(rate_hz)
        return self._stream

    def _late(self, position: int, expected: int | None) -> None:
        level = logging.DEBUG if self.late_blocks else logging.WARNING
        self.late_blocks += 1
        log.log(
            level,
            "a block begins at sample %d, but %d came before, and what is late is left out: is "
            "`position` counted?",
            position,
            expected,
        )

    def _refuse(self, error: WireError) -> None:
        level = logging.DEBUG if self.refused_blocks else logging.WARNING
        self.refused_blocks += 1
        log.log(level, "a block of sound is left out: %s", error)


class _Stream:
    """One stream of sound: where it is, and its way to 16 kHz."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.expected: int | None = None
        """The number of the sample that is to come next; None: any, the first block decides."""
        self._resampler: Any = None
        if rate_hz != SAMPLE_RATE_HZ:
            import soxr

            self._resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, quality="LQ")

    def take_position(self, position: int, samples: int) -> int:
        """How many samples are missing before this block; negative: how many of it are known.

        A jump by more than LONGEST_GAP_S, either way, is the beginning of a new stream.
        """
        expected, jump = self.expected, self.rate_hz * LONGEST_GAP_S
        missing = 0 if expected is None else position - expected
        if abs(missing) > jump:
            missing = 0
        if missing >= 0:
            self.expected = position + samples
            return missing
        assert expected is not None
        self.expected = max(expected, position + samples)
        return max(missing, -samples)

    def to_16_khz(self, block: Pcm) -> Pcm:
        if self._resampler is None:
            return block
        heard: Pcm = self._resampler.resample_chunk(block)
        return heard


def sound(data: Any, channels: int) -> Pcm:
    """float32 (n,), -1..1: the mean of the channels of interleaved int16 samples."""
    samples = np.asarray(data, np.int16)
    if channels not in CHANNELS or samples.size % channels:
        raise WireError(f"{samples.size} samples in {channels} channels")
    mono: Pcm = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32) / np.float32(32768)
    return mono


@dataclass(frozen=True)
class _Kept:
    captured_ns: int
    decode: Callable[[], Frame]


class TopicCamera(NothingHeld):
    """A FrameSource fed with pictures. Only those that the loop looks at are decoded.

    They are ordered by their stamps, not by their arrival, and a late one still counts: the loop
    asks for the picture of a moment.
    """

    def __init__(self, stamps: StampClock | None = None) -> None:
        self.stamps = stamps or StampClock()
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        self._shown: FrameReading | None = None
        self.frames = 0
        self.refused_frames = 0

    def feed(self, message: Any) -> None:
        """Take a sensor_msgs/Image."""
        self._keep(message, lambda: bounded(picture(message)))

    def feed_compressed(self, message: Any) -> None:
        """Take a sensor_msgs/CompressedImage: JPEG, PNG, and what else OpenCV reads."""
        self._keep(message, lambda: bounded(compressed_picture(message)))

    def latest(self, now_ns: int) -> FrameReading | None:
        """The newest picture captured at or before `now_ns` on the monotonic clock."""
        while True:
            with self._lock:
                taken = [kept for kept in self._kept if kept.captured_ns <= now_ns]
            if not taken:
                return None
            if self._shown is not None and self._shown.captured_ns == taken[-1].captured_ns:
                return self._shown
            try:
                self._shown = FrameReading(taken[-1].decode(), taken[-1].captured_ns)
                return self._shown
            except WireError as error:
                self._refuse(taken[-1], error)

    def _keep(self, message: Any, decode: Callable[[], Frame]) -> None:
        kept = _Kept(self.stamps.monotonic(message.header.stamp), decode)
        with self._lock:
            self.frames += 1
            bisect.insort(self._kept, kept, key=lambda one: one.captured_ns)
            if len(self._kept) > 2:
                before, second = self._kept[-3:-1]
                if second.captured_ns - before.captured_ns < APART_NS:
                    del self._kept[-2]
            del self._kept[:-KEPT_FRAMES]

    def _refuse(self, kept: _Kept, error: WireError) -> None:
        level = logging.DEBUG if self.refused_frames else logging.WARNING
        self.refused_frames += 1
        log.log(level, "a picture is left out: %s", error)
        with self._lock:
            self._kept = [one for one in self._kept if one is not kept]
