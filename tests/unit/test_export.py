"""A recording as a sound and a text: times are those of the file, wherever its run began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_runtime.commands.export import export
from edge_runtime.errors import RecordingError
from edge_runtime.micro_turn import (
    TURN_MS,
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.replay import read
from edge_runtime.sinks.recorder import Recorder

BEGIN = 700
"""The first micro-turn of a service's second file."""
SAID = {1: Utterance("utterance-1", "It is noon.", "deliver", "request-1")}
HEARD = {0: "what time"}
HESITATES = (3, 4)
TURNS = 7


NOON = {
    "started": "2026-05-04T12:00:00+02:00",
    "started_wall_ns": 1_777_888_800_000_000_000,
    "started_monotonic_ns": 140_000_000_000,
}
"""When the clock of the run, which counts from its micro-turn 0, showed 140 s."""


def turn(place: int) -> TurnRecord:
    audio = np.full((2, TURN_SAMPLES), place / 10, np.float32)
    voice = VoiceState("utterance-1", 1.0) if place > 1 else VoiceState()
    index = BEGIN + place
    decision = Decision(
        index, "listen", heard=HEARD.get(place, ""), hesitate=place in HESITATES, stop=place == 6
    )
    return TurnRecord(
        MicroTurn(index, (index + 2) * TURN_MS * 1_000_000, audio, voice=voice),
        EngineOutput(index, {}),
        decision,
        Timings(),
        SAID.get(place),
    )


def recorded(path: Path, turns: int = TURNS, **notes: Any) -> Path:
    with Recorder(path, notes) as recorder:
        for place in range(turns):
            recorder.publish(turn(place))
    return path


def test_what_was_said_is_read_back_with_its_turn(tmp_path: Path) -> None:
    for turns in (2, TURNS):
        found = [one.said for one in read(recorded(tmp_path / "run.mcap", turns))]
        assert found == [SAID.get(place) for place in range(turns)]


def test_the_times_are_those_of_the_sound(tmp_path: Path) -> None:
    export(recorded(tmp_path / "run.mcap"), tmp_path / "out")
    samples, rate_hz = soundfile.read(tmp_path / "out" / "conversation.wav")
    assert (rate_hz, samples.shape) == (16_000, (TURNS * TURN_SAMPLES, 2))
    assert samples[::TURN_SAMPLES, 0] == pytest.approx(np.arange(TURNS) / 10, abs=1e-4)
    assert (tmp_path / "out" / "transcript.txt").read_text().splitlines() == [
        "     0.2 s  heard what time",
        "     0.4 s  deliver It is noon.",
        "     0.8 s  hesitates",
        "     1.2 s  goes on",
        "     1.4 s  yields",
    ]


def test_the_time_of_day_stands_there_where_the_recording_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(recorded(tmp_path / "run.mcap", 400, **NOON), tmp_path / "out")
    assert "80.0 s in" in (told := capsys.readouterr().out)
    assert "; it begins at 2026-05-04 12:00:00 +0200\n" in told
    lines = (tmp_path / "out" / "transcript.txt").read_text().splitlines()
    assert lines[1] == "     0.4 s  2026-05-04 12:00:00  deliver It is noon."
    assert lines[-1] == "     1.4 s  2026-05-04 12:00:01  yields"


@pytest.mark.parametrize("wrong", [{"started": "noon"}, {"started_wall_ns": "late"}])
def test_notes_that_tell_no_time_are_no_mistake(tmp_path: Path, wrong: dict[str, str]) -> None:
    export(recorded(tmp_path / "run.mcap", **NOON | wrong), tmp_path / "out")
    lines = (tmp_path / "out" / "transcript.txt").read_text().splitlines()
    assert lines[-1] == "     1.4 s  yields"


def test_what_holds_nothing_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no whole micro-turn"):
        export(recorded(tmp_path / "run.mcap", 0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="--out"):
        export(recorded(tmp_path / "run.mcap"), tmp_path / "file")
