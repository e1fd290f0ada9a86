"""Sound and pictures from topics: what arrives late, twice, damaged, or not at all."""

from __future__ import annotations

import array
import itertools
import logging
import math
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import WireError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Frame
from edge_runtime.sources.ros_pictures import compressed_picture, picture
from edge_runtime.sources.ros_topics import (
    StampClock,
    TopicCamera,
    TopicMicrophone,
    sound,
)

NOW_NS = 1_700_000_000 * 10**9
UP_NS = 50 * 10**9
"""The monotonic clock at the same moment."""
BLOCK = 320


def clock() -> StampClock:
    """Stands still."""
    return StampClock(lambda: NOW_NS, lambda: UP_NS)


def stamped(ns: int) -> SimpleNamespace:
    return SimpleNamespace(stamp=SimpleNamespace(sec=ns // 10**9, nanosec=ns % 10**9))


def heard(position: int, count: int = BLOCK, **more: Any) -> SimpleNamespace:
    """Samples that carry their own number (modulo 30,000, and never 0)."""
    numbers = (np.arange(position, position + count) % 30_000 + 1).astype(np.int16)
    message = {
        "header": stamped(NOW_NS),
        "position": position,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "channels": 1,
        "direction_rad": math.nan,
        "data": array.array("h", numbers.tobytes()),
    }
    return SimpleNamespace(**(message | more))


def numbers(pcm: Any) -> list[int]:
    return [round(value * 32768) for value in pcm.tolist()]


class TestMicrophone:
    def fed(self, *messages: SimpleNamespace) -> TopicMicrophone:
        microphone = TopicMicrophone(stamps=clock())
        for message in messages:
            microphone.feed(message)
        return microphone

    @pytest.mark.parametrize("count", [100, 320, 2_400, 3_200])
    def test_blocks_of_any_length_make_turns(self, count: int) -> None:
        microphone = self.fed(*(heard(at, count) for at in range(0, 7_200, count)))
        reading = microphone.read_turn()
        assert reading.lost_samples == 0
        last = numbers(reading.pcm[0])[-1]
        assert numbers(reading.pcm[0]) == list(range(last - TURN_SAMPLES + 1, last + 1))

    def test_a_turn_was_captured_when_its_last_sample_was(self) -> None:
        began_ns = NOW_NS - 300_000_000
        second = stamped(began_ns + 190_000_000)
        microphone = self.fed(
            heard(0, 3_040, header=stamped(began_ns)), heard(3_040, 320, header=second)
        )
        assert microphone.read_turn().captured_ns == UP_NS - 300_000_000 + 200_000_000

    def test_what_never_came_is_silence_and_counted(self) -> None:
        microphone = self.fed(heard(0, 1_000), heard(1_500, 1_700))
        reading = microphone.read_turn()
        assert reading.lost_samples == microphone.lost_samples == 500
        assert numbers(reading.pcm[0]) == [
            *range(1, 1_001),
            *([0] * 500),
            *range(1_501, 3_201),
        ]

    def test_what_comes_late_or_twice_is_left_out(self) -> None:
        microphone = self.fed(
            heard(0, 1_000), heard(2_000, 500), heard(1_000, 1_000), heard(2_200, 1_000)
        )
        reading = microphone.read_turn()
        assert microphone.late_blocks == 2
        assert numbers(reading.pcm[0]) == [*range(1, 1_001), *([0] * 1_000), *range(2_001, 3_201)]

    def test_a_position_that_is_not_counted_is_told_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            microphone = self.fed(*(heard(0, 1_600) for _ in range(3)))
        assert microphone.late_blocks == 2
        (told,) = caplog.messages
        assert "begins at sample 0, but 1600 came before" in told
        assert "is `position` counted?" in told

    @pytest.mark.parametrize("start", [0, 10**9])
    def test_a_driver_that_starts_again_is_a_new_stream(self, start: int) -> None:
        microphone = self.fed(heard(50_000, 1_600), heard(start, 1_600))
        reading = microphone.read_turn()
        assert reading.lost_samples == microphone.late_blocks == 0
        assert numbers(reading.pcm[0])[1_600] == start % 30_000 + 1

    def test_when_nothing_comes_the_turn_is_filled_up(self) -> None:
        reading = self.fed(heard(0, 1_200)).read_turn()
        assert reading.lost_samples == 2_000
        assert numbers(reading.pcm[0]) == [*range(1, 1_201), *([0] * 2_000)]

    @given(st.lists(st.tuples(st.integers(0, 6_000), st.integers(1, 800)), min_size=1, max_size=12))
    def test_every_sample_stands_where_its_number_says(self, blocks: list[tuple[int, int]]) -> None:
        """Whatever order blocks come in: a sample is in its place, or it is silence."""
        end = max(start + count for start, count in blocks)
        blocks = [*blocks, (end, TURN_SAMPLES)]  # so that a turn is complete
        microphone = self.fed(*(heard(start, count) for start, count in blocks))
        first = blocks[0][0]
        reading = microphone.read_turn()
        known = [n for n in numbers(reading.pcm[0]) if n]
        assert known == sorted(set(known))
        assert all(number > first for number in known)
        assert len(known) <= TURN_SAMPLES - reading.lost_samples

    @pytest.mark.parametrize(("rate_hz", "channels"), [(48_000, 2), (44_100, 1), (8_000, 1)])
    def test_other_rates_and_channels_become_16_khz_mono(self, rate_hz: int, channels: int) -> None:
        seconds = np.arange(rate_hz // 2) / rate_hz
        wave = np.round(8_000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16)
        microphone = self.fed()
        for position in range(0, wave.size, rate_hz // 5):
            block = np.repeat(wave[position : position + rate_hz // 5], channels)
            data = array.array("h", block.tobytes())
            more = {"sample_rate_hz": rate_hz, "channels": channels}
            microphone.feed(heard(position, data=data, **more))
        turn = microphone.read_turn().pcm[0]
        spectrum = np.abs(np.fft.rfft(turn * np.hanning(TURN_SAMPLES)))
        assert spectrum.argmax() * SAMPLE_RATE_HZ / TURN_SAMPLES == pytest.approx(440, abs=5)
        assert np.abs(turn).max() == pytest.approx(8_000 / 32_768, rel=0.05)

    def test_what_it_plays_is_the_second_channel_from_the_next_sample_on(self) -> None:
        microphone = self.fed(heard(0, TURN_SAMPLES))
        assert not microphone.read_turn().pcm[1].any()
        microphone.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        microphone.feed(heard(TURN_SAMPLES, TURN_SAMPLES))
        assert set(microphone.read_turn().pcm[1].tolist()) == {0.5}

    def test_a_latency_of_the_loudspeaker_delays_the_second_channel(self) -> None:
        microphone = TopicMicrophone(playback_latency_ms=50, stamps=clock())
        microphone.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        microphone.feed(heard(0, TURN_SAMPLES))
        assert np.flatnonzero(microphone.read_turn().pcm[1])[0] == 800

    def test_stopping_leaves_nothing_to_play(self) -> None:
        microphone = TopicMicrophone(stamps=clock())
        microphone.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        assert microphone.flush(0.0) == TURN_SAMPLES
        microphone.feed(heard(0, TURN_SAMPLES))
        assert not microphone.read_turn().pcm[1].any()

    def test_a_bearing_comes_with_the_sound(self) -> None:
        microphone = self.fed(heard(0, TURN_SAMPLES, direction_rad=-0.5))
        assert microphone.read_turn().direction_rad == -0.5
        microphone.feed(heard(TURN_SAMPLES, TURN_SAMPLES))
        assert microphone.read_turn().direction_rad is None

    @pytest.mark.parametrize(
        "wrong",
        [{"sample_rate_hz": 0}, {"sample_rate_hz": 400_000}, {"channels": 0}, {"channels": 3}],
    )
    def test_a_block_that_makes_no_sense_is_counted(
        self, wrong: dict[str, int], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            microphone = self.fed(heard(0, 320, **wrong), heard(0, 320, **wrong))
        assert microphone.refused_blocks == 2
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
    def test_a_block_longer_than_a_micro_turn_is_refused(
        self, rate_hz: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        turn = rate_hz // 5
        microphone = self.fed(heard(0, turn, sample_rate_hz=rate_hz))
        assert microphone.refused_blocks == 0
        microphone.feed(heard(turn, turn + 8, sample_rate_hz=rate_hz))
        audio = SimpleNamespace(data=array.array("B", bytes(2 * (turn + 8))))
        microphone.feed_raw(SimpleNamespace(header=stamped(NOW_NS), audio=audio), rate_hz, 1)
        assert microphone.refused_blocks == 2
        assert "at most 200 will do: publish shorter ones" in caplog.text

    def test_what_comes_all_at_once_is_dropped_and_counted(self) -> None:
        microphone = self.fed(heard(0, TURN_SAMPLES))
        microphone.read_turn()
        for turn in (1, 2, 3):
            microphone.feed(heard(turn * TURN_SAMPLES, TURN_SAMPLES))
        assert numbers(microphone.read_turn().pcm[0])[0] == 3 * TURN_SAMPLES + 1
        assert microphone.dropped_samples == 2 * TURN_SAMPLES

    def test_plain_audio_data_follows_what_came_before(self) -> None:
        microphone = TopicMicrophone(stamps=clock())
        for value in (1, 2):
            data = np.full(2 * 1_600, value, "<i2").tobytes()
            audio = SimpleNamespace(data=array.array("B", data))
            microphone.feed_raw(SimpleNamespace(header=stamped(NOW_NS), audio=audio), 16_000, 2)
        assert numbers(microphone.read_turn().pcm[0]) == [1] * 1_600 + [2] * 1_600
        odd = SimpleNamespace(data=array.array("B", b"123"))
        microphone.feed_raw(SimpleNamespace(header=stamped(NOW_NS), audio=odd), 16_000, 1)
        assert microphone.refused_blocks == 1


@given(st.lists(st.integers(-32_768, 32_767), max_size=40), st.integers(1, 4))
def test_sound_is_the_mean_of_its_channels(samples: list[int], channels: int) -> None:
    whole = samples[: len(samples) // channels * channels]
    mono = sound(array.array("h", whole), channels)
    assert mono.dtype == np.float32
    expected = np.array(whole, float).reshape(-1, channels).mean(axis=1) / 32_768
    np.testing.assert_allclose(mono, expected, atol=1e-6)


class TestStamps:
    @given(st.integers(-400_000_000, 4_900_000_000))
    def test_an_age_is_the_same_on_both_clocks(self, age_ns: int) -> None:
        stamp = stamped(NOW_NS - age_ns).stamp
        assert clock().monotonic(stamp) == pytest.approx(UP_NS - age_ns, abs=1_000)

    def test_equal_stamps_stay_equal_however_long_a_look_at_the_clocks_takes(self) -> None:
        walls = itertools.count(NOW_NS, 150_000)
        stamps = StampClock(lambda: next(walls), lambda: UP_NS)
        assert len({stamps.monotonic(stamped(NOW_NS - 1_000).stamp) for _ in range(5)}) == 1

    def test_a_wall_clock_that_is_set_is_followed(self) -> None:
        wall_ns = [NOW_NS]
        stamps = StampClock(lambda: wall_ns[0], lambda: UP_NS)
        assert stamps.monotonic(stamped(NOW_NS).stamp) == UP_NS
        wall_ns[0] += 3_600 * 10**9
        assert stamps.monotonic(stamped(wall_ns[0] - 500).stamp) == UP_NS - 500
        assert stamps.bad_stamps == 0

    @pytest.mark.parametrize("ns", [0, NOW_NS - 6 * 10**9, NOW_NS + 10**9])
    def test_a_stamp_that_cannot_be_is_the_present(
        self, ns: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        stamps = clock()
        assert stamps.monotonic(stamped(ns).stamp) == UP_NS
        assert stamps.bad_stamps == 1
        assert "keep the same clock" in caplog.text


def image(pixels: Any, encoding: str, pad: int = 0, /, **more: Any) -> SimpleNamespace:
    """uint8 (H, W, depth), with `pad` bytes after each row."""
    height, width, depth = pixels.shape
    rows = np.zeros((height, width * depth + pad), np.uint8)
    rows[:, : width * depth] = pixels.reshape(height, -1)
    message = {
        "header": stamped(NOW_NS),
        "height": height,
        "width": width,
        "encoding": encoding,
        "step": rows.shape[1],
        "data": array.array("B", rows.tobytes()),
    }
    return SimpleNamespace(**(message | more))


PICTURES = st.integers(1, 6).flatmap(
    lambda height: st.integers(1, 4).flatmap(
        lambda half: st.binary(min_size=height * half * 6, max_size=height * half * 6).map(
            lambda data: np.frombuffer(data, np.uint8).reshape(height, 2 * half, 3)
        )
    )
)


class TestPictures:
    @given(PICTURES, st.integers(0, 5))
    def test_every_encoding_becomes_rgb(self, rgb: Frame, pad: int) -> None:
        np.testing.assert_array_equal(picture(image(rgb, "rgb8", pad)), rgb)
        np.testing.assert_array_equal(picture(image(rgb[..., ::-1], "bgr8", pad)), rgb)
        rgba, bgra = (np.dstack([one, one[..., :1]]) for one in (rgb, rgb[..., ::-1]))
        np.testing.assert_array_equal(picture(image(rgba, "rgba8", pad)), rgb)
        np.testing.assert_array_equal(picture(image(bgra, "bgra8", pad)), rgb)
        grey = rgb[..., :1]
        np.testing.assert_array_equal(
            picture(image(grey, "mono8", pad)), np.repeat(grey, 3, axis=2)
        )
        yuyv = picture(image(rgb[..., :2], "yuyv", pad))
        assert (yuyv.shape, yuyv.dtype) == (rgb.shape, np.uint8)

    @pytest.mark.parametrize("encoding", ["yuyv", "yuv422_yuy2", "uyvy", "yuv422"])
    def test_yuv_has_its_colours(self, encoding: str) -> None:
        red = np.array([[[81, 90], [81, 240]] * 4], np.uint8)
        if encoding in ("uyvy", "yuv422"):
            red = np.ascontiguousarray(red[..., ::-1])
        seen = picture(image(red, encoding))
        assert np.abs(seen.astype(int) - (254, 0, 0)).max() < 6

    @pytest.mark.parametrize("form", [".png", ".jpg"])
    def test_compressed_pictures_are_rgb_too(self, form: str) -> None:
        bgr = np.zeros((16, 16, 3), np.uint8)
        bgr[..., 2] = 200
        data = cv2.imencode(form, bgr)[1].tobytes()
        seen = compressed_picture(SimpleNamespace(data=array.array("B", data), format=form))
        assert np.abs(seen.astype(int) - (200, 0, 0)).max() < 8

    def test_one_that_claims_to_be_huge_is_refused_before_it_is_decoded(self) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            check = struct.pack(">I", zlib.crc32(kind + data))
            return struct.pack(">I", len(data)) + kind + data + check

        for side in (16_000, 100_000):
            header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
            rows = chunk(b"IDAT", zlib.compress(bytes((side // 8 + 1) * 1000)))
            png = b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")
            camera = TopicCamera(clock())
            data = array.array("B", png)
            camera.feed_compressed(SimpleNamespace(data=data, format="png", header=stamped(NOW_NS)))
            assert camera.latest(UP_NS) is None
            assert camera.refused_frames == 1

    @pytest.mark.parametrize("data", [b"", b"no picture at all"])
    def test_what_is_no_compressed_picture_is_told(self, data: bytes) -> None:
        with pytest.raises(WireError, match="OpenCV cannot decode"):
            compressed_picture(SimpleNamespace(data=array.array("B", data), format="jpeg"))

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"encoding": "32FC1"}, "encoding '32FC1'; known are rgb8"),
            ({"height": 9}, "in rows of 12 for 4x9"),
            ({"step": 3}, "in rows of 3"),
            ({"width": 0}, "for 0x2"),
            ({"encoding": "yuyv", "width": 3}, "a yuyv picture 3 pixels wide; an even width"),
            ({"encoding": "uyvy", "width": 3}, "a uyvy picture 3 pixels wide; an even width"),
        ],
    )
    def test_a_picture_that_does_not_fit_is_told(self, wrong: dict[str, Any], words: str) -> None:
        with pytest.raises(WireError, match=words):
            picture(image(np.zeros((2, 4, 3), np.uint8), "rgb8", **wrong))


class TestCamera:
    def shown(self, level: int, age_ms: float, **more: Any) -> SimpleNamespace:
        pixels = np.full((2, 2, 3), level, np.uint8)
        header = stamped(NOW_NS - round(age_ms * 1e6))
        return image(pixels, "rgb8", header=header, **more)

    def level(self, camera: TopicCamera, age_ms: float) -> int | None:
        reading = camera.latest(UP_NS - round(age_ms * 1e6))
        return None if reading is None else int(reading.frame[0, 0, 0])

    def test_the_picture_of_a_moment_is_the_newest_until_then(self) -> None:
        camera = TopicCamera(clock())
        for level, age_ms in ((1, 300), (3, 100), (2, 200)):  # the last one was late
            camera.feed(self.shown(level, age_ms))
        assert [self.level(camera, at) for at in (350, 250, 150, 50)] == [None, 1, 2, 3]
        reading = camera.latest(UP_NS)
        assert reading is not None and reading.captured_ns == UP_NS - 100_000_000

    def test_a_damaged_picture_leaves_the_one_before(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        camera = TopicCamera(clock())
        camera.feed(self.shown(1, 200))
        camera.feed(self.shown(2, 100, encoding="bayer"))
        assert self.level(camera, 0) == 1
        assert camera.refused_frames == 1
        assert "encoding 'bayer'" in caplog.text

    @pytest.mark.parametrize("rate_hz", [5, 15, 30, 60, 90])
    def test_at_any_rate_it_sees_with_sound_that_is_on_time_or_late(self, rate_hz: int) -> None:
        camera, period_ms = TopicCamera(clock()), 1_000 / rate_hz
        for number in range(rate_hz + 1):
            camera.feed(self.shown(number, 1_000 - number * period_ms))
            if number >= rate_hz / 2:
                for late_ms in (0, 120, 300):
                    now_ns = UP_NS - round((1_000 - number * period_ms + late_ms) * 1e6)
                    seen = camera.latest(now_ns)
                    assert seen is not None
                    age_ms = (now_ns - seen.captured_ns) / 1e6
                    assert age_ms < (50 if late_ms else 0) + period_ms + 0.001
        assert self.level(camera, 0) == rate_hz

    def test_memory_is_bounded(self) -> None:
        camera = TopicCamera(clock())
        for number in range(100):
            camera.feed(self.shown(number, 4_990 - 50 * number))
        assert camera.frames == 100
        assert self.level(camera, 4_990 - 50 * 91) is None
        assert self.level(camera, 4_990 - 50 * 92) == 92
        assert self.level(camera, 0) == 99
