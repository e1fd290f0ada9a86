"""A queue before a slow sink: bounded, counted, and never in the loop's way."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
from typing_extensions import Self

from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.sinks import queue as queue_module
from edge_runtime.sinks.queue import QueueSink

WAIT_S = 30.0
AUDIO = np.zeros((2, TURN_SAMPLES), np.float32)


def record(index: int) -> TurnRecord:
    turn = MicroTurn(index, 0, AUDIO)
    return TurnRecord(turn, EngineOutput(index, {}), Decision(index, "listen"), Timings())


class Outside:
    """A sink that works only while its gate is open, and fails at the turns it is told to."""

    def __init__(self, fails_at: tuple[int, ...] = ()) -> None:
        self.gate, self.taken = threading.Event(), threading.Event()
        self.gate.set()
        self.fails_at = fails_at
        self.log: list[int | str] = []
        self.thread: int | None = None

    def __enter__(self) -> Self:
        self.log.append("enter")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.log.append("exit")

    def publish(self, record: TurnRecord) -> None:
        self.thread = threading.get_ident()
        self.taken.set()
        assert self.gate.wait(WAIT_S)
        if record.turn.index in self.fails_at:
            raise OSError(f"turn {record.turn.index} is refused")
        self.log.append(record.turn.index)


def test_the_sink_gets_every_turn_in_order_between_enter_and_exit() -> None:
    outside = Outside()
    with QueueSink(outside, "robot", size=100) as queue:
        for index in range(100):
            queue.publish(record(index))
    assert outside.log == ["enter", *range(100), "exit"]
    assert outside.thread not in (None, threading.get_ident())
    assert (queue.dropped, queue.failures) == (0, 0)


def test_a_stuck_sink_holds_nobody_up_and_the_newest_turns_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outside = Outside()
    outside.gate.clear()
    with caplog.at_level(logging.WARNING), QueueSink(outside, "robot", size=3) as queue:
        queue.publish(record(0))
        assert outside.taken.wait(WAIT_S)
        for index in range(1, 11):
            queue.publish(record(index))
        assert outside.log == ["enter"]
        assert queue.dropped == 7
        outside.gate.set()
    assert outside.log == ["enter", 0, 8, 9, 10, "exit"]
    assert [entry.getMessage() for entry in caplog.records] == ["robot: 7 micro-turns dropped"]


def test_closing_hands_over_what_still_waits() -> None:
    outside = Outside()
    outside.gate.clear()
    queue = QueueSink(outside, "robot")
    queue.__enter__()
    for index in range(20):
        queue.publish(record(index))
    closing = threading.Thread(target=queue.__exit__, args=(None, None, None))
    closing.start()
    assert outside.log == ["enter"]
    outside.gate.set()
    closing.join(WAIT_S)
    assert outside.log == ["enter", *range(20), "exit"]


def test_a_slow_sink_is_closed_in_time_and_what_it_did_not_take_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue_module, "DRAIN_S", 0.01)
    monkeypatch.setattr(queue_module, "LEAVE_S", WAIT_S)
    outside = Outside()
    outside.gate.clear()
    queue = QueueSink(outside, "robot")
    queue.__enter__()
    queue.publish(record(0))
    assert outside.taken.wait(WAIT_S)
    for index in range(1, 20):
        queue.publish(record(index))
    closing = threading.Thread(target=queue.__exit__, args=(None, None, None))
    closing.start()
    while queue.depth:
        closing.join(0.001)
    outside.gate.set()
    closing.join(WAIT_S)
    assert outside.log == ["enter", 0, "exit"]
    assert [entry.getMessage() for entry in caplog.records] == ["robot: 19 micro-turns dropped"]


def test_a_sink_is_not_closed_while_it_is_at_a_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue_module, "DRAIN_S", 0.01)
    monkeypatch.setattr(queue_module, "LEAVE_S", 0.01)
    outside = Outside()
    outside.gate.clear()
    with QueueSink(outside, "robot") as queue:
        queue.publish(record(0))
        assert outside.taken.wait(WAIT_S)
    assert outside.log == ["enter"]
    assert "robot: it does not come back from a micro-turn" in caplog.text
    outside.gate.set()


def test_leaving_is_faster_than_the_service_is_killed() -> None:
    unit = Path(__file__).parents[2] / "systemd" / "edge-runtime.service"
    (limit,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", unit.read_text())
    assert float(limit) > queue_module.DRAIN_S + queue_module.LEAVE_S


def test_a_sink_that_fails_is_given_the_next_turn_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outside = Outside(fails_at=(1, 2, 4))
    with caplog.at_level(logging.DEBUG), QueueSink(outside, "robot") as queue:
        for index in range(6):
            queue.publish(record(index))
    assert outside.log == ["enter", 0, 3, 5, "exit"]
    assert queue.failures == 3
    entries = [(entry.levelname, entry.getMessage()) for entry in caplog.records]
    assert entries == [
        ("WARNING", "robot: turn 1 is refused"),
        ("DEBUG", "robot: turn 2 is refused"),
        ("DEBUG", "robot: turn 4 is refused"),
    ]


def test_a_sink_that_cannot_be_opened_says_so_at_once() -> None:
    class Missing(Outside):
        def __enter__(self) -> Self:
            raise OSError("no such robot")

    with pytest.raises(OSError, match="no such robot"):
        QueueSink(Missing(), "robot").__enter__()
