"""Choosing devices, the audio callback, and the errors of a machine without sound."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import TURN_SAMPLES
from edge_runtime.sources.duplex_buffer import RateAdapter
from edge_runtime.sources.microphone import (
    AudioDevice,
    AudioKind,
    MicrophoneSource,
    StreamFormat,
    audio_devices,
    choose,
    formats,
)

PA_CONTINUE = 0


def device(
    name: str,
    kind: AudioKind = "microphone",
    index: int = 0,
    channels: int = 1,
    rate_hz: int = 48_000,
    default: bool = False,
) -> AudioDevice:
    return AudioDevice(kind, index, name, channels, rate_hz, default)


DEVICES = [
    device("HDA Intel: ALC257 (hw:0,0)", index=0),
    device("ReSpeaker 4 Mic Array", index=1),
    device("ReSpeaker Lite", index=2),
    device("default", index=3, default=True),
    device("HDA Intel: ALC257 (hw:0,0)", "loudspeaker", index=0),
    device("USB Speaker", "loudspeaker", index=5),
    device("USB Speaker Pro", "loudspeaker", index=6),
]


class TestChoosing:
    def test_without_a_name_it_is_the_default(self) -> None:
        assert choose(DEVICES, "microphone", None).index == 3

    def test_without_a_default_it_is_the_first(self) -> None:
        assert choose(DEVICES, "loudspeaker", None).index == 0

    @pytest.mark.parametrize("wanted", ["4 mic", "respeaker 4", "MIC ARRAY"])
    def test_a_part_of_the_name_in_any_case(self, wanted: str) -> None:
        assert choose(DEVICES, "microphone", wanted).index == 1

    def test_an_exact_name_is_not_ambiguous(self) -> None:
        assert choose(DEVICES, "loudspeaker", "usb speaker").index == 5

    def test_an_ambiguous_name_lists_what_it_fits(self) -> None:
        with pytest.raises(SourceError) as caught:
            choose(DEVICES, "microphone", "respeaker")
        assert "several microphones: 'ReSpeaker 4 Mic Array', 'ReSpeaker Lite'" in str(caught.value)

    def test_an_unknown_name_lists_what_there_is(self) -> None:
        with pytest.raises(SourceError) as caught:
            choose(DEVICES, "loudspeaker", "Jabra")
        assert "No loudspeaker is called 'Jabra'" in str(caught.value)
        assert "'USB Speaker', 'USB Speaker Pro'" in str(caught.value)
        assert "ReSpeaker" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["microphone", "loudspeaker"])
    def test_none_at_all_has_a_remedy(self, kind: AudioKind) -> None:
        with pytest.raises(SourceError, match=rf"There is no {kind}.*Connect one.*--audio FILE"):
            choose([], kind, None)


class TestFormats:
    def test_16_khz_mono_comes_first_then_what_the_devices_prefer(self) -> None:
        tried = list(
            formats(device("m", rate_hz=44_100), device("l", "loudspeaker", rate_hz=48_000))
        )
        assert tried == [StreamFormat(16_000, 1), StreamFormat(44_100, 1), StreamFormat(48_000, 1)]

    def test_stereo_is_tried_where_both_have_it(self) -> None:
        tried = list(formats(device("m", channels=2), device("l", "loudspeaker", channels=8)))
        assert tried == [
            StreamFormat(16_000, 1),
            StreamFormat(16_000, 2),
            StreamFormat(48_000, 1),
            StreamFormat(48_000, 2),
        ]


class TestCallback:
    """PortAudio's callback, called as PortAudio calls it."""

    def test_bytes_in_and_bytes_out(self) -> None:
        source = MicrophoneSource(volume=0.5)
        source._prepare(StreamFormat(16_000, 1), 0.0)
        heard = np.linspace(-1, 1, TURN_SAMPLES, dtype=np.float32)
        source.play(np.full(2 * TURN_SAMPLES, 0.5, np.float32))
        data, flag = source._on_block(heard.tobytes(), TURN_SAMPLES, None, 0)
        assert flag == PA_CONTINUE
        played = np.frombuffer(data, np.float32)
        assert played.size == TURN_SAMPLES
        assert played[-1] == 0.25
        reading = source.read_turn()
        np.testing.assert_array_equal(reading.pcm[0], heard)
        np.testing.assert_array_equal(reading.pcm[1], played)

    def test_stereo_is_averaged_and_given_to_both_sides(self) -> None:
        source = MicrophoneSource()
        source._prepare(StreamFormat(16_000, 2), 0.0)
        source.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        heard = np.tile(np.array([0.2, 0.4], np.float32), TURN_SAMPLES)
        data, _ = source._on_block(heard.tobytes(), TURN_SAMPLES, None, 0)
        assert np.frombuffer(data, np.float32)[-2:].tolist() == [0.5, 0.5]
        np.testing.assert_allclose(source.read_turn().pcm[0], 0.3, atol=1e-6)

    def test_a_device_of_another_rate_hears_and_plays_in_step(self) -> None:
        source = MicrophoneSource()
        source._prepare(StreamFormat(48_000, 1), 0.0)
        t_s = np.arange(48_000) / 48_000
        tone = (0.5 * np.sin(2 * np.pi * 300 * t_s)).astype(np.float32)
        turns = []
        for start in range(0, tone.size, 960):
            block = tone[start : start + 960]
            data, _ = source._on_block(block.tobytes(), 960, None, 0)
            assert len(data) == 4 * 960
            if source._buffer._captured.shape[1] >= TURN_SAMPLES:
                turns.append(source.read_turn().pcm[0])
        assert len(turns) == 4
        level = np.sqrt(np.mean(np.concatenate(turns[1:]) ** 2))
        assert level == pytest.approx(0.5 / np.sqrt(2), rel=0.01)

    @pytest.mark.parametrize("rate_hz", [16_000, 48_000])
    def test_the_latency_of_the_device_and_the_resamplers_is_in_the_reference(
        self, rate_hz: int
    ) -> None:
        source = MicrophoneSource()
        source._prepare(StreamFormat(rate_hz, 1), device_latency_s=0.025)
        resampling = 0 if rate_hz == 16_000 else RateAdapter(rate_hz).latency_samples
        assert source._buffer._on_its_way.size == 400 + resampling

    def test_an_exception_does_not_end_the_stream(self) -> None:
        source = MicrophoneSource()
        source._prepare(StreamFormat(16_000, 2), 0.0)
        torn = b"123"
        for _ in range(3):
            data, flag = source._on_block(torn, 320, None, 0)
            assert (data, flag) == (bytes(4 * 2 * 320), PA_CONTINUE)
        assert source.callback_errors == 3
        block = np.zeros(2 * TURN_SAMPLES, np.float32)
        source._on_block(block.tobytes(), TURN_SAMPLES, None, 0)
        assert source.read_turn().lost_samples == 0


class TestMachine:
    def test_without_pyaudio_the_remedy_is_to_install_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyaudio", None)
        with pytest.raises(SourceError) as caught:
            MicrophoneSource().__enter__()
        for remedy in ("portaudio19-dev", "pip install 'edge-runtime[audio]'", "--audio FILE"):
            assert remedy in str(caught.value)

    def test_a_name_that_no_device_has_is_an_error_on_any_machine(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("pyaudio")
        with pytest.raises(SourceError, match=r"There is no|is called 'no such device'"):
            MicrophoneSource("no such device", "no such device").__enter__()
        assert capfd.readouterr().err == ""
        assert os.write(2, b"") == 0

    def test_a_machine_without_a_microphone_says_so(self) -> None:
        pytest.importorskip("pyaudio")
        if any(found.kind == "microphone" for found in audio_devices()):
            pytest.skip("this machine has a microphone")
        with pytest.raises(SourceError, match=r"There is no microphone.*--audio FILE") as caught:
            MicrophoneSource().__enter__()
        assert caught.value.exit_code == 2

    @pytest.mark.device
    def test_a_real_device_gives_turns(self) -> None:
        pytest.importorskip("pyaudio")
        if len({found.kind for found in audio_devices()}) < 2:
            pytest.skip("needs a microphone and a loudspeaker")
        with MicrophoneSource(volume=0.1) as source:
            readings = []
            for _ in range(5):
                readings.append(source.read_turn())
                source.play(np.zeros(TURN_SAMPLES, np.float32))
        apart_ms = np.diff([reading.captured_ns for reading in readings]) / 1e6
        assert not any(reading.lost_samples for reading in readings)
        np.testing.assert_allclose(apart_ms, 200, atol=50)
