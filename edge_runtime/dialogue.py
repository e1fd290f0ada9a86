"""Turns a Decision into words and requests, and keeps what is pending, ready and heard.

The model decides when and what; this looks up the words, numbers the requests and remembers which
result has not been spoken yet.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection
from dataclasses import replace

from edge_runtime.delegation.answers import Answers
from edge_runtime.delegation.context import Conversation, Heard
from edge_runtime.errors import BackgroundError
from edge_runtime.interfaces import Background
from edge_runtime.micro_turn import (
    Action,
    BackgroundState,
    Decision,
    Delegation,
    Event,
    EventKind,
    MicroTurn,
    Request,
    Utterance,
)

log = logging.getLogger(__name__)
DELIVER = "deliver"
BACKCHANNEL = "backchannel"
REQUEST, KEPT = "request-", "kept-"
"""How the ids begin: of questions that matter now, and of those that may be answered late."""
KEPT_WORDS = "kept"
"""The phrase that says so."""


class Dialogue:
    """One conversation's bookkeeping. `words` gives the text for an act, in the device's
    language; `actions` are those that a background model may ask for; `keep` tells from what was
    heard of it whether a question must not get lost."""

    def __init__(
        self,
        background: Background,
        words: Callable[[str], str],
        language: str = "en",
        deadline_s: float = 20.0,
        link_up: bool = False,
        actions: Collection[str] = (),
        send_frame: bool = False,
        keep: Callable[[str], bool] = lambda transcript: False,
    ) -> None:
        self._background = background
        self._words = words
        self._language, self._deadline_s = language, deadline_s
        self._actions, self._send_frame = frozenset(actions), send_frame
        self._keep = keep
        self._heard, self._conversation = Heard(), Conversation()
        self._answers = Answers()
        self._pending: str | None = None
        """The request whose answer has not begun."""
        self._answering: str | None = None
        """The request whose answer has begun and not ended."""
        self._asked: list[Action] = []
        self._refused: list[Event] = []
        self._link_up = link_up
        self._utterances = self._requests = 0

    def poll(self) -> list[Event]:
        """What the background model has to tell, as events for the next micro-turn."""
        refused, self._refused = self._refused, []
        events = [self._take(event) for event in [*refused, *self._background.poll()]]
        return [event for event in events if event is not None]

    def _take(self, event: Event) -> Event | None:
        """Note what an event means; what the model shall see of it."""
        if event.kind in (EventKind.LINK_UP, EventKind.LINK_DOWN):
            self._link_up = event.kind is EventKind.LINK_UP
            return event
        if self._comes_too_late(event):
            log.debug("late or cancelled: %s for %s", event.kind.value, event.id)
            return None
        if event.kind is EventKind.KEPT:
            self._settle(event.id)
            notice = Event(EventKind.RESULT, f"{event.id}-notice", self._words(KEPT_WORDS))
            return self._add_answer(notice)
        if event.kind is EventKind.FAILED:
            log.warning("request %s failed: %s", event.id, event.text)
            self._settle(event.id)
        elif event.kind is EventKind.ACTION:
            self._ask(event.text)
        elif event.kind in (EventKind.PARTIAL, EventKind.RESULT):
            return self._add_answer(event)
        return event

    def _comes_too_late(self, event: Event) -> bool:
        """A timer, and what was kept, may bring an answer unasked; but never a failure."""
        if event.id in (self._pending, self._answering):
            return False
        unasked = event.kind in (EventKind.FAILED, EventKind.PROGRESS)
        return unasked or event.id.startswith(REQUEST)

    def _add_answer(self, event: Event) -> Event:
        """The beginning of an answer is a result to the model, what follows is not."""
        complete = event.kind is EventKind.RESULT
        fresh = self._answers.add(event.id, event.text, complete)
        self._settle(event.id)
        if not complete:
            self._answering = event.id
        return replace(event, kind=EventKind.RESULT if fresh else EventKind.PARTIAL)

    def _ask(self, name: str) -> None:
        if name in self._actions:
            self._asked.append(Action(name))
        else:
            log.warning("the background model asked for %r, which is no action here", name)

    def _settle(self, request_id: str) -> None:
        if request_id == self._pending:
            self._pending = None
        if request_id == self._answering:
            self._answering = None

    def state(self) -> BackgroundState:
        return BackgroundState(self._pending is not None, self._answers.ready, self._link_up)

    def asked_actions(self) -> tuple[Action, ...]:
        """What the background model has asked for since the last call."""
        asked, self._asked = tuple(self._asked), []
        return asked

    def utterance(self, decision: Decision, turn: MicroTurn) -> Utterance | None:
        """The words for what the model decided to say, or the next words of an answer that is
        being spoken; None when nothing begins."""
        if decision.say is None:
            return self._delivery(self._answers.follow(turn.voice.speaking), turn)
        if decision.say == DELIVER:
            if not self._answers.ready:
                log.info("the model wanted to deliver a result, and none is waiting")
            return self._delivery(self._answers.take(), turn)
        return self._say(self._words(decision.say), decision.say, turn)

    def _delivery(self, answer: tuple[str, str] | None, turn: MicroTurn) -> Utterance | None:
        if answer is None or not answer[1]:
            return None
        request_id, text = answer
        return self._say(text, DELIVER, turn, request_id)

    def _say(
        self, text: str, act: str, turn: MicroTurn, request_id: str | None = None
    ) -> Utterance:
        self._utterances += 1
        utterance = Utterance(f"utterance-{self._utterances}", text, act, request_id)
        if act != BACKCHANNEL:
            self._conversation.person(self._heard.transcript, turn.index)
            self._conversation.device(utterance, turn.index)
        return utterance

    def listen(self, turn: MicroTurn, decision: Decision) -> None:
        """Remember what was heard in this turn, and what was cut short before it."""
        self._heard.add(turn, decision)
        unsaid = [
            event.text
            for event in turn.events
            if event.kind is EventKind.UTTERANCE_INTERRUPTED
            and self._conversation.interrupted(event.id, event.text)
        ]
        if unsaid:
            self._conversation.unsaid = " ".join([*unsaid, self._answers.interrupt()]).strip()

    def delegate(self, decision: Decision, turn: MicroTurn) -> Request | None:
        """Hand a question on or take one back; returns the request that went out."""
        if decision.delegation is Delegation.NONE:
            return None
        cancelled = decision.delegation is Delegation.CANCEL
        for request_id in (self._pending, self._answering):
            # A new question takes the place of the one before, unless that one is to be kept.
            if request_id is not None and (cancelled or not request_id.startswith(KEPT)):
                self._background.cancel(request_id)
        self._pending = self._answering = None
        if cancelled:
            for request_id in self._answers.clear():
                if request_id.startswith(KEPT):
                    self._background.cancel(request_id)
            return None
        request = self._request(turn)
        self._pending = request.id
        try:
            self._background.submit(request)
        except BackgroundError as error:
            self._refused.append(Event(EventKind.FAILED, request.id, str(error)))
        return request

    def _request(self, turn: MicroTurn) -> Request:
        self._requests += 1
        transcript = self._heard.transcript
        keep = self._keep(transcript)
        return Request(
            id=f"{KEPT}{uuid.uuid4().hex}" if keep else f"{REQUEST}{self._requests}",
            audio=self._heard.audio(),
            transcript=transcript,
            language=self._language,
            deadline_s=self._deadline_s,
            conversation=self._conversation.until(turn.index),
            unsaid=self._conversation.unsaid,
            frame=turn.frame if self._send_frame else None,
            keep=keep,
        )

    def answered(self) -> None:
        """The device has begun to speak: what the person says next is a new matter."""
        self._heard.clear()
