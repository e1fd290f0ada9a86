"""Whatever sound file comes, the stream is 16 kHz mono, of the right length, in little memory."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sources.audio_file import AudioFile
from edge_runtime.sources.video_file import VideoFile

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def tone(rate_hz: int, seconds: float, hz: float = 440.0, level: float = 0.5) -> Pcm:
    t_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return (level * np.sin(2 * np.pi * hz * t_s)).astype(np.float32)


def write(path: Path, pcm: Pcm, rate_hz: int, subtype: str | None = None) -> Path:
    soundfile.write(path, pcm, rate_hz, subtype=subtype)
    return path


def read_all(file: AudioFile, count: int = TURN_SAMPLES) -> Pcm:
    blocks = []
    while (block := file.read(count)).size:
        blocks.append(block)
    return np.concatenate(blocks)


def test_16_khz_mono_comes_back_sample_for_sample(tmp_path: Path) -> None:
    pcm = tone(SAMPLE_RATE_HZ, 1.03)
    path = write(tmp_path / "plain.wav", pcm, SAMPLE_RATE_HZ, "FLOAT")
    with AudioFile(path) as file:
        assert file.description == "plain.wav: 16000 Hz, 1 channel, 1.0 s, used as it is"
        heard = read_all(file)
    assert heard.dtype == np.float32
    np.testing.assert_array_equal(heard, pcm)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_becomes_16_khz_in_place(tmp_path: Path, rate_hz: int) -> None:
    path = write(tmp_path / "tone.wav", tone(rate_hz, 1.5), rate_hz, "FLOAT")
    with AudioFile(path) as file:
        assert f"{rate_hz} Hz" in file.description
        assert "-> 16000 Hz mono" in file.description
        heard = read_all(file)
    expected = tone(SAMPLE_RATE_HZ, 1.5)
    assert abs(heard.size - expected.size) <= 1
    inner = slice(800, -800)  # The ends ring.
    np.testing.assert_allclose(heard[: expected.size][inner], expected[inner], atol=2e-3)


def test_streaming_equals_one_pass_whatever_the_block(tmp_path: Path) -> None:
    path = write(tmp_path / "tone.wav", tone(44_100, 2.0), 44_100, "FLOAT")
    with AudioFile(path) as file:
        whole = file.read(10**6)
    for count in (1_000, TURN_SAMPLES, 7_919):
        with AudioFile(path) as file:
            np.testing.assert_array_equal(read_all(file, count), whole)


@pytest.mark.parametrize("channels", [2, 6, 8])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    levels = np.linspace(0.1, 0.8, channels, dtype=np.float32)
    pcm = tone(SAMPLE_RATE_HZ, 0.5, level=1.0)[:, None] * levels
    path = write(tmp_path / "many.wav", pcm, SAMPLE_RATE_HZ, "FLOAT")
    with AudioFile(path) as file:
        assert file.description == (
            f"many.wav: 16000 Hz, {channels} channels, 0.5 s -> 16000 Hz mono, mean of channels"
        )
        heard = read_all(file)
    np.testing.assert_allclose(heard, pcm.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("name", ["tone.flac", "tone.ogg", "tone.mp3", "tone.aiff"])
def test_other_formats_of_soundfile(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, tone(44_100, 1.0), 44_100)
    with AudioFile(path) as file:
        heard = read_all(file)
    assert heard.size == pytest.approx(SAMPLE_RATE_HZ, abs=1_200)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@needs_ffmpeg
def test_ffmpeg_reads_what_soundfile_cannot(tmp_path: Path) -> None:
    wav = write(tmp_path / "tone.wav", np.stack([tone(44_100, 1.0)] * 2, axis=1), 44_100)
    path = tmp_path / "-odd name: 1.m4a"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", wav, "-c:a", "aac", f"file:{path}"], check=True, timeout=30
    )
    with pytest.raises(soundfile.SoundFileError):
        soundfile.SoundFile(path)
    with AudioFile(path) as file:
        assert "44100 Hz, 2 channels, 1.0 s -> 16000 Hz mono, by ffmpeg, mean" in file.description
        heard = read_all(file)
    assert heard.size == pytest.approx(SAMPLE_RATE_HZ, abs=1_200)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def film(folder: Path, late: str, late_s: float, name: str = "film.mp4") -> Path:
    """2 s of a tone and pictures, of which one, `a` or `v`, begins later."""
    wav = write(folder / "tone.wav", tone(SAMPLE_RATE_HZ, 2.0), SAMPLE_RATE_HZ)
    pictures = ["-f", "lavfi", "-i", "testsrc=r=25:s=64x48:d=2"]
    subprocess.run(
        ["ffmpeg", "-v", "error", *pictures, "-i", wav, "-c:v", "mpeg4", folder / "even.mp4"],
        check=True,
    )
    even = ["-i", folder / "even.mp4"]
    tracks = ["-map", f"{int(late == 'v')}:v", "-map", f"{int(late == 'a')}:a", "-c", "copy"]
    command = ["ffmpeg", "-v", "error", *even, "-itsoffset", str(late_s), *even, *tracks]
    subprocess.run([*command, folder / name], check=True)
    return folder / name


@needs_ffmpeg
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_sound_that_begins_later_than_its_film_is_in_step(tmp_path: Path, name: str) -> None:
    with AudioFile(film(tmp_path, "a", 1.2, name)) as file:
        assert "s of silence" in file.description
        heard = read_all(file)
    assert int(np.argmax(np.abs(heard) > 0.1)) == pytest.approx(1.2 * SAMPLE_RATE_HZ, abs=600)
    assert heard.size == pytest.approx(3.2 * SAMPLE_RATE_HZ, abs=2_000)


@needs_ffmpeg
@pytest.mark.parametrize("late", ["a", "v"])
def test_sound_that_begins_with_its_film_is_what_ffmpeg_decodes(tmp_path: Path, late: str) -> None:
    path = film(tmp_path, late, 0.0 if late == "a" else 1.0)
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-ar", "16000", "-f", "f32le"]
    decoded = subprocess.run([*command, "-"], capture_output=True, check=True).stdout
    with AudioFile(path) as file:
        np.testing.assert_array_equal(read_all(file), np.frombuffer(decoded, "<f4"))


@needs_ffmpeg
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_pictures_that_begin_later_than_their_film_are_in_step(tmp_path: Path, name: str) -> None:
    with VideoFile(film(tmp_path, "v", 1.0, name)) as video:
        assert " s without" in video.description
        assert video.frame_at(0.9) is None
        assert video.frame_at(1.1) is not None
        assert video.frame_at(2.9) is not None
        assert video.ended_at(3.1)


@needs_ffmpeg
def test_leaving_early_ends_ffmpeg(tmp_path: Path) -> None:
    wav = write(tmp_path / "long.wav", tone(SAMPLE_RATE_HZ, 60.0), SAMPLE_RATE_HZ)
    path = tmp_path / "long.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-c:a", "aac", path], check=True)
    with AudioFile(path) as file:
        assert file.read(TURN_SAMPLES).size == TURN_SAMPLES
        process = file._decoder._process  # type: ignore[union-attr]
        assert process.poll() is None
    assert process.poll() is not None


def test_nan_and_infinity_become_zero_and_are_counted(tmp_path: Path) -> None:
    pcm = tone(SAMPLE_RATE_HZ, 1.0)
    pcm[100], pcm[200], pcm[300:303] = np.nan, np.inf, -np.inf
    with AudioFile(write(tmp_path / "bad.wav", pcm, SAMPLE_RATE_HZ, "FLOAT")) as file:
        heard = read_all(file)
        assert file.bad_samples == 5
    assert np.isfinite(heard).all()
    assert not heard[[100, 200, 300, 301, 302]].any()
    assert heard[101] == pcm[101]


def test_too_loud_samples_stay_in_range(tmp_path: Path) -> None:
    path = write(tmp_path / "loud.wav", tone(44_100, 0.5, level=3.0), 44_100, "FLOAT")
    with AudioFile(path) as file:
        assert np.abs(read_all(file)).max() == 1.0


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    minute = np.zeros((60 * 8_000, 1), np.float32)
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_U8") as out:
        for _ in range(120):
            out.write(minute)
    with AudioFile(path) as file:
        tracemalloc.start()
        count = 0
        while size := file.read(TURN_SAMPLES).size:
            count += size
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == 120 * 60 * SAMPLE_RATE_HZ
    assert peak_bytes < 10_000_000


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.wav does not exist.*--audio"):
        AudioFile(tmp_path / "none.wav").__enter__()


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a folder.*one sound file"):
        AudioFile(tmp_path).__enter__()


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(SourceError, match=r"empty\.wav is empty.*--audio"):
        AudioFile(tmp_path / "empty.wav").__enter__()


def test_a_header_without_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "silent.wav", np.zeros(0, np.float32), SAMPLE_RATE_HZ)
    with pytest.raises(SourceError, match=r"silent\.wav holds no sound.*--audio"):
        AudioFile(path).__enter__()


@pytest.mark.parametrize("name", ["notes.txt", "notes.wav", "notes.mp3"])
def test_not_a_sound_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Not sound, but a shopping list.\n" * 50)
    with pytest.raises(SourceError, match=rf"{name} (is not a sound file|holds no sound)"):
        AudioFile(tmp_path / name).__enter__()


def test_without_ffmpeg_the_remedy_is_ffmpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "video.mp4").write_bytes(bytes(range(256)) * 8)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match=r"video\.mp4 is not a sound file.*install ffmpeg"):
        AudioFile(tmp_path / "video.mp4").__enter__()


def test_a_damaged_file_ends_where_the_damage_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.flac", tone(SAMPLE_RATE_HZ, 5.0), SAMPLE_RATE_HZ)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with AudioFile(path) as file:
        heard = read_all(file)
    assert 0 < heard.size < 5 * SAMPLE_RATE_HZ
