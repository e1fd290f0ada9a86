"""Speech from a topic through PortAudio's hardware, which is what is played here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from played_hardware import BLOCK, Card, Hardware, Stream

from edge_runtime.errors import SourceError
from edge_runtime.health import State
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sound_status import DeviceState
from edge_runtime.sources import sound_opener
from edge_runtime.sources.loudspeaker import Loudspeaker

CUSHION = SAMPLE_RATE_HZ * 50 // 1000
SILENCE, SPEECH = 0, 16_384


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hardware]:
    there = Hardware(Card("speaker", inputs=0), Card("headset"))
    there.install(monkeypatch)
    monkeypatch.setattr(sound_opener, "MEASURE_S", 0.0)
    yield there
    assert not any(stream.open for stream in there.streams)


def message(level: int, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> Any:
    data = np.full(TURN_SAMPLES, level, np.int16)
    return SimpleNamespace(sample_rate_hz=rate_hz, channels=channels, data=data)


def played(stream: Stream, samples: int) -> Pcm:
    blocks = [stream.pass_block() for _ in range(samples // BLOCK)]
    return np.frombuffer(b"".join(blocks), np.float32)


def begin_of_speech(pcm: Pcm) -> int:
    return int(np.flatnonzero(pcm)[0])


def test_only_the_loudspeaker_is_opened(hardware: Hardware) -> None:
    with Loudspeaker("head") as sound:
        stream = hardware.await_stream(input=False)
        assert stream.mouth is hardware.cards[1]
        _, part = sound.status().parts()
        assert (part.state, part.values["device"]) == (State.OK, "headset")


def test_blocks_follow_each_other_after_a_cushion(hardware: Hardware) -> None:
    with Loudspeaker() as sound:
        stream = hardware.await_stream(input=False)
        sound.feed(message(SPEECH))
        first = played(stream, TURN_SAMPLES)
        sound.feed(message(SPEECH))
        second = played(stream, TURN_SAMPLES)
    assert begin_of_speech(first) == CUSHION
    assert (first[CUSHION:] == 0.5).all() and (second == 0.5).all()


def onset(sound: Loudspeaker, stream: Stream, late: list[int]) -> int:
    """When speech begins, from the time at which its block is due: it comes last, and each block
    so many samples late."""
    given = 0
    for turn, samples in enumerate(late):
        arrival = turn * TURN_SAMPLES + samples
        played(stream, arrival - given)
        given = arrival
        sound.feed(message(SPEECH if turn == len(late) - 1 else SILENCE))
    return late[-1] + begin_of_speech(played(stream, 2 * TURN_SAMPLES))


@pytest.mark.parametrize(
    "late", [[0, 0, 0], [0, BLOCK, 0], [0, 0, BLOCK], [0, BLOCK, BLOCK, 0, BLOCK, 0]]
)
def test_blocks_that_come_unevenly_are_played_equally_late(
    hardware: Hardware, late: list[int]
) -> None:
    with Loudspeaker() as sound:
        assert onset(sound, hardware.await_stream(input=False), late) == CUSHION


@pytest.mark.parametrize("late", [2 * BLOCK, 5 * BLOCK])
def test_a_sender_that_falls_behind_gets_its_cushion_again(hardware: Hardware, late: int) -> None:
    with Loudspeaker() as sound:
        stream = hardware.await_stream(input=False)
        assert onset(sound, stream, [0, 0, late, late, late]) == CUSHION + late


def test_a_block_that_is_lost_is_silence_and_moves_nothing(hardware: Hardware) -> None:
    with Loudspeaker() as sound:
        stream = hardware.await_stream(input=False)
        sound.feed(message(SPEECH))
        played(stream, TURN_SAMPLES)
        lost = played(stream, TURN_SAMPLES)
        sound.feed(message(SPEECH))
        after = played(stream, TURN_SAMPLES)
    assert (lost[:CUSHION] == 0.5).all() and not lost[CUSHION:].any()
    assert begin_of_speech(after) == CUSHION


def test_where_nobody_sends_any_more_nothing_is_missing(hardware: Hardware) -> None:
    with Loudspeaker() as sound:
        (stream,) = hardware.streams
        sound.feed(message(SPEECH))
        played(stream, 30 * SAMPLE_RATE_HZ)
        missing = sound.status().underrun_samples
        assert 0.5 * SAMPLE_RATE_HZ < missing < 1.5 * SAMPLE_RATE_HZ
        sound.feed(message(SPEECH))
        played(stream, 2 * TURN_SAMPLES)
        assert sound.status().underrun_samples > missing, "it counts again"


def test_what_comes_all_at_once_is_not_said_long_after(hardware: Hardware) -> None:
    with Loudspeaker() as sound:
        stream = hardware.await_stream(input=False)
        for _ in range(5):
            sound.feed(message(SPEECH))
        assert np.count_nonzero(played(stream, 5 * TURN_SAMPLES)) == 2 * TURN_SAMPLES


def test_one_that_is_taken_away_is_opened_again_and_says_nothing_of_before(
    hardware: Hardware,
) -> None:
    with Loudspeaker("speaker") as sound:
        hardware.await_stream(input=False)
        taken = hardware.cards.pop(0)
        hardware.await_streams(lambda those: not those)
        assert sound.status().loudspeaker.state is DeviceState.LOST
        sound.feed(message(SPEECH))
        hardware.cards.append(taken)
        stream = hardware.await_stream(input=False, after=1)
        assert not played(stream, TURN_SAMPLES).any()
        sound.feed(message(SPEECH))
        assert played(stream, TURN_SAMPLES).any()
        assert sound.status().loudspeaker.state is DeviceState.PRESENT


def test_one_that_comes_late_is_waited_for(hardware: Hardware) -> None:
    late = hardware.cards.pop(0)
    with Loudspeaker("speaker") as sound:
        _, part = sound.status().parts()
        assert part.state is State.FAILED and "No loudspeaker is called 'speaker'" in part.reason
        hardware.cards.append(late)
        assert hardware.await_stream(input=False).mouth is late


def test_another_form_of_sound_is_refused_once_in_words(
    hardware: Hardware, caplog: pytest.LogCaptureFixture
) -> None:
    with Loudspeaker() as sound, caplog.at_level(logging.WARNING):
        stream = hardware.await_stream(input=False)
        sound.feed(message(SPEECH, rate_hz=48_000))
        sound.feed(message(SPEECH, channels=2))
        assert not played(stream, TURN_SAMPLES).any()
        assert sound.refused_blocks == 2
    assert "sound of 48000 Hz and 1 channels" in caplog.text
    assert len(caplog.records) == 1


def test_without_pyaudio_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(SourceError, match=r"loudspeaker needs PyAudio .* portaudio19-dev"):
        Loudspeaker().__enter__()
