"""Delay and level of an echo from a sweep; what is kept of it, and who reads it."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
from typing_extensions import Self

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError, SourceError
from edge_runtime.micro_turn import TURN_SAMPLES, AudioReading, Pcm
from edge_runtime.senses import microphone_for
from edge_runtime.sources.echo_calibration import Echo, keep, load_echoes, measure, steps


class Hall:
    """Where hardware would stand: a loudspeaker, a room, a microphone. The reference is `late`
    samples behind what is heard, as if the devices had told too much."""

    def __init__(self, delay: int, level_db: float, noise: float = 1e-3, late: int = 0) -> None:
        rng = np.random.default_rng(1)
        room = rng.standard_normal(1600) * np.exp(-np.arange(1600) / 200) * 0.05
        room[0] = 1.0
        room *= 10 ** (level_db / 20) / np.sqrt((room**2).sum())
        self._response = np.concatenate([np.zeros(delay), room])
        self._rng, self._noise, self._late = rng, noise, late
        self._played: Pcm = np.zeros(0, np.float32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def play(self, pcm: Pcm) -> None:
        self._played = np.concatenate([self._played, pcm])

    def flush(self, fade_ms: float) -> int:
        return 0

    def read_turn(self) -> AudioReading:
        end, ringing = len(self._played), len(self._response)
        turn = slice(end - TURN_SAMPLES, end)
        before = np.concatenate([np.zeros(ringing), self._played])[end - TURN_SAMPLES :]
        size = 1 << (len(before) + ringing).bit_length()
        spectrum = np.fft.rfft(before, size) * np.fft.rfft(self._response, size)
        echo = np.fft.irfft(spectrum, size)[ringing : ringing + TURN_SAMPLES]
        heard = np.clip(echo + self._noise * self._rng.standard_normal(TURN_SAMPLES), -1, 1)
        reference = np.concatenate([np.zeros(self._late), self._played])[turn]
        return AudioReading(np.stack([heard, reference]).astype(np.float32))


class TestMeasuring:
    @pytest.mark.parametrize("delay", [0, 37, 640, 6400])
    @pytest.mark.parametrize("level_db", [0.0, -10.0, -30.0])
    def test_finds_delay_and_level(self, delay: int, level_db: float) -> None:
        echo = measure(Hall(delay, level_db))
        assert abs(echo.delay_samples - delay) <= 1
        assert abs(echo.level_db - level_db) < 1.5
        assert not echo.clipped

    def test_an_echo_before_its_reference(self) -> None:
        assert abs(measure(Hall(100, -10, late=500)).delay_samples + 400) <= 1

    def test_says_that_the_microphone_clips(self) -> None:
        assert measure(Hall(100, 14)).clipped

    def test_no_echo_is_an_error_with_a_remedy(self) -> None:
        with pytest.raises(SourceError, match=r"was not heard.*Turn its volume up"):
            measure(Hall(0, -100))

    def test_every_turn_is_a_step(self) -> None:
        done = []
        measure(Hall(10, -10), lambda: done.append(1))
        assert len(done) == steps()


class TestKeeping:
    def test_others_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "kept" / "echo.yaml"
        keep(path, "a / b", Echo(160, -12.34, False))
        keep(path, "c / d", Echo(-16, -3.0, True))
        kept = load_echoes(path)
        assert (kept["a / b"].delay_ms, kept["a / b"].level_db) == (10.0, -12.3)
        assert (kept["c / d"].delay_ms, kept["c / d"].clipped) == (-1.0, True)

    def test_the_runtime_reads_it(self, tmp_path: Path) -> None:
        path = tmp_path / "echo.yaml"
        keep(path, "default / default", Echo(480, -10, False))
        config = Config.model_validate({"audio": {"echo_file": str(path)}})
        assert microphone_for(config)._extra_delay == 480
        assert microphone_for(config, bare=True)._extra_delay == 0

    def test_other_devices_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "echo.yaml"
        keep(path, "a / b", Echo(480, -10, False))
        config = Config.model_validate({"audio": {"echo_file": str(path)}})
        with pytest.raises(ConfigError, match=r"default / default.*a / b.*calibrate echo"):
            microphone_for(config)

    def test_one_that_is_not_there_is_told_with_its_key(self, tmp_path: Path) -> None:
        config = Config.model_validate({"audio": {"echo_file": str(tmp_path / "echo.yaml")}})
        there = re.escape(str(tmp_path / "echo.yaml"))
        with pytest.raises(ConfigError, match=f"audio.echo_file: there is no {there}"):
            microphone_for(config)

    def test_a_broken_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "echo.yaml"
        path.write_text("a / b: {delay_ms: 9999, level_db: 0}")
        with pytest.raises(ConfigError, match="delay_ms"):
            load_echoes(path)
