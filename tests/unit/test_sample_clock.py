"""A device's clock, told from blocks that come late by chance."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.micro_turn import SAMPLE_RATE_HZ
from edge_runtime.sources.sample_clock import SampleClock, drift_ppm


def run(clock: SampleClock, seconds: float, ppm: float, seed: int, from_s: float = 0.0) -> None:
    """Blocks of 10 ms that come up to 5 ms late."""
    rng = np.random.default_rng(seed)
    for n in range(1, round(seconds * 100) + 1):
        true_s = from_s + n * 160 / (SAMPLE_RATE_HZ * (1 + ppm * 1e-6))
        clock.advance(160, true_s + rng.uniform(0, 0.005))


@pytest.mark.parametrize("ppm", [-250.0, 0.0, 80.0])
def test_two_clocks_are_told_apart(ppm: float) -> None:
    microphone, loudspeaker = SampleClock(), SampleClock()
    run(microphone, 120, 0.0, seed=1)
    run(loudspeaker, 120, ppm, seed=2)
    assert microphone.now is not None and loudspeaker.now is not None
    assert drift_ppm(microphone.now, loudspeaker.now) == pytest.approx(ppm, abs=20)
    assert microphone.age_s == pytest.approx(120, abs=1)


def test_where_it_is_and_when_agree() -> None:
    clock = SampleClock()
    run(clock, 60, 100.0, seed=1)
    assert clock.now is not None
    assert clock.now.sample_at(clock.now.time_of(123_456.0)) == pytest.approx(123_456.0)
    # Blocks come 2.5 ms late on average: it is that much behind, within a third of a millisecond.
    passed = clock.now.sample_at(60.0)
    assert passed == pytest.approx(60 * 16_001.6 - 0.0025 * SAMPLE_RATE_HZ, abs=6)


def test_a_machine_that_stood_still_does_not_bend_it() -> None:
    clock = SampleClock()
    run(clock, 60, 100.0, seed=1)
    run(clock, 1, 100.0, seed=2, from_s=65.0)
    assert clock.now is not None
    assert 1 / clock.now.period_s == pytest.approx(16_001.6, abs=2)
    assert clock.now.time_s == pytest.approx(66.0, abs=0.01)


def test_lost_samples_move_it_and_do_not_bend_it() -> None:
    """40 ms of sound that never came: from then on every block is 40 ms late for its number."""
    clock = SampleClock()
    run(clock, 60, 100.0, seed=1)
    run(clock, 5, 100.0, seed=2, from_s=60.04)
    assert clock.now is not None
    assert 1 / clock.now.period_s == pytest.approx(16_001.6, abs=2)
    assert clock.now.time_s == pytest.approx(65.04, abs=0.005)


def test_it_never_believes_what_no_clock_does() -> None:
    clock = SampleClock()
    run(clock, 30, 20_000.0, seed=1)
    assert clock.now is not None
    assert abs(1 / clock.now.period_s / SAMPLE_RATE_HZ - 1) < 1.01e-3


def test_before_the_first_block_nothing_is_known() -> None:
    assert SampleClock().now is None
    assert SampleClock().age_s == 0.0
