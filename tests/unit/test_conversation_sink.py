"""The conversation as a sound file: left the person, right the device."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

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
from edge_runtime.sinks import conversation
from edge_runtime.sinks.conversation import HEADER_TURNS, LONGEST_TURNS, ConversationFile


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


def test_what_was_written_before_a_kill_is_heard_but_for_its_last_seconds(tmp_path: Path) -> None:
    path = tmp_path / "conversation.wav"
    program = f"""
import os, signal
from pathlib import Path
import numpy as np
from edge_runtime.micro_turn import Decision, EngineOutput, MicroTurn, Timings, TurnRecord
from edge_runtime.sinks.conversation import ConversationFile

turn = MicroTurn(0, 0, np.full((2, {TURN_SAMPLES}), 0.5, np.float32))
with ConversationFile(Path({str(path)!r})) as sink:
    for _ in range(60):
        sink.publish(TurnRecord(turn, EngineOutput(0, {{}}), Decision(0, "listen"), Timings()))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -SIGKILL
    samples, _ = soundfile.read(path)
    assert 60 - HEADER_TURNS < len(samples) / TURN_SAMPLES <= 60
    assert_array_equal(samples, 0.5)


def test_what_one_file_cannot_take_goes_into_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "LONGEST_TURNS", 3)
    levels = [n / 10 for n in range(1, 8)]
    path = tmp_path / "conversation.wav"
    with ConversationFile(path) as sink:
        for level in levels:
            sink.publish(record(np.full((2, TURN_SAMPLES), level)))
    names = ["conversation.wav", "conversation-2.wav", "conversation-3.wav"]
    assert [one.name for one in sink.paths] == names
    heard = np.concatenate([soundfile.read(tmp_path / name)[0] for name in names])
    assert heard[::TURN_SAMPLES, 0] == pytest.approx(levels, abs=1e-4)
    assert heard.shape == (7 * TURN_SAMPLES, 2)


def test_a_file_that_is_full_still_fits_the_format() -> None:
    assert LONGEST_TURNS * TURN_SAMPLES * 2 * 2 < 2**32 - 100


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
