"""`edge-runtime calibrate echo` on a card without hardware, whose echo is what is played to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent.parent))
from virtual_sound import VirtualSound, needs_virtual_sound, virtual_sound

from edge_runtime.cli import app
from edge_runtime.config import load_config
from edge_runtime.senses import microphone_for

pytestmark = needs_virtual_sound


@pytest.fixture
def card(tmp_path: Path) -> Iterator[VirtualSound]:
    with virtual_sound(tmp_path / "sound", "kiosk") as server:
        server.plug("kiosk")
        yield server


def test_measures_keeps_and_uses_the_echo(card: VirtualSound, tmp_path: Path) -> None:
    kept, config = tmp_path / "echo.yaml", tmp_path / "edge.yaml"
    audio = {"input_device": "kiosk_mic", "output_device": "kiosk", "block_ms": 10}
    config.write_text(yaml.safe_dump({"audio": audio}))
    run = CliRunner().invoke(
        app, ["calibrate", "echo", "--config", str(config), "--out", str(kept)]
    )
    assert run.exit_code == 0, run.output
    echo = yaml.safe_load(kept.read_text())["kiosk_mic / kiosk"]
    assert abs(echo["level_db"]) < 1
    assert abs(echo["delay_ms"]) < 200
    config.write_text(yaml.safe_dump({"audio": {**audio, "echo_file": str(kept)}}))
    expected = round(echo["delay_ms"] * 16)
    assert microphone_for(load_config(config))._extra_delay == expected
