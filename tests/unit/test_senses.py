"""Sound from topics is heard as that of a microphone of this machine is: through canceller and
array, at the loudspeaker's volume; and what topics cannot have is not passed over in silence."""

from __future__ import annotations

import array
import logging
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_SAMPLES,
    AudioReading,
    Channels,
    Pcm,
    StereoPcm,
)
from edge_runtime.senses import topic_senses_for
from edge_runtime.sources import echo
from edge_runtime.sources.echo_delay import LEAD_SAMPLES, lateness
from edge_runtime.sources.geometry import load_geometry
from edge_runtime.sources.mic_array import leads_s
from edge_runtime.sources.ros_topics import StampClock, TopicCamera, TopicMicrophone

BLOCK = SAMPLE_RATE_HZ // 100
"""10 ms, as drivers give it."""
NOW_NS = 1_700_000_000 * 10**9
RESPEAKER: dict[str, Any] = {"array": "respeaker_4", "channels": 6, "echo": "none"}
needs_canceller = pytest.mark.skipif(not echo.available(), reason="libspeexdsp1 is not installed")


def ear(playback_latency_ms: float = 0.0, **audio: Any) -> TopicMicrophone:
    config = Config.model_validate(
        {
            "audio": {"source": "ros", **audio},
            "ros": {"playback_latency_ms": playback_latency_ms},
        }
    )
    stamps = StampClock(lambda: NOW_NS, lambda: 10**9)
    found = topic_senses_for(config, stamps, str).audio
    assert isinstance(found, TopicMicrophone)
    return found


class Driver:
    """Publishes what its microphones hear in blocks of 10 ms."""

    def __init__(self, microphone: TopicMicrophone, heard: Channels) -> None:
        """`heard`: float32 (channels, n)."""
        self._microphone, self._heard = microphone, heard
        self.position = 0

    def bring(self, upto: int, direction_rad: float = math.nan) -> None:
        """All whole blocks before sample `upto`."""
        while (end := self.position + BLOCK) <= min(upto, self._heard.shape[1]):
            samples = np.round(32767 * self._heard[:, self.position : end].T).astype(np.int16)
            self._microphone.feed(
                SimpleNamespace(
                    header=SimpleNamespace(stamp=SimpleNamespace(sec=NOW_NS // 10**9, nanosec=0)),
                    position=self.position,
                    sample_rate_hz=SAMPLE_RATE_HZ,
                    channels=len(self._heard),
                    direction_rad=direction_rad,
                    data=array.array("h", samples.tobytes()),
                )
            )
            self.position = end


def readings(
    microphone: TopicMicrophone, heard: Channels, direction_rad: float = math.nan
) -> list[AudioReading]:
    driver = Driver(microphone, heard)
    found = []
    with microphone:
        for end in range(TURN_SAMPLES, heard.shape[1] + 1, TURN_SAMPLES):
            driver.bring(end, direction_rad)
            found.append(microphone.read_turn())
    return found


def voice(seed: int, turns: int) -> Pcm:
    """Noise in syllables, with the spectrum of a voice: 1 / f."""
    count = turns * TURN_SAMPLES
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(0, 1, count))
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    sound = np.fft.irfft(spectrum / np.maximum(hz, 100), count)
    syllables = np.clip(np.sin(2 * np.pi * 4 * np.arange(count) / SAMPLE_RATE_HZ), 0, 1)
    return (0.3 * sound / np.abs(sound).max() * syllables).astype(np.float32)


def from_afar(bearing_deg: float, turns: int) -> Channels:
    """All six channels of the ReSpeaker, with a voice at its four microphones."""
    geometry = load_geometry("respeaker_4", 6)
    leads = leads_s(geometry.positions_m(), np.array([np.radians(bearing_deg)]))[0]
    dry = voice(1, turns)
    hz = np.fft.rfftfreq(dry.size, 1 / SAMPLE_RATE_HZ)
    shifted = np.fft.rfft(dry) * np.exp(2j * np.pi * hz * leads[:, None])
    heard = np.zeros((6, dry.size), np.float32)
    heard[geometry.channels] = np.fft.irfft(shifted, dry.size)
    return heard


class TestAnArray:
    @pytest.mark.parametrize("cancels", ["none", "auto"])
    def test_its_loopback_of_its_own_loudspeaker_is_not_heard(self, cancels: str) -> None:
        heard = np.zeros((6, 5 * TURN_SAMPLES), np.float32)
        heard[5] = voice(1, 5)
        for reading in readings(ear(**{**RESPEAKER, "echo": cancels}), heard):
            assert not reading.pcm[0].any()
            assert reading.direction_rad is None

    @pytest.mark.parametrize("bearing_deg", [90, -40])
    def test_it_tells_where_a_sound_comes_from(self, bearing_deg: float) -> None:
        last = readings(ear(**RESPEAKER), from_afar(bearing_deg, 8))[-1]
        assert last.direction_rad is not None
        assert np.degrees(last.direction_rad) == pytest.approx(bearing_deg, abs=3)

    def test_however_it_is_mounted(self) -> None:
        turned = ear(**RESPEAKER, array_turned_deg=30)
        last = readings(turned, from_afar(90, 8))[-1]
        assert last.direction_rad is not None
        assert np.degrees(last.direction_rad) == pytest.approx(120, abs=3)

    def test_a_bearing_that_the_driver_tells_stands_above_it(self) -> None:
        last = readings(ear(**RESPEAKER), from_afar(90, 8), direction_rad=-0.5)[-1]
        assert last.direction_rad == -0.5

    def test_what_its_hardware_has_cancelled_is_heard(self) -> None:
        heard = from_afar(90, 5)
        heard[0] = 0.25
        for reading in readings(ear(**{**RESPEAKER, "echo": "hardware"}), heard):
            np.testing.assert_allclose(reading.pcm[0], 0.25, atol=1e-4)

    def test_other_channels_than_its_own_are_refused(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        microphone = ear(**RESPEAKER)
        with caplog.at_level(logging.WARNING):
            Driver(microphone, np.zeros((2, TURN_SAMPLES), np.float32)).bring(TURN_SAMPLES)
        assert microphone.refused_blocks == TURN_SAMPLES // BLOCK
        (told,) = caplog.messages
        assert "2 channels" in told and "audio.array has 6" in told
        assert "ros.audio_channels" in told

    @pytest.mark.parametrize(
        ("audio", "said"),
        [
            ({"array": "uma_8", "channels": 2}, "Set audio.channels: 8"),
            ({"array": "uma_8", "channels": 8, "echo": "hardware"}, "processed_channel"),
            ({"echo": "hardware"}, "needs audio.array"),
        ],
    )
    def test_what_cannot_be_is_refused(self, audio: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            ear(**audio)

    @pytest.mark.parametrize("rate_hz", [48_000, 8_000])
    def test_its_channels_stay_apart_at_other_rates(self, rate_hz: int) -> None:
        microphone = ear(**RESPEAKER, beam="none")
        heard = np.zeros((rate_hz // 5, 6), np.int16)
        heard[:, 1] = 8_000
        heard[:, 5] = -8_000
        for position in range(0, 10 * rate_hz, rate_hz // 5):
            microphone.feed(
                SimpleNamespace(
                    header=SimpleNamespace(stamp=SimpleNamespace(sec=NOW_NS // 10**9, nanosec=0)),
                    position=position,
                    sample_rate_hz=rate_hz,
                    channels=6,
                    direction_rad=math.nan,
                    data=array.array("h", heard.tobytes()),
                )
            )
        turn = microphone.read_turn().pcm[0]
        np.testing.assert_allclose(turn, 8_000 / 32_768, rtol=0.01)


class Conversation:
    """A device whose loop takes its time, and a loudspeaker's node that plays one block after the
    other, with a cushion of its own, 80 ms after the turn in which it was decided."""

    LATE = round(0.08 * SAMPLE_RATE_HZ)

    def __init__(self, microphone: TopicMicrophone, turns: int, channels: int = 1) -> None:
        self._microphone, self._turns = microphone, turns
        self.said = voice(3, turns).reshape(turns, TURN_SAMPLES)
        self.said[np.arange(turns) % 12 >= 9] = 0  # between two sentences it is silent
        began = np.zeros(TURN_SAMPLES + self.LATE)
        played = np.concatenate([began, self.said.ravel()])[: turns * TURN_SAMPLES]
        rng = np.random.default_rng(5)
        rooms = rng.normal(0, 0.1, (channels, 1_500)) * np.exp(-np.arange(1_500) / 300)
        rooms[:, 0] = 1.0
        self.echo = np.stack([np.convolve(played, room)[: played.size] for room in rooms])
        self.echo = (0.05 * self.echo / self.echo.std()).astype(np.float32)

    def heard(self) -> StereoPcm:
        """What the model hears from the middle on, and what is said to have been played then."""
        driver, found = Driver(self._microphone, self.echo), []
        computing = np.random.default_rng(6).integers(5, 80, self._turns)
        with self._microphone:
            for turn in range(self._turns):
                end = (turn + 1) * TURN_SAMPLES
                driver.bring(end)
                found.append(self._microphone.read_turn().pcm)
                driver.bring(end + int(computing[turn]) * SAMPLE_RATE_HZ // 1000)
                self._microphone.play(self.said[turn])
        return np.concatenate(found[self._turns // 2 :], axis=1)

    def left_db(self) -> float:
        """What is heard of the echo, over what there is of it."""
        left, there = self.heard()[0], self.echo.mean(axis=0)
        return float(20 * np.log10(left.std() / there[-left.size :].std()))


class TestOurOwnVoice:
    @needs_canceller
    @pytest.mark.parametrize("channels", [1, 2])
    def test_is_taken_out_by_default_however_long_the_loop_computes(self, channels: int) -> None:
        assert Conversation(ear(), 100, channels).left_db() < -25

    @needs_canceller
    def test_is_taken_out_of_an_arrays_microphones(self) -> None:
        microphone = ear(**{**RESPEAKER, "echo": "speex"}, beam="none")
        talk = Conversation(microphone, 60, channels=6)
        talk.echo[1:] = talk.echo[1]
        talk.echo[0] = talk.echo[5] = 0
        assert talk.left_db() < -20

    def test_is_heard_where_nothing_shall_take_it_out(self) -> None:
        assert Conversation(ear(echo="none"), 30).left_db() == pytest.approx(0, abs=0.1)

    @pytest.mark.parametrize("configured_ms", [0.0, 200.0])
    def test_its_delay_is_found(self, configured_ms: float) -> None:
        """However the blocks come that are heard while the loop computes."""
        heard, reference = Conversation(ear(configured_ms, echo="none"), 40).heard()
        assert lateness(heard, reference) == pytest.approx(LEAD_SAMPLES, abs=LEAD_SAMPLES)

    @pytest.mark.parametrize(
        ("audio", "heard"), [({"volume": 0.25}, 0.125), ({"mute": True, "volume": 0.25}, 0.0)]
    )
    def test_is_as_loud_in_the_reference_as_in_the_loudspeaker(
        self, audio: dict[str, Any], heard: float
    ) -> None:
        microphone = ear(**audio, echo="none")
        microphone.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        Driver(microphone, np.zeros((1, TURN_SAMPLES), np.float32)).bring(TURN_SAMPLES)
        assert set(microphone.read_turn().pcm[1].tolist()) == {heard}


class TestWhatOnlyDevicesHave:
    def test_is_told_with_the_remedy(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            ear(input_device="ReSpeaker", echo_delay_ms=50.0, channels=2, echo="none")
        (told,) = caplog.messages
        assert "audio.input_device, audio.echo_delay_ms, audio.channels" in told
        assert "ros.playback_latency_ms" in told

    @pytest.mark.parametrize("audio", [{}, RESPEAKER, {"volume": 0.5, "mute": True}])
    def test_what_topics_have_needs_no_words(
        self, audio: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            ear(**audio)
        assert caplog.messages == []


class TestPicturesFromTopics:
    def seen(self, **video: Any) -> Any:
        config = Config.model_validate({"audio": {"source": "ros"}, "video": {"source": "ros"}})
        video_config = config.video.model_copy(update=video)
        stamps = StampClock(lambda: NOW_NS, lambda: 10**9)
        chosen = config.model_copy(update={"video": video_config})
        senses = topic_senses_for(chosen, stamps, str)
        assert isinstance(senses.frames, TopicCamera)
        stamp = SimpleNamespace(sec=NOW_NS // 10**9, nanosec=0)
        pixels = np.arange(8, dtype=np.uint8).reshape(2, 4, 1)
        senses.frames.feed(
            SimpleNamespace(
                header=SimpleNamespace(stamp=stamp),
                encoding="mono8",
                height=2,
                width=4,
                step=4,
                data=pixels.tobytes(),
            )
        )
        reading = senses.frames.latest(10**9)
        assert reading is not None
        return reading.frame[..., 0]

    def test_are_turned_and_cropped_as_configured(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.seen().tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert self.seen(crop=[0.5, 0.0, 1.0, 1.0]).tolist() == [[2, 3], [6, 7]]
        assert self.seen(rotate=90, crop=[0.0, 0.0, 0.5, 0.5]).tolist() == [[4], [5]]
        assert caplog.messages == []

    def test_are_never_judged_frozen_which_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        self.seen(frozen_s=0.0)
        assert caplog.messages == []
        self.seen(frozen_s=3.0)
        (told,) = caplog.messages
        assert "video.frozen_s: without effect on pictures from topics" in told
