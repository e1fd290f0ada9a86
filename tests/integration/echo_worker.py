"""A worker that says back what it was asked; as a program: echo_worker.py URL NAME."""

from __future__ import annotations

import signal
import sys
import threading

from edge_runtime.background.answerer import Reply
from edge_runtime.background.worker import Worker
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.wire import ReplyKind, RequestMessage
from edge_runtime.micro_turn import Pcm

PATIENCE_S = 60
HOLD = "hold"
"""Asked so, it does not answer until the test lets it go."""


class Echo:
    def __init__(self) -> None:
        self.go = threading.Event()
        self.broken = True
        """Whether `raise` does."""
        self.asked: list[RequestMessage] = []
        self.stopped = threading.Semaphore(0)
        """Counts the requests that were cancelled while it held them."""

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.asked]

    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        self.asked.append(request)
        if request.transcript == "raise" and self.broken:
            raise RuntimeError("the kettle is broken")
        if request.transcript == "silence":
            return
        if request.transcript == "timer":
            reply(ReplyKind.YOURS, "set a timer")
            return
        reply(ReplyKind.PROGRESS, "thinking")
        if request.transcript == HOLD:
            for _ in range(PATIENCE_S * 100):
                if self.go.wait(0.01) or cancelled.is_set():
                    break
            if cancelled.is_set():
                self.stopped.release()
        reply(ReplyKind.RESULT, f"{request.device} said {request.transcript}")


def main(url: str, name: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Worker(BrokerSettings(url), name, Echo(), slots=1, grace_s=0.1):
        stop.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
