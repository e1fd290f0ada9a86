"""Scenario 5: speech that is not for the device, television, babble, music and noise."""

from __future__ import annotations

import numpy as np

from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.scenarios.speaking import noise, noise_name
from edge_runtime.evaluation.stage import samples
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm

TALK_S = 9.0
TAIL_S = 1.6
"""An answer so soon after the talk still answers it."""
NOISE_S = 14.0
TELEVISION_HZ = (250.0, 4000.0)
KINDS = ("away", "television", "away", "bystander")


def side_talk(casting: Casting, index: int) -> Clip | None:
    """The person turned away and speaking to somebody; a television; a bystander out of sight
    while the person looks on in silence."""
    material, rng = casting.material, casting.rng("side talk", index)
    kind = KINDS[index % len(KINDS)]
    stage = casting.stage(rng, 1.5 + TALK_S + TAIL_S + 6.0)
    at = begin = samples(rng.uniform(1.0, 1.5))
    number = 4 * index
    while at < begin + samples(TALK_S):
        spoken = material.deal("turn", number)
        number += 1
        pauses = [samples(rng.uniform(0.2, 0.8)) for _ in spoken.segments[1:]]
        spans = stage.say(
            spoken, at, pauses, tail=samples(0.5), visible=kind == "away", into=stage.around
        )
        at = spans[-1][1] + samples(rng.uniform(0.4, 1.5))
    end = min(spans[-1][1] + samples(TAIL_S), len(stage.near))
    if kind == "television":
        stage.around[:] = band_pass(stage.around)
        stage.pose(0, len(stage.near), present=bool(rng.random() < 0.5), facing=False)
    elif kind == "away":
        stage.pose(begin - 3 * TURN_SAMPLES, len(stage.near), facing=False)
    stage.cue("side talk", begin, end, kind)
    return stage.finish("side talk")


def band_pass(pcm: Pcm) -> Pcm:
    """As from a small loudspeaker, float32 (n,)."""
    hz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE_HZ)
    low, high = TELEVISION_HZ
    gain = 1 / np.sqrt(1 + (low / (hz + 1)) ** 6) / np.sqrt(1 + (hz / high) ** 12)
    return np.fft.irfft(np.fft.rfft(pcm) * gain, len(pcm)).astype(np.float32)


def noises(casting: Casting, index: int) -> Clip | None:
    """Babble, music or noise, and a person who may be there and says nothing."""
    material, rng = casting.material, casting.rng("noise", index)
    stage = casting.stage(rng, NOISE_S)
    number = index % len(material.noises)
    bed = material.noises[number]
    start, length = samples(0.8), samples(NOISE_S - 1.2)
    sound = noise(rng, bed, length, float(rng.uniform(-14, 0)))
    stage.add_noise(sound, start, noise_name(number))
    stage.pose(
        0, len(stage.near), present=bool(rng.random() < 0.7), facing=bool(rng.random() < 0.5)
    )
    stage.cue("noise", start, start + length)
    return stage.finish("noise")
