"""A micro-turn becomes the tensors that the manifest asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_model import checked_manifest

from edge_runtime.inference.encode import Encoder, fitted
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    BackgroundState,
    Event,
    EventKind,
    Frame,
    MicroTurn,
    VoiceState,
)

SILENCE = np.zeros((2, TURN_SAMPLES), np.float32)


def turn(**what: Any) -> MicroTurn:
    return MicroTurn(**{"index": 0, "deadline_ns": 0, "audio": SILENCE, **what})


def encoded(changes: dict[str, Any] | None = None, **what: Any) -> dict[str, NDArray[Any]]:
    encoder = Encoder(checked_manifest(changes))
    arrays = encoder.arrays()
    encoder.encode(turn(**what), arrays)
    return arrays


def picture(height: int, width: int, value: int = 0) -> Frame:
    return np.full((height, width, 3), value, np.uint8)


def seen(frame: Frame) -> Frame:
    """What the tiny model gets: 4 rows, 6 columns."""
    result: Frame = encoded(frame=frame)["frame"][0]
    return result


def test_the_arrays_are_those_of_the_manifest() -> None:
    arrays = Encoder(checked_manifest()).arrays()
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "audio": ((1, 2, 3200), "float32"),
        "frame": ((1, 4, 6, 3), "uint8"),
        "frame_valid": ((1, 1), "float32"),
        "events": ((1, 3), "float32"),
        "status": ((1, 5), "float32"),
    }


def test_both_channels_of_sound_arrive_in_their_places() -> None:
    microphone = np.linspace(-1, 1, TURN_SAMPLES, dtype=np.float32)
    audio = encoded(audio=np.stack([microphone, -0.5 * microphone]))["audio"]
    np.testing.assert_array_equal(audio, [[microphone, -0.5 * microphone]])


def test_a_model_may_name_its_tensors_as_it_likes() -> None:
    arrays = encoded({"inputs.0.name": "ears"}, audio=SILENCE + 0.25)
    assert (arrays["ears"] == 0.25).all()
    assert "audio" not in arrays


def test_encoding_leaves_the_turn_alone() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    audio = SILENCE + 0.5
    before = frame.copy()
    arrays = encoded(frame=frame, audio=audio)
    arrays["audio"][:] = 0
    arrays["frame"][:] = 0
    np.testing.assert_array_equal(frame, before)
    assert (audio == 0.5).all()


def test_turns_to_be_kept_have_small_pictures_and_encode_to_the_same() -> None:
    manifest = checked_manifest()
    first, second = np.random.default_rng(1).integers(0, 256, (2, 48, 64, 3), np.uint8)
    turns = [turn(frame=frame) for frame in (first, second, second, None, picture(4, 6, 7))]
    kept = list(fitted(turns, manifest))
    assert [one.frame.shape for one in kept if one.frame is not None] == [(4, 6, 3)] * 4
    assert kept[2].frame is kept[1].frame, "a picture that stays is kept once"
    for full, small in zip(turns, kept, strict=True):
        for name, array in encoded(frame=full.frame).items():
            np.testing.assert_array_equal(array, encoded(frame=small.frame)[name])


class TestFrame:
    def test_a_picture_of_the_models_size_is_not_touched(self) -> None:
        frame = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
        np.testing.assert_array_equal(seen(frame), frame)

    def test_a_wide_picture_loses_its_sides(self) -> None:
        frame = picture(40, 100)
        frame[:, 20:80] = 200  # the middle 40 x 60 has the model's proportions
        assert (seen(frame) == 200).all()

    def test_a_tall_picture_loses_its_top_and_bottom(self) -> None:
        frame = picture(100, 60)
        frame[30:70] = 200
        assert (seen(frame) == 200).all()

    def test_what_is_left_of_the_middle_stays_left(self) -> None:
        frame = picture(40, 60)
        frame[:20, :30] = (255, 0, 0)
        frame[20:, 30:] = (0, 0, 255)
        small = seen(frame)
        assert (small[:2, :3] == (255, 0, 0)).all()
        assert (small[2:, 3:] == (0, 0, 255)).all()
        assert (small[2:, :3] == 0).all()

    def test_a_pixel_is_the_mean_of_what_it_covers(self) -> None:
        """Averaging over the area keeps fine patterns from flickering between frames."""
        stripes = picture(40, 60)
        stripes[:, ::2] = 200
        assert (seen(stripes) == 100).all()

    def test_a_smaller_picture_is_enlarged(self) -> None:
        assert (seen(picture(2, 3, value=77)) == 77).all()

    @pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (480, 640), (1080, 1920)])
    def test_any_size_fits(self, size: tuple[int, int]) -> None:
        assert (seen(picture(*size, value=9)) == 9).all()

    def test_a_view_of_a_larger_picture_fits(self) -> None:
        """Cameras give mirrored and cropped views that are not contiguous."""
        frame = picture(40, 60)
        frame[:, :30] = 200
        small = seen(frame[:, ::-1])
        assert (small[:, :3] == 0).all()
        assert (small[:, 3:] == 200).all()

    def test_the_model_is_told_whether_there_is_one(self) -> None:
        assert encoded(frame=picture(4, 6))["frame_valid"].tolist() == [[1.0]]
        assert encoded(frame=None)["frame_valid"].tolist() == [[0.0]]

    def test_a_missing_picture_leaves_nothing_of_the_last_one(self) -> None:
        encoder = Encoder(checked_manifest())
        arrays = encoder.arrays()
        encoder.encode(turn(frame=picture(4, 6, value=200)), arrays)
        encoder.encode(turn(frame=None), arrays)
        assert not arrays["frame"].any()
        assert not arrays["frame_valid"].any()

    def test_a_model_without_eyes_ignores_pictures(self) -> None:
        ears = [{"name": "audio", "role": "audio", "shape": [1, 2, 3200], "dtype": "float32"}]
        assert list(encoded({"inputs": ears}, frame=picture(4, 6))) == ["audio"]


class TestEvents:
    """The tiny model knows utterance_started, result and link_up, in this order."""

    @pytest.mark.parametrize(
        ("kinds", "vector"),
        [
            ([], [0, 0, 0]),
            ([EventKind.RESULT], [0, 1, 0]),
            ([EventKind.LINK_UP, EventKind.UTTERANCE_STARTED], [1, 0, 1]),
            ([EventKind.RESULT, EventKind.RESULT], [0, 1, 0]),
            ([EventKind.LINK_DOWN, EventKind.LINK_UP], [0, 0, 1]),
        ],
        ids=["none", "one", "two", "twice the same", "one the model does not know"],
    )
    def test_each_event_has_its_place(self, kinds: list[EventKind], vector: list[int]) -> None:
        events = tuple(Event(kind, id="x", text="whatever it says") for kind in kinds)
        assert encoded(events=events)["events"].tolist() == [vector]

    def test_an_event_is_told_once(self) -> None:
        encoder = Encoder(checked_manifest())
        arrays = encoder.arrays()
        encoder.encode(turn(events=(Event(EventKind.RESULT),)), arrays)
        encoder.encode(turn(), arrays)
        assert not arrays["events"].any()


class TestStatus:
    """In the tiny model's order: speaking, seconds_left, pending, result_ready, link_up."""

    @pytest.mark.parametrize(
        ("voice", "background", "vector"),
        [
            (VoiceState(), BackgroundState(), [0, 0, 0, 0, 1]),
            (VoiceState("u1", 1.25), BackgroundState(), [1, 0.125, 0, 0, 1]),
            (VoiceState("u1", 0.0), BackgroundState(pending=True), [1, 0, 1, 0, 1]),
            (VoiceState(), BackgroundState(result_ready=True), [0, 0, 0, 1, 1]),
            (VoiceState(), BackgroundState(link_up=False), [0, 0, 0, 0, 0]),
        ],
    )
    def test_each_state_has_its_place(
        self, voice: VoiceState, background: BackgroundState, vector: list[float]
    ) -> None:
        assert encoded(voice=voice, background=background)["status"].tolist() == [vector]

    @pytest.mark.parametrize(
        ("seconds", "share"), [(-1.0, 0.0), (1.0, 0.1), (2.0, 0.2), (60.0, 0.2)]
    )
    def test_no_answer_is_longer_than_those_the_model_knows(
        self, seconds: float, share: float
    ) -> None:
        status = encoded(voice=VoiceState("u1", seconds))["status"]
        assert status[0, 1] == np.float32(share)

    def test_the_manifest_chooses_the_order(self) -> None:
        changes = {"vocabularies.status": ["link_up", "speaking"], "inputs.4.shape": [1, 2]}
        voice, background = VoiceState("u1", 1.0), BackgroundState(link_up=False)
        assert encoded(changes, voice=voice, background=background)["status"].tolist() == [[0, 1]]

    def test_a_state_this_runtime_does_not_have_reads_as_zero(self) -> None:
        changes = {"vocabularies.status.0": "battery"}
        status = encoded(changes, voice=VoiceState("u1", 1.25))["status"]
        assert status.tolist() == [[0, 0.125, 0, 0, 1]]
