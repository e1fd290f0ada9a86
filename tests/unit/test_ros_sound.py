"""What `audio_stamped` brings: samples are heard, and nothing else is."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import WireError
from edge_runtime.micro_turn import Pcm
from edge_runtime.sources.ros_sound import RawSound, apart, looks_coded
from edge_runtime.sources.ros_topics import StampClock, TopicMicrophone

RATE_HZ = 16_000
NOW_NS = 1_700_000_000 * 10**9


def voice(seconds: float = 2.0, level: float = 0.3) -> Pcm:
    """Noise in syllables, with the spectrum of a voice: 1 / f."""
    count = round(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(0, 1, count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    sound = np.fft.irfft(spectrum / np.maximum(hz, 100), count)
    syllables = np.clip(np.sin(2 * np.pi * 4 * np.arange(count) / RATE_HZ), 0, 1)
    return (level * sound / np.abs(sound).max() * syllables).astype(np.float32)


def mp3_frames(rate_hz: int, channels: int) -> list[bytes]:
    """As lamemp3enc gives them out: one at a time."""
    file = io.BytesIO()
    sound = np.stack([voice()] * channels, axis=1)
    soundfile.write(file, sound, rate_hz, format="MP3", subtype="MPEG_LAYER_III")
    data, frames = file.getvalue(), []
    begin = data.index(b"\xff")
    while begin < len(data):
        # To the next header of the same stream that is whole frames away.
        end = data.find(data[begin : begin + 2], begin + 24)
        while end > 0 and not looks_coded(data[begin:end]):
            end = data.find(data[begin : begin + 2], end + 1)
        if end < 0:
            break
        frames.append(data[begin:end])
        begin = end
    assert sum(map(len, frames)) > 0.9 * len(data)
    return frames


def s16(pcm: Pcm, order: str = "<") -> bytes:
    return np.round(np.clip(pcm, -1, 1) * 32767).astype(f"{order}i2").tobytes()


def blocks(data: bytes, size: int = 320) -> list[bytes]:
    """Of 10 ms."""
    return [data[start : start + size] for start in range(0, len(data) - size + 1, size)]


def message(data: bytes) -> SimpleNamespace:
    stamp = SimpleNamespace(sec=NOW_NS // 10**9, nanosec=0)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp), audio=SimpleNamespace(data=np.frombuffer(data, "u1"))
    )


def info(**more: object) -> SimpleNamespace:
    """As audio_capture tells it."""
    told = {"channels": 1, "sample_rate": RATE_HZ, "sample_format": "S16LE", "bitrate": 192}
    return SimpleNamespace(**{**told, "coding_format": "wave", **more})


def microphone() -> TopicMicrophone:
    return TopicMicrophone(stamps=StampClock(lambda: NOW_NS, lambda: 10**9))


def given_to(ear: TopicMicrophone, parts: list[bytes]) -> int:
    """Returns how many of them were refused."""
    before = ear.refused_blocks
    for part in parts:
        ear.feed_raw(message(part), RATE_HZ, 1)
    return ear.refused_blocks - before


@given(st.lists(st.integers(-32_768, 32_767), max_size=40), st.integers(1, 4))
def test_channels_are_told_apart(samples: list[int], channels: int) -> None:
    whole = np.array(samples[: len(samples) // channels * channels], np.int16)
    found = apart(whole, channels)
    assert found.dtype == np.float32 and found.shape[1] == channels
    np.testing.assert_array_equal((found.ravel() * 32_768).astype(int), whole)


class TestByTheLookOfIt:
    @pytest.mark.parametrize(
        ("rate_hz", "channels"), [(16_000, 1), (44_100, 2), (48_000, 1), (8_000, 1)]
    )
    def test_mp3_is_refused_and_the_remedy_told_once(
        self, rate_hz: int, channels: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        frames = mp3_frames(rate_hz, channels)
        with caplog.at_level(logging.WARNING):
            refused = given_to(microphone(), frames)
        assert refused >= len(frames) - 2
        assert sum("format:=wave" in text and "MP3" in text for text in caplog.messages) == 1

    def test_what_is_as_random_as_compressed_sound_is_refused(self) -> None:
        data = np.random.default_rng(2).bytes(64_000)
        assert given_to(microphone(), blocks(data)) >= 198

    def test_another_byte_order_is_refused(self) -> None:
        quiet = np.random.default_rng(3).normal(0, 0.01, RATE_HZ).astype(np.float32)
        assert given_to(microphone(), blocks(s16(quiet, ">"))) > 90
        assert given_to(microphone(), blocks(s16(quiet, "<"))) == 0

    @pytest.mark.parametrize(
        "sound",
        [
            np.zeros(RATE_HZ, np.float32),
            voice(),
            voice(level=30.0),
            np.random.default_rng(4).normal(0, 0.1, RATE_HZ).astype(np.float32),
            np.random.default_rng(5).normal(0, 5.0, RATE_HZ).astype(np.float32),
            *(
                (0.8 * np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
                for hz in (100, 1_000, 3_000, 4_000, 5_300, 7_900)
            ),
        ],
    )
    @pytest.mark.parametrize("size", [64, 320, 3_200])
    def test_sound_is_heard_however_loud(self, sound: Pcm, size: int) -> None:
        assert given_to(microphone(), blocks(s16(sound), size)) == 0

    def test_one_block_that_looks_coded_by_chance_is_heard(self) -> None:
        parts = blocks(s16(voice()))
        parts[20:22] = blocks(np.random.default_rng(2).bytes(640))
        assert given_to(microphone(), parts) == 0

    def test_samples_are_heard_again_once_they_come(self) -> None:
        ear = microphone()
        given_to(ear, blocks(np.random.default_rng(2).bytes(64_000)))
        assert given_to(ear, blocks(s16(voice()))) < 10


class TestAsAudioInfoTells:
    def test_mp3_is_refused_from_the_first_block_and_the_remedy_told_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        ear = microphone()
        with caplog.at_level(logging.WARNING):
            ear.take_info(info(coding_format="mp3"))
            assert given_to(ear, [bytes(320)] * 5) == 5
            ear.take_info(info(coding_format="mp3"))
            assert given_to(ear, [bytes(320)] * 5) == 5
        (told,) = caplog.messages
        assert "mp3 of S16LE" in told and "start audio_capture with format:=wave" in told

    @pytest.mark.parametrize("samples", ["S16BE", "F32LE", "S24LE", ""])
    def test_other_samples_are_refused(self, samples: str) -> None:
        raw = RawSound()
        raw.take_info(info(sample_format=samples))
        with pytest.raises(WireError, match="sample_format:=S16LE"):
            raw.read(bytes(320), RATE_HZ, 1)

    @pytest.mark.parametrize("coding", ["wave", "WAVE"])
    def test_its_rate_and_channels_stand_above_the_configuration(self, coding: str) -> None:
        rate_hz = 48_000
        wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz // 2) / rate_hz)
        data = s16(np.repeat(wave, 2).astype(np.float32))
        ear = microphone()
        ear.take_info(info(sample_rate=rate_hz, channels=2, coding_format=coding))
        assert given_to(ear, blocks(data, 4 * rate_hz // 50)) == 0
        turn = ear.read_turn().pcm[0]
        spectrum = np.abs(np.fft.rfft(turn * np.hanning(turn.size)))
        assert spectrum.argmax() * RATE_HZ / turn.size == pytest.approx(440, abs=5)

    def test_a_driver_that_is_started_right_is_heard(self) -> None:
        ear = microphone()
        ear.take_info(info(coding_format="mp3"))
        assert given_to(ear, blocks(s16(voice()))) == 200
        ear.take_info(info())
        assert given_to(ear, blocks(s16(voice()))) == 0

    def test_what_it_calls_samples_is_heard_whatever_it_looks_like(self) -> None:
        ear = microphone()
        ear.take_info(info())
        assert given_to(ear, blocks(np.random.default_rng(2).bytes(64_000))) == 0

    @pytest.mark.parametrize("wrong", [{"sample_rate": 0}, {"channels": 0}])
    def test_what_cannot_be_is_refused(self, wrong: dict[str, int]) -> None:
        ear = microphone()
        ear.take_info(info(**wrong))
        assert given_to(ear, [bytes(320)]) == 1


def test_a_new_reason_is_told_after_others(caplog: pytest.LogCaptureFixture) -> None:
    ear = microphone()
    with caplog.at_level(logging.WARNING):
        given_to(ear, [b"123"] * 3)
        ear.take_info(info(coding_format="mp3"))
        given_to(ear, [bytes(320)] * 3)
    assert len(caplog.messages) == 2
