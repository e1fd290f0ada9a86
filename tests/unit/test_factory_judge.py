"""What a model does in corrected recordings, beside another one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("scipy", reason="the factory needs scipy (make train)")
pytest.importorskip("onnx", reason="the factory needs onnx (make train)")
sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from program import edge, needs_espeak, spoken

from edge_runtime.errors import InputError
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    Decision,
    Delegation,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
)
from edge_runtime.reference_engine import reference_engine_folder
from edge_runtime.sinks.recorder import Recorder
from engines.reference.corpus.recordings import AROUND, Correction
from engines.reference.judge import Tally, as_recorded, judge, run

TURNS = 50
GREETS = {"floor": "speak", "say": "greet"}


def decided(**turns: dict[str, object]) -> list[Decision]:
    """`TURNS` decisions to listen, but for these (`t7={...}`)."""
    return [
        Decision(**{"index": turn, "floor": "listen", **turns.get(f"t{turn}", {})})  # type: ignore[arg-type]
        for turn in range(TURNS)
    ]


def tallied(
    then: list[Decision], now: list[Decision], **correction: object
) -> tuple[Tally, dict[str, bool]]:
    tally = Tally()
    asked = [Correction(from_s=4.0, to_s=5.0, **correction)] if correction else []  # type: ignore[arg-type]
    tally.add(then, now, asked)
    return tally, {what: bool(tally.met[what]) for what in tally.asked}


@pytest.mark.parametrize(
    ("correction", "now", "met"),
    [
        ({"floor": "listen"}, {}, True),
        ({"floor": "listen"}, {"t22": GREETS}, False),
        ({"floor": "listen"}, {"t25": GREETS}, True),  # the span is over
        ({"floor": "speak"}, {"t22": GREETS}, True),
        ({"floor": "speak"}, {"t30": GREETS}, False),
        ({"floor": "yield"}, {"t20": {"floor": "yield", "stop": True}}, True),
        ({"floor": "hold"}, {"t20": {"floor": "yield", "stop": True}}, False),
        ({"floor": "hold"}, {"t20": {"floor": "hesitate", "hesitate": True}}, True),
        ({"act": "greet"}, {"t24": GREETS}, True),
        ({"act": "goodbye"}, {"t24": GREETS}, False),
        ({"action": "wave"}, {"t21": {"actions": (Action("wave"),)}}, True),
        ({"action": "none"}, {"t21": {"actions": (Action("wave"),)}}, False),
        ({"delegate": "delegate"}, {"t21": {"delegation": Delegation.DELEGATE}}, True),
        ({"delegate": "none"}, {"t21": {"delegation": Delegation.DELEGATE}}, False),
    ],
)
def test_whether_a_correction_is_met(
    correction: dict[str, str], now: dict[str, dict[str, object]], met: bool
) -> None:
    tally, found = tallied(decided(), decided(**now), **correction)
    assert list(found.values()) == [met]
    assert sum(tally.asked.values()) == 1


def test_one_correction_may_ask_for_more_than_one_thing() -> None:
    _, found = tallied(decided(), decided(t22=GREETS), floor="speak", act="goodbye")
    assert found == {"speak": True, "act goodbye": False}


def test_what_it_did_elsewhere_is_done_again_or_not_or_more_of_it() -> None:
    then = decided(t2=GREETS, t10={"delegation": Delegation.DELEGATE}, t22=GREETS)
    now = decided(t4=GREETS, t40={"actions": (Action("wave"),)}, t22=GREETS, t24=GREETS)
    tally, _ = tallied(then, now, floor="listen")
    assert (tally.decided, tally.again, tally.more) == (2, 1, 1)
    none = decided()
    tally, _ = tallied(none, decided(**{f"t{25 + AROUND}": GREETS}), floor="listen")
    assert tally.more == 1, "the first turn that is not around the correction"


def test_what_training_leaves_out_is_not_counted_either() -> None:
    handed = {"delegation": Delegation.DELEGATE}
    then = decided(t2=GREETS, t10=GREETS | handed, t30={"floor": "yield", "stop": True})
    now = decided(t11=GREETS, t20=GREETS, t30=GREETS)
    tally = Tally()
    tally.add(then, now, [], unsaid={10, 20}, failed={30})
    assert (tally.decided, tally.again) == (2, 0), "a greeting, and a question beside an unsaid one"
    assert tally.more == 0


def test_a_mute_turn_and_a_failed_one_are_found_in_a_recording(tmp_path: Path) -> None:
    sound = np.zeros((2, TURN_SAMPLES), np.float32)
    picture = np.zeros((96, 96, 3), np.uint8)
    hello = Utterance("utterance-1", "Hello.", "greet")
    with Recorder(tmp_path / "lobby.mcap", {}) as recorder:
        for index in range(30):
            turn = MicroTurn(index, 0, sound, frame=picture, frame_age_ms=20.0)
            output = EngineOutput(index, {} if index == 20 else {"floor": np.float32([[1]])})
            says = "greet" if index in (5, 10) else None
            then = Decision(index, "listen", say=says, stop=index == 20)
            said = hello if index == 5 else None
            recorder.publish(TurnRecord(turn, output, then, Timings(), said))
    with OnnxEngine(reference_engine_folder()) as engine:
        tally = judge([tmp_path / "lobby.mcap"], engine)
    assert (tally.decided, tally.turns) == (1, 30)


def test_letters_are_counted_against_what_was_said() -> None:
    now = decided(t21={"heard": "turn on "}, t25={"heard": "the lite"})
    tally, found = tallied(decided(), now, said="Turn on the light!")
    assert found == {}
    assert (tally.letters, tally.wrong_letters) == (17, 3)


@needs_espeak
def test_a_folder_of_recordings_from_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = reference_engine_folder()
    with pytest.raises(InputError, match="holds no recording"):
        run(tmp_path, [reference], None)
    sound = spoken(tmp_path / "talk.wav", 3.0)
    (tmp_path / "out").mkdir()
    patient = tmp_path / "out" / "device.yaml"
    patient.write_text("decision: {eagerness: -0.5}\n")
    told = ("--config", patient, "--audio", sound, "--speed", "max", "--out", "out")
    made = edge("run", *told, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "out" / "recording.mcap").rename(tmp_path / "hall.mcap")
    assert as_recorded(tmp_path / "hall.mcap").decision.eagerness == -0.5
    (tmp_path / "hall.yaml").write_text("- {from_s: 0.2, to_s: 0.6, floor: listen}\n")
    run(tmp_path, [reference, reference], None)
    assert "NAME.dev.mcap" in capsys.readouterr().out
    (tmp_path / "hall.mcap").rename(tmp_path / "hall.dev.mcap")
    (tmp_path / "hall.yaml").rename(tmp_path / "hall.dev.yaml")
    run(tmp_path, [reference, reference], tmp_path / "new" / "judged.json")
    said = capsys.readouterr().out
    assert "kept out of training" in said and "NAME.dev.mcap" not in said
    (counts,) = json.loads((tmp_path / "new" / "judged.json").read_text()).values()
    (one,) = counts.values()
    assert one["corrections"] == {"listen": {"met": 1, "of": 1}}
    assert one["decided_again"]["met"] == one["decided_again"]["of"]
    assert one["decided_besides"] == 0


def test_what_training_refuses_is_not_judged_either(tmp_path: Path) -> None:
    with Recorder(tmp_path / "hall.dev.mcap", {"frames": False}) as recorder:
        for index in range(10):
            seen = MicroTurn(index, 0, np.zeros((2, TURN_SAMPLES), np.float32), frame_age_ms=20.0)
            output = EngineOutput(index, {"floor": np.float32([[1]])})
            recorder.publish(TurnRecord(seen, output, Decision(index, "listen"), Timings()))
    with pytest.raises(InputError, match="has no pictures"):
        run(tmp_path, [reference_engine_folder()], None)
    with Recorder(tmp_path / "hall.dev.mcap", {}) as recorder:
        for index in range(10):
            seen = MicroTurn(index, 0, np.zeros((2, TURN_SAMPLES), np.float32))
            output = EngineOutput(index, {"floor": np.float32([[1]])})
            recorder.publish(TurnRecord(seen, output, Decision(index, "listen"), Timings()))
    (tmp_path / "hall.dev.yaml").write_text("- {from_s: 0.2, to_s: 0.6, floor: yield}\n")
    with pytest.raises(InputError, match="can only yield while it speaks"):
        run(tmp_path, [reference_engine_folder()], None)
    (tmp_path / "hall.dev.yaml").rename(tmp_path / "hall.yaml")
    with pytest.raises(InputError, match=r"NAME\.yaml beside it"):
        run(tmp_path, [reference_engine_folder()], None)
