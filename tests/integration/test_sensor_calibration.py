"""`edge-runtime calibrate sensors` on a virtual card, in whose room noise and speech are played."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from program import assert_refused, edge, needs_espeak, written
from typer.testing import CliRunner
from virtual_sound import VirtualSound, needs_virtual_sound, virtual_sound, wait_until

from edge_runtime import calibrate_sensors as sensors
from edge_runtime.calibrate_sensors import calibrate_sensors
from edge_runtime.cli import app
from edge_runtime.config import Audio, Config, load_config

RATE_HZ = 16_000
ROOM, SPEECH = 0.001, 0.05
"""Rms of the noise that stands for each."""


def noise(path: Path, level: float, seconds: float) -> Path:
    rng = np.random.default_rng(1)
    soundfile.write(path, level * rng.standard_normal(round(seconds * RATE_HZ)), RATE_HZ)
    return path


@contextmanager
def played(path: Path) -> Iterator[None]:
    """Into the card `kiosk`; begun when the block begins, ended when it ends."""
    player = subprocess.Popen(["paplay", "--device=kiosk", str(path)])
    try:
        wait_until(lambda: _sounds(player))
        yield
    finally:
        player.terminate()
        player.wait(timeout=30)


def _sounds(player: subprocess.Popen[bytes]) -> bool:
    assert player.poll() is None, "paplay does not play"
    command = ["pactl", "list", "sink-inputs"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return f'"{player.pid}"' in listed.stdout


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualSound]:
    """Plugged in, in a room with soft noise."""
    with virtual_sound(tmp_path_factory.mktemp("sound"), "kiosk") as server:
        server.plug("kiosk", tone_hz=None)
        with played(noise(server.folder / "room.wav", ROOM, 120)):
            yield server


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is the same all the time: a second of it tells as much as eight."""
    monkeypatch.setattr(sensors, "QUIET_S", 1.0)
    monkeypatch.setattr(sensors, "SPEECH_S", 1.0)


@needs_virtual_sound
@needs_espeak
def test_room_speech_and_echo(card: VirtualSound, short: None) -> None:
    audio = Audio(input_device="kiosk_mic", output_device="kiosk", block_ms=20)
    speech = noise(card.folder / "speech.wav", SPEECH, 60)
    asked, seen = [], set()
    speaking = played(speech)

    def ask(text: str) -> None:
        asked.append(text)
        if "Now speak" in text:
            speaking.__enter__()
        elif "device speaks" in text:
            speaking.__exit__(None, None, None)

    found = calibrate_sensors(Config(audio=audio), ask, lambda what, level: seen.add(what))
    assert len(asked) == 3
    assert seen == {"room", "speech", "echo"}
    assert found.levels.room_dbfs == pytest.approx(20 * np.log10(ROOM), abs=4)
    assert found.levels.speech_dbfs == pytest.approx(20 * np.log10(SPEECH), abs=4)
    assert found.levels.gain_db is not None
    assert found.echo is not None
    assert found.echo.delay_ms is not None
    assert found.echo.level_db == pytest.approx(0, abs=6), "only a busy machine's gaps take from it"


@needs_virtual_sound
def test_the_command_writes_what_the_runtime_reads(
    card: VirtualSound, tmp_path: Path, short: None
) -> None:
    config = written(
        tmp_path / "device.yaml",
        "audio: {input_device: kiosk_mic, output_device: kiosk, mute: true, block_ms: 20}",
    )
    out = tmp_path / "c.yaml"
    command = ["calibrate", "sensors", "--config", str(config), "--out", str(out)]
    ran = CliRunner().invoke(app, command, input="\n\n")
    assert ran.exit_code == 0, ran.output
    assert "echo: not measured" in ran.stdout
    assert "speech: none was heard" in ran.stdout
    assert load_config(out) == load_config(config)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    written(tmp_path / "c.yaml", "device: {name: mine}")
    assert_refused(
        edge("calibrate", "sensors", "--out", "c.yaml", cwd=tmp_path), "c.yaml is there already"
    )


def test_a_recording_is_needed_for_a_graph(tmp_path: Path) -> None:
    assert_refused(edge("calibrate", cwd=tmp_path), "--recording", "give at least one")
