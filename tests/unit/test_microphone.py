"""The microphone of this machine, or the errors of one without."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import TURN_SAMPLES
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.sources.portaudio import audio_devices
from edge_runtime.sources.sound_plan import Wanted


class TestMachine:
    def test_without_pyaudio_the_remedy_is_to_install_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyaudio", None)
        with pytest.raises(SourceError) as caught:
            MicrophoneSource().__enter__()
        for remedy in ("portaudio19-dev", "pip install 'edge-runtime[audio]'", "--audio FILE"):
            assert remedy in str(caught.value)

    def test_a_missing_extra_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyaudio", None)
        with pytest.raises(SourceError, match="needs PyAudio"):
            MicrophoneSource(may_be_late=True).__enter__()

    def test_a_name_that_no_device_has_is_an_error_on_any_machine(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("pyaudio")
        with pytest.raises(SourceError, match=r"There is no|is called 'no such device'"):
            MicrophoneSource(Wanted("no such device", "no such device")).__enter__()
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
