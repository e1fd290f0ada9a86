"""The list of devices is never empty of advice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_runtime.sources import devices as devices_module
from edge_runtime.sources.audio_device import AudioDevice
from edge_runtime.sources.devices import Device, list_devices


def test_every_kind_is_listed_in_order_on_any_machine() -> None:
    kinds = [device.kind for device in list_devices()]
    assert list(dict.fromkeys(kinds)) == ["microphone", "loudspeaker", "camera"]


def test_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(["Logitech BRIO", "Endoscope"]):
        (tmp_path / f"video{number}").mkdir()
        (tmp_path / f"video{number}" / "name").write_text(name)
    sound = [
        AudioDevice("loudspeaker", 1, "USB Speaker", 2, 48_000, True, "A1", "1-2.3"),
        AudioDevice("microphone", 0, "ReSpeaker", 1, 16_000, False),
    ]
    monkeypatch.setattr(devices_module, "audio_devices", lambda: sound)
    assert list_devices(tmp_path, tmp_path) == [
        Device("microphone", "ReSpeaker", "16000 Hz, 1 channel"),
        Device(
            "loudspeaker", "USB Speaker", "48000 Hz, 2 channels, serial A1, USB 1-2.3", default=True
        ),
        Device("camera", "Logitech BRIO", "/dev/video0", default=True),
        Device("camera", "Endoscope", "/dev/video1"),
    ]


def test_a_camera_is_listed_with_the_name_that_lasts(tmp_path: Path) -> None:
    (tmp_path / "video3").mkdir()
    link = tmp_path / "by-id/usb-Logitech_BRIO_8A2B-video-index0"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "video3")
    (camera,) = (one for one in list_devices(tmp_path, tmp_path) if one.kind == "camera")
    assert camera.detail == "/dev/video3, by-id/usb-Logitech_BRIO_8A2B-video-index0"


def test_nothing_at_all_says_what_to_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices_module, "audio_devices", list)
    listed = list_devices(tmp_path, tmp_path)
    assert all(device.missing for device in listed)
    assert [device.detail for device in listed] == [
        "none found: connect a microphone",
        "none found: connect a loudspeaker",
        "none found: connect a camera",
    ]


def test_without_pyaudio_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    microphone, loudspeaker, camera = list_devices(tmp_path, tmp_path)
    for device in (microphone, loudspeaker):
        assert device.missing
        assert "portaudio19-dev" in device.detail
    assert "connect a camera" in camera.detail
