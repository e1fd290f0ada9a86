"""Sound and pictures as they come are run; the recording of a run decides the same again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
from mcap.reader import make_reader
from mcap.writer import Writer
from program import assert_refused, edge, filmed, needs_espeak, spoken, written

from edge_runtime.sinks.recorder import Recorder

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@needs_espeak
class TestFilesAsTheyCome:
    """Each is run once; what is asserted is what the user is told, and what was written."""

    def run(self, here: Path, *arguments: str | Path) -> tuple[str, dict[str, Any]]:
        """What was said of the inputs, and the summary."""
        result = edge("run", "--speed", "max", "--tail", "0.4", "--out", "out", *arguments,
                      cwd=here)  # fmt: skip
        assert (result.returncode, result.stderr) == (0, "")
        notes, summary = result.stdout.split("{", 1)
        return notes, json.loads("{" + summary)

    def heard(self, here: Path) -> np.ndarray:
        """float (n,): the microphone's side of what was written."""
        samples, rate_hz = soundfile.read(here / "out" / "conversation.wav")
        assert rate_hz == 16_000
        assert (here / "out" / "recording.mcap").stat().st_size > 1000
        return samples[:, 0]

    @pytest.mark.parametrize(
        ("rate_hz", "channels", "note"),
        [
            (44_100, 2, "44100 Hz, 2 channels, 1.2 s -> 16000 Hz mono, mean of channels"),
            (8_000, 1, "8000 Hz, 1 channel, 1.2 s -> 16000 Hz mono"),
            (16_000, 1, "16000 Hz, 1 channel, 1.2 s, used as it is"),
        ],
    )
    def test_any_rate_and_any_channels_become_16_khz_mono(
        self, tmp_path: Path, rate_hz: int, channels: int, note: str
    ) -> None:
        spoken(tmp_path / "talk.wav", rate_hz=rate_hz, channels=channels)
        notes, summary = self.run(tmp_path, "--audio", "talk.wav")
        assert f"sound talk.wav: {note}\n" in notes
        assert "no picture\n" in notes
        assert summary["micro_turns"] == 6 + 2
        assert summary["missed"] == 0
        expected, _ = soundfile.read(spoken(tmp_path / "same.wav"))
        heard = self.heard(tmp_path)[: expected.size]
        assert np.sqrt(np.mean((heard - expected) ** 2)) < 0.02 * np.sqrt(np.mean(expected**2))

    @needs_ffmpeg
    @pytest.mark.parametrize("name", ["talk.mp3", "talk.ogg", "talk.m4a"])
    def test_compressed_sound_is_decoded(self, tmp_path: Path, name: str) -> None:
        spoken(tmp_path / "talk.wav", rate_hz=44_100, channels=2)
        made = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", "talk.wav", name],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"this ffmpeg cannot write {name}")
        notes, summary = self.run(tmp_path, "--audio", name)
        assert f"sound {name}: 44100 Hz, 2 channels, 1.2 s -> 16000 Hz mono" in notes
        assert summary["micro_turns"] in (8, 9)
        assert np.abs(self.heard(tmp_path)).max() > 0.15

    @pytest.mark.parametrize(
        ("video_s", "note"),
        [
            (0.5, "the last 0.7 s of the sound have no picture"),
            (2.0, "the picture's last 0.8 s are left out: the sound is over"),
        ],
    )
    def test_a_video_of_another_length_than_the_sound(
        self, tmp_path: Path, video_s: float, note: str
    ) -> None:
        spoken(tmp_path / "talk.wav")
        filmed(tmp_path / "film.mp4", video_s)
        notes, summary = self.run(tmp_path, "--audio", "talk.wav", "--video", "film.mp4")
        assert f"picture film.mp4: 64x48, 10 frames/s, {video_s:.1f} s\n" in notes
        assert note in notes
        assert summary["micro_turns"] == 6 + 2

    def test_a_folder_of_pictures(self, tmp_path: Path) -> None:
        spoken(tmp_path / "talk.wav")
        (tmp_path / "pictures").mkdir()
        for index in range(3):
            picture = np.full((48, 64, 3), 80 * index, np.uint8)
            assert cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), picture)
        notes, _ = self.run(tmp_path, "--audio", "talk.wav", "--video", "pictures")
        assert "picture pictures: 64x48, 3 pictures at 5 frames/s, 0.6 s\n" in notes
        frames = [data for topic, data in messages(tmp_path / "out" / "recording.mcap")
                  if topic == "/frame"]  # fmt: skip
        assert len(frames) == 2, "at 0.2 and 0.4 s; the first one shows before the first turn ends"

    def test_a_video_without_sound_is_seen_in_silence(self, tmp_path: Path) -> None:
        filmed(tmp_path / "film.mp4", 1.0)
        notes, summary = self.run(tmp_path, "--video", "film.mp4")
        assert "no sound: silence\n" in notes
        assert summary["micro_turns"] == 5 + 2
        assert not self.heard(tmp_path).any()

    def test_a_name_that_looks_like_markup_is_shown_as_it_is(self, tmp_path: Path) -> None:
        spoken(tmp_path / "talk[bold].wav")
        notes, _ = self.run(tmp_path, "--audio", "talk[bold].wav")
        assert "sound talk[bold].wav:" in notes


def messages(path: Path) -> list[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        found = make_reader(file).iter_messages(log_time_order=False)
        return [(channel.topic, json.loads(message.data)) for _, channel, message in found]


def rewritten(
    path: Path,
    to: Path,
    change: Callable[[str, dict[str, Any]], None] = lambda topic, data: None,
    note: Callable[[str], str] = str,
) -> Path:
    """The recording with its messages and its notes changed, by the MCAP library alone."""
    with path.open("rb") as source, to.open("wb") as target:
        reader, writer = make_reader(source), Writer(target)
        writer.start()
        channels: dict[str, int] = {}
        for schema, channel, message in reader.iter_messages(log_time_order=False):
            assert schema is not None
            if channel.topic not in channels:
                kind = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(
                    channel.topic, channel.message_encoding, kind
                )
            data = json.loads(message.data)
            change(channel.topic, data)
            writer.add_message(
                channels[channel.topic],
                message.log_time,
                json.dumps(data).encode(),
                message.publish_time,
            )
        for record in reader.iter_metadata():
            changed = {key: note(value) for key, value in record.metadata.items()}
            writer.add_metadata(record.name, changed)
        writer.finish()
    return to


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("run")
    spoken(here / "talk.wav", seconds=2.0, rate_hz=44_100, channels=2)
    filmed(here / "film.mp4", 1.0)
    result = edge("run", "--audio", "talk.wav", "--video", "film.mp4", "--speed", "max",
                  "--tail", "1", "--out", "out", cwd=here)  # fmt: skip
    assert result.returncode == 0, result.stderr
    return here / "out" / "recording.mcap"


@needs_espeak
class TestReplay:
    def test_a_recording_decides_the_same_again(self, recording: Path, tmp_path: Path) -> None:
        result = edge("replay", recording, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert "15 micro-turns, every decision the same" in result.stdout
        assert "another model" not in result.stdout
        assert "another engine" not in result.stdout

    def test_copying_it_with_another_program_changes_nothing(
        self, recording: Path, tmp_path: Path
    ) -> None:
        copy = rewritten(recording, tmp_path / "copy.mcap")
        result = edge("replay", copy, cwd=tmp_path)
        assert "15 micro-turns, every decision the same" in result.stdout
        assert result.returncode == 0

    def test_one_decision_changed_is_found_and_shown(self, recording: Path, tmp_path: Path) -> None:
        decided = {}

        def tamper(topic: str, data: dict[str, Any]) -> None:
            if topic == "/decision" and data["index"] in (7, 11):
                decided[data["index"]] = data["floor"]
                data["floor"] = "[red]tampered"

        changed = rewritten(recording, tmp_path / "changed.mcap", tamper)
        result = edge("replay", changed, cwd=tmp_path)
        assert result.returncode == 1
        shown = f"micro-turn 7: floor was '[red]tampered', is '{decided[7]}'"
        assert shown in result.stdout
        assert "micro-turn 11" not in result.stdout
        assert "Traceback" not in result.stderr

    def test_another_model_is_said_to_be_another(self, recording: Path, tmp_path: Path) -> None:
        copy = rewritten(
            recording,
            tmp_path / "other.mcap",
            note=lambda value: re.sub(r"[0-9a-f]{64}", "0" * 64, value),
        )
        result = edge("replay", copy, cwd=tmp_path)
        assert "The recording was made with another model." in result.stdout
        assert result.returncode == 0

    def test_another_precision_is_said_to_be_another_engine(
        self, recording: Path, tmp_path: Path
    ) -> None:
        written(tmp_path / "half.yaml", "engine: {precision: fp16}\n")
        result = edge("replay", recording, "--config", "half.yaml", cwd=tmp_path)
        assert "made with another engine (precision fp32, now fp16)" in result.stdout
        assert "`edge-runtime engine verify` judges them" in result.stdout
        assert result.returncode == 1, "decisions hold probabilities"

    @pytest.mark.parametrize("content", [b"", b"garbage " * 500])
    def test_a_file_that_is_no_recording(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "garbage.mcap").write_bytes(content)
        result = edge("replay", "garbage.mcap", cwd=tmp_path)
        assert_refused(result, "garbage.mcap", "recording")

    def test_a_recording_that_was_cut_off(self, recording: Path, tmp_path: Path) -> None:
        content = recording.read_bytes()
        (tmp_path / "cut.mcap").write_bytes(content[: len(content) // 2])
        result = edge("replay", "cut.mcap", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert "cut.mcap holds no whole micro-turn" in result.stderr
        (tmp_path / "cut.mcap").write_bytes(content[:-100])
        result = edge("replay", "cut.mcap", cwd=tmp_path)
        assert "15 micro-turns, every decision the same" in result.stdout
        assert "cut.mcap was cut off; it is read up to its last whole" in result.stderr

    def test_no_such_recording(self, tmp_path: Path) -> None:
        result = edge("replay", "none.mcap", cwd=tmp_path)
        assert_refused(result, "none.mcap cannot be opened", "Give the path of a recording.mcap")


@needs_espeak
class TestTheDevicesRecording:
    """What stands in the configuration, while something is run by hand."""

    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        spoken(tmp_path / "talk.wav")
        (tmp_path / "rec").mkdir()
        (tmp_path / "rec" / "last.mcap").write_bytes(b"of the service")
        return written(tmp_path / "one.yaml", "recording: {path: rec/last.mcap}\n")

    def run(self, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return edge("run", "--config", config, "--audio", "talk.wav", "--speed", "max",
                    "--tail", "0.4", *arguments, cwd=config.parent)  # fmt: skip

    def kept(self, config: Path) -> list[bytes]:
        files = sorted((config.parent / "rec").iterdir())
        return [file.read_bytes() for file in files if file.name != "last.mcap"]

    def test_out_takes_all_files_of_the_run(self, config: Path) -> None:
        assert self.run(config, "--out", "out").returncode == 0
        out, rec = config.parent / "out", config.parent / "rec"
        assert {file.name for file in out.iterdir()} == {"conversation.wav", "recording.mcap"}
        assert [file.read_bytes() for file in rec.iterdir()] == [b"of the service"]
        assert edge("replay", "out/recording.mcap", cwd=config.parent).returncode == 0

    def test_the_demo_leaves_it_alone(self, config: Path) -> None:
        pytest.importorskip("matplotlib")
        done = edge("demo", "--config", config, "--speed", "max", "--seconds", "2",
                    cwd=config.parent)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (config.parent / "demo-out" / "recording.mcap").exists()
        rec = config.parent / "rec"
        assert [file.read_bytes() for file in rec.iterdir()] == [b"of the service"]

    def test_without_out_it_is_put_aside(self, config: Path) -> None:
        assert self.run(config).returncode == 0
        assert self.kept(config) == [b"of the service"]
        assert edge("replay", "rec/last.mcap", cwd=config.parent).returncode == 0

    def test_what_is_kept_is_kept_although_a_file_could_be_larger(self, config: Path) -> None:
        written(config, "recording: {path: rec/last.mcap, keep_mb: 10}\n")
        noise = 0.01 * np.random.default_rng(0).standard_normal(120 * 16_000)
        soundfile.write(config.parent / "talk.wav", noise, 16_000)
        assert self.run(config).returncode == 0
        sizes = [file.stat().st_size for file in (config.parent / "rec").iterdir()]
        assert len(sizes) > 2 and 5e6 < sum(sizes) <= 10e6

    def test_while_another_process_writes_it_a_run_is_refused_but_with_out(
        self, config: Path
    ) -> None:
        path = config.parent / "rec" / "last.mcap"
        with Recorder(path, {}):
            assert_refused(self.run(config), "last.mcap is being written by process", "--out")
            assert self.run(config, "--out", "out").returncode == 0
            assert {file.name for file in path.parent.iterdir()} == {path.name, path.name + ".part"}
            assert path.read_bytes() == b"of the service"
