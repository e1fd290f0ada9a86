"""Switching the microphone off closes it; PortAudio's hardware is what is played here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from played_hardware import BLOCK, FIRST, Card, Hardware, Stream

from edge_runtime.micro_turn import TURN_SAMPLES
from edge_runtime.sound_status import DeviceState
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.sources.sound_plan import Wanted


def microphone_source() -> MicrophoneSource:
    return MicrophoneSource(Wanted(block_ms=20.0))


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hardware]:
    there = Hardware(Card())
    there.install(monkeypatch)
    yield there
    assert not any(stream.open for stream in there.streams)


def test_off_closes_the_microphone_and_goes_on_playing(hardware: Hardware) -> None:
    with microphone_source() as source:
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
        hearing = hardware.await_stream(input=True)
        for _ in range(2):
            hearing.pass_a_turn()
        reading = source.read_turn()
        assert reading.pcm[0].all()
        assert reading.lost_samples == 0


def test_an_array_that_is_off_leaves_the_loudspeaker(hardware: Hardware) -> None:
    hardware.cards[:] = [Card("array", 4, 2)]
    with MicrophoneSource(Wanted(channels=4, block_ms=20.0)) as source:
        hardware.await_streams(lambda those: len(those) == 2)
        source.switch(False)
        deaf = hardware.await_stream(input=False, after=2)
        source.play(np.full(2 * TURN_SAMPLES, 0.5, np.float32))
        assert np.frombuffer(deaf.pass_a_turn(), np.float32)[-1] == 0.5
        assert source.status().loudspeaker.state is DeviceState.PRESENT


def test_what_was_captured_before_is_not_handed_out_after(hardware: Hardware) -> None:
    with microphone_source() as source:
        hardware.await_stream(input=True).pass_a_turn()
        source.switch(False)
        assert not source.read_turn().pcm[0].any()


def test_what_was_captured_while_it_was_off_is_not_handed_out_once_it_is_on(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was off for less than a micro-turn, and was never closed."""
    with microphone_source() as source:
        hearing = hardware.await_stream(input=True)
        before = FIRST * BLOCK
        monkeypatch.setattr(source._sound, "switch", lambda on: None)  # it has not got to it yet
        source.switch(False)
        hearing.ears = Card(heard=0.75)
        for _ in range(4):
            hearing.pass_block()
        source.switch(True)
        hearing.ears = Card(heard=0.25)
        for _ in range(3):
            hearing.pass_block()
            source.switch(True)  # again: what was heard since is not forgotten
        reading = source.read_turn()
        off = before + 4 * BLOCK
        assert not reading.pcm[0, :off].any()
        assert (reading.pcm[0, off:] == np.float32(0.25)).all()
        assert reading.lost_samples == off


def test_a_device_that_is_busy_is_tried_again(hardware: Hardware) -> None:
    with microphone_source() as source:
        hardware.await_stream(input=True)
        hardware.refuses = 50
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

    with microphone_source() as source:
        hardware.await_stream(input=True)
        hardware.open = slow  # type: ignore[method-assign]
        for on in (False, True, False):
            source.switch(on)
        gate.set()
        hardware.await_stream(input=False)


def test_it_can_be_left_while_it_is_off(hardware: Hardware) -> None:
    before = threading.active_count()
    with microphone_source() as source:
        source.switch(False)
        hardware.await_stream(input=False)
    assert threading.active_count() == before


def test_off_before_it_is_entered_the_microphone_is_not_opened(hardware: Hardware) -> None:
    source = microphone_source()
    source.switch(False)
    with source:
        deaf = hardware.await_stream(input=False)
        assert not any(stream.input for stream in hardware.streams)
        assert source.status().microphone.state is DeviceState.OFF
        source.play(np.full(2 * TURN_SAMPLES, 0.5, np.float32))
        assert np.frombuffer(deaf.pass_a_turn(), np.float32)[-1] == 0.5
        source.switch(True)
        hearing = hardware.await_stream(input=True)
        for _ in range(2):
            hearing.pass_a_turn()
        assert source.read_turn().pcm[0].any()
