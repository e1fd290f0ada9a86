"""A service that hangs ends by itself where nobody watches it."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
from turn_records import a_record

from edge_runtime.micro_turn import EngineOutput
from edge_runtime.sinks.self_watchdog import EXIT, LOOKS, SelfWatchdog

COMPLETED = replace(a_record(), output=EngineOutput(0, {"floor": np.zeros(5, np.float32)}))
FAILED = replace(a_record(), output=EngineOutput(0, {}))
HANGS = """
import logging
import time
import numpy as np
from edge_runtime.micro_turn import (
    TURN_SAMPLES, Decision, EngineOutput, MicroTurn, Timings, TurnRecord
)
from edge_runtime.sinks.self_watchdog import SelfWatchdog

def stands_still():
    {hang}

with SelfWatchdog(environment={{}}, look_every_s=0.02) as dog:
    turn = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))
    output = EngineOutput(0, {{"floor": np.zeros(5, np.float32)}})
    dog.publish(TurnRecord(turn, output, Decision(0, "listen"), Timings()))
    stands_still()
"""


def test_a_process_whose_loop_hangs_ends_and_says_where() -> None:
    script = HANGS.format(hang="time.sleep(60)")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == EXIT
    assert "stands_still" in done.stderr


def test_a_process_that_hangs_in_its_log_ends_though_it_cannot_say_so() -> None:
    script = HANGS.format(hang="while True: logging.warning(1000 * 'no one reads this ')")
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    try:
        assert process.wait(50) == EXIT
    finally:
        process.kill()
        process.communicate()


def looked(dog: SelfWatchdog, times: int) -> None:
    for _ in range(times):
        dog._look()


def test_micro_turns_feed_it_and_safe_stops_do_not() -> None:
    ended: list[int] = []
    dog = SelfWatchdog(lambda: ended.append(1), {})
    looked(dog, 10 * LOOKS)
    assert not ended, "it has not begun: a model may take minutes to be made ready"
    dog.publish(COMPLETED)
    looked(dog, LOOKS)
    dog.publish(COMPLETED)
    looked(dog, LOOKS)
    assert not ended
    dog.publish(FAILED)
    looked(dog, 1)
    assert ended


def test_where_systemd_watches_it_does_nothing() -> None:
    ended = threading.Event()
    with SelfWatchdog(ended.set, {"WATCHDOG_USEC": "10000000"}, look_every_s=0.001) as dog:
        dog.publish(COMPLETED)
        assert not ended.wait(0.2)
    with SelfWatchdog(ended.set, {}, look_every_s=0.001) as dog:
        dog.publish(COMPLETED)
        assert ended.wait(30)
