"""Sound as topics bring it: interleaved samples, at a rate of their own, or what is no sound."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import WireError
from edge_runtime.micro_turn import Channels, Pcm
from edge_runtime.sources.resampling import FromDevice

log = logging.getLogger(__name__)
RATES_HZ, CHANNELS = range(8_000, 192_001), range(1, 17)
LONGEST_GAP_S = 1.0
"""A longer gap is a new stream: nobody wants seconds of silence made up."""
READABLE = ("WAVE", "S16LE")
"""A coding, and its samples."""
START_WITH = "start audio_capture with format:=wave (its default is mp3) and sample_format:=S16LE"
DOUBTFUL = 3
"""So many more blocks that look coded than do not, and all are refused."""

MP3_KBIT_S = (
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
"""Of layer III of MPEG-2 and 2.5, and of MPEG-1, by a header's bits (ISO 11172-3, 13818-3)."""
MP3_RATES_HZ = {0b00: (11_025, 12_000, 8_000), 0b10: (22_050, 24_000, 16_000),
                0b11: (44_100, 48_000, 32_000)}  # fmt: skip
"""By a header's version: MPEG-2.5, 2 and 1."""

RANDOM_RMS = (0.5, 0.65)
"""Of full scale: that of random 16-bit samples is 0.58."""
RANDOM_LIKENESS, RANDOM_LAGS = 0.3, (1, 2, 3, 4)
"""Random samples are unlike those a few before them. Noise of a room is not that loud, and a tone
that is, is like itself at one of these."""


def apart(data: Any, channels: int) -> NDArray[np.float32]:
    """float32 (n, channels), -1..1, of interleaved int16 samples. Raises WireError."""
    samples = np.asarray(data, np.int16)
    if channels not in CHANNELS or samples.size % channels:
        raise WireError(f"{samples.size} samples in {channels} channels")
    found: NDArray[np.float32] = samples.reshape(-1, channels) / np.float32(32768)
    return found


def sound(data: Any, channels: int) -> Pcm:
    """float32 (n,), -1..1: the mean of the channels of interleaved int16 samples."""
    mono: Pcm = apart(data, channels).mean(axis=1)
    return mono


@dataclass(frozen=True)
class RawFormat:
    """What `audio_info` says of the bytes on `audio_stamped`."""

    rate_hz: int
    channels: int
    coding: str
    samples: str

    def __str__(self) -> str:
        return f"{self.coding} of {self.samples}, {self.rate_hz} Hz, {self.channels} channels"


class RawSound:
    """What comes on `audio_stamped`: bytes, which only `audio_info` tells what they are."""

    def __init__(self) -> None:
        self._format: RawFormat | None = None
        self._doubt = 0

    def take_info(self, message: Any) -> None:
        """Take an AudioInfo of audio_common_msgs: what follows is so."""
        told = RawFormat(
            message.sample_rate, message.channels, message.coding_format, message.sample_format
        )
        if told != self._format:
            log.info("audio_stamped brings %s, as audio_info tells", told)
        self._format = told

    def read(self, data: bytes, rate_hz: int, channels: int) -> tuple[NDArray[np.int16], int, int]:
        """Interleaved int16 (n,), rate and channels; the latter as they are given, until
        `audio_info` has told others. Raises WireError for what is no wave of S16LE: as `audio_info`
        says, or, where it is silent, as it looks."""
        if self._format is not None:
            rate_hz, channels = self._format.rate_hz, self._format.channels
            if (self._format.coding.upper(), self._format.samples.upper()) != READABLE:
                raise WireError(f"audio_stamped brings {self._format}: {START_WITH}")
        elif self._is_doubtful(data):
            raise WireError(
                "audio_stamped brings MP3, or another coding than S16LE samples, by the look of "
                f"it: {START_WITH}"
            )
        if len(data) % 2:
            raise WireError(f"{len(data)} bytes are no 16-bit samples: {START_WITH}")
        return np.frombuffer(data, "<i2").astype(np.int16), rate_hz, channels

    def _is_doubtful(self, data: bytes) -> bool:
        """A loud block that looks coded by chance is heard."""
        more = 1 if looks_coded(data) else -1
        self._doubt = min(max(self._doubt + more, 0), 2 * DOUBTFUL)
        return self._doubt >= DOUBTFUL


def looks_coded(data: bytes) -> bool:
    """Whether these bytes are whole MP3 frames, or as random as what is compressed, or has another
    byte order. One loud block in a million may look so, too."""
    return _is_mp3(data) or _is_random(data)


def _is_mp3(data: bytes) -> bool:
    at = 0
    while (length := _mp3_frame_length(data[at : at + 3])) > 0:
        at += length
    return at > 0 and at == len(data)


def _mp3_frame_length(header: bytes) -> int:
    """In bytes; 0 where no frame of layer III begins."""
    if len(header) < 3 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate = header[1] >> 3 & 0b11, header[2] >> 4
    rate, padding = header[2] >> 2 & 0b11, header[2] >> 1 & 1
    if version not in MP3_RATES_HZ or bitrate in (0, 15) or rate == 3:
        return 0
    mpeg_1 = version == 0b11
    bytes_per_bit_s = 144 if mpeg_1 else 72
    kbit_s = MP3_KBIT_S[mpeg_1][bitrate - 1]
    return bytes_per_bit_s * kbit_s * 1000 // MP3_RATES_HZ[version][rate] + padding


def _is_random(data: bytes) -> bool:
    pcm = np.frombuffer(data[: len(data) & ~1], "<i2").astype(np.float64) / 32768
    if pcm.size <= max(RANDOM_LAGS):
        return False
    power = float(pcm @ pcm)
    if not RANDOM_RMS[0] < np.sqrt(power / pcm.size) < RANDOM_RMS[1]:
        return False
    likeness = [abs(float(pcm[lag:] @ pcm[:-lag])) / power for lag in RANDOM_LAGS]
    return max(likeness) < RANDOM_LIKENESS


class Stream:
    """One stream of sound: where it is, and its way to 16 kHz."""

    def __init__(self, rate_hz: int, channels: int = 1) -> None:
        self.rate_hz = rate_hz
        self.expected: int | None = None
        """The number of the sample that is to come next; None: any, the first block decides."""
        self._to_16_khz = FromDevice(rate_hz, channels)

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

    def to_16_khz(self, block: NDArray[np.float32]) -> Channels:
        """float32 (n, channels) -> (channels, m)."""
        return self._to_16_khz.take(block)
