"""A line for each thing that happens, with the time it happened."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.sinks.transcript import TranscriptPrinter

AUDIO = np.zeros((2, TURN_SAMPLES), np.float32)


def record(
    index: int, said: Utterance | None = None, events: tuple[Event, ...] = (), **decision: Any
) -> TurnRecord:
    turn = MicroTurn(index, 0, AUDIO, events=events)
    chosen = Decision(index, "listen", **decision)
    return TurnRecord(turn, EngineOutput(index, {}), chosen, Timings(), said)


def greeting(text: str = "Hello.") -> Utterance:
    return Utterance("utterance-1", text, "greet")


def printed(*records: TurnRecord) -> list[str]:
    text = io.StringIO()
    with TranscriptPrinter(Console(file=text, width=40)) as sink:
        for one in records:
            sink.publish(one)
    return text.getvalue().splitlines()


def test_a_quiet_turn_prints_nothing() -> None:
    assert printed(record(0), record(1, heard="hello")) == []


def test_what_was_heard_comes_before_the_answer_to_it() -> None:
    lines = printed(
        record(0, heard="hel"), record(1, heard="lo  th"), record(2, greeting(), heard="ere ")
    )
    assert lines == ["     0.6 s  heard hello there", "     0.6 s  greet Hello."]


def test_where_it_hesitates_and_goes_on_is_told_once() -> None:
    doubtful = record(1, hesitate=True)
    paused = replace(doubtful.turn, voice=VoiceState("utterance-1", 1.0, paused=True))
    lines = printed(
        record(0),
        doubtful,
        replace(doubtful, turn=replace(paused, index=2)),
        replace(record(3), turn=replace(paused, index=3)),
        record(4),
    )
    assert lines == ["     0.4 s  hesitates", "     0.8 s  goes on"]


def test_what_an_agent_wants_done_is_told_as_its_wish() -> None:
    one = replace(
        record(0, actions=(Action("wave"),)),
        asked_actions=(Action("lamp_on"), Action("wave")),
    )
    stopping = replace(record(1), asked_actions=(Action("stop_motion"), Action("lamp_on")))
    lines = printed(one, stopping)
    assert [line.split()[2] for line in lines] == ["lamp_on", "wave", "stop_motion"]
    assert [line.endswith("asked for by the background model") for line in lines] == [
        True,
        False,
        True,
    ]


def test_what_was_heard_is_told_once() -> None:
    lines = printed(record(0, greeting(), heard="hi"), record(4, greeting("Yes?"), heard=" "))
    assert lines == ["     0.2 s  heard hi", "     0.2 s  greet Hello.", "     1.0 s  greet Yes?"]


def test_what_is_heard_while_an_answer_goes_on_is_one_line() -> None:
    answer = Utterance("utterance-1", "One.", "deliver", "request-1")
    part = replace(answer, id="utterance-2", text="Two.", goes_on=True)
    lines = printed(
        record(0, answer, heard="what is it "),
        record(1, part, heard="and what "),
        record(2, Utterance("utterance-3", "Dinner is ready.", "announce"), heard="is "),
        record(3, Utterance("utterance-4", "mhm", "backchannel"), heard="th"),
        record(4, replace(answer, id="utterance-5", text="A cat."), heard="at"),
    )
    assert [line.partition("  ")[2].strip()[7:] for line in lines] == [
        "heard what is it",
        "deliver One.",
        "deliver Two.",
        "announce Dinner is ready.",
        "backchannel mhm",
        "heard and what is that",
        "deliver A cat.",
    ]


def test_yielding_tells_what_made_it_yield() -> None:
    assert printed(record(0, stop=True, heard="stop")) == [
        "     0.2 s  yields",
        "     0.2 s  heard stop",
    ]


def test_results_and_failures_are_told_and_the_rest_is_not() -> None:
    events = (
        Event(EventKind.PROGRESS, "request-1", "thinking"),
        Event(EventKind.UTTERANCE_STARTED, "utterance-1"),
        Event(EventKind.RESULT, "request-1", "It is noon."),
        Event(EventKind.FAILED, "request-2", "no answer"),
    )
    assert printed(record(4, events=events)) == [
        "     1.0 s  result It is noon.",
        "     1.0 s  failed no answer",
    ]


def test_actions_and_questions_have_a_line_each() -> None:
    actions = (Action("wave"), Action("nod"))
    assert printed(
        record(0, actions=actions, delegation=Delegation.DELEGATE),
        record(300, delegation=Delegation.CANCEL),
    ) == [
        "     0.2 s  wave",
        "     0.2 s  nod",
        "     0.2 s  delegate",
        "    60.2 s  cancel",
    ]


def test_words_are_printed_as_they_are_on_one_line() -> None:
    text = "[red]not a colour[/red] [/] " + "and very long " * 10
    (line,) = printed(record(0, greeting(text)))
    assert line.strip() == f"0.2 s  greet {text}".strip()


def test_all_that_is_heard_is_told_where_it_began_answered_or_not() -> None:
    text = io.StringIO()
    printer = TranscriptPrinter(Console(file=text, width=3000), all_heard=True)
    heard = {2: "any", 3: "body ", 5: "there", 20: "wait ", 21: "on and on " * 200, 40: "bye"}
    for index in range(42):
        said = greeting() if index == 22 else None
        printer.publish(record(index, said, heard=heard.get(index, "")))
    assert "bye" not in text.getvalue(), "it may go on"
    printer.finish()
    lines = text.getvalue().splitlines()
    assert lines[0] == "     0.6 s  heard anybody there"
    assert lines[1] == f"     4.2 s  heard wait {('on and on ' * 200).strip()}"
    assert lines[2:] == ["     4.6 s  greet Hello.", "     8.2 s  heard bye"]
