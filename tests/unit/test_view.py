"""The live view draws any state, and shows the floor, what is said and what it costs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    BackgroundState,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
)
from edge_runtime.sinks.view import BAR, LINES, LiveView

CHANCES = {"listen": 0.25, "backchannel": 0.0, "speak": 0.75}


def record(
    index: int = 0,
    level: float = 0.0,
    said: str | None = None,
    turn: dict[str, Any] | None = None,
    timings: Timings | None = None,
    **decision: Any,
) -> TurnRecord:
    audio = np.zeros((2, TURN_SAMPLES), np.float32)
    audio[0] = level
    utterance = None if said is None else Utterance("utterance-1", said, "greet")
    chosen = Decision(index, "speak", **decision)
    heard = MicroTurn(index, 0, audio, **(turn or {}))
    return TurnRecord(heard, EngineOutput(index, {}), chosen, timings or Timings(), utterance)


def full_record(index: int = 24) -> TurnRecord:
    return record(
        index,
        level=0.1,
        said="Hello there.",
        turn={
            "frame": np.zeros((4, 6, 3), np.uint8),
            "background": BackgroundState(pending=True, result_ready=True, link_up=True),
            "events": (Event(EventKind.RESULT, "request-1", "It is noon."),),
        },
        timings=Timings(compute_ms=12.5, skipped=3),
        stop=True,
        actions=(Action("wave"),),
        delegation=Delegation.DELEGATE,
        heard="hi robot",
        probabilities={"floor": CHANCES, "act": {"greet": 1.0}},
    )


def drawn(*records: TurnRecord, caption: str = "", width: int = 110, height: int = 50) -> str:
    """The last picture that a terminal shows."""
    terminal = Console(force_terminal=True, width=width, height=height, file=io.StringIO())
    with LiveView(terminal, lambda: caption) as view:
        for one in records:
            view.publish(one)
        page = io.StringIO()
        Console(file=page, width=width).print(view.draw(records[-1]))
    return page.getvalue()


def line(picture: str, word: str) -> str:
    (found,) = [line.strip("│ \n") for line in picture.splitlines() if word in line]
    return found


def test_an_empty_state_is_drawn() -> None:
    picture = drawn(record())
    assert line(picture, "hears").endswith("-99 dBFS")
    assert "▮" not in picture
    status = line(picture, "missed")
    assert status.startswith("no picture · link up · nothing pending · compute 0.0 ms")
    assert "0 missed" in status


def test_a_full_state_is_drawn() -> None:
    picture = drawn(full_record(), caption="greeting")
    assert "5.0 s  ·  greeting" in picture
    assert line(picture, "camera") == (
        "camera · link up · a question is out · compute 12.5 ms, p99 12.5 ms · 3 missed"
    )
    for told in (
        "result It is noon.",
        "yields",
        "heard hi robot",
        "says Hello there.",
        "does wave",
        "delegates the question",
    ):
        assert f"5.0 s  {told}" in picture


def test_the_floor_is_a_bar_for_each_state_as_long_as_it_is_likely() -> None:
    picture = drawn(record(probabilities={"floor": CHANCES}))
    for name, chance in CHANCES.items():
        assert line(picture, name).count("█") == chance * BAR
        assert line(picture, name).endswith(f"{chance:.2f}")


@pytest.mark.parametrize(("level", "shown", "filled"), [(1.0, "0", 1.0), (0.0316228, "-30", 0.5)])
def test_the_meter_follows_the_microphone(level: float, shown: str, filled: float) -> None:
    heard = line(drawn(record(level=level)), "hears")
    assert heard.split()[-2:] == [shown, "dBFS"]
    assert heard.count("▮") == filled * BAR
    assert heard.count("▯") == BAR - filled * BAR


def test_the_story_keeps_its_last_lines() -> None:
    picture = drawn(*[record(index, said=f"number {index}.") for index in range(LINES + 3)])
    assert [index for index in range(LINES + 3) if f"number {index}." in picture] == list(
        range(3, LINES + 3)
    )


def test_a_small_terminal_shows_the_newest_line_and_what_a_turn_costs() -> None:
    long = "and so on, for longer than any row of it, " * 5
    picture = drawn(
        *[record(index, said=f"number {index} {long}") for index in range(20)], width=80, height=24
    )
    assert len(picture.splitlines()) < 24
    assert "number 19" in picture and "compute" in picture and "missed" in picture
    assert "number 18" in picture and "…" in picture


def test_what_was_heard_long_before_is_not_what_is_answered() -> None:
    quiet = [record(index) for index in range(1, 31)]
    asked = record(31, heard="what time is it", said="Noon.")
    records = (record(0, heard="it was a long evening "), *quiet, asked)
    assert "long evening" in drawn(records[0])
    assert line(drawn(*records), "heard").endswith("heard what time is it")


def test_what_is_heard_while_an_answer_goes_on_is_one_line() -> None:
    part = Utterance("utterance-2", "Two.", "deliver", "request-1", goes_on=True)
    announcement = Utterance("utterance-3", "Dinner is ready.", "announce")
    picture = drawn(
        replace(record(1, heard="and what "), said=part),
        replace(record(2, heard="is "), said=announcement),
        record(3, said="A cat.", heard="that"),
    )
    assert "heard and what is that" in picture and picture.count("heard") == 1
    assert all(f"says {told}" in picture for told in ("Two.", "Dinner is ready.", "A cat."))


def test_missed_turns_add_up_and_the_slow_one_shows_in_p99() -> None:
    quick = [record(index, timings=Timings(compute_ms=5.0)) for index in range(46)]
    slow = [record(index, timings=Timings(compute_ms=450.0, skipped=2)) for index in range(46, 50)]
    status = line(drawn(*quick, *slow), "missed")
    assert status.endswith("compute 5.0 ms, p99 450.0 ms · 8 missed")


def test_words_in_brackets_are_shown_and_not_taken_for_markup() -> None:
    picture = drawn(record(said="[red] alert [/]", heard="[bold]"))
    assert "[red] alert [/]" in picture
    assert "heard [bold]" in picture


def test_a_terminal_sees_it_change_and_gets_its_cursor_back() -> None:
    screen = io.StringIO()
    terminal = Console(force_terminal=True, width=110, height=50, file=screen)
    with LiveView(terminal) as view:
        view.publish(record(0, said="first words"))
        first = screen.getvalue()
        view.publish(record(1, said="second words"))
    assert "first words" in first
    assert "second words" not in first
    assert "second words" in screen.getvalue()
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")


def test_without_a_terminal_it_prints_a_line_for_each_thing() -> None:
    page = io.StringIO()
    with LiveView(Console(file=page, width=110)) as view:
        view.publish(record(0))
        view.publish(full_record(4))
    assert page.getvalue().splitlines() == [
        "     1.0 s  result It is noon.",
        "     1.0 s  yields",
        "     1.0 s  heard hi robot",
        "     1.0 s  greet Hello there.",
        "     1.0 s  wave",
        "     1.0 s  delegate",
    ]
