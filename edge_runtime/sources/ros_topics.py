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
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edge_runtime.errors import WireError
from edge_runtime.health import Value
from edge_runtime.interfaces import FrontEnd, NothingHeld
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    AudioReading,
    Frame,
    FrameReading,
    Pcm,
)
from edge_runtime.sources.camera_watch import View
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.echo_delay import EchoDelay
from edge_runtime.sources.front_end import SoundFrontEnd
from edge_runtime.sources.played_sound import PlayedTurns
from edge_runtime.sources.ros_pictures import compressed_picture, picture
from edge_runtime.sources.ros_sound import (
    RATES_HZ,
    RawSound,
    Stream,
    apart,
    sound,
)

log = logging.getLogger(__name__)
KEPT_FRAMES, APART_NS = 8, 50_000_000
"""But for the newest, pictures are kept so far apart: whatever their rate, some are old enough for
sound that comes 300 ms late."""
MOST_WARNINGS = 8
"""Of blocks that are refused, each for another reason."""
OLDEST_S, NEWEST_S = 5.0, 0.5
"""How far a stamp may be in the past and in the future; beyond, the time of arrival counts."""
MAX_DRIFT_NS = 2_000_000


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


class TopicMicrophone:
    """An AudioSource fed with blocks of sound. They are its clock: a micro-turn is due when 3,200
    samples have arrived, and filled up with silence when they do not.

    What it plays goes out on `speech_audio` by itself; here, it is what channel 1 is made of.
    Entering acquires the front end, and raises what that raises.
    """

    def __init__(
        self,
        playback_latency_ms: float = 0.0,
        stamps: StampClock | None = None,
        gain: float = 1.0,
        front_end: FrontEnd | None = None,
        array_channels: int | None = None,
        delay_channel: int = 0,
    ) -> None:
        """`playback_latency_ms`: from the end of the turn in which a sound was decided, the stamp
        of its message, to its echo in what is heard. It is corrected while the device speaks, by
        what the microphone of `delay_channel` hears. `gain` is that of `speech_audio`.
        `front_end` gets the `array_channels` apart, and other blocks are refused; None: the mean of
        however many channels a block has, as one."""
        self.stamps = stamps or StampClock()
        self._channels = array_channels
        self._buffer = DuplexBuffer(channels=array_channels or 1)
        self._ours = PlayedTurns(gain)
        self._latency = round(playback_latency_ms * SAMPLE_RATE_HZ / 1e3)
        self._delay, self._delay_channel = EchoDelay(), delay_channel
        self._front_end = front_end or SoundFrontEnd()
        self._stream: Stream | None = None
        self._direction_rad: float | None = None
        self._raw = RawSound()
        self._told: set[str] = set()
        self.late_blocks = 0
        """Blocks or parts of them that came after what follows them, or twice; left out."""
        self.refused_blocks = 0

    def __enter__(self) -> Self:
        self._front_end.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._front_end.__exit__(kind, error, trace)

    def set_volume(self, volume: float) -> None:
        """0..1, of `speech_audio`, from the next turn on."""
        self._ours.gain = volume

    @property
    def lost_samples(self) -> int:
        return self._buffer.lost_samples

    @property
    def dropped_samples(self) -> int:
        return self._buffer.dropped_samples

    def counts(self) -> dict[str, Value]:
        """What could not be used since the start."""
        return {
            "refused_blocks": self.refused_blocks,
            "late_blocks": self.late_blocks,
            "bad_stamps": self.stamps.bad_stamps,
        }

    def read_turn(self) -> AudioReading:
        turn = self._buffer.take_turn()
        reference = self._ours.next_turn(self._latency)
        raw = turn.microphones[self._delay_channel]
        self._latency = self._delay.follow(self._latency, raw, reference)
        heard, bearing_rad = self._front_end.process(turn.microphones, reference)
        told_rad = self._direction_rad
        return AudioReading(
            np.stack([heard, reference]),
            turn.lost_samples,
            turn.captured_ns,
            bearing_rad if told_rad is None else told_rad,
        )

    def play(self, pcm: Pcm) -> None:
        self._ours.play(pcm)

    def flush(self, fade_ms: float) -> int:
        """What has gone out on `speech_audio` is not taken back: the mouth's own fade follows."""
        return self._ours.flush()

    def feed(self, message: Any) -> None:
        """Take an AudioIn. A message that makes no sense is counted and left out."""
        try:
            block = self._by_channel(message.data, message.channels)
            stream = self._stream_for(message.sample_rate_hz, len(block))
        except WireError as error:
            self._refuse(error)
            return
        samples, expected = len(block), stream.expected
        missing = stream.take_position(message.position, samples)
        if missing < 0:
            self._late(message.position, expected)
            block = block[-missing:]
        if not len(block):
            return
        direction = message.direction_rad
        self._direction_rad = float(direction) if math.isfinite(direction) else None
        length_ns = samples * 10**9 // stream.rate_hz
        self._hear(stream, block, missing, self.stamps.monotonic(message.header.stamp, length_ns))

    def feed_raw(self, message: Any, rate_hz: int, channels: int) -> None:
        """Take an AudioDataStamped of audio_common_msgs with S16LE samples, of so many channels at
        this rate unless `audio_info` has told others: it has no position, so that a gap goes
        unnoticed."""
        try:
            data, rate_hz, channels = self._raw.read(bytes(message.audio.data), rate_hz, channels)
            block = self._by_channel(data, channels)
            stream = self._stream_for(rate_hz, len(block))
        except WireError as error:
            self._refuse(error)
            return
        length_ns = len(block) * 10**9 // stream.rate_hz
        self._hear(stream, block, 0, self.stamps.monotonic(message.header.stamp, length_ns))

    def take_info(self, message: Any) -> None:
        """Take an AudioInfo of audio_common_msgs: what follows on `audio_stamped` is so."""
        self._raw.take_info(message)

    def _by_channel(self, data: Any, channels: int) -> NDArray[np.float32]:
        """float32 (n, channels) of the array, or (n, 1). Raises WireError."""
        if self._channels is None:
            return sound(data, channels)[:, None]
        if channels != self._channels:
            raise WireError(
                f"a block of {channels} channels, and audio.array has {self._channels}: publish "
                "all of them as one stream (of audio_stamped, audio_info or ros.audio_channels "
                "tells how many they are), or leave audio.array out"
            )
        return apart(data, channels)

    def _hear(
        self, stream: Stream, block: NDArray[np.float32], missing: int, until_ns: int
    ) -> None:
        heard = stream.to_16_khz(block)
        if missing > 0:
            count = missing * SAMPLE_RATE_HZ // stream.rate_hz
            gap = np.full((heard.shape[0], count), np.nan, np.float32)
            heard = np.concatenate([gap, heard], axis=1)
        if heard.size:
            self._buffer.capture(heard, until_ns)

    def _stream_for(self, rate_hz: int, samples: int) -> Stream:
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
            self._stream = Stream(rate_hz, self._channels or 1)
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
        self.refused_blocks += 1
        reason = str(error)
        new = reason not in self._told and len(self._told) < MOST_WARNINGS
        if new:
            self._told.add(reason)
        level = logging.WARNING if new else logging.DEBUG
        log.log(level, "a block of sound is left out: %s", reason)


@dataclass(frozen=True)
class _Kept:
    captured_ns: int
    decode: Callable[[], Frame]


class TopicCamera(NothingHeld):
    """A FrameSource fed with pictures. Only those that the loop looks at are decoded, and what is
    not in its `view` goes no further.

    They are ordered by their stamps, not by their arrival, and a late one still counts: the loop
    asks for the picture of a moment.
    """

    def __init__(
        self,
        stamps: StampClock | None = None,
        view: View = View(),  # noqa: B008 (frozen)
    ) -> None:
        self.stamps = stamps or StampClock()
        self._view = view
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        self._shown: FrameReading | None = None
        self.frames = 0
        self.refused_frames = 0

    def feed(self, message: Any) -> None:
        """Take a sensor_msgs/Image."""
        self._keep(message, lambda: picture(message))

    def feed_compressed(self, message: Any) -> None:
        """Take a sensor_msgs/CompressedImage: JPEG, PNG, and what else OpenCV reads."""
        self._keep(message, lambda: compressed_picture(message))

    def counts(self) -> dict[str, Value]:
        """What could not be used since the start."""
        return {"refused_frames": self.refused_frames, "bad_stamps": self.stamps.bad_stamps}

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
                seen = np.ascontiguousarray(self._view.cut(taken[-1].decode()))
                self._shown = FrameReading(seen, taken[-1].captured_ns)
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
