"""Rooms, loudspeaker echo, noise and microphone colour, applied to a rendered conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft
from scipy.signal import oaconvolve

SAMPLE_RATE_HZ = 16_000
FULL_SCALE = 32_768.0
USUAL_DELAY, MOST_DELAY = 1200, 8000
"""Samples from what is played to its echo: of a wired loudspeaker, and of a wireless one."""
Samples = NDArray[np.float32]


def synthetic_room(
    rng: np.random.Generator, decay_s: float | None = None, samples: int = 2400
) -> Samples:
    """A room's impulse response: a direct peak and a decaying tail, float32 (samples,)."""
    decay_s = decay_s or rng.uniform(0.05, 0.45)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(samples) * np.exp(-6.9 * time_s / decay_s)
    tail *= rng.uniform(0.2, 0.9) / (np.sqrt((tail * tail).sum()) + 1e-9)
    smooth = int(rng.integers(1, 4))
    if smooth > 1:
        tail = np.convolve(tail, np.ones(smooth) / smooth)[:samples]
    tail[0] += 1.0
    return tail.astype(np.float32)


def room_tone(rng: np.random.Generator, spectrum: Samples, samples: int) -> Samples:
    """Noise with the mean magnitude spectrum (129,) of a clip's own silence."""
    if samples <= 0:
        return np.zeros(0, np.float32)
    frames = samples // 128 + 2
    angle = np.float32(2 * np.pi) * rng.random((frames, 129), dtype=np.float32)
    turned = np.empty((frames, 129), np.complex64)
    np.cos(angle, out=turned.real)
    np.sin(angle, out=turned.imag)
    blocks = irfft(spectrum[None] * turned, axis=1) * np.hanning(256).astype(np.float32)
    out = np.zeros((frames + 1, 128), np.float32)
    out[:-1] += blocks[:, :128]
    out[1:] += blocks[:, 128:]
    return out.reshape(-1)[128 : 128 + samples]


def fit(noise: NDArray[np.int16] | Samples, start: int, samples: int) -> Samples:
    """`samples` of `noise` from `start`, repeated as needed."""
    index = np.arange(start, start + samples)
    return np.take(noise, index, mode="wrap").astype(np.float32)


@dataclass
class Acoustics:
    """Mixes the person, the room and the echo of the loudspeaker into one microphone signal."""

    noises: Sequence[NDArray[np.int16] | Samples]
    rooms: Sequence[Samples]

    def _room(self, rng: np.random.Generator) -> Samples:
        if self.rooms and rng.random() < 0.4:
            response = self.rooms[int(rng.integers(len(self.rooms)))].copy()
            response[32:] *= rng.uniform(0.3, 1.0)
            return response
        return synthetic_room(rng)

    def microphone(self, rng: np.random.Generator, person: Samples, played: Samples) -> Samples:
        """int16-scaled float32 (n,) from the person's speech and what the loudspeaker played."""
        mic = person
        if rng.random() < 0.65:
            mic = oaconvolve(mic, self._room(rng))[: len(mic)].astype(np.float32)
        mic = mic + self._echo(rng, played)
        mic = mic + self._noise(rng, len(mic))
        return self._colour(rng, mic)

    def _echo(self, rng: np.random.Generator, played: Samples) -> Samples:
        if rng.random() < 0.15 or not played.any():
            return np.zeros_like(played)
        loud = played
        if rng.random() < 0.3:
            drive = rng.uniform(1.0, 4.0) / 8000
            loud = np.tanh(played * drive) / drive
        response = synthetic_room(rng, rng.uniform(0.1, 0.5))
        late = rng.random() < 0.5
        delay = int(rng.integers(0, MOST_DELAY if late else USUAL_DELAY))
        echo = oaconvolve(loud, response)[: len(played) - delay] * 10 ** (rng.uniform(-30, 2) / 20)
        return np.concatenate([np.zeros(delay), echo]).astype(np.float32)

    def _noise(self, rng: np.random.Generator, samples: int) -> Samples:
        """One or two beds at -48 to -14 dB below full-scale speech, and the sensor's own hiss."""
        total = rng.standard_normal(samples, np.float32) * np.float32(rng.uniform(0.5, 12))
        for _ in range(int(rng.integers(0, 3))):
            bed = self.noises[int(rng.integers(len(self.noises)))]
            noise = fit(bed, int(rng.integers(len(bed))), samples)
            level = 2000 * 10 ** (rng.uniform(-42, -6) / 20)
            total += noise * (level / (np.sqrt((noise * noise).mean()) + 1.0))
        return total

    @staticmethod
    def _colour(rng: np.random.Generator, mic: Samples) -> Samples:
        telephone, tilt = rng.random() < 0.12, rng.random() < 0.4
        if telephone or tilt:
            length = len(mic)
            hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ).astype(np.float32)
            gain = np.ones_like(hz)
            if tilt:
                gain *= 10 ** (rng.uniform(-8, 8) * np.log2((hz + 50) / 1000) / 80)
            if telephone:
                low, high = rng.uniform(100, 350), rng.uniform(3000, 3900)
                gain /= np.sqrt(1 + (low / (hz + 1)) ** 8) * np.sqrt(1 + (hz / high) ** 24)
            mic = np.fft.irfft(np.fft.rfft(mic) * gain, length).astype(np.float32)
        return mic * np.float32(10 ** (rng.uniform(-16, 6) / 20))


def generated_beds(rng: np.random.Generator, voices: Sequence[NDArray[np.int16]]) -> list[Samples]:
    """Babble of the given voices, coloured noise, chords and clicks: 20 s each."""
    samples = SAMPLE_RATE_HZ * 20
    beds: list[Samples] = []
    for talkers in (1, 2, 3, 5, 8):
        bed = np.zeros(samples, np.float32)
        for _ in range(talkers):
            position = 0
            while position < samples and voices:
                pcm = voices[int(rng.integers(len(voices)))]
                part = pcm[: samples - position]
                bed[position : position + len(part)] += part
                position += len(pcm) + int(rng.uniform(0, 0.6) * SAMPLE_RATE_HZ)
        beds.append(oaconvolve(bed, synthetic_room(rng, 0.5, 4800))[:samples].astype(np.float32))
    for _ in range(4):
        spectrum = np.fft.rfft(rng.standard_normal(samples))
        spectrum *= (np.arange(len(spectrum)) + 1.0) ** -rng.uniform(0, 0.9)
        beds.append((np.fft.irfft(spectrum, samples) * 1000).astype(np.float32))
    beds.append(_chords(rng, samples))
    beds.append(_clicks(rng, samples))
    return beds


def in_16_bits(sound: Samples) -> NDArray[np.int16]:
    """Clipped below full scale, in half the memory."""
    return np.clip(sound, -32000, 32000).astype(np.int16)


def _chords(rng: np.random.Generator, samples: int) -> Samples:
    bed = np.zeros(samples, np.float32)
    position = 0
    while position < samples:
        length = min(int(rng.uniform(0.2, 0.6) * SAMPLE_RATE_HZ), samples - position)
        time_s = np.arange(length) / SAMPLE_RATE_HZ
        root_hz = 110 * 2 ** (rng.integers(0, 24) / 12)
        for ratio in (1.0, 1.25, 1.5):
            for partial in range(1, 5):
                tone = np.sin(2 * np.pi * root_hz * ratio * partial * time_s)
                bed[position : position + length] += 300 * tone * np.exp(-3 * time_s) / partial
        position += length
    return bed


def _clicks(rng: np.random.Generator, samples: int) -> Samples:
    bed = np.zeros(samples, np.float32)
    for _ in range(40):
        start = int(rng.integers(0, samples - 4000))
        decay = np.exp(-np.arange(4000) / rng.uniform(100, 1500))
        bed[start : start + 4000] += rng.standard_normal(4000) * decay * rng.uniform(600, 3000)
    return bed
