"""The measurement of delegation, in small: every question is counted once, as what it became."""

from __future__ import annotations

import shutil

import pytest
from broker import needs_mosquitto

from edge_runtime.bench.fleet import Fleet
from edge_runtime.bench.programs import LARGE, local_broker, workers
from edge_runtime.errors import ConfigError

EACH_S = 0.2


@needs_mosquitto
def test_what_is_asked_is_answered_and_counted() -> None:
    with local_broker() as url, workers(url, 2, work_ms=1, slots=1):
        with Fleet(url, 3, sound_s=0.2) as fleet:
            fleet.await_workers(2)
            answers = fleet.at_a_rate(EACH_S, seconds=2.5 * EACH_S)
            # Two rounds of three, and the half of a third.
            assert (len(answers.latencies_ms), answers.failed, fleet.open) == (8, 0, 0)
        with Fleet(url, 1, sound_s=0.2) as fleet:
            fleet.await_workers(2)
            answers = fleet.one_after_the_other(2, LARGE)
            assert len(answers.latencies_ms) == len(answers.finished_s) == 2
            assert answers.percentile_ms(0) == min(answers.latencies_ms) > 0
            answers = fleet.always_out(3, seconds=0.5)
            assert len(answers.latencies_ms) > 5 and fleet.open == 3


def test_without_a_broker_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(ConfigError, match="apt-get install mosquitto"), local_broker():
        pass
