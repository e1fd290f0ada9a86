"""The local skills of a service, told to set timers; as a program: timer_setter.py FILE ORDER...

Prints each answer, and then waits to be killed.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np

from edge_runtime.background.kept_timers import KeptTimers
from edge_runtime.background.local import LocalBackground
from edge_runtime.background.transcribe import SpellingTranscriber
from edge_runtime.health import HealthMonitor
from edge_runtime.micro_turn import EventKind, Request
from edge_runtime.pacing import MonotonicClock

NO_SOUND = np.zeros(0, np.float32)


def main(path: Path, orders: list[str]) -> None:
    clock, pause = MonotonicClock(), threading.Event()
    with (
        KeptTimers(path, clock.now_ns, HealthMonitor()) as kept,
        LocalBackground(SpellingTranscriber(), clock, timers=kept.timers) as background,
    ):
        for number, order in enumerate(orders):
            background.submit(Request(f"request-{number}", NO_SOUND, transcript=order))
            answers: list[str] = []
            while not answers:
                results = (one for one in background.poll() if one.kind is EventKind.RESULT)
                answers = [one.text for one in results]
                pause.wait(0.01)
            print(answers[0], flush=True)
        pause.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
