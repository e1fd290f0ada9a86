"""What an operator reads of the day: a line a conversation, and no word of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_runtime.commands.service import _made_of
from edge_runtime.config import Config
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    BackgroundState,
    Decision,
    EngineOutput,
    Event,
    EventKind,
    MicroTurn,
    Request,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.conversation_log import OVER_TURNS, ConversationLog

AUDIO = np.zeros((2, TURN_SAMPLES), np.float32)


def record(
    index: int,
    act: str = "",
    events: tuple[Event, ...] = (),
    pending: bool = False,
    request: Request | None = None,
    asked: tuple[Action, ...] = (),
    **decision: Any,
) -> TurnRecord:
    turn = MicroTurn(index, 0, AUDIO, events=events, background=BackgroundState(pending=pending))
    said = Utterance(f"utterance-{index}", "the secret", act) if act else None
    decided = Decision(index, "listen", **decision)
    return TurnRecord(
        turn,
        EngineOutput(index, {}),
        decided,
        Timings(),
        said,
        asked_actions=asked,
        request=request,
    )


def test_a_conversation_is_one_line_without_a_word_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "edge_runtime")
    request = Request("request-1", AUDIO[0], "what is the secret")
    with ConversationLog() as sink:
        for one in (
            record(100, heard="what is "),
            record(105, "working", heard="the secret", request=request, pending=True),
            record(110, "backchannel", pending=True),
            record(119, events=(Event(EventKind.RESULT, "request-1", "the secret"),)),
            record(120, "deliver"),
            record(125, stop=True),
            record(149, actions=(Action("wave"),), asked=(Action("lamp_on"),)),
        ):
            sink.publish(one)
            assert not caplog.messages
        sink.publish(record(149 + OVER_TURNS))
        told = "spoke 2 times; was interrupted once; handed on 1 question, 1 answered, 0 failed"
        assert caplog.messages == [f"conversation of 10 s: {told}; did lamp_on, wave"]
        sink.publish(record(2000, "greet"))
    assert caplog.messages[1:] == ["conversation of 0 s: spoke once"], "also at the end"
    assert "secret" not in caplog.text


def test_what_is_not_answered_is_no_conversation(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge_runtime")
    with ConversationLog() as sink:
        for index in range(0, 3 * OVER_TURNS, 10):
            sink.publish(record(index, "backchannel" if index % 50 == 0 else "", heard="and now "))
    assert caplog.messages == []


def test_a_question_that_takes_long_is_of_the_same_conversation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "edge_runtime")
    request = Request("request-1", AUDIO[0])
    failed = (Event(EventKind.FAILED, "request-1", "no answer"),)
    with ConversationLog() as sink:
        sink.publish(record(0, "working", request=request))
        for index in range(1, 4 * OVER_TURNS):
            sink.publish(record(index, pending=True))
        sink.publish(record(4 * OVER_TURNS, "apologise", events=failed))
    (line,) = caplog.messages
    assert line.startswith("conversation of 120 s: spoke 2 times; handed on 1 question, 0 answered")


def test_the_log_says_what_the_service_is_made_of() -> None:
    config = Config.model_validate({"delegation": {"broker": "mqtt://broker.lan"}})
    told = _made_of(config, {"name": "mine", "version": "1.2", "provider": "cpu"})
    assert told == "model mine 1.2, broker mqtt://broker.lan, recording none"


def test_a_television_keeps_no_conversation_open(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge_runtime")
    with ConversationLog() as sink:
        for index in range(0, 20 * OVER_TURNS, 25):
            act = "greet" if index in (5_00, 20_00) else ""
            sink.publish(record(index, act, heard="and now "))
    assert caplog.messages == ["conversation of 30 s: spoke once"] * 2, "each by itself"


def test_what_nobody_asked_for_is_no_conversation(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge_runtime")
    stop, mode = Action("stop_motion"), Mode.NORMAL
    with ConversationLog(lambda: mode) as sink:
        sink.publish(record(0, asked=(stop,)))  # a button
        sink.publish(replace(record(1, stop=True, actions=(stop,)), failed=True))
        mode = Mode.STANDBY
        sink.publish(record(2, actions=(Action("wave"),)))
        assert not sink._goes_on
    assert caplog.messages == []


def test_what_was_not_done_has_failed_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge_runtime")
    events = tuple(
        Event(kind, "request-1", "the lamp") for kind in (EventKind.UNDONE, EventKind.RESULT)
    )
    twice = (Action("wave"),)
    with ConversationLog() as sink:
        sink.publish(record(0, "working", request=Request("request-1", AUDIO[0])))
        sink.publish(record(9, "deliver", events=events, actions=twice, asked=twice))
    told = "spoke 2 times; handed on 1 question, 0 answered, 1 failed; did wave"
    assert caplog.messages == [f"conversation of 2 s: {told}"]


def test_an_answer_that_is_told_for_long_is_of_the_conversation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "edge_runtime")
    first, second = (
        Utterance(f"utterance-{part}", "a book", "deliver", "request-1", goes_on=part == 2)
        for part in (1, 2)
    )
    long = 2 * OVER_TURNS
    with ConversationLog() as sink:
        for index in range(2 * long):
            one = record(index, stop=index == 2 * long - 1)
            said = {0: first, long - 50: second}.get(index)
            utterance_id = None if index == 0 else second.id if index > long else first.id
            turn = replace(one.turn, voice=VoiceState(utterance_id, 5.0))
            sink.publish(replace(one, turn=turn, said=said))
        sink.publish(record(2 * long - 1 + OVER_TURNS))
    assert caplog.messages == ["conversation of 120 s: spoke once; was interrupted once"]


def test_what_somebody_outside_has_it_say_keeps_no_conversation_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "edge_runtime")
    with ConversationLog() as sink:
        sink.publish(record(0, "greet"))
        sink.publish(record(100, "announce"))
        for index in range(101, OVER_TURNS + 1):
            one = record(index)
            turn = replace(one.turn, voice=VoiceState("utterance-100", 5.0))
            sink.publish(replace(one, turn=turn))
        assert caplog.messages == ["conversation of 0 s: spoke once"]
