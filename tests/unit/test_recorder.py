"""A recording gives back exactly what was recorded, opens in other readers, and admits damage."""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from numpy.testing import assert_array_equal

from edge_runtime import recording_format as fmt
from edge_runtime.errors import RecordingError
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    BackgroundState,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    Frame,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.replay import RecordedTurn, metadata, read
from edge_runtime.sinks.recorder import Recorder

NOTES = {"engine": {"sha256": "abc"}, "version": "1.0"}
SILENCE = np.zeros((2, TURN_SAMPLES), np.float32)


def full_record(index: int, frame: Frame | None = None) -> TurnRecord:
    """Every field differs from its default, with numbers that do not print short."""
    noise = np.random.default_rng(index)
    turn = MicroTurn(
        index=index,
        deadline_ns=2**62 + index,
        audio=noise.uniform(-1, 1, (2, TURN_SAMPLES)).astype(np.float32),
        lost_samples=17,
        direction_rad=-math.pi / 3,
        frame=frame,
        frame_age_ms=100 / 3,
        events=(Event(EventKind.RESULT, "request-1", "ça coûte 5 €"), Event(EventKind.LINK_DOWN)),
        voice=VoiceState("utterance-3", 1 / 3),
        background=BackgroundState(pending=True, result_ready=True, link_up=False),
    )
    logits = noise.normal(size=(1, 5)).astype(np.float32)
    decision = Decision(
        index=index,
        floor="speak",
        say="greet",
        stop=True,
        hesitate=True,
        actions=(Action("wave", 1 / 7), Action("nod", 0.1 + 0.2)),
        delegation=Delegation.DELEGATE,
        heard="hé\u2019\n",
        probabilities={"floor": {"listen": 1e-300, "speak": 1 - 1e-16}, "act": {"greet": 2 / 3}},
    )
    output = EngineOutput(index, {"floor": logits, "extremes": np.float32([np.inf, -0.0, 1e-45])})
    said = Utterance(f"utterance-{index}", "hello", "greet", "request-1", goes_on=index == 1)
    return TurnRecord(turn, output, decision, Timings(1.5, 2.5, 3.5, 4), said)


def quiet_record(index: int, frame: Frame | None = None) -> TurnRecord:
    turn = MicroTurn(index, index, SILENCE, frame=frame)
    return TurnRecord(turn, EngineOutput(index, {}), Decision(index, "listen"), Timings())


def recorded(path: Path, records: Sequence[TurnRecord], **options: Any) -> Path:
    with Recorder(path, NOTES, **options) as recorder:
        for record in records:
            recorder.publish(record)
    return path


def messages(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What the MCAP library's own reader sees."""
    with path.open("rb") as file:
        return [
            (channel.topic, json.loads(message.data))
            for _, channel, message in make_reader(file).iter_messages()
        ]


def assert_same(back: RecordedTurn, record: TurnRecord) -> None:
    assert back.turn.audio.tobytes() == record.turn.audio.tobytes()
    assert back.turn.audio.dtype == np.float32
    assert (back.turn.frame is None) == (record.turn.frame is None)
    if record.turn.frame is not None:
        assert back.turn.frame is not None
        assert_array_equal(back.turn.frame, record.turn.frame, strict=True)
    rest = replace(back.turn, audio=SILENCE, frame=None)
    assert rest == replace(record.turn, audio=SILENCE, frame=None)
    assert back.decision == record.decision
    assert back.output.index == record.output.index
    assert list(back.output.tensors) == list(record.output.tensors)
    for name, tensor in record.output.tensors.items():
        assert back.output.tensors[name].tobytes() == tensor.tobytes()
        assert_array_equal(back.output.tensors[name], tensor, strict=True)


def test_what_is_read_back_equals_what_was_recorded_to_the_last_bit(tmp_path: Path) -> None:
    pictures = np.random.default_rng(5).integers(0, 256, (3, 7, 9, 3), np.uint8)
    records = [full_record(index, pictures[index]) for index in range(3)]
    records += [full_record(3, None), quiet_record(4, pictures[2]), quiet_record(5)]
    back = list(read(recorded(tmp_path / "run.mcap", records)))
    assert len(back) == len(records)
    for one, record in zip(back, records, strict=True):
        assert_same(one, record)


def test_a_long_run_comes_back_whole_and_in_order(tmp_path: Path) -> None:
    records = [full_record(index) for index in range(90)]
    back = list(read(recorded(tmp_path / "run.mcap", records)))
    assert [one.turn.index for one in back] == list(range(90))
    assert_same(back[-1], records[-1])


def test_another_reader_finds_every_channel_and_the_numbers_in_it(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", [full_record(0), full_record(1)])
    found = messages(path)
    assert Counter(topic for topic, _ in found) == {
        "/micro_turn": 2,
        "/output": 2,
        "/decision": 2,
        "/timings": 2,
        "/utterance": 2,
    }
    first: dict[str, Any] = {}
    for topic, data in found:
        first.setdefault(topic, data)
    assert first["/utterance"]["text"] == "hello"
    assert first["/decision"]["actions"][0] == {"name": "wave", "probability": 1 / 7}
    assert first["/timings"] == {
        "index": 0, "late_ms": 1.5, "compute_ms": 2.5, "total_ms": 3.5, "skipped": 4,
    }  # fmt: skip
    assert fmt.timings_from_dict(first["/timings"]) == full_record(0).timings


def test_pictures_are_png_in_the_right_colours_for_other_viewers(tmp_path: Path) -> None:
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255
    found = dict(messages(recorded(tmp_path / "run.mcap", [quiet_record(0, red)])))
    image = found["/frame"]
    assert image["format"] == "png"
    assert image["timestamp"] == {"sec": 0, "nsec": 0}
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(image["data"]), np.uint8), 1)
    assert decoded.shape == (4, 6, 3)
    assert decoded[0, 0].tolist() == [0, 0, 255]  # OpenCV's order: blue, green, red.


def test_a_picture_that_does_not_change_is_stored_once_and_seen_in_every_turn(
    tmp_path: Path,
) -> None:
    still, other = np.full((4, 6, 3), 9, np.uint8), np.full((4, 6, 3), 10, np.uint8)
    shown = [still, still.copy(), None, still, other]
    records = [quiet_record(index, frame) for index, frame in enumerate(shown)]
    path = recorded(tmp_path / "run.mcap", records)
    assert [topic for topic, _ in messages(path)].count("/frame") == 2
    levels = [None if one.turn.frame is None else one.turn.frame[0, 0, 0] for one in read(path)]
    assert levels == [9, 9, None, 9, 10]


def test_without_pictures_none_is_stored(tmp_path: Path) -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    path = recorded(tmp_path / "run.mcap", [quiet_record(0, picture)], frames=False)
    assert "/frame" not in dict(messages(path))
    assert [one.turn.frame for one in read(path)] == [None]
    assert metadata(path)["frames"] is False


def test_it_notes_what_the_run_was_made_with(tmp_path: Path) -> None:
    path = recorded(tmp_path / "deep" / "er" / "run.mcap", [])
    assert metadata(path) == {"format": "edge_runtime/1", "frames": True, **NOTES}
    assert list(read(path)) == []


def test_the_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with Recorder(path, NOTES) as recorder:
        recorder.publish(quiet_record(0))
        assert [file.name for file in tmp_path.iterdir()] == ["run.mcap.part"]
    assert [file.name for file in tmp_path.iterdir()] == ["run.mcap"]


def test_a_run_that_ends_with_an_error_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with pytest.raises(ZeroDivisionError), Recorder(path, NOTES) as recorder:
        recorder.publish(full_record(0))
        raise ZeroDivisionError
    assert [one.turn.index for one in read(path)] == [0]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.999])
def test_a_recording_that_was_cut_off_is_read_up_to_its_last_whole_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    records = [full_record(index) for index in range(60)]
    path = recorded(tmp_path / "run.mcap", records)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    back = list(read(path))
    assert len(back) >= int(60 * share) - 25  # turns are written in pieces of a MiB
    for one, record in zip(back, records, strict=False):
        assert_same(one, record)
    assert "run.mcap was cut off; it is read up to its last whole" in caplog.text
    assert metadata(path)["version"] == "1.0"


def test_a_recording_with_nothing_in_it_is_refused_by_name(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", [full_record(0)])
    content = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match=r"run\.mcap is not an MCAP"):
        list(read(path))
    path.write_bytes(content[:20])
    with pytest.raises(RecordingError, match=r"run\.mcap is .*not a recording"):
        metadata(path)


KILLED = """
import os, sys
from pathlib import Path
from test_recorder import NOTES, full_record
from edge_runtime.sinks.recorder import Recorder
with Recorder(Path(sys.argv[1]), NOTES) as recorder:
    for index in range(60):
        recorder.publish(full_record(index))
    os.kill(os.getpid(), 9)
"""


def test_the_recording_of_a_run_that_was_killed_is_kept_beside_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.mcap"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], env={"PYTHONPATH": paths}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    recorded(path, [full_record(7)])
    (left,) = tmp_path.glob("run-*.mcap")
    assert f"an earlier run was cut off; its recording is {left}" in caplog.text
    indices = [one.turn.index for one in read(left)]
    assert indices == list(range(len(indices))) and len(indices) > 30
    assert [one.turn.index for one in read(path)] == [7]
    assert not list(tmp_path.glob("*.part"))


WRITING = """
import sys
from pathlib import Path
from test_recorder import NOTES, full_record
from edge_runtime.sinks.recorder import Recorder
with Recorder(Path(sys.argv[1]), NOTES) as recorder:
    for index in range(60):
        recorder.publish(full_record(index))
    print("written", flush=True)
    sys.stdin.read()
"""


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_ino, file.read_bytes()) for file in folder.iterdir()}


def test_what_another_process_writes_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    path.write_bytes(b"the one before")
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(path)],
        env={"PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        before = contents(tmp_path)
        for _ in range(2):
            with pytest.raises(
                RecordingError, match=rf"being written by process {writer.pid}\. .*--out"
            ):
                Recorder(path, NOTES).__enter__()
        assert contents(tmp_path) == before
        writer.communicate(timeout=60)
    assert writer.returncode == 0
    assert [one.turn.index for one in read(path)] == list(range(60))
    assert [file.name for file in tmp_path.iterdir()] == ["run.mcap"]
    recorded(path, [full_record(7)])


def test_one_that_was_removed_while_it_was_written_takes_no_other_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.mcap"
    part = tmp_path / "run.mcap.part"
    with Recorder(path, NOTES) as recorder:
        recorder.publish(full_record(0))
        part.unlink()
        part.write_bytes(b"of another process")
    assert "it was removed while it was written" in caplog.text
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"of another process"]


def test_flipped_bits_are_noticed(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", [full_record(index) for index in range(10)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"run\.mcap is damaged"):
        list(read(path))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no recording at all, but long enough"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(content)
    for attempt in (metadata, lambda other: list(read(other))):
        with pytest.raises(RecordingError, match=r"talk\.wav"):
            attempt(path)


def test_a_missing_recording_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.mcap cannot be opened"):
        metadata(tmp_path / "none.mcap")


@pytest.mark.parametrize(
    "change", [{"shape": [2, 3]}, {"dtype": "noise"}, {"data": "?"}, {"data": ""}]
)
def test_an_array_that_does_not_fit_its_shape_is_refused(change: dict[str, Any]) -> None:
    packed = fmt.pack(np.arange(4, dtype=np.float32).reshape(2, 2))
    assert_array_equal(fmt.unpack(packed), [[0, 1], [2, 3]])
    with pytest.raises(RecordingError, match="damaged array"):
        fmt.unpack(packed | change)


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RecordingError, match="cannot be written"):
        Recorder(tmp_path / "file" / "run.mcap", NOTES).__enter__()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file grows beyond 1 MB: writing fails halfway, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("turns", [45, 100], ids=["at its end", "before"])
def test_a_full_disk_ends_the_recording_with_a_warning_and_keeps_what_was_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, turns: int
) -> None:
    path = tmp_path / "run.mcap"
    with caplog.at_level(logging.WARNING):
        recorded(path, [full_record(index) for index in range(turns)])
    (entry,) = caplog.records
    assert entry.getMessage().startswith("recording stopped, the run goes on")
    (kept,) = tmp_path.iterdir()
    assert str(kept) in entry.getMessage()
    indices = [one.turn.index for one in read(kept)]
    assert indices == list(range(len(indices))) and len(indices) > 20
