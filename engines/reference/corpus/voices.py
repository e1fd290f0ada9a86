"""Other voices from the ones that there are: pitch, melody, vocal tract and breath.

A synthesizer has a handful of voices, and recordings have no children. WORLD takes speech apart
into its pitch, its spectral envelope and its noise (Morise et al., WORLD: A Vocoder-Based
High-Quality Speech Synthesis System for Real-Time Applications, 2016), so that each can be moved by
itself; a moved envelope is another length of the vocal tract (Jaitly and Hinton, Vocal Tract Length
Perturbation Improves Speech Recognition, 2013).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PITCH_SPREAD = 0.28
"""Of the logarithm: two thirds of the voices lie within two fifths of an octave."""
PITCHES = (0.6, 1.9)
FORMANTS_FOLLOW = 0.35
"""A child's formants lie a third as far from a man's as its pitch does, on a logarithmic scale."""
FORMANT_SPREAD = 0.07
FORMANTS = (0.84, 1.3)
MELODIES = (0.6, 1.5)
BREATHY, BREATH = 0.3, 0.5
"""Share of the voices, and the most noise of theirs."""


@dataclass(frozen=True, slots=True)
class Voice:
    """What becomes of a voice."""

    pitch: float
    """Times its own."""
    melody: float
    """Times the distance, in octaves, of each moment's pitch from the middle one."""
    formants: float
    """Times their own frequencies: above 1 is a shorter vocal tract."""
    breath: float
    """0 .. 1: this share of what is voiced becomes noise."""


CHILD = Voice(pitch=1.5, melody=1.0, formants=1.2, breath=0.0)
"""What makes a child of most who were recorded."""


def is_there() -> bool:
    return importlib.util.find_spec("pyworld") is not None


def draw(rng: np.random.Generator) -> Voice:
    """Anybody's, from a low man's to a small child's."""
    pitch = math.exp(float(np.clip(rng.normal(0.05, PITCH_SPREAD), *np.log(PITCHES))))
    tract = FORMANTS_FOLLOW * math.log(pitch) + rng.normal(0, FORMANT_SPREAD)
    formants = math.exp(float(np.clip(tract, *np.log(FORMANTS))))
    breath = float(rng.uniform(0, BREATH)) if rng.random() < BREATHY else 0.0
    return Voice(pitch, float(rng.uniform(*MELODIES)), formants, breath)


def in_voice(pcm: NDArray[np.float32], rate_hz: int, voice: Voice) -> NDArray[np.float32]:
    """The same words at the same times in another voice. `pcm` float32 (n,), of any scale; raises
    RuntimeError without pyworld."""
    try:
        import pyworld
    except ImportError as error:
        raise RuntimeError("WORLD is missing: pip install pyworld-prebuilt") from error

    sound = pcm.astype(np.float64)
    rough, times = pyworld.dio(sound, rate_hz)
    pitch = pyworld.stonemask(sound, rough, times, rate_hz)
    envelope = pyworld.cheaptrick(sound, pitch, times, rate_hz)
    noise = pyworld.d4c(sound, pitch, times, rate_hz)
    noise = _moved(noise, voice.formants)
    noise = np.clip(noise + voice.breath * (1 - noise), 0, 1)
    envelope = np.exp(_moved(np.log(envelope), voice.formants))
    found = pyworld.synthesize(_sung(pitch, voice), envelope, noise, rate_hz)
    found = np.pad(found, (0, max(0, len(pcm) - len(found))))[: len(pcm)]
    return found.astype(np.float32)


def _sung(pitch: Floats, voice: Voice) -> Floats:
    """Hz by frame; 0 is unvoiced and stays so."""
    voiced = pitch > 0
    if not voiced.any():
        return pitch
    middle = np.median(pitch[voiced])
    around = np.where(voiced, pitch / middle, 1.0) ** voice.melody
    return np.where(voiced, np.clip(voice.pitch * middle * around, 40, 800), 0.0)


def _moved(frames: Floats, factor: float) -> Floats:
    """(frames, bins) with what was at f at f * factor; beyond the last bin there is the last."""
    bins = frames.shape[1]
    source = np.minimum(np.arange(bins) / factor, bins - 1)
    below = source.astype(np.int64)
    above, part = np.minimum(below + 1, bins - 1), source - below
    return np.ascontiguousarray(frames[:, below] * (1 - part) + frames[:, above] * part)
