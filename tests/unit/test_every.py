"""Something that is done now and then."""

from __future__ import annotations

import logging
import threading

import pytest

from edge_runtime.every import Every

PATIENCE_S = 30


class Steps:
    def __init__(self, wanted: int, *broken: int) -> None:
        self.count, self._wanted, self._broken = 0, wanted, broken
        self.enough = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        if self.count >= self._wanted:
            self.enough.set()
        if self.count in self._broken:
            raise OSError(f"no room at step {self.count}")


def test_it_goes_on_until_the_end_and_leaves_no_thread() -> None:
    steps = Steps(3)
    before = threading.active_count()
    with Every(0.01, steps, "steps"):
        assert steps.enough.wait(PATIENCE_S)
    done = steps.count
    assert threading.active_count() == before
    assert steps.count == done


def test_the_first_step_is_at_once_or_after_a_period() -> None:
    at_once, later = Steps(1), Steps(1)
    with Every(1000, later, "later", at_once=False), Every(1000, at_once, "at once"):
        assert at_once.enough.wait(PATIENCE_S)
    assert later.count == 0


def test_a_step_that_fails_is_told_once_and_again_after_it_worked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = Steps(6, 1, 2, 5)
    with caplog.at_level(logging.INFO), Every(0.001, steps, "the file"):
        assert steps.enough.wait(PATIENCE_S)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the file: no room at step 1", "the file: no room at step 5"]
