"""The demonstration, end to end: what it writes, and that it can be told to be another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
from program import assert_refused, edge, needs_espeak, written

from edge_runtime.demo.scenes import SCENES
from edge_runtime.replay import read

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")
pytestmark = needs_espeak
SECONDS, TURNS = 20, 100
FILES = ["conversation.wav", "recording.mcap", "summary.json", "timeline.png"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where it wrote, and what it printed."""
    here = tmp_path_factory.mktemp("demo")
    result = edge("demo", "--speed", "max", "--seconds", str(SECONDS), "--out", "[out]", cwd=here)
    assert (result.returncode, result.stderr) == (0, "")
    return here / "[out]", result.stdout


@pytest.fixture(scope="module")
def summary(shown: tuple[Path, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shown[0] / "summary.json").read_text())
    return found


def test_it_writes_its_files_and_nothing_else(shown: tuple[Path, str]) -> None:
    assert sorted(path.name for path in shown[0].iterdir()) == FILES
    for name in FILES:
        assert name in shown[1]
    assert "[out]" in shown[1]


def test_the_summary_counts_the_turns_and_what_they_cost(summary: dict[str, Any]) -> None:
    assert (summary["micro_turns"], summary["missed"]) == (TURNS, 0)
    compute_ms = summary["compute_ms"]
    assert 0 < compute_ms["p50"] <= compute_ms["p99"] <= compute_ms["max"]
    assert 20 < summary["rss_mb"] < 4000
    assert summary["seed"] == 1
    assert len(summary["engine"]["sha256"]) == 64


def test_every_scene_says_what_was_expected_and_what_happened(
    summary: dict[str, Any], shown: tuple[Path, str]
) -> None:
    rows = summary["scenes"]
    assert [row["name"] for row in rows] == [scene.name for scene in SCENES]
    assert [row["expected"] for row in rows] == [scene.expected for scene in SCENES]
    for row in rows:
        assert row["happened"]
        finished = row["ok"] is not None
        assert finished == ("end_s" in row) == (row["happened"] != "it was not finished")
        assert row["name"] in shown[1]
    assert rows[0]["ok"] is not None, "20 s are enough for the first scene"
    assert rows[-1]["ok"] is None, "and too little for the last"


def test_the_latencies_are_those_of_the_scenes(summary: dict[str, Any]) -> None:
    for name in ("response_latency_ms", "stop_latency_ms"):
        measured = [row.get(name) for row in summary["scenes"]]
        assert summary[name] == [round(value, 1) for value in measured if value is not None]
        assert all(0 <= value < 10_000 for value in summary[name])


def test_the_conversation_has_the_person_on_the_left_and_the_device_on_the_right(
    shown: tuple[Path, str],
) -> None:
    samples, rate_hz = soundfile.read(shown[0] / "conversation.wav")
    assert (rate_hz, samples.shape) == (16_000, (SECONDS * 16_000, 2))
    assert np.abs(samples[:, 0]).max() > 0.1
    spoke = any(one.turn.voice.speaking for one in read(shown[0] / "recording.mcap"))
    assert (np.abs(samples[:, 1]).max() > 0.1) == spoke


def test_the_timeline_is_a_picture_with_something_in_it(shown: tuple[Path, str]) -> None:
    picture = cv2.imread(str(shown[0] / "timeline.png"))
    assert picture is not None
    height, width, _ = picture.shape
    assert width > 1000 and height > 200
    assert np.count_nonzero((picture < 250).any(axis=2)) > 0.05 * height * width


def test_the_recording_has_sound_and_pictures_of_every_turn(shown: tuple[Path, str]) -> None:
    turns = [one.turn for one in read(shown[0] / "recording.mcap")]
    assert [turn.index for turn in turns] == list(range(TURNS))
    assert all(turn.frame is not None for turn in turns)
    result = edge("replay", shown[0] / "recording.mcap", cwd=shown[0])
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{TURNS} micro-turns, every decision the same" in result.stdout


def test_the_recording_alone_gives_sound_and_words_back(shown: tuple[Path, str]) -> None:
    result = edge("export", shown[0] / "recording.mcap", "--out", "heard", cwd=shown[0].parent)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{SECONDS}.0 s in heard: conversation.wav, transcript.txt" in result.stdout
    heard = shown[0].parent / "heard"
    sound = (heard / "conversation.wav").read_bytes()
    assert sound == (shown[0] / "conversation.wav").read_bytes()
    said = [
        f"{(one.turn.index + 1) / 5:8.1f} s  {one.said.act} {one.said.text}"
        for one in read(shown[0] / "recording.mcap")
        if one.said is not None
    ]
    lines = (heard / "transcript.txt").read_text().splitlines()
    assert said and [line for line in lines if line in said] == said


def test_the_seed_chooses_the_person(tmp_path: Path) -> None:
    for seed, out in (("1", "a"), ("1", "b"), ("2", "c")):
        arguments = ("--speed", "max", "--seconds", "1", "--seed", seed, "--out", out)
        assert edge("demo", *arguments, cwd=tmp_path).returncode == 0
    seen = {
        out: [one.turn for one in read(tmp_path / out / "recording.mcap")]
        for out in ("a", "b", "c")
    }
    for one, same, other in zip(seen["a"], seen["b"], seen["c"], strict=True):
        assert np.array_equal(one.audio, same.audio)
        assert np.array_equal(one.frame, same.frame)
        assert not np.array_equal(one.frame, other.frame)


def test_ctrl_c_ends_it_with_what_there_was_and_no_worker_is_asked(tmp_path: Path) -> None:
    config = written(tmp_path / "edge.yaml", "delegation: {broker: 'mqtt://127.0.0.1:9'}")
    command = [sys.executable, "-m", "edge_runtime.cli", "demo", "--config", config, "--out", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        told = demo.stdout.readline()
        assert any("greet" in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        rest, complaints = demo.communicate(timeout=60)
    assert told == "The demo answers by itself: no worker is asked.\n"
    assert (demo.returncode, complaints) == (0, "")
    assert "goodbye" in rest and "it was not finished" in rest
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "file", "not a folder")
    result = edge("demo", "--speed", "max", "--seconds", "1", "--out", "file", cwd=tmp_path)
    assert_refused(result, "file/", "cannot be written", "--out")
    assert (tmp_path / "file").read_text() == "not a folder"


def test_without_matplotlib_it_says_so_before_the_conversation(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; from edge_runtime.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "demo", "--speed", "max", "--seconds", "1", "--out", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert_refused(result, "matplotlib", "pip install 'edge-runtime[demo]'")
    assert not (tmp_path / "out").exists()


def test_a_stop_is_heard_at_the_beginning_of_a_long_answer(tmp_path: Path) -> None:
    """Eight seconds of a story are left when this person says it: more than any answer had that the
    reference model was trained on."""
    told = ("--speed", "max", "--seconds", "48", "--seed", "12", "--out", "[out]")
    edge("demo", *told, cwd=tmp_path)
    summary = json.loads((tmp_path / "[out]" / "summary.json").read_text())
    (scene,) = (scene for scene in summary["scenes"] if scene["name"] == "interruption")
    assert scene["ok"] and scene["stop_latency_ms"] < 1000, scene["happened"]
