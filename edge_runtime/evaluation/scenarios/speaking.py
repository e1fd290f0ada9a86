"""Scenarios 3, 4 and 6: what happens while the device speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.material import Spoken, speech_samples
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.stage import Stage, samples
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm

FAINTEST, TRIES = 100.0, 20
"""A noise of which no sample is above this, of 32,768, is a hole in it: another one is drawn."""
SPEECH_RMS = 2000.0
"""int16 scale: -24 dBFS, the level of the corpus."""
BLOCK = 800
STOPS_WITHIN_S = 2.0
"""Whoever speaks on for longer after an interruption has missed it."""
MORE_TO_SAY_S = 8.0
"""In every third clip the device is at the beginning of a long answer."""
TURN_SHARE = 0.25
"""Of the interruptions are no stop word but a whole turn ("wait, actually ...")."""
ECHO_DB = (0.0, -10.0, -20.0, -30.0)
ECHO_DELAY_S = (0.0, 0.05, 0.12, 0.25, 0.4)
CLIPS_AT = 1.25
"""Of the rms of what is played: a small loudspeaker far beyond what it can give."""


@dataclass(frozen=True)
class Echo:
    """How the microphone hears our own voice."""

    level_db: float
    """Against what is played."""
    delay_s: float
    clips: bool = False
    """The loudspeaker distorts: nothing linear cancels that."""

    @property
    def delay(self) -> int:
        """In samples."""
        return samples(self.delay_s)


def _speech(casting: Casting, scenario: str, index: int, event_s: float) -> tuple[Stage, int]:
    """A stage on which the device speaks long enough, and the sample at which something happens."""
    rng = casting.rng(scenario, index)
    start = samples(rng.uniform(0.6, 1.2))
    at = start + samples(rng.uniform(0.8, 3.0))
    least_s = (at - start) / SAMPLE_RATE_HZ + event_s + STOPS_WITHIN_S + 0.4
    seconds = (at / SAMPLE_RATE_HZ) + event_s + STOPS_WITHIN_S + 0.6
    least_s += MORE_TO_SAY_S if index % 3 == 2 else 0.0
    stage = casting.stage(rng, seconds)
    stage.device(stage.long_utterance(least_s), start)
    return stage, at


def _length_s(spoken: Spoken) -> float:
    return speech_samples(spoken) / SAMPLE_RATE_HZ


def interruption(casting: Casting, index: int) -> Clip | None:
    """ "Stop", or a turn that begins while the device speaks."""
    return _interrupted(casting, "interruptions", index).finish("interruptions")


def interruption_beside_echo(casting: Casting, index: int, echo: Echo | None = None) -> Clip:
    """The same in a quiet room, where the microphone hears our own voice as in `echo_clip`."""
    stage = _interrupted(casting, "echoed interruptions", index)
    return stage.finish("interruptions", stage.near + _hiss_and_echo(stage, echo or echo_of(index)))


def _interrupted(casting: Casting, scenario: str, index: int) -> Stage:
    material = casting.material
    by_turn = not material.has("interruption") or index % round(1 / TURN_SHARE) == 0
    spoken = material.deal("turn" if by_turn else "interruption", index)
    stage, at = _speech(casting, scenario, index, _length_s(spoken))
    spans = stage.say(spoken, at, [samples(0.3)] * (len(spoken.segments) - 1), tail=samples(2.0))
    stage.cue("interruption", at, spans[-1][1], "turn" if by_turn else "stop")
    return stage


def backchannel(casting: Casting, index: int) -> Clip | None:
    """ "Mhm" while the device speaks."""
    if not casting.material.has("backchannel"):
        return None
    spoken = casting.material.deal("backchannel", index)
    stage, at = _speech(casting, "backchannels", index, _length_s(spoken))
    spans = stage.say(spoken, at, [samples(0.2)] * (len(spoken.segments) - 1), tail=samples(1.0))
    stage.cue("backchannel", at, spans[-1][1])
    return stage.finish("backchannels")


def aside(casting: Casting, index: int) -> Clip | None:
    """While the device speaks, the person says something to somebody else, or there is a noise."""
    material = casting.material
    if index % 2:
        stage, at = _speech(casting, "asides", index, 1.0)
        burst, number = _burst(stage.rng, material.noises)
        length = len(burst)
        stage.add_noise(burst, at, noise_name(number))
        stage.cue("noise burst", at, at + length)
    else:
        spoken = material.deal("turn", index)
        stage, at = _speech(casting, "asides", index, _length_s(spoken))
        pauses = [samples(0.3)] * (len(spoken.segments) - 1)
        spans = stage.say(spoken, at, pauses, tail=samples(2.0), into=stage.around)
        end = spans[-1][1]
        stage.pose(at - 2 * TURN_SAMPLES, end + 4 * TURN_SAMPLES, facing=False)
        stage.cue("side talk heard", at, end)
    return stage.finish("asides")


def _burst(rng: np.random.Generator, beds: Sequence[NDArray[np.generic]]) -> tuple[Pcm, int]:
    """A snatch of one of the noises, and its number; there is something in it."""
    for _ in range(TRIES):
        number = int(rng.integers(len(beds)))
        burst = noise(rng, beds[number], samples(rng.uniform(0.3, 1.0)), -6.0)
        if np.abs(burst).max() > FAINTEST:
            break
    return burst, number


def noise_name(number: int) -> str:
    """Of a material's noises: what clips with the same one have in common."""
    return f"noise {number}"


def noise(rng: np.random.Generator, bed: NDArray[np.generic], length: int, level_db: float) -> Pcm:
    """A stretch of a noise with soft edges, float32 (length,), `level_db` against speech."""
    first = int(rng.integers(len(bed)))
    part = np.take(bed, np.arange(first, first + length), mode="wrap").astype(np.float32)
    rms = float(np.sqrt((part * part).mean())) + 1.0
    ramp = np.minimum(1.0, np.arange(length) / 320)
    edges = np.minimum(ramp, ramp[::-1]).astype(np.float32)
    scaled: Pcm = part * edges * np.float32(SPEECH_RMS * 10 ** (level_db / 20) / rms)
    return scaled


def noise_over(
    rng: np.random.Generator,
    beds: Sequence[NDArray[np.generic]],
    speech: Pcm,
    level_db: float,
    tries: int = 1,
) -> Pcm:
    """A stretch of one of the noises as long as `speech`, int16 scale, float32 (n,), `level_db`
    against what sounds in that; the steadiest of `tries`, as words are heard through gaps."""
    sounding = speech[speech != 0]
    if not sounding.size:
        return np.zeros(len(speech), np.float32)
    level_db += float(10 * np.log10(np.mean(sounding**2)) - 20 * np.log10(SPEECH_RMS))
    drawn = [
        noise(rng, beds[int(rng.integers(len(beds)))], len(speech), level_db) for _ in range(tries)
    ]
    return max(drawn, key=_steadiness)


def _steadiness(pcm: Pcm) -> float:
    """How loud its quietest tenth is against all of it, in blocks of 50 ms."""
    blocks = pcm[: len(pcm) // BLOCK * BLOCK].reshape(-1, BLOCK)
    power = (blocks**2).mean(1) if len(blocks) else np.zeros(1)
    return float(np.quantile(power, 0.1) / (power.mean() + 1e-9))


def echo_clip(
    casting: Casting,
    index: int,
    reference: bool = True,
    late_s: float = 0.0,
    echo: Echo | None = None,
) -> Clip:
    """The device speaks, nobody else does, and its voice comes back through the microphone, as
    `echo_of(index)` or as given.

    Without `reference` the model does not see what was played; with `late_s` it sees it late.
    """
    rng = casting.rng("echo", index)
    heard = echo or echo_of(index)
    stage = casting.stage(rng, 9.0)
    start = samples(rng.uniform(0.6, 1.2))
    spoken = stage.long_utterance(3.5)[: samples(6.0)]
    end = stage.device(spoken, start)
    microphone = _hiss_and_echo(stage, heard)
    until = min(end + heard.delay + samples(0.3), len(microphone))
    stage.cue("echo", start, until, f"{heard.level_db:.0f} dB")
    clip = stage.finish("echo", microphone)
    late = samples(late_s)
    if not reference:
        clip.audio[1] = 0.0
    elif late:
        clip.audio[1] = np.concatenate([np.zeros(late, np.float32), clip.audio[1][:-late]])
    return clip


def echo_of(index: int) -> Echo:
    """Of clip `index`: all levels, and then the next delay."""
    delay_s = ECHO_DELAY_S[index // len(ECHO_DB) % len(ECHO_DELAY_S)]
    return Echo(ECHO_DB[index % len(ECHO_DB)], delay_s)


def echo(casting: Casting, index: int) -> Clip | None:
    return echo_clip(casting, index)


def _hiss_and_echo(stage: Stage, heard: Echo) -> Pcm:
    """A microphone that hears our voice and nobody else, int16 scale, float32 (n,)."""
    microphone = hiss(stage)
    given = clipped(stage.played) if heard.clips else stage.played
    echo = _through_room(stage.rng, given) * np.float32(10 ** (heard.level_db / 20))
    microphone[heard.delay :] += echo[: len(echo) - heard.delay]
    return microphone


def clipped(pcm: Pcm) -> Pcm:
    """Float32 (n,) as a loudspeaker gives it that is driven too hard, no quieter than it was."""
    sounding = pcm[pcm != 0]
    if not sounding.size:
        return pcm
    most = CLIPS_AT * np.sqrt(np.mean(sounding**2))
    flat = np.clip(pcm, -most, most)
    louder: Pcm = flat * np.float32(np.linalg.norm(pcm) / np.linalg.norm(flat))
    return louder


def hiss(stage: Stage) -> Pcm:
    """A microphone in a quiet room, int16 scale, float32 (n,)."""
    noise: Pcm = stage.rng.standard_normal(len(stage.near)).astype(np.float32)
    noise *= np.float32(stage.rng.uniform(2, 12))
    return noise


def _through_room(rng: np.random.Generator, pcm: Pcm) -> Pcm:
    """With a small room's reverberation: a direct sound and a decaying tail, float32 (n,)."""
    time_s = np.arange(2400) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(2400) * np.exp(-6.9 * time_s / rng.uniform(0.1, 0.4))
    tail *= rng.uniform(0.2, 0.7) / np.sqrt((tail * tail).sum())
    tail[0] += 1.0
    size = len(pcm) + len(tail)
    spectrum = np.fft.rfft(pcm, size) * np.fft.rfft(tail, size)
    return np.fft.irfft(spectrum, size)[: len(pcm)].astype(np.float32)
