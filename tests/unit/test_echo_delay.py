"""Our own voice found in what is heard: to the sample, and only where it is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sources.echo_delay import LEAD_SAMPLES, EchoDelay, lateness

SECONDS = 6


def speech(seed: int) -> Pcm:
    """Noise in syllables, with the spectrum of a voice: 1 / f."""
    rng = np.random.default_rng(seed)
    count = SECONDS * SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(rng.normal(0, 1, count))
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    voice = np.fft.irfft(spectrum / np.maximum(hz, 100), count)
    syllables = np.clip(np.sin(2 * np.pi * 4 * np.arange(count) / SAMPLE_RATE_HZ + seed), 0, 1)
    return (0.3 * voice / np.abs(voice).max() * syllables).astype(np.float32)


def found(microphone: Pcm, reference: Pcm) -> list[int]:
    delay = EchoDelay()
    turns = range(0, microphone.size, TURN_SAMPLES)
    answers = [
        delay.hear(microphone[n : n + TURN_SAMPLES], reference[n : n + TURN_SAMPLES]) for n in turns
    ]
    told = [answer for answer in answers if answer is not None]
    assert delay.found or not told
    return told


def room(dry: Pcm) -> Pcm:
    rng = np.random.default_rng(5)
    tail = rng.normal(0, 0.1, 3_000) * np.exp(-np.arange(3_000) / 700)
    tail[0] = 1.0
    return np.convolve(dry, tail)[: dry.size].astype(np.float32)


@pytest.mark.parametrize("late", [-900, 40, 333, 4_800])
@pytest.mark.parametrize("level", [1.0, 0.05])
def test_an_echo_is_found_to_the_sample(late: int, level: float) -> None:
    reference = speech(1)
    noise = np.random.default_rng(2).normal(0, 1e-4, reference.size)
    microphone = level * np.roll(room(reference), late) + noise
    answers = found(microphone.astype(np.float32), reference)
    assert answers
    assert set(answers) == {late - LEAD_SAMPLES}


def test_it_is_found_while_a_person_talks_too() -> None:
    reference = speech(1)
    microphone = 0.3 * np.roll(reference, 200) + speech(9)
    assert set(found(microphone.astype(np.float32), reference)) == {200 - LEAD_SAMPLES}


def test_where_it_is_right_nothing_is_told() -> None:
    reference = speech(1)
    assert found(np.roll(reference, LEAD_SAMPLES), reference) == []


@pytest.mark.parametrize("heard", ["a person", "nothing", "rounding"])
def test_without_an_echo_nothing_is_told(heard: str) -> None:
    reference = speech(1)
    microphone = {
        "a person": speech(9),
        "nothing": np.zeros_like(reference),
        "rounding": (reference * 1e-9).astype(np.float32),
    }[heard]
    assert found(microphone, reference) == []
    assert lateness(microphone, reference) is None


def test_a_tone_tells_nothing() -> None:
    t_s = np.arange(SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = (0.5 * np.sin(2 * np.pi * 500 * t_s)).astype(np.float32)
    assert lateness(np.roll(tone, 77), tone) is None


def test_while_we_are_silent_nothing_is_told() -> None:
    assert found(speech(9), np.zeros(SECONDS * SAMPLE_RATE_HZ, np.float32)) == []
