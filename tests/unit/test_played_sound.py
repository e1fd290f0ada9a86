"""What was played, by its number, and between two samples."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.micro_turn import SAMPLE_RATE_HZ
from edge_runtime.sources.played_sound import PlayedSound


@pytest.mark.parametrize("block", [1, 77, 1_000, 5_000])
def test_the_newest_samples_are_known_by_their_numbers(block: int) -> None:
    played = PlayedSound(1_000)
    for start in range(0, 10_000, block):
        played.append(np.arange(start, start + block, dtype=np.float32))
    newest = played.count
    np.testing.assert_array_equal(
        played.window(newest - 1_000, 1_000), np.arange(newest - 1_000, newest)
    )


def test_before_and_after_is_silence() -> None:
    played = PlayedSound(100)
    played.append(np.ones(10, np.float32))
    np.testing.assert_array_equal(played.window(-5, 20), [0] * 5 + [1] * 10 + [0] * 5)
    assert not played.window(50, 10).any()
    assert not played.window(-50, 10).any()


@pytest.mark.parametrize("hz", [100, 1_000, 4_000, 6_000])
def test_between_the_samples_it_is_the_same_sound(hz: int) -> None:
    played = PlayedSound(8_000)
    played.append(np.sin(2 * np.pi * hz * np.arange(8_000) / SAMPLE_RATE_HZ).astype(np.float32))
    at = 1_000.37 + np.arange(3_200) * 1.0002
    found = played.at(at)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.sin(2 * np.pi * hz * at / SAMPLE_RATE_HZ), atol=0.02)


def test_on_the_samples_it_is_the_samples() -> None:
    played = PlayedSound(1_000)
    noise = np.random.default_rng(0).normal(0, 0.3, 500).astype(np.float32)
    played.append(noise)
    np.testing.assert_allclose(played.at(np.arange(100.0, 300.0)), noise[100:300], atol=1e-6)
