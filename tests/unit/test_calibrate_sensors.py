"""What is made of the sound of a room, a person and an echo, and the configuration of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.calibrate_sensors import Calibration, Echo, Levels, echo_of, levels_of, write
from edge_runtime.config import Audio, Config, Device, load_config
from edge_runtime.errors import ConfigError, SourceError
from edge_runtime.micro_turn import TURN_SAMPLES, AudioReading

ROOM = 0.001


def turns(*levels: float, played: float = 0.0, seed: int = 1) -> list[AudioReading]:
    """Noise of these levels (rms) at the microphone, one a turn, and one level played."""
    rng = np.random.default_rng(seed)
    made = []
    for level in levels:
        pcm = rng.uniform(-np.sqrt(3), np.sqrt(3), (2, TURN_SAMPLES)).astype(np.float32)
        pcm *= np.array([[level], [played]], np.float32)
        made.append(AudioReading(pcm))
    return made


QUIET = turns(*[ROOM] * 10)


class TestLevels:
    def test_a_person_with_pauses(self) -> None:
        found = levels_of(QUIET, turns(*[0.01, 0.01, 0.01, ROOM] * 10))
        assert found.room_dbfs == pytest.approx(-60, abs=0.5)
        assert found.speech_dbfs == pytest.approx(-40, abs=0.5)
        assert found.gain_db == pytest.approx(14, abs=0.5)

    def test_a_slam_of_the_door_is_not_the_room(self) -> None:
        found = levels_of([*QUIET, *turns(0.3)], turns(0.05))
        assert found.room_dbfs == pytest.approx(-60, abs=0.5)

    def test_peaks_keep_the_gain_down(self) -> None:
        assert Levels(-60, -40, -8).gain_db == 5
        assert Levels(-60, -10, -1).gain_db == -16

    def test_nobody_spoke(self) -> None:
        found = levels_of(QUIET, turns(*[ROOM] * 10, seed=2))
        assert found.speech_dbfs is None
        assert found.gain_db is None

    def test_zeros(self) -> None:
        with pytest.raises(SourceError, match=r"nothing but zeros.*alsamixer"):
            levels_of(turns(0.0), turns(0.0))


class TestEcho:
    def test_the_room_is_not_counted(self) -> None:
        heard = turns(*[np.hypot(0.01, 0.01)] * 10, played=0.1)
        echo = echo_of(heard, turns(*[0.01] * 10), 83.21)
        assert echo.level_db == pytest.approx(-20, abs=0.5)
        assert echo.delay_ms == 83.2

    def test_none(self) -> None:
        assert echo_of(QUIET, QUIET, None).level_db == -120


LEVELS = Levels(-60, -40, -20)


class TestLines:
    def test_advice(self) -> None:
        lines = Calibration("m", LEVELS, Echo(12.5, -18.0)).lines
        assert "speech: -40 dBFS, 20 dB above the room" in lines
        assert any(line.startswith("gain: raise the microphone's by 14 dB") for line in lines)
        assert "echo: -18 dB, +12.5 ms beside what the devices say" in lines

    @pytest.mark.parametrize(
        ("levels", "echo", "line"),
        [
            (Levels(-60, None, -50), None, "speech: none was heard"),
            (Levels(-60, -10, -1), None, "gain: lower the microphone's by 16 dB"),
            (Levels(-60, -27, -10), None, "gain: the microphone is set well"),
            (LEVELS, None, "echo: not measured"),
            (LEVELS, Echo(None, -120.0), "echo: none was found"),
        ],
    )
    def test_each_case(self, levels: Levels, echo: Echo | None, line: str) -> None:
        assert any(said.startswith(line) for said in Calibration("m", levels, echo).lines)


class TestWriting:
    def test_what_was_configured_stays_and_the_delay_is_read(self, tmp_path: Path) -> None:
        config = Config(
            device=Device(name="kiosk"), audio=Audio(input_device="ReSpeaker", volume=0.5)
        )
        path = tmp_path / "new" / "device.yaml"
        read = write(path, config, Calibration("m", LEVELS, Echo(12.5, -18.0)))
        assert read == load_config(path)
        assert read.audio == Audio(input_device="ReSpeaker", volume=0.5, echo_delay_ms=12.5)
        assert read.device.name == "kiosk"
        text = path.read_text()
        assert "# echo: -18 dB" in text
        assert "keep_hours" not in text, "defaults stay those of the program"

    def test_without_an_echo_a_delay_stays(self, tmp_path: Path) -> None:
        config = Config(audio=Audio(echo_delay_ms=7.0))
        read = write(tmp_path / "d.yaml", config, Calibration("m", LEVELS, Echo(None, -120.0)))
        assert read.audio.echo_delay_ms == 7.0

    def test_a_delay_that_was_kept_in_a_file_gives_way(self, tmp_path: Path) -> None:
        config = Config(audio=Audio(echo_file=tmp_path / "echo.yaml"))
        read = write(tmp_path / "d.yaml", config, Calibration("m", LEVELS, Echo(82.0, -18.0)))
        assert read.audio.echo_delay_ms == 82.0 and read.audio.echo_file is None

    def test_a_file_that_is_there_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "device.yaml"
        path.write_text("device: {name: mine}\n")
        with pytest.raises(ConfigError, match="stays: give another --out"):
            write(path, Config(), Calibration("m", LEVELS, None))
        assert path.read_text() == "device: {name: mine}\n"
