"""The background model in the device's own process: a recogniser and the offline skills."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType

from typing_extensions import Self

from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.skills import UNKNOWN, Answer, Skills
from edge_runtime.background.timers import Timers
from edge_runtime.background.transcribe import Transcriber
from edge_runtime.background.volume import NONE as UNCHANGEABLE
from edge_runtime.background.volume import Volume
from edge_runtime.interfaces import Clock
from edge_runtime.micro_turn import Event, EventKind, Request
from edge_runtime.wall_clock import local_now

log = logging.getLogger(__name__)
QUEUE_SIZE = 8
VIRTUAL_DELAY_NS = 1_000_000_000
"""In `block` mode an answer comes so long after its question, whatever the machine's speed."""


class LocalBackground:
    """Answers requests one after the other in a thread of its own.

    With `block` the answer is computed in `submit` and told a fixed time later on the clock, so
    that a run on a virtual clock gives the same events every time. `timers` may be given where
    somebody keeps them; they are on this clock then, too.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        clock: Clock,
        device_name: str = "edge",
        now: Callable[[], datetime] = local_now,
        block: bool = False,
        commands: Commands = NONE,
        timers: Timers | None = None,
        volume: Volume = UNCHANGEABLE,
    ) -> None:
        self._transcriber, self._clock, self._block = transcriber, clock, block
        self._timers, self._commands = timers or Timers(clock.now_ns), commands
        self._skills = Skills(self._timers, now, device_name, commands, volume)
        self._requests: queue.Queue[Request | None] = queue.Queue(QUEUE_SIZE)
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}
        """Deadline by request that has not been answered."""
        self._events: list[tuple[int, Event]] = []
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        if self._block:
            self._transcriber.load()
            return self
        self._thread = threading.Thread(target=self._work, name="background", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        self._closing.set()
        with self._lock:
            self._open.clear()
        with contextlib.suppress(queue.Empty):  # The thread takes from it at the same time.
            while True:
                self._requests.get_nowait()
        self._requests.put(None)
        self._thread.join(timeout=5)

    def submit(self, request: Request) -> None:
        now_ns = self._clock.now_ns()
        with self._lock:
            self._open[request.id] = now_ns + int(request.deadline_s * 1e9)
        if self._block:
            self._handle(request, now_ns + VIRTUAL_DELAY_NS)
            return
        try:
            self._requests.put_nowait(request)
        except queue.Full:
            self._close(request.id, EventKind.FAILED, "too many questions at once", now_ns)

    def cancel(self, request_id: str) -> None:
        with self._lock:
            self._open.pop(request_id, None)
            self._events = [entry for entry in self._events if entry[1].id != request_id]
        self._timers.told(request_id)

    def poll(self) -> Sequence[Event]:
        now_ns = self._clock.now_ns()
        with self._lock:
            late = [name for name, deadline_ns in self._open.items() if deadline_ns < now_ns]
        for name in late:
            self._close(name, EventKind.FAILED, "no answer before the deadline", now_ns)
        with self._lock:
            ready = [event for due_ns, event in self._events if due_ns <= now_ns]
            self._events = [entry for entry in self._events if entry[0] > now_ns]
        due = [Event(EventKind.RESULT, timer.id, timer.text) for timer in self._timers.pop_due()]
        return [*ready, *due]

    def _close(self, request_id: str, kind: EventKind, text: str, due_ns: int) -> None:
        """Tell how a request ended, unless it was cancelled or has ended before."""
        with self._lock:
            if self._open.pop(request_id, None) is not None:
                self._events.append((due_ns, Event(kind, request_id, text)))

    def _work(self) -> None:
        try:
            self._transcriber.load()
        except Exception:
            if not self._closing.is_set():  # ended while it was loading: nobody asks any more
                log.warning("the recogniser cannot be loaded; questions will fail", exc_info=True)
        while (request := self._requests.get()) is not None:
            self._handle(request, self._clock.now_ns())

    def _handle(self, request: Request, due_ns: int) -> None:
        with self._lock:
            if request.id not in self._open:
                return
            self._events.append((due_ns, Event(EventKind.PROGRESS, request.id, "listening again")))
        try:
            said = self._answer(request)
        except Exception as error:
            if not self._closing.is_set():
                log.warning("request %s failed", request.id, exc_info=True)
            self._close(request.id, EventKind.FAILED, str(error) or repr(error), due_ns)
            return
        if said is not None:
            due_ns = max(due_ns, self._clock.now_ns())
            # A question to be kept waits for someone who knows; "I do not know" would end it.
            kind = EventKind.RESULT
            if request.keep and said.skill == UNKNOWN:
                kind = EventKind.FAILED
            if said.action:
                self._do(request.id, said.action, due_ns)
            self._close(request.id, kind, said.text, due_ns)

    def _do(self, request_id: str, action: str, due_ns: int) -> None:
        with self._lock:
            if request_id in self._open:
                self._events.append((due_ns, Event(EventKind.ACTION, request_id, action)))

    def _answer(self, request: Request) -> Answer | None:
        """None if no one waits for it any more: then it must not start a timer either."""
        heard = request.transcript
        if len(request.audio):
            heard = self._transcriber.transcribe(
                request.audio, request.transcript, self._commands, request.letters
            ).text
        with self._lock:
            if request.id not in self._open:
                return None
        said = self._skills.reply(heard, request.unsaid)
        log.debug("%s: heard %r -> %s: %s", request.id, heard, said.skill, said.text)
        return said
