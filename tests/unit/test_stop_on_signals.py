"""What ends a run between two micro-turns."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
from edge_runtime.commands.common import stop_on_signals
stop = stop_on_signals()
print("ready", flush=True)
while not stop.wait(1):
    print("goes on", flush=True)
print("released")
"""


def ended_by(number: signal.Signals, hangs_up: signal.Handlers) -> list[str]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, hangs_up),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        told = [process.stdout.readline().strip()]
        if number != signal.SIGHUP:  # a second one would find the interpreter at its end
            process.send_signal(number)
        told += process.communicate(timeout=60)[0].split("\n")
    assert process.returncode == 0
    return [line for line in told if line]


def test_a_closed_terminal_ends_a_run_as_ctrl_c_does() -> None:
    assert ended_by(signal.SIGHUP, signal.SIG_DFL) == ["released"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nohup_keeps_it_running(number: signal.Signals) -> None:
    told = ended_by(number, signal.SIG_IGN)
    assert told[0] == "goes on" and told[-1] == "released"
