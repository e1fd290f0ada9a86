"""Between a device's rate and 16 kHz: nothing is lost, and the delay is known to the sample."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm
from edge_runtime.sources.resampling import RateAdapter, one_way


class TestRateAdapter:
    @pytest.mark.parametrize("rate_hz", [8_000, 22_050, 32_000, 44_100, 48_000, 96_000])
    @pytest.mark.parametrize("block_ms", [5.0, 20.0, 21.3])
    def test_a_loopback_is_aligned_to_the_sample(self, rate_hz: int, block_ms: float) -> None:
        adapter = RateAdapter(rate_hz)
        rng = np.random.default_rng(0)
        block = int(rate_hz * block_ms / 1e3)
        heard: list[Pcm] = []
        played: list[Pcm] = []

        def inner(pcm: Pcm) -> Pcm:
            smooth = np.convolve(rng.normal(0, 0.3, pcm.size + 8), np.ones(9) / 9, "valid")
            heard.append(pcm)
            played.append(smooth[: pcm.size].astype(np.float32))
            return played[-1]

        air = np.zeros(block, np.float32)
        for _ in range(2 * rate_hz // block):
            air = adapter.callback(air[:, None], lambda heard: inner(heard[0]))
            assert air.size == block
        latency = round(adapter.latency_samples + block * SAMPLE_RATE_HZ / rate_hz)
        before, after = np.concatenate(played), np.concatenate(heard)
        window = slice(8_000, 24_000)

        def likeness(lag: int) -> float:
            late = slice(window.start + lag, window.stop + lag)
            return float(np.corrcoef(before[window], after[late])[0, 1])

        best = max(range(latency - 40, latency + 41), key=likeness)
        assert best == pytest.approx(latency, abs=1)
        assert likeness(best) > 0.9

    def test_its_set_up_is_quick(self) -> None:
        began_s = time.monotonic()
        RateAdapter(44_100)
        assert time.monotonic() - began_s < 1


class TestOneWay:
    @pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000, 192_000])
    @pytest.mark.parametrize("block_ms", [5.0, 21.3])
    def test_it_takes_as_much_as_it_gives_and_is_never_short(
        self, rate_hz: int, block_ms: float
    ) -> None:
        to_device = one_way(rate_hz)
        block = int(rate_hz * block_ms / 1e3)
        taken = 0

        def tone(count: int) -> Pcm:
            nonlocal taken
            t_s = np.arange(taken, taken + count) / SAMPLE_RATE_HZ
            taken += count
            return (0.5 * np.sin(2 * np.pi * 100 * t_s)).astype(np.float32)

        given = [to_device.fill(block, tone) for _ in range(rate_hz // block)]
        assert {part.size for part in given} == {block}
        total = sum(part.size for part in given)
        assert taken == pytest.approx(total * SAMPLE_RATE_HZ / rate_hz, abs=1)
        # What was taken first comes out `latency_samples` later, as it was.
        t_s = np.arange(total) / rate_hz - to_device.latency_samples / SAMPLE_RATE_HZ
        late = t_s > 0.1
        expected = 0.5 * np.sin(2 * np.pi * 100 * t_s[late])
        np.testing.assert_allclose(np.concatenate(given)[late], expected, atol=0.02)
