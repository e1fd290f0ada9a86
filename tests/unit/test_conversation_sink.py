"""The conversation as a sound file: left the person, right the device."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal

from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    StereoPcm,
    Timings,
    TurnRecord,
)
from edge_runtime.sinks.conversation import ConversationFile


def record(audio: StereoPcm) -> TurnRecord:
    turn = MicroTurn(0, 0, audio.astype(np.float32))
    return TurnRecord(turn, EngineOutput(0, {}), Decision(0, "listen"), Timings())


def written(path: Path, turns: list[StereoPcm]) -> np.ndarray:
    """int16 (2, n), as another program reads it."""
    with ConversationFile(path) as sink:
        for audio in turns:
            sink.publish(record(audio))
    samples, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    assert rate_hz == 16_000
    return samples.T


def test_left_is_the_person_and_right_the_device_sample_for_sample(tmp_path: Path) -> None:
    samples = np.random.default_rng(3).integers(-32768, 32768, (5, 2, TURN_SAMPLES), np.int16)
    heard = written(tmp_path / "conversation.wav", [turn / np.float32(32768) for turn in samples])
    assert_array_equal(heard, np.concatenate(list(samples), axis=1), strict=True)


def test_what_is_too_loud_is_clipped_and_does_not_wrap_around(tmp_path: Path) -> None:
    audio = np.zeros((2, TURN_SAMPLES), np.float32)
    audio[0, :4] = [1.0, 2.0, -1.0, -3.0]
    heard = written(tmp_path / "loud.wav", [audio])
    assert heard[0, :5].tolist() == [32767, 32767, -32768, -32768, 0]


def test_a_run_without_a_turn_leaves_an_empty_readable_file(tmp_path: Path) -> None:
    assert written(tmp_path / "deep" / "er" / "empty.wav", []).shape == (2, 0)


def test_turns_after_the_end_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "conversation.wav"
    with ConversationFile(path) as sink:
        sink.publish(record(np.zeros((2, TURN_SAMPLES))))
    sink.publish(record(np.ones((2, TURN_SAMPLES))))
    assert soundfile.info(path).frames == TURN_SAMPLES


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_stops_the_file_and_not_the_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "conversation.wav"
    path.symlink_to("/dev/full")
    with caplog.at_level(logging.WARNING), ConversationFile(path) as sink:
        for _ in range(5):
            sink.publish(record(np.ones((2, TURN_SAMPLES))))
    assert "recording stopped" in caplog.text
