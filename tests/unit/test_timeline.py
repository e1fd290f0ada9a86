"""The run as a picture: readable, as long as the run, and it shows what happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    Decision,
    Delegation,
    EngineOutput,
    Frame,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
)
from edge_runtime.sinks import timeline
from edge_runtime.sinks.timeline import COLOURS, DEVICE, PERSON, Timeline

pytest.importorskip("matplotlib", reason="the timeline needs the extra `demo`")

WIDTH, ROW_HEIGHT = 1760, 396
FLOOR = {"listen": 1.0, "backchannel": 0.0, "speak": 0.0, "yield": 0.0, "hold": 0.0}


def record(
    index: int,
    person: float = 0.0,
    device: float = 0.0,
    frame: Frame | None = None,
    floor: Mapping[str, float] = FLOOR,
    said: str | None = None,
    **decision: Any,
) -> TurnRecord:
    audio = np.zeros((2, TURN_SAMPLES), np.float32)
    audio[0], audio[1] = person, device
    turn = MicroTurn(index, 0, audio, frame=frame)
    utterance = None if said is None else Utterance("utterance-1", said, "deliver")
    chosen = Decision(index, "listen", probabilities={"floor": floor}, **decision)
    return TurnRecord(turn, EngineOutput(index, {}), chosen, Timings(), utterance)


def drawn(path: Path, records: list[TurnRecord], **options: Any) -> np.ndarray:
    """uint8 (height, width, 3), RGB, as another program reads it."""
    with Timeline() as sink:
        for one in records:
            sink.publish(one)
    sink.draw(path, **options)
    image = cv2.imread(str(path))
    assert image is not None
    return image[..., ::-1]


def count(image: np.ndarray, colour: str) -> int:
    """Pixels of exactly this colour, given as `#rrggbb`."""
    return int((image == list(bytes.fromhex(colour[1:]))).all(-1).sum())


@pytest.mark.parametrize(("turns", "rows"), [(0, 1), (1, 1), (187, 1), (188, 2)])
def test_it_is_a_png_with_a_row_for_about_half_a_minute(
    tmp_path: Path, turns: int, rows: int
) -> None:
    image = drawn(tmp_path / "deep" / "er" / "run.png", [record(n) for n in range(turns)])
    assert image.shape == (rows * ROW_HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("turns", [58, 59, 61])
def test_a_row_can_be_as_long_as_the_run(tmp_path: Path, turns: int) -> None:
    sink = Timeline(row_s=turns / 5)
    for index in range(turns):
        sink.publish(record(index, person=0.5))
    sink.draw(tmp_path / "run.png")
    image = cv2.imread(str(tmp_path / "run.png"))
    assert image is not None and image.shape[0] == ROW_HEIGHT
    xs = np.nonzero((image[..., ::-1] == list(bytes.fromhex(PERSON[1:]))).all(-1))[1]
    assert np.ptp(xs) > 0.8 * WIDTH, "from the left to the right"


def test_the_person_is_above_the_line_and_the_device_below_while_they_are_heard(
    tmp_path: Path,
) -> None:
    quiet = [record(n) for n in range(75)]
    person = [record(n, person=0.5) for n in range(75, 150)]
    image = drawn(tmp_path / "person.png", quiet + person)
    ys, xs = np.nonzero((image == list(bytes.fromhex(PERSON[1:]))).all(-1))
    assert xs.size > 10_000
    assert xs.min() > WIDTH // 2
    device = [record(n, device=0.5) for n in range(75)]
    image = drawn(tmp_path / "device.png", device + quiet)
    device_ys, device_xs = np.nonzero((image == list(bytes.fromhex(DEVICE[1:]))).all(-1))
    loud = device_xs < WIDTH // 2
    assert loud.sum() > 10_000
    assert ys.max() <= np.median(device_ys[loud])


def test_the_floor_takes_the_colour_of_the_likeliest_state(tmp_path: Path) -> None:
    waiting = dict.fromkeys(FLOOR, 0.0) | {"hold": 1.0}
    image = drawn(tmp_path / "run.png", [record(n, floor=waiting) for n in range(150)])
    assert count(image, COLOURS["hold"]) > 20_000
    assert count(image, COLOURS["listen"]) < 1000


def test_what_was_seen_is_in_it(tmp_path: Path) -> None:
    frame = np.full((90, 160, 3), (200, 10, 20), np.uint8)
    with_frame = drawn(tmp_path / "seen.png", [record(n, frame=frame) for n in range(20)])
    without = drawn(tmp_path / "unseen.png", [record(n) for n in range(20)])
    assert count(with_frame, "#c80a14") > 1000
    assert count(without, "#c80a14") == 0


@pytest.mark.parametrize(
    "happening",
    [
        {"said": "It is noon."},
        {"stop": True},
        {"actions": (Action("wave"),)},
        {"delegation": Delegation.DELEGATE},
    ],
    ids=lambda happening: next(iter(happening)),
)
def test_each_thing_that_happens_leaves_a_mark(tmp_path: Path, happening: dict[str, Any]) -> None:
    quiet = [record(n) for n in range(10)]
    plain = drawn(tmp_path / "plain.png", quiet)
    marked = drawn(tmp_path / "marked.png", [*quiet[:5], record(5, **happening), *quiet[6:]])
    assert (plain != marked).any()


@pytest.mark.parametrize("text", [r"$_$ and $\frac$", "$5 or $6?", "“quoted”", "a\nb", "x" * 500])
def test_any_words_can_be_drawn(tmp_path: Path, text: str) -> None:
    scenes = [{"name": text, "ok": True, "start_s": 0.0, "end_s": 1.0}]
    drawn(tmp_path / "run.png", [record(0, said=text)], scenes=scenes)


def test_scenes_are_marked_by_how_they_went(tmp_path: Path) -> None:
    def scene(ok: bool | None) -> list[dict[str, Any]]:
        unknown = {"name": "later", "ok": None, "start_s": None, "end_s": None}
        return [{"name": "greeting", "ok": ok, "start_s": 1.0, "end_s": 20.0}, unknown]

    quiet = [record(n) for n in range(100)]
    for ok, colour in ((True, "#1f7a4d"), (False, "#b5341f"), (None, "#555555")):
        image = drawn(tmp_path / f"{ok}.png", quiet, scenes=scene(ok))
        assert count(image, colour) > 100


def test_a_run_that_ended_in_a_failure_is_drawn(tmp_path: Path) -> None:
    halt = record(1, floor={}, stop=True, actions=(Action("stop_motion"),))
    assert drawn(tmp_path / "run.png", [record(0), halt]).shape[1] == WIDTH
    assert drawn(tmp_path / "at_once.png", [halt]).shape[1] == WIDTH


def test_what_is_longer_than_it_keeps_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MAX_TURNS", 20)
    kept = drawn(tmp_path / "kept.png", [record(n, person=0.1) for n in range(20)])
    longer = drawn(
        tmp_path / "longer.png",
        [record(n, person=0.1) for n in range(20)]
        + [record(n, person=0.9, said="too late") for n in range(20, 200)],
    )
    np.testing.assert_array_equal(kept, longer)


def test_the_persons_words_stand_over_their_voice(tmp_path: Path) -> None:
    quiet = [record(n) for n in range(100)]
    without = drawn(tmp_path / "without.png", quiet)
    shown = drawn(tmp_path / "with.png", quiet, words=[(2.0, "what is $12 times seven?")])
    changed = np.argwhere((without != shown).any(-1))
    row, column = changed.mean(0)
    assert 0.25 < row / ROW_HEIGHT < 0.45, "in the upper half of the sound's part"
    assert changed[:, 1].min() / WIDTH > 0.1 and column / WIDTH < 0.3
