"""A recording behaves like a microphone, a loudspeaker and a camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from edge_runtime.errors import SourceError
from edge_runtime.interfaces import AudioSource, FrameSource
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, AudioReading, Pcm
from edge_runtime.pacing import TURN_NS, MonotonicClock, VirtualClock
from edge_runtime.sources.recording import RecordingSource


@pytest.fixture
def noise() -> Pcm:
    """1.1 s: five and a half micro-turns."""
    count = 11 * TURN_SAMPLES // 2
    return np.random.default_rng(1).uniform(-0.5, 0.5, count).astype(np.float32)


@pytest.fixture
def sound(tmp_path: Path, noise: Pcm) -> Path:
    soundfile.write(tmp_path / "talk.wav", noise, SAMPLE_RATE_HZ, subtype="FLOAT")
    return tmp_path / "talk.wav"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight pictures of 0.2 s; number n has the level 20 n."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((4, 6, 3), 20 * index, np.uint8))
    return folder


def read_all(source: AudioSource) -> list[AudioReading]:
    readings = []
    while (reading := source.read_turn()) is not None:
        readings.append(reading)
    return readings


def level(source: FrameSource, now_ns: int) -> int | None:
    reading = source.latest(now_ns)
    return None if reading is None else int(reading.frame[0, 0, 0])


def test_it_gives_the_file_in_turns_and_fills_the_last_one_up(sound: Path, noise: Pcm) -> None:
    clock = VirtualClock()
    with RecordingSource(sound, None, realtime=False, clock=clock) as source:
        readings = read_all(source)
        assert source.read_turn() is None
    assert [reading.lost_samples for reading in readings] == [0] * 6
    assert not readings[-1].pcm[0, TURN_SAMPLES // 2 :].any()
    assert {reading.pcm.shape for reading in readings} == {(2, TURN_SAMPLES)}
    assert {reading.pcm.dtype for reading in readings} == {np.dtype(np.float32)}
    heard = np.concatenate([reading.pcm[0] for reading in readings])
    np.testing.assert_array_equal(heard[: noise.size], noise)
    assert not heard[noise.size :].any()


def test_a_turn_takes_200_ms_of_virtual_time(sound: Path) -> None:
    clock = VirtualClock()
    clock.sleep_until(77)
    with RecordingSource(sound, None, realtime=False, clock=clock) as source:
        for turn in range(6):
            reading = source.read_turn()
            assert reading is not None
            assert reading.captured_ns == clock.now_ns() == 77 + (turn + 1) * TURN_NS


def test_less_than_no_tail_is_none(sound: Path) -> None:
    with RecordingSource(sound, None, False, VirtualClock(), tail_turns=-5) as source:
        turns = 0
        while source.read_turn() is not None:
            turns += 1
            assert turns < 100


def test_tail_turns_are_meant_silence(sound: Path) -> None:
    with RecordingSource(sound, None, False, VirtualClock(), tail_turns=3) as source:
        readings = read_all(source)
    assert len(readings) == 6 + 3
    assert not any(reading.pcm.any() or reading.lost_samples for reading in readings[6:])


def test_what_is_played_comes_back_in_the_next_turn(sound: Path) -> None:
    blocks = [np.full(TURN_SAMPLES, 0.1 * (n + 1), np.float32) for n in range(5)]
    references = []
    with RecordingSource(sound, None, False, VirtualClock()) as source:
        for block in blocks:
            reading = source.read_turn()
            assert reading is not None
            references.append(reading.pcm[1])
            source.play(block)
    assert not references[0].any()
    for given, heard in zip(blocks[:-1], references[1:], strict=True):
        np.testing.assert_array_equal(heard, given)


def test_nothing_played_is_silence(sound: Path) -> None:
    with RecordingSource(sound, None, False, VirtualClock()) as source:
        assert not any(reading.pcm[1].any() for reading in read_all(source))


def test_blocks_given_in_one_turn_follow_each_other(sound: Path) -> None:
    with RecordingSource(sound, None, False, VirtualClock()) as source:
        source.play(np.full(100, 0.5, np.float32))
        source.play(np.full(TURN_SAMPLES, 0.25, np.float32))
        first, second = source.read_turn(), source.read_turn()
    assert first is not None
    assert second is not None
    reference = np.concatenate([first.pcm[1], second.pcm[1]])
    assert (reference[:100] == 0.5).all()
    assert (reference[100 : 100 + TURN_SAMPLES] == 0.25).all()
    assert not reference[100 + TURN_SAMPLES :].any()


def test_flush_drops_what_has_not_been_heard(sound: Path) -> None:
    with RecordingSource(sound, None, False, VirtualClock()) as source:
        assert source.flush(20.0) == 0
        source.play(np.ones(TURN_SAMPLES, np.float32))
        assert source.flush(20.0) == TURN_SAMPLES
        assert source.flush(20.0) == 0
        reading = source.read_turn()
    assert reading is not None
    assert not reading.pcm[1].any()


def test_flush_cannot_take_back_what_was_heard(sound: Path) -> None:
    with RecordingSource(sound, None, False, VirtualClock()) as source:
        source.play(np.ones(TURN_SAMPLES, np.float32))
        reading = source.read_turn()
        assert source.flush(20.0) == 0
    assert reading is not None
    assert reading.pcm[1].all()


def test_the_picture_follows_the_sound(sound: Path, pictures: Path) -> None:
    clock = VirtualClock()
    clock.sleep_until(10**9)
    shown = []
    with RecordingSource(sound, pictures, False, clock) as source:
        assert source.latest(clock.now_ns()) is None
        while (reading := source.read_turn()) is not None:
            shown.append(level(source, reading.captured_ns))
            frame = source.latest(reading.captured_ns)
            assert frame is not None
            assert frame.captured_ns == reading.captured_ns
    assert shown == [20, 40, 60, 80, 100, 120]


def test_a_video_that_ends_early_leaves_no_picture(sound: Path, pictures: Path) -> None:
    for name in ("3.png", "4.png", "5.png", "6.png", "7.png"):
        (pictures / name).unlink()
    shown = []
    with RecordingSource(sound, pictures, False, VirtualClock()) as source:
        assert source.descriptions[-1] == "the last 0.5 s of the sound have no picture"
        while (reading := source.read_turn()) is not None:
            shown.append(level(source, reading.captured_ns))
    assert shown == [20, 40, None, None, None, None]


@pytest.mark.parametrize("looked_at", [True, False])
def test_a_video_alone_is_silent_and_as_long_as_it_is(pictures: Path, looked_at: bool) -> None:
    with RecordingSource(None, pictures, False, VirtualClock(), tail_turns=2) as source:
        turns = 0
        while (reading := source.read_turn()) is not None:
            assert not reading.pcm.any()
            assert reading.lost_samples == 0
            turns += 1
            if looked_at:
                source.latest(reading.captured_ns)
    assert turns == 8 + 2


def test_sound_alone_has_no_picture(sound: Path) -> None:
    with RecordingSource(sound, None, False, VirtualClock()) as source:
        reading = source.read_turn()
        assert reading is not None
        assert source.latest(reading.captured_ns) is None


def test_it_says_what_it_does_with_the_files(sound: Path, pictures: Path) -> None:
    with RecordingSource(sound, pictures, False, VirtualClock()) as source:
        assert source.descriptions == [
            "sound talk.wav: 16000 Hz, 1 channel, 1.1 s, used as it is",
            "picture frames: 6x4, 8 pictures at 5 frames/s, 1.6 s",
            "the picture's last 0.5 s are left out: the sound is over",
        ]
    with RecordingSource(None, pictures, False, VirtualClock()) as source:
        assert source.descriptions[0] == "no sound: silence"
    with RecordingSource(sound, None, False, VirtualClock()) as source:
        assert source.descriptions[1] == "no picture"


def test_nothing_to_play_is_an_error() -> None:
    with pytest.raises(SourceError, match="--audio, --video or both"):
        RecordingSource(None, None, False, VirtualClock()).__enter__()


def test_a_missing_video_closes_the_sound(sound: Path, tmp_path: Path) -> None:
    source = RecordingSource(sound, tmp_path / "none.mp4", False, VirtualClock())
    with pytest.raises(SourceError, match=r"none\.mp4 does not exist"):
        source.__enter__()
    assert source._audio is not None
    with pytest.raises(RuntimeError, match="outside"):
        source._audio.read(1)


def test_in_real_time_a_turn_takes_200_ms(sound: Path) -> None:
    clock = MonotonicClock()
    with RecordingSource(sound, None, realtime=True, clock=clock) as source:
        began_ns = clock.now_ns()
        readings = []
        for _ in range(3):
            reading = source.read_turn()
            assert reading is not None
            assert reading.captured_ns <= clock.now_ns()
            readings.append(reading)
    due_ns = [reading.captured_ns for reading in readings]
    turns = sum(np.diff(due_ns)) // TURN_NS
    assert turns == 2 + source.skipped_turns
    assert clock.now_ns() - began_ns >= 3 * TURN_NS


def test_in_real_time_an_overrun_loses_the_sound_that_went_by(sound: Path, noise: Pcm) -> None:
    clock = VirtualClock()
    with RecordingSource(sound, None, realtime=True, clock=clock) as source:
        first = source.read_turn()
        source.play(np.ones(TURN_SAMPLES, np.float32))
        clock.sleep_until(clock.now_ns() + 7 * TURN_NS // 2)
        late = source.read_turn()
        after = source.read_turn()
    assert source.skipped_turns == 2
    assert first is not None
    assert late is not None
    assert after is not None
    assert late.captured_ns == first.captured_ns + 3 * TURN_NS
    assert after.captured_ns == late.captured_ns + TURN_NS
    np.testing.assert_array_equal(late.pcm[0], noise[3 * TURN_SAMPLES : 4 * TURN_SAMPLES])
    assert not late.pcm[1].any()
