"""A warning that comes often is a line a minute, with how often it came; none is left out."""

from __future__ import annotations

import logging

import pytest

from edge_runtime.sparing_log import MAX_KINDS, SparingLog

log = logging.getLogger("edge_runtime.test")


class Minutes:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return 60 * self.now


def test_each_kind_is_told_at_once_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Minutes()
    warnings = SparingLog(log, clock)
    for _ in range(4):
        warnings.warn("lamp", "the lamp is gone")
        warnings.warn("gate", "the gate is gone")
    assert caplog.messages == ["the lamp is gone", "the gate is gone"]
    clock.now = 0.9
    warnings.tell()
    assert len(caplog.messages) == 2
    clock.now = 1.0
    warnings.warn("gate", "the gate is gone")
    assert caplog.messages[2:] == [
        "the lamp is gone (3 times since it was last told)",
        "the gate is gone (4 times since it was last told)",
    ]


def test_the_last_is_told_though_none_follows(caplog: pytest.LogCaptureFixture) -> None:
    clock = Minutes()
    warnings = SparingLog(log, clock)
    warnings.warn("lamp", "the lamp is gone")
    warnings.warn("lamp", "the lamp is gone again")
    for clock.now in (1.0, 2.0, 3.0):
        warnings.tell()
    assert caplog.messages == ["the lamp is gone", "the lamp is gone again"]
    warnings.warn("lamp", "the lamp is gone")
    warnings.warn("lamp", "and once more")
    warnings.tell(at_end=True)
    warnings.tell(at_end=True)
    assert caplog.messages[2:] == ["the lamp is gone", "and once more"]


def test_ever_new_kinds_fill_neither_the_log_nor_the_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Minutes()
    warnings = SparingLog(log, clock)
    for number in range(1000):
        warnings.warn(f"kind {number}", f"warning {number}")
    assert len(caplog.messages) == MAX_KINDS + 1
    clock.now = 1.0
    warnings.tell()
    assert caplog.messages[-1] == (
        f"warning 999 ({1000 - MAX_KINDS - 1} times since it was last told)"
    )
    warnings.warn("kind 7", "warning 7")
    assert caplog.messages[-1] == "warning 7"
