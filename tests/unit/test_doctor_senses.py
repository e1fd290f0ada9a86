"""What is made of a microphone's sound and a camera's pictures; video files stand for cameras."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.commands.doctor import meter
from edge_runtime.config import Audio, Config, Video
from edge_runtime.doctor import hearing
from edge_runtime.doctor.finding import Case, Verdict
from edge_runtime.doctor.hearing import (
    at_tone,
    dbfs,
    echo_canceller,
    loudspeaker_finding,
    microphone_finding,
    sound,
    tone,
)
from edge_runtime.doctor.seeing import camera_finding, cameras
from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import TURN_SAMPLES, AudioReading, Frame, FrameReading, Pcm
from edge_runtime.sources import echo
from edge_runtime.sources.audio_device import AudioDevice

SIZE = (48, 64)
LOUDSPEAKER = AudioDevice("loudspeaker", 1, "USB Speaker", 2, 48_000, True)


def turns(microphone: Pcm, lost: int = 0) -> list[AudioReading]:
    pcm = np.zeros((2, len(microphone)), np.float32)
    pcm[0] = microphone
    return [
        AudioReading(pcm[:, begin : begin + TURN_SAMPLES], lost)
        for begin in range(0, len(microphone), TURN_SAMPLES)
    ]


def noise(level: float, seconds: float = 2.0) -> Pcm:
    rng = np.random.default_rng(1)
    pcm: Pcm = (level * rng.standard_normal(round(seconds * 16_000))).astype(np.float32)
    return pcm


class TestMicrophone:
    def test_a_room(self) -> None:
        finding = microphone_finding(turns(noise(0.01)), "microphone ReSpeaker")
        assert finding.verdict is Verdict.OK
        assert finding.values["level_dbfs"] == pytest.approx(-40, abs=0.5)
        assert "ReSpeaker: level -40 dBFS" in finding.text

    def test_zeros(self) -> None:
        finding = microphone_finding(turns(np.zeros(32_000, np.float32)), "m")
        assert finding.verdict is Verdict.FAILED
        assert "alsamixer" in finding.remedy
        assert finding.values["level_dbfs"] == -120

    @pytest.mark.parametrize(
        ("level", "problem"), [(1.0, "too loud"), (1e-5, "hardly anything is heard")]
    )
    def test_gain(self, level: float, problem: str) -> None:
        finding = microphone_finding(turns(np.clip(noise(level), -1, 1)), "m")
        assert finding.verdict is Verdict.WARNING
        assert problem in finding.text
        assert "gain" in finding.remedy

    def test_gaps(self) -> None:
        finding = microphone_finding(turns(noise(0.01), lost=400), "m")
        assert finding.verdict is Verdict.WARNING
        assert finding.values["lost_ms"] == 250.0

    @pytest.mark.parametrize(("level", "bars"), [(-120.0, 0), (-80.0, 0), (-40.0, 12), (0.0, 24)])
    def test_the_meter(self, level: float, bars: int) -> None:
        assert meter(level).count("█") == bars


class TestLoudspeaker:
    def test_the_tone_is_1_khz_at_20_dbfs_and_begins_softly(self) -> None:
        pcm = tone()
        assert pcm.dtype == np.float32
        assert at_tone(pcm[3200:6400]) == pytest.approx(0.1, abs=1e-3)
        assert abs(pcm[:16]).max() < 0.01

    def test_heard_in_noise(self) -> None:
        before = noise(0.01)
        during = noise(0.01)
        during[:16_000] += 0.1 * tone()
        finding = loudspeaker_finding(Config(), turns(before), turns(during))
        assert finding.verdict is Verdict.OK
        assert finding.values["tone_heard_dbfs"] == pytest.approx(-43, abs=1)

    def test_not_heard(self) -> None:
        finding = loudspeaker_finding(Config(), turns(noise(0.01)), turns(noise(0.01)))
        assert finding.verdict is Verdict.WARNING
        assert "audio.output_device" in finding.remedy

    def test_muted(self) -> None:
        config = Config(audio=Audio(mute=True))
        finding = loudspeaker_finding(config, turns(noise(0.01)), turns(noise(0.01)))
        assert finding.verdict is Verdict.WARNING
        assert "audio.mute" in finding.remedy

    def test_decibels(self) -> None:
        assert [dbfs(level) for level in (1.0, 0.1, 0.0)] == [0.0, -20.0, -120.0]


class TestEchoCanceller:
    @pytest.mark.parametrize(
        ("configured", "chosen", "verdict"),
        [
            (True, "auto", Verdict.WARNING),
            (False, "auto", Verdict.ABSENT),
            (True, "speex", Verdict.FAILED),
        ],
    )
    def test_one_that_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, configured: bool, chosen: str, verdict: Verdict
    ) -> None:
        monkeypatch.setattr(echo, "available", lambda: False)
        config = Config.model_validate({"audio": {"echo": chosen}})
        (finding,) = echo_canceller(Case(config, configured=configured))
        assert finding.verdict is verdict
        assert "libspeexdsp1" in finding.remedy

    def test_one_that_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(echo, "available", lambda: True)
        (finding,) = echo_canceller(Case(configured=True))
        assert finding.verdict is Verdict.OK

    @pytest.mark.parametrize("audio", [{"echo": "none"}, {"mute": True}, {"source": "talk.wav"}])
    def test_where_none_is_wanted_nothing_is_said(
        self, monkeypatch: pytest.MonkeyPatch, audio: dict[str, object]
    ) -> None:
        monkeypatch.setattr(echo, "available", lambda: False)
        config = Config.model_validate({"audio": audio})
        assert echo_canceller(Case(config, configured=True)) == []


class TestWhereSoundComesFrom:
    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "talk.wav"
        path.touch()
        found = sound(Case(Config(audio=Audio(source=str(path))), configured=True))
        assert {finding.verdict for finding in found} == {Verdict.ABSENT}
        path.unlink()
        (finding,) = sound(Case(Config(audio=Audio(source=str(path))), configured=True))
        assert finding.verdict is Verdict.FAILED

    def test_topics(self) -> None:
        found = sound(Case(Config(audio=Audio(source="ros"))))
        assert {finding.verdict for finding in found} == {Verdict.ABSENT}

    @pytest.mark.parametrize(
        ("configured", "verdict"), [(False, Verdict.ABSENT), (True, Verdict.FAILED)]
    )
    def test_no_pyaudio(
        self, monkeypatch: pytest.MonkeyPatch, configured: bool, verdict: Verdict
    ) -> None:
        def refuse() -> list[AudioDevice]:
            raise SourceError("A microphone needs PyAudio")

        monkeypatch.setattr(hearing, "audio_devices", refuse)
        (finding,) = sound(Case(configured=configured))
        assert finding.verdict is verdict
        assert "PyAudio" in finding.text

    def test_only_a_loudspeaker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hearing, "audio_devices", lambda: [LOUDSPEAKER])
        (finding,) = sound(Case(configured=True))
        assert finding.name == "microphone"
        assert finding.verdict is Verdict.FAILED
        assert "Connect one" in finding.text

    def test_a_name_that_fits_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        microphone = AudioDevice("microphone", 0, "ReSpeaker", 1, 16_000, True)
        monkeypatch.setattr(hearing, "audio_devices", lambda: [microphone, LOUDSPEAKER])
        (finding,) = sound(Case(Config(audio=Audio(output_device="Jabra")), configured=True))
        assert finding.name == "loudspeaker"
        assert finding.verdict is Verdict.FAILED
        assert "'USB Speaker'" in finding.text


def pictures(frame: Frame, count: int = 20, apart_ms: int = 50) -> list[FrameReading]:
    """The picture, each time with some noise in it unless it is black."""
    rng = np.random.default_rng(1)
    grain = [rng.integers(0, 5, frame.shape, np.uint8) for _ in range(count)]
    return [
        FrameReading(frame + more, index * apart_ms * 1_000_000) for index, more in enumerate(grain)
    ]


class TestCameraPictures:
    def test_a_good_one_is_written(self, tmp_path: Path) -> None:
        frame = np.zeros((*SIZE, 3), np.uint8)
        frame[:, :, 0] = 200
        finding = camera_finding("camera 0", pictures(frame), tmp_path / "o")
        assert finding.verdict is Verdict.OK
        assert finding.values["rate_hz"] == 20
        written = cv2.imread(str(tmp_path / "o" / "camera-0.jpg"))
        assert written is not None
        assert written[:, :, 2].mean() == pytest.approx(202, abs=5)
        assert written[:, :, 0].mean() < 20

    def test_black(self) -> None:
        finding = camera_finding("camera", pictures(np.zeros((*SIZE, 3), np.uint8)), None)
        assert finding.verdict is Verdict.WARNING
        assert "it is black" in finding.text

    def test_frozen(self) -> None:
        frame = np.full((*SIZE, 3), 90, np.uint8)
        taken = [FrameReading(frame, index * 50_000_000) for index in range(20)]
        finding = camera_finding("camera", taken, None)
        assert finding.verdict is Verdict.WARNING
        assert "all the same" in finding.text

    def test_slow(self) -> None:
        frame = np.full((*SIZE, 3), 90, np.uint8)
        finding = camera_finding("camera", pictures(frame, 3, 500), None)
        assert finding.verdict is Verdict.WARNING
        assert "2 pictures a second" in finding.text


class TestCameras:
    @pytest.fixture
    def video(self, tmp_path: Path) -> Path:
        path = tmp_path / "stand-in.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, SIZE[::-1], True)
        rng = np.random.default_rng(1)
        for _ in range(20):
            writer.write(rng.integers(60, 90, (*SIZE, 3), np.uint8))
        writer.release()
        return path

    def test_one_that_gives_pictures(self, video: Path, tmp_path: Path) -> None:
        config = Config(video=Video(source=f"file://{video}"))
        (finding,) = cameras(Case(config, configured=True, root=tmp_path, out=tmp_path))
        assert finding.verdict in (Verdict.OK, Verdict.WARNING)
        assert finding.values["width"] == SIZE[1]
        assert (tmp_path / "camera.jpg").exists()

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        config = Config(video=Video(source="Logitech"))
        (finding,) = cameras(Case(config, configured=True, root=tmp_path))
        assert finding.verdict is Verdict.FAILED
        assert "no camera 'Logitech'" in finding.text

    def test_none_is_wanted_and_none_is_there(self, tmp_path: Path) -> None:
        (finding,) = cameras(Case(root=tmp_path))
        assert finding.verdict is Verdict.ABSENT

    def test_one_that_nobody_configured_and_that_does_not_work(self, tmp_path: Path) -> None:
        node = tmp_path / "sys/class/video4linux/video77"
        node.mkdir(parents=True)
        (node / "name").write_text("Endoscope")
        (finding,) = cameras(Case(root=tmp_path))
        assert finding.name == "camera 77"
        assert finding.verdict is Verdict.WARNING

    def test_pictures_of_a_file(self, video: Path, tmp_path: Path) -> None:
        config = Config(video=Video(source=str(video)))
        (finding,) = cameras(Case(config, configured=True, root=tmp_path))
        assert finding.verdict is Verdict.ABSENT
