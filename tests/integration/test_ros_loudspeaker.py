"""The loudspeaker's node: a stand-in for rclpy, and a sound card that needs no hardware."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ros_stand_in

sys.path.insert(0, str(Path(__file__).parent.parent))
from virtual_sound import VirtualSound, needs_virtual_sound, virtual_sound, wait_until

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES
from edge_runtime.sound_status import DeviceState
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.sources.sound_plan import Wanted

WITH_ROS = ("loudspeaker", "main", "wire")
OK, ERROR = 0, 2


@pytest.fixture
def node_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, module in ros_stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    names = [f"edge_interaction.{name}" for name in WITH_ROS]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("edge_interaction.loudspeaker")
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[VirtualSound]:
    with virtual_sound(tmp_path / "sound", "kiosk") as server:
        yield server


def node_of(node_module: Any, monkeypatch: pytest.MonkeyPatch, device: str) -> Any:
    made = ros_stand_in.Node.__init__

    def with_device(node: Any, name: str) -> None:
        made(node, name, {"output_device": device})

    monkeypatch.setattr(ros_stand_in.Node, "__init__", with_device)
    return node_module.LoudspeakerNode()


def told(node: Any) -> Any:
    """The one status of the newest diagnostics."""
    for timer in node.timers:
        timer()
    (status,) = node.sent("/diagnostics")[-1].status
    return status


@needs_virtual_sound
def test_speech_audio_is_heard_and_diagnostics_tell_of_the_device(
    node_module: Any, monkeypatch: pytest.MonkeyPatch, card: VirtualSound
) -> None:
    node = node_of(node_module, monkeypatch, "kiosk")
    with node.sound:
        missing = told(node)
        assert missing.name == "robot/loudspeaker: loudspeaker"
        assert missing.level == bytes([ERROR]) and "refuses it" in missing.message
        card.plug("kiosk", tone_hz=None)
        wait_until(lambda: node.sound.status().loudspeaker.state is DeviceState.PRESENT)
        assert (told(node).level, told(node).hardware_id) == (bytes([OK]), "kiosk")
        loud = np.full(TURN_SAMPLES, 16_384, np.int16)
        speech = SimpleNamespace(sample_rate_hz=SAMPLE_RATE_HZ, channels=1, data=loud)
        with MicrophoneSource(Wanted("kiosk_mic", "kiosk", block_ms=10.0)) as microphone:

            def heard() -> bool:
                node.heard["speech_audio"](speech)
                return bool(microphone.read_turn().pcm[0].max() > 0.4)

            wait_until(heard)


def test_without_pyaudio_it_ends_with_an_error_that_says_what_to_install(
    node_module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    monkeypatch.setattr(node_module, "stop_on_signals", threading.Event)
    assert node_module.main() == 1
    assert "loudspeaker needs PyAudio" in capsys.readouterr().err


def test_a_serial_number_that_was_read_as_a_number_is_refused_with_the_remedy(
    node_module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def declare(node: Any, name: str, *given: Any) -> Any:
        return SimpleNamespace(value=12345)

    monkeypatch.setattr(node_module.LoudspeakerNode, "declare_parameter", declare)
    monkeypatch.setattr(node_module, "stop_on_signals", threading.Event)
    assert node_module.main() == 1
    assert "12345 was read as a number. Put quotes into it" in capsys.readouterr().err
