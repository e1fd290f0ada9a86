"""Who answers a request in the worker: the protocol, and the offline skills as the first choice."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from typing_extensions import Self

from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.skills import OF_THE_DEVICE, UNKNOWN, Skills
from edge_runtime.background.timers import Timers
from edge_runtime.background.transcribe import Transcriber, Transcript
from edge_runtime.delegation.wire import ReplyKind, RequestMessage, unpack_letters
from edge_runtime.errors import NotKnownError
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import Letters, Pcm
from edge_runtime.wall_clock import local_now

log = logging.getLogger(__name__)


class Reply(Protocol):
    def __call__(self, kind: ReplyKind, text: str = "", action: str | None = None) -> None:
        """Send one step of the answer. RESULT, FAILED and YOURS are the last."""
        ...


class Answerer(Protocol):
    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        """Answer one request; called on several threads at once.

        `pcm` is the request's sound, float32 (n,), 16 kHz, empty without one. The answer ends with
        one RESULT, FAILED or YOURS; an exception counts as FAILED. NotKnownError tells that this
        worker need not be asked again, NotNowError that another may be asked at once. With
        `cancelled` set no one waits any more: return soon, and do nothing that lasts.
        `request.device` is who really asks, and `request.deadline_s` what is left of the time until
        the first words, and how long the next ones may take after each PARTIAL.
        """
        ...


class Ears:
    """As many recognisers as listen at the same time: one must not be used by two threads."""

    def __init__(self, make: Callable[[], Transcriber]) -> None:
        self._make = make
        self._idle: queue.LifoQueue[Transcriber] = queue.LifoQueue()

    def load(self) -> None:
        """Load the first one. Raises BackgroundError where there is no recogniser."""
        self._idle.put(self._take())

    def hear(
        self,
        pcm: Pcm,
        rough: str = "",
        commands: Commands = NONE,
        letters: Letters | None = None,
    ) -> Transcript:
        """`rough` is what the device spelled of it, from `letters`; `commands` are its own."""
        transcriber = self._take()
        try:
            return transcriber.transcribe(pcm, rough, commands, letters)
        finally:
            self._idle.put(transcriber)

    def hear_question(self, request: RequestMessage, pcm: Pcm) -> Transcript:
        """With all that the device tells of it. Raises WireError: its letters are none."""
        letters = unpack_letters(request.letters) if request.letters else None
        return self.hear(pcm, request.transcript, Commands.of(request.actions), letters)

    def _take(self) -> Transcriber:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            transcriber = self._make()
            transcriber.load()
            return transcriber


class SkillsAnswerer(NothingHeld):
    """A recogniser and the offline skills, for many devices.

    A timer is left to the device: it rings there whichever worker is asked, and without any. So is
    its volume.
    """

    def __init__(self, ears: Ears) -> None:
        self._ears = ears

    def __enter__(self) -> Self:
        self._ears.load()
        return self

    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        heard, commands = request.transcript, Commands.of(request.actions)
        if len(pcm):
            reply(ReplyKind.PROGRESS, "listening again")
            heard = self._ears.hear_question(request, pcm).text
        now = local_time(request.local_time)
        skills = Skills(Timers(time.monotonic_ns), lambda: now, request.device, commands)
        said = skills.reply(heard, request.unsaid)
        log.debug("%s: heard %r -> %s: %s", request.id, heard, said.skill, said.text)
        if said.skill in OF_THE_DEVICE:
            reply(ReplyKind.YOURS, heard)
            return
        if said.skill == UNKNOWN:  # "I do not know" would end it: another worker may
            raise NotKnownError("no skill here knows that", heard)
        if said.action:
            reply(ReplyKind.ACTION, action=said.action)
        reply(ReplyKind.RESULT, said.text)


def local_time(stated: str) -> datetime:
    """The device's own wall clock, or this machine's where it did not say."""
    try:
        return datetime.fromisoformat(stated)
    except ValueError:
        return local_now()
