"""Switching the microphone off closes it; PortAudio's hardware is what is played here."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_runtime.micro_turn import TURN_SAMPLES
from edge_runtime.sources import microphone as microphone_module
from edge_runtime.sources.microphone import MicrophoneSource

BLOCK = TURN_SAMPLES // 10


class Stream:
    def __init__(self, hardware: Hardware, input: bool, callback: Callable[..., Any]) -> None:
        self.hardware, self.input, self.callback = hardware, input, callback
        self.open = True

    def start_stream(self) -> None:
        with self.hardware.changed:
            self.hardware.streams.append(self)
            self.hardware.changed.notify_all()

    def close(self) -> None:
        with self.hardware.changed:
            self.open = False
            self.hardware.changed.notify_all()

    def get_input_latency(self) -> float:
        return 0.0

    get_output_latency = get_input_latency

    def pass_a_turn(self) -> bytes:
        """200 ms of sound go by; returns what was played."""
        heard = np.full(BLOCK, 0.25, np.float32).tobytes() if self.input else None
        blocks = [self.callback(heard, BLOCK, None, 0) for _ in range(TURN_SAMPLES // BLOCK)]
        return b"".join(data for data, _ in blocks)


class Hardware:
    """One microphone and one loudspeaker."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.streams: list[Stream] = []
        self.refuses = 0

    def get_device_count(self) -> int:
        return 1

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        return {
            "name": "headset",
            "index": 0,
            "maxInputChannels": 1,
            "maxOutputChannels": 1,
            "defaultSampleRate": 16_000.0,
        }

    def get_default_input_device_info(self) -> dict[str, Any]:
        return {"index": 0}

    get_default_output_device_info = get_default_input_device_info

    def terminate(self) -> None:
        assert not any(stream.open for stream in self.streams), "a stream was left open"

    def open(self, *, input: bool, stream_callback: Callable[..., Any], **more: Any) -> Stream:
        assert ("input_device_index" in more) == input
        if self.refuses:
            self.refuses -= 1
            raise OSError("device busy")
        return Stream(self, input, stream_callback)

    def await_stream(self, input: bool) -> Stream:
        """The one that is open, once it is of this kind and the only one."""

        def found() -> list[Stream]:
            return [stream for stream in self.streams if stream.open]

        with self.changed:
            assert self.changed.wait_for(
                lambda: [stream.input for stream in found()] == [input], timeout=30
            )
            return found()[0]


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hardware]:
    there = Hardware()
    pyaudio = types.SimpleNamespace(PyAudio=lambda: there, paFloat32=1)
    monkeypatch.setitem(sys.modules, "pyaudio", pyaudio)
    monkeypatch.setattr(microphone_module, "RETRY_S", 0.001)
    yield there
    assert not any(stream.open for stream in there.streams)


def test_off_closes_the_microphone_and_goes_on_playing(hardware: Hardware) -> None:
    with MicrophoneSource() as source:
        hardware.await_stream(input=True).pass_a_turn()
        assert source.read_turn().pcm[0].any()
        source.switch(False)
        deaf = hardware.await_stream(input=False)
        source.play(np.full(2 * TURN_SAMPLES, 0.5, np.float32))
        played = np.frombuffer(deaf.pass_a_turn(), np.float32)
        assert played[-1] == 0.5
        reading = source.read_turn()
        assert not reading.pcm[0].any()
        assert reading.pcm[1].any()
        assert reading.lost_samples == TURN_SAMPLES
        source.switch(True)
        hardware.await_stream(input=True).pass_a_turn()
        reading = source.read_turn()
        assert reading.pcm[0].all()
        assert reading.lost_samples == 0


def test_what_was_captured_before_is_not_handed_out_after(hardware: Hardware) -> None:
    with MicrophoneSource() as source:
        hardware.await_stream(input=True).pass_a_turn()
        source.switch(False)
        assert not source.read_turn().pcm[0].any()


def test_a_device_that_is_busy_is_tried_again(hardware: Hardware) -> None:
    with MicrophoneSource() as source:
        hardware.await_stream(input=True)
        hardware.refuses = 3
        source.switch(False)
        hardware.await_stream(input=False)
        assert hardware.refuses == 0


def test_switching_waits_for_nothing(hardware: Hardware) -> None:
    """Also not for a device that takes its time to open."""
    gate = threading.Event()
    opening = hardware.open

    def slow(**options: Any) -> Stream:
        assert gate.wait(30)
        return opening(**options)

    with MicrophoneSource() as source:
        hardware.await_stream(input=True)
        hardware.open = slow  # type: ignore[method-assign]
        for on in (False, True, False):
            source.switch(on)
        gate.set()
        hardware.await_stream(input=False)


def test_it_can_be_left_while_it_is_off(hardware: Hardware) -> None:
    before = threading.active_count()
    with MicrophoneSource() as source:
        source.switch(False)
        hardware.await_stream(input=False)
    assert threading.active_count() == before
