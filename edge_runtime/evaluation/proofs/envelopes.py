"""Sound by its loudness alone: what an energy detector knows of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import SAMPLE_RATE_HZ

STEP = SAMPLE_RATE_HZ // 100
SMOOTH = 3
"""Steps of 10 ms over which loudness is taken."""
MOST_GAIN = 30.0
Samples = NDArray[np.float32]


def envelope(pcm: Samples) -> Samples:
    """RMS over about 30 ms for each sample, float32 (n,)."""
    steps = -(-len(pcm) // STEP)
    padded = np.zeros(steps * STEP, np.float64)
    padded[: len(pcm)] = pcm
    power = (padded.reshape(steps, STEP) ** 2).mean(1)
    power = np.convolve(power, np.ones(SMOOTH) / SMOOTH, "same")
    middles = (np.arange(steps) + 0.5) * STEP
    return np.sqrt(np.interp(np.arange(len(pcm)), middles, power)).astype(np.float32)


def share_envelope(one: Samples, other: Samples, ends: bool = False) -> tuple[Samples, Samples]:
    """Both cut to the shorter one's length and given the same envelope; their beginnings are kept,
    or their `ends`."""
    length = min(len(one), len(other))
    kept = [pcm[len(pcm) - length :] if ends else pcm[:length] for pcm in (one, other)]
    pair = [pcm.astype(np.float32) for pcm in kept]
    shapes = [envelope(pcm) + 1.0 for pcm in pair]
    common = np.sqrt(shapes[0] * shapes[1])
    first, second = (
        pcm * np.minimum(common / shape, MOST_GAIN) for pcm, shape in zip(pair, shapes, strict=True)
    )
    return first.astype(np.float32), second.astype(np.float32)


def noise_like(pcm: Samples, rng: np.random.Generator) -> Samples:
    """White noise with the envelope of `pcm`, float32 (n,)."""
    noise = rng.standard_normal(len(pcm)).astype(np.float32)
    return noise / (envelope(noise) + 1e-9) * envelope(pcm)


def loudness(pcm: Samples, start: int, end: int) -> float:
    """Mean power between two samples: all that an energy detector has."""
    part = pcm[max(0, start) : end].astype(np.float64)
    return float((part * part).mean()) if len(part) else 0.0
