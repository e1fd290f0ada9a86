"""What the sound libraries say about devices that are not there is for nobody; all else is."""

from __future__ import annotations

import ctypes
import os
import subprocess

import pytest
from played_hardware import Card, Hardware, Stream

from edge_runtime.sources.portaudio import PortAudio, StreamForm, explain


def words(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.split()


def say(what: str) -> None:
    """As JACK and PortAudio say it, then as another thread's log and a program do."""
    ctypes.CDLL(None).perror(f"library-{what}".encode())
    os.write(2, f"log-{what}\n".encode())
    subprocess.run(["sh", "-c", f"echo program-{what} >&2"], check=True)


def test_only_the_libraries_are_silent_while_a_device_is_opened(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hardware = Hardware(Card())
    hardware.install(monkeypatch)
    initialise, opening = hardware._initialise, hardware.open

    def open_(**options: object) -> Stream:
        say("open")
        return opening(**options)  # type: ignore[arg-type]

    def begin() -> Hardware:
        say("begin")
        return initialise()

    monkeypatch.setattr("pyaudio.PyAudio", begin)
    monkeypatch.setattr(hardware, "open", open_)
    with PortAudio() as portaudio:
        assert words(capfd) == ["log-begin", "program-begin"]
        portaudio.renew()
        assert words(capfd) == ["log-begin", "program-begin"]
        microphone = portaudio.devices()[0]
        form = StreamForm(16_000, 80, heard=1)
        stream = portaudio.open(form, microphone, None, lambda *block: (None, 0))
        assert words(capfd) == ["log-open", "program-open"]
        stream.close().join()
    say("after")
    told = words(capfd)
    assert told[0].startswith("library-after:") and told[-2:] == ["log-after", "program-after"]


def test_the_real_libraries_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyaudio")
    with PortAudio() as portaudio:
        portaudio.renew()
    assert words(capfd) == []


def test_a_card_that_a_desktop_has_is_told_with_what_can_work_for_a_service() -> None:
    told = explain(OSError(-9985, "Device unavailable"))
    assert told.startswith("Device unavailable. Another program has it to itself")
    assert "A service cannot use those of a desktop: docs/service.md" in told
