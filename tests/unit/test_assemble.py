"""The newest sound and picture become one micro-turn; what is missing is said, not made up."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
import soundfile
from typing_extensions import Self

from edge_runtime.assemble import Assembler
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    AudioReading,
    BackgroundState,
    Event,
    EventKind,
    FrameReading,
    MicroTurn,
    VoiceState,
)
from edge_runtime.pacing import VirtualClock
from edge_runtime.sources.recording import RecordingSource

SECOND_NS = 1_000_000_000
PICTURE = np.full((4, 6, 3), 7, np.uint8)


class OnePicture:
    """A camera whose newest picture was taken at `captured_ns`; None: it has none."""

    def __init__(self, captured_ns: int | None) -> None:
        self.captured_ns = captured_ns
        self.asked_ns: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def latest(self, now_ns: int) -> FrameReading | None:
        self.asked_ns.append(now_ns)
        return None if self.captured_ns is None else FrameReading(PICTURE, self.captured_ns)


def reading(captured_ns: int = SECOND_NS, lost_samples: int = 0) -> AudioReading:
    pcm = np.full((2, TURN_SAMPLES), 0.25, np.float32)
    return AudioReading(pcm, lost_samples, captured_ns, direction_rad=0.5)


def assembled(assembler: Assembler, one: AudioReading) -> MicroTurn:
    return assembler.assemble(3, one, [], VoiceState(), BackgroundState())


def test_everything_given_is_in_the_turn_and_unchanged() -> None:
    sound = reading(lost_samples=5)
    events = [Event(EventKind.RESULT, "request-1", "noon"), Event(EventKind.LINK_UP)]
    voice, background = VoiceState("utterance-1", 0.5), BackgroundState(True, True, False)
    turn = Assembler(None).assemble(7, sound, events, voice, background)
    assert turn.audio is sound.pcm
    assert (turn.index, turn.lost_samples, turn.direction_rad) == (7, 5, 0.5)
    assert turn.events == tuple(events)
    assert (turn.voice, turn.background) == (voice, background)


def test_the_deadline_is_one_turn_after_the_last_sample() -> None:
    assert assembled(Assembler(None), reading(SECOND_NS)).deadline_ns == SECOND_NS + 200_000_000


def test_samples_that_never_came_are_zeros_and_counted() -> None:
    pcm = np.zeros((2, TURN_SAMPLES), np.float32)
    pcm[0, :1000] = 0.5
    turn = assembled(Assembler(None), AudioReading(pcm, TURN_SAMPLES - 1000, SECOND_NS))
    assert turn.lost_samples == TURN_SAMPLES - 1000
    assert (turn.audio[0, :1000] == 0.5).all()
    assert not turn.audio[0, 1000:].any()


def test_the_end_of_a_file_is_silence_and_no_loss(tmp_path: Path) -> None:
    count = TURN_SAMPLES + 1000
    soundfile.write(tmp_path / "talk.wav", np.full(count, 0.5, np.float32), 16_000, "FLOAT")
    turns = []
    with RecordingSource(tmp_path / "talk.wav", None, False, VirtualClock()) as source:
        while (one := source.read_turn()) is not None:
            turns.append(assembled(Assembler(None), one))
    assert [turn.lost_samples for turn in turns] == [0, 0]
    assert (turns[1].audio[0, :1000] == 0.5).all()
    assert not turns[1].audio[0, 1000:].any()


@pytest.mark.parametrize("age_ms", [0.0, 33.0, 600.0])
def test_a_fresh_picture_is_in_the_turn_with_its_age(age_ms: float) -> None:
    camera = OnePicture(SECOND_NS - int(age_ms * 1e6))
    assembler = Assembler(camera, max_frame_age_ms=600.0)
    turn = assembled(assembler, reading())
    assert turn.frame is PICTURE
    assert turn.frame_age_ms == age_ms
    assert assembler.stale_frames == 0


def test_an_old_picture_is_left_out_counted_and_its_age_told() -> None:
    camera = OnePicture(SECOND_NS - 601_000_000)
    assembler = Assembler(camera, max_frame_age_ms=600.0)
    turn = assembled(assembler, reading())
    assert (turn.frame, turn.frame_age_ms) == (None, 601.0)
    assembled(assembler, reading())
    assert assembler.stale_frames == 2
    camera.captured_ns = SECOND_NS
    assert assembled(assembler, reading()).frame is PICTURE
    assert assembler.stale_frames == 2


def test_a_camera_without_a_picture_is_counted() -> None:
    assembler = Assembler(OnePicture(None))
    turn = assembled(assembler, reading())
    assert (turn.frame, turn.frame_age_ms) == (None, None)
    assert assembler.stale_frames == 1


def test_no_camera_is_not_a_missing_picture() -> None:
    assembler = Assembler(None)
    turn = assembled(assembler, reading())
    assert (turn.frame, turn.frame_age_ms) == (None, None)
    assert assembler.stale_frames == 0


def test_the_picture_is_that_of_the_sounds_last_sample() -> None:
    camera = OnePicture(SECOND_NS)
    assembled(Assembler(camera), reading(captured_ns=5 * SECOND_NS))
    assert camera.asked_ns == [5 * SECOND_NS]


def test_a_picture_newer_than_the_sound_is_of_age_zero() -> None:
    turn = assembled(Assembler(OnePicture(2 * SECOND_NS)), reading())
    assert turn.frame is PICTURE
    assert turn.frame_age_ms == 0.0
