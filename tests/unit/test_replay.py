"""Replay runs the engine again on a recording and names the first thing that differs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer
from tiny_model import checked_manifest, write_tiny_model

from edge_runtime.app import _recorder
from edge_runtime.assemble import Assembler
from edge_runtime.config import Config
from edge_runtime.decide import FloorDecider
from edge_runtime.errors import EngineError, RecordingError
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.interfaces import Decider, Engine, NothingHeld
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    AudioReading,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    FrameReading,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.pacing import MonotonicClock
from edge_runtime.recording_format import times_of_day
from edge_runtime.reference_engine import reference_engine_folder
from edge_runtime.replay import (
    Difference,
    engine_changes,
    metadata,
    read,
    read_turns,
    replay,
)
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sources.camera_watch import View

TURNS = 8
SHA256 = "the hash of the model"


class LevelEngine(NothingHeld):
    """Takes the floor by how loud it has been so far, so that its state matters."""

    def __init__(self, gain: float = 1.0, fails_at: int | None = None) -> None:
        self.gain, self.fails_at = gain, fails_at
        self.sum = 0.0

    def step(self, turn: MicroTurn) -> EngineOutput:
        if turn.index == self.fails_at:
            raise EngineError("the model is gone")
        self.sum += self.gain * float(turn.audio[0].max()) + len(turn.events)
        picture = 0.0 if turn.frame is None else float(turn.frame.mean())
        floor = np.float32([[0, 0, self.sum - 3, picture / 100, 0]])
        return EngineOutput(turn.index, {"floor": floor})

    def reset(self) -> None:
        self.sum = 0.0


def turns() -> list[MicroTurn]:
    noise = np.random.default_rng(2)
    return [
        MicroTurn(
            index,
            deadline_ns=index * 200_000_000,
            audio=noise.uniform(-1, 1, (2, TURN_SAMPLES)).astype(np.float32),
            frame=noise.integers(0, 256, (4, 6, 3), np.uint8) if index % 2 else None,
            frame_age_ms=20.0 if index % 2 else None,
            events=(Event(EventKind.LINK_UP),) if index == 4 else (),
        )
        for index in range(TURNS)
    ]


def decider() -> Decider:
    return FloorDecider(checked_manifest())


def recorded(
    path: Path,
    engine: Engine,
    tampered: Mapping[int, Mapping[str, Any]] | None = None,
    dropped: Sequence[int] = (),
    frames: bool = True,
) -> Path:
    """A run of the engine; `tampered` changes fields of the decisions after the fact, `dropped`
    leaves micro-turns out."""
    deciding = decider()
    with Recorder(path, {"engine": {"sha256": SHA256}}, frames) as recorder:
        for turn in turns():
            output = engine.step(turn)
            decision = deciding.decide(output, turn)
            decision = replace(decision, **(tampered or {}).get(turn.index, {}))
            if turn.index in dropped:
                continue
            recorder.publish(TurnRecord(turn, output, decision, Timings(compute_ms=turn.index)))
    return path


def test_an_unchanged_recording_comes_out_the_same(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", LevelEngine())
    report = replay(path, LevelEngine(), decider(), SHA256)
    assert (report.turns, report.difference) == (TURNS, None)
    assert report.max_output_difference == 0.0
    assert report.same_engine


def test_a_real_model_comes_out_the_same_to_the_last_bit(tmp_path: Path) -> None:
    with OnnxEngine(write_tiny_model(tmp_path / "tiny")) as engine:
        path = recorded(tmp_path / "run.mcap", engine)
        report = replay(path, engine, FloorDecider(engine.manifest), SHA256)
    assert (report.turns, report.difference) == (TURNS, None)
    assert report.max_output_difference == 0.0


class Large(NothingHeld):
    """A camera of 1280x720, no picture like another."""

    def __init__(self) -> None:
        self._noise = np.random.default_rng(7)

    def latest(self, now_ns: int) -> FrameReading:
        bgr = self._noise.integers(0, 256, (720, 1280, 3), np.uint8)
        return FrameReading(View().of(bgr), now_ns)


def test_a_run_on_a_real_clock_notes_the_time_of_day(tmp_path: Path) -> None:
    manifest, noted = load_manifest(reference_engine_folder()), []
    for clock in (None, MonotonicClock()):
        with _recorder(Config(), {}, manifest, clock)(path := tmp_path / "run.mcap"):
            pass
        noted.append(metadata(path))
    assert times_of_day(noted[0]) is None
    told = times_of_day(noted[1])
    assert told is not None and told(time.monotonic_ns()).tzinfo is not None
    assert told(time.monotonic_ns()).timestamp() == pytest.approx(time.time(), abs=0.1)


@pytest.mark.parametrize(("frames", "shape"), [(True, (360, 640, 3)), ("model", (96, 96, 3))])
def test_what_the_model_saw_of_a_large_picture_is_recorded_to_the_last_bit(
    tmp_path: Path, frames: bool | str, shape: tuple[int, ...]
) -> None:
    folder, assembler = reference_engine_folder(), Assembler(Large())
    config, path = Config.model_validate({"recording": {"frames": frames}}), tmp_path / "run.mcap"
    with OnnxEngine(folder) as engine:
        deciding = FloorDecider(engine.manifest)
        with _recorder(config, engine.identity, engine.manifest)(path) as recorder:
            for one in turns()[:3]:
                sound = AudioReading(one.audio)
                turn = assembler.assemble(one.index, sound, (), one.voice, one.background)
                output = engine.step(turn)
                recorder.publish(TurnRecord(turn, output, deciding.decide(output, turn), Timings()))
    with OnnxEngine(folder) as engine:
        report = replay(path, engine, FloorDecider(engine.manifest), SHA256)
    assert (report.turns, report.difference, report.max_output_difference) == (3, None, 0.0)
    sizes = {one.turn.frame.shape for one in read(path) if one.turn.frame is not None}
    assert sizes == {shape}


def test_what_is_kept_of_a_recording_has_the_models_size_and_gives_the_same(tmp_path: Path) -> None:
    noise = np.random.default_rng(3)
    pictures = noise.integers(0, 256, (TURNS, 48, 64, 3), np.uint8)
    full = [replace(turn, frame=pictures[turn.index]) for turn in turns()]
    with OnnxEngine(write_tiny_model(tmp_path / "tiny")) as engine:
        with Recorder(path := tmp_path / "run.mcap", {}) as recorder:
            for turn in full:
                output = engine.step(turn)
                recorder.publish(
                    TurnRecord(turn, output, Decision(turn.index, "listen"), Timings())
                )
        kept = read_turns(path, engine.manifest)
        engine.reset()
        again = [engine.step(turn).tensors["floor"] for turn in kept]
    assert [one.frame.shape for one in kept if one.frame is not None] == [(4, 6, 3)] * TURNS
    first = [recorded.output.tensors["floor"] for recorded in read(path)]
    np.testing.assert_array_equal(again, first)


def test_engine_and_decider_start_afresh(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", LevelEngine(gain=10.0))
    engine, deciding = LevelEngine(gain=10.0), decider()
    before = turns()[0]
    assert deciding.decide(engine.step(before), before).say is not None
    report = replay(path, engine, deciding, SHA256)
    assert (report.turns, report.difference) == (TURNS, None)


@pytest.mark.parametrize(
    ("field", "tampered", "shown"),
    [
        ("floor", "yield", "yield"),
        ("say", "goodbye", "goodbye"),
        ("stop", True, True),
        ("actions", (Action("wave", 0.75),), [{"name": "wave", "probability": 0.75}]),
        ("delegation", Delegation.CANCEL, "cancel"),
        ("heard", "psst", "psst"),
        ("probabilities", {"floor": {"listen": 0.5}}, {"floor": {"listen": 0.5}}),
    ],
)
def test_the_first_difference_is_named_by_turn_and_field(
    tmp_path: Path, field: str, tampered: Any, shown: Any
) -> None:
    changes = {2: {field: tampered}, 6: {"floor": "later"}}
    path = recorded(tmp_path / "run.mcap", LevelEngine(), changes)
    honest = replay(recorded(tmp_path / "honest.mcap", LevelEngine()), LevelEngine(), decider(), "")
    assert honest.difference is None
    report = replay(path, LevelEngine(), decider(), SHA256)
    assert report.difference is not None
    assert (report.difference.index, report.difference.field) == (2, field)
    assert report.difference.recorded == shown
    assert report.difference.replayed != shown
    assert report.turns == 3


def test_the_difference_holds_both_values(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", LevelEngine(), {0: {"floor": "speak"}})
    report = replay(path, LevelEngine(), decider(), SHA256)
    assert report.difference == Difference(0, "floor", "speak", "listen")


def test_another_model_is_recognised_by_its_hash_and_its_outputs(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", LevelEngine())
    report = replay(path, LevelEngine(gain=1.5), decider(), "another hash")
    assert not report.same_engine
    assert report.difference is not None
    assert (report.difference.index, report.difference.field) == (0, "probabilities")
    loudest = float(turns()[0].audio[0].max())
    assert report.max_output_difference == pytest.approx(loudest / 2, rel=1e-5)


def test_what_of_the_engine_is_not_as_it_was() -> None:
    was = {"sha256": SHA256, "backend": "onnx", "precision": "fp32", "onnxruntime": "1.20"}
    now = {"sha256": "another", "backend": "tensorrt", "precision": "fp16", "gpu": "Orin"}
    changes = {"backend": ("onnx", "tensorrt"), "precision": ("fp32", "fp16")}
    assert engine_changes({"engine": was}, now) == changes
    assert engine_changes({"engine": was}, was) == engine_changes({}, now) == {}


def test_a_model_with_other_classes_is_compared_in_what_both_have(tmp_path: Path) -> None:
    class Smaller(LevelEngine):
        def step(self, turn: MicroTurn) -> EngineOutput:
            floor = super().step(turn).tensors["floor"][:, 1:]
            return EngineOutput(turn.index, {"floor": floor, "seen": np.float32([[1.0]])})

    path = recorded(tmp_path / "run.mcap", LevelEngine())
    words = ["backchannel", "speak", "yield", "hold"]
    manifest = checked_manifest()
    fewer = manifest.model_copy(
        update={"vocabularies": manifest.vocabularies.model_copy(update={"floor": tuple(words)})}
    )
    report = replay(path, Smaller(), FloorDecider(fewer), "another hash")
    assert not report.same_engine and report.max_output_difference == 0
    assert report.difference is not None and report.difference.index == 0


@pytest.mark.parametrize(
    ("left_out", "missing"),
    [
        ({"frames": False}, r"the model saw pictures, which recording\.frames: false left out"),
        ({"dropped": (3, 4)}, "micro-turns 3 to 4 are not in it: they were dropped"),
        ({"dropped": (0, 1)}, r"it begins with micro-turn 2.*only the first file"),
        ({}, None),
    ],
)
def test_what_is_not_in_the_recording_is_told_with_the_difference(
    tmp_path: Path, left_out: dict[str, Any], missing: str | None
) -> None:
    path = recorded(tmp_path / "run.mcap", LevelEngine(), {7: {"heard": "psst"}}, **left_out)
    difference = replay(path, LevelEngine(), decider(), SHA256).difference
    assert difference is not None
    if missing is None:
        assert difference.missing is None
    else:
        assert difference.missing is not None and re.search(missing, difference.missing)


def test_the_safe_stop_at_the_end_was_not_decided_by_the_model(tmp_path: Path) -> None:
    engine, deciding = LevelEngine(), decider()
    *before, last = turns()
    with Recorder(tmp_path / "run.mcap", {}) as recorder:
        for turn in before:
            output = engine.step(turn)
            recorder.publish(TurnRecord(turn, output, deciding.decide(output, turn), Timings()))
        halt = Decision(last.index, "yield", stop=True, actions=(Action("stop_motion"),))
        recorder.publish(TurnRecord(last, EngineOutput(last.index, {}), halt, Timings()))
    report = replay(tmp_path / "run.mcap", LevelEngine(), decider(), SHA256)
    assert (report.turns, report.difference) == (TURNS - 1, None)


def test_an_engine_that_fails_is_not_a_difference(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", LevelEngine())
    with pytest.raises(EngineError, match="gone"):
        replay(path, LevelEngine(fails_at=3), decider(), SHA256)


def written_by_others(path: Path, topics: Sequence[str], **notes: str) -> Path:
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        if notes:
            writer.add_metadata("run", notes)
        for topic in topics:
            schema = writer.register_schema("any", "jsonschema", b"{}")
            channel = writer.register_channel(topic, "json", schema)
            writer.add_message(channel, 0, json.dumps({"index": 0}).encode(), 0)
        writer.finish()
    return path


def test_a_recording_of_something_else_is_refused(tmp_path: Path) -> None:
    others = [
        written_by_others(tmp_path / "robot.mcap", ["/odometry"]),
        written_by_others(tmp_path / "newer.mcap", [], format="edge_runtime/99"),
    ]
    for path in others:
        with pytest.raises(RecordingError, match="not a recording of this runtime"):
            metadata(path)
        with pytest.raises(RecordingError, match="not a recording of this runtime"):
            replay(path, LevelEngine(), decider(), SHA256)


def test_a_turn_with_a_part_missing_is_refused(tmp_path: Path) -> None:
    path = written_by_others(
        tmp_path / "run.mcap", ["/decision", "/timings"], format="edge_runtime/1"
    )
    with pytest.raises(RecordingError, match=r"incomplete.*micro_turn"):
        replay(path, LevelEngine(), decider(), SHA256)
