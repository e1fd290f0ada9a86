"""Turns a Decision into words and requests, and keeps what is pending, ready and heard.

The model decides when and what; this looks up the words, numbers the requests and remembers which
result has not been spoken yet.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from edge_runtime.delegation.answers import Answers
from edge_runtime.delegation.context import Conversation, Heard
from edge_runtime.errors import BackgroundError
from edge_runtime.interfaces import Background
from edge_runtime.micro_turn import (
    STOP_MOTION,
    TIMER,
    TURN_MS,
    Action,
    BackgroundState,
    Decision,
    Delegation,
    Event,
    EventKind,
    Letters,
    MicroTurn,
    Request,
    Utterance,
)
from edge_runtime.remote_control import Mode, Orders
from edge_runtime.sentences import Pieces

log = logging.getLogger(__name__)
DELIVER = "deliver"
PROMISE = "working"
"""The act that promises an answer from elsewhere."""
BACKCHANNEL = "backchannel"
ANNOUNCE = "announce"
"""The act of what somebody outside of the conversation wants said."""
ASIDES = frozenset({BACKCHANNEL, ANNOUNCE})
"""Said without answering: the person goes on with what they were saying."""
REQUEST, KEPT, TOLD = "request-", "kept-", "told-"
"""How the ids begin: of questions that matter now, of those that may be answered late, and of what
somebody outside wants told."""
NOTICE = "-notice"
"""How the id ends under which the person is told that a question is kept."""
STALE_TURNS = 30_000 // TURN_MS
"""An answer that has waited so long for the floor is not what the conversation is about any more.
Timers, and what was kept, are told however late."""
FOLLOW_S = 10.0
"""The next words of an answer are given to the mouth when no more than this is left to say: time
enough to synthesize them, and little for an interruption to take back."""
MAX_ANSWER = 20_000
"""Characters of an answer that are told: some 20 minutes."""
KEPT_WORDS = "kept"
"""The phrase that says a question is kept."""
UNDONE_WORDS = "undone"
"""The phrase that says an action was not done, of a time before a rest or in standby."""


def answers(said: Utterance | None) -> bool:
    """Whether something is said that answers the person, and does not only go on with it."""
    return said is not None and said.act not in ASIDES and not said.goes_on


def outcomes(events: Sequence[Event]) -> Iterator[str]:
    """What becomes of questions in a micro-turn: `answered`, `kept` (later answered, too) or
    `failed`. One whose action was not done has failed, whatever is said of it."""
    ours = [event for event in events if event.id.startswith((REQUEST, KEPT))]
    undone = {event.id for event in ours if event.kind is EventKind.UNDONE}
    for event in ours:
        if event.kind is EventKind.RESULT and event.id not in undone:
            yield "kept" if event.id.endswith(NOTICE) else "answered"
        elif event.kind in (EventKind.FAILED, EventKind.UNDONE):
            yield "failed"


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
        keep: Callable[[str, Letters | None], bool] = lambda transcript, letters: False,
        heard: Heard | None = None,
    ) -> None:
        self._background = background
        self._words = words
        self._language, self._deadline_s = language, deadline_s
        self._actions, self._send_frame = frozenset(actions), send_frame
        self._keep = keep
        self._heard = Heard() if heard is None else heard
        self._conversation = Conversation()
        self._answers = Answers()
        self._pending: str | None = None
        """The request whose answer has not begun."""
        self._answering: str | None = None
        """The request whose answer has begun and not ended."""
        self._acted: str | None = None
        """The request for which the background model asked for an action of ours."""
        self._lengths: Counter[str] = Counter()
        """Characters that have come of each answer that has not ended."""
        self._pieces: dict[str, Pieces] = {}
        """Of each such answer: what has come and is no whole sentence yet."""
        self._handed_on = False
        """What was heard since the device last answered has been handed on."""
        self._stopped: str | None = None
        """The request whose answer was interrupted: what comes of it is for `go on`."""
        self._kept: str | None = None
        """The question that was kept last, or a kept one that was answered last: until another is
        asked or answered, `never mind` is about it."""
        self._asked: list[Action] = []
        self._refused: list[Event] = []
        self._told: list[Event] = []
        """From outside, for the model to deliver."""
        self._to_say: deque[str] = deque()
        self._announced: set[str] = set()
        """Utterances of what was to be said, while they are in the mouth."""
        self._given: dict[str, tuple[str, str]] = {}
        """Of the utterances in the mouth that have not begun: the request, and the words."""
        self._tried_again: deque[str] = deque(maxlen=64)
        self._mode = Mode.NORMAL
        self._kept_since: set[str] | None = None
        """Questions to be kept that were asked since the last `rest`; None before the first."""
        self._link_up = link_up
        self._utterances = self._requests = self._tellings = self._turns = 0

    def poll(self) -> list[Event]:
        """What the background model has to tell, as events for the next micro-turn."""
        self._turns += 1
        for name in self._answers.forget_before(self._turns - STALE_TURNS, REQUEST):
            log.info("the answer to %s has waited too long to be told", name)
            self._want_no_more(name)
        own, self._refused, self._told = [*self._refused, *self._told], [], []
        come = self._with_undone(self._background.poll())
        events = [self._take(event) for event in [*own, *come]]
        return [event for event in events if event is not None]

    def rest(self) -> None:
        """No micro-turn will come for a while. A question that is out is taken back, what was heard
        is forgotten, and no action is done afterwards that was asked for before; what must not get
        lost is told then, and that such an action was not done."""
        self._take_back(kept_too=False)
        self._asked.clear()
        self._to_say.clear()
        self._refused.clear()
        self._answers.forget_before(self._turns + 1, REQUEST)
        self._heard.forget()
        self._handed_on = False
        self._kept = None
        self._kept_since = set()

    def obey(self, orders: Orders) -> bool:
        """Note what was asked from outside; returns whether to fall silent now."""
        self._mode = orders.mode
        if orders.stop or orders.cancel:
            self._to_say.clear()
        if orders.stop:
            self._asked.append(Action(STOP_MOTION))
        if orders.cancel:
            self._take_back(kept_too=True)
            self._forget_answers()
        self._to_say += orders.say
        for text in orders.deliver:
            self._tellings += 1
            self._told.append(Event(EventKind.RESULT, f"{TOLD}{self._tellings}", text))
        return orders.stop or orders.cancel

    def _with_undone(self, events: Iterable[Event]) -> Iterator[Event]:
        """What is said of an action that is not done any more is not told either: it is not so."""
        undone: set[str] = set()
        for event in events:
            why_not = self._why_undone(event) if event.kind is EventKind.ACTION else ""
            if why_not:
                log.info("%s asks for %s, which is not done: %s", event.id, event.text, why_not)
                undone.add(event.id)
                self._background.cancel(event.id)
                yield Event(EventKind.UNDONE, event.id, why_not)
                yield Event(EventKind.RESULT, event.id, self._words(UNDONE_WORDS))
            elif event.id not in undone:
                yield event

    def _why_undone(self, action: Event) -> str:
        """Empty where it is done."""
        if self._asked_before_rest(action.id):
            return "it was asked for before a rest"
        if self._mode is Mode.STANDBY and action.text != STOP_MOTION:
            return "it came in standby"
        return ""

    def _asked_before_rest(self, request_id: str) -> bool:
        """Of those that are kept; the others were taken back."""
        since = self._kept_since
        return since is not None and request_id.startswith(KEPT) and request_id not in since

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
            self._kept = event.id
            notice = Event(EventKind.RESULT, f"{event.id}{NOTICE}", self._words(KEPT_WORDS))
            return self._add_answer(notice)
        if event.kind is EventKind.FAILED:
            return self._fail(event)
        if event.kind is EventKind.ACTION:
            self._ask(event.text, event.id)
        elif event.kind in (EventKind.PARTIAL, EventKind.RESULT):
            return self._add_answer(event)
        return event

    def _fail(self, event: Event) -> Event:
        log.warning("request %s failed: %s", event.id, event.text)
        self._settle(event.id)
        return event

    def _comes_too_late(self, event: Event) -> bool:
        """A timer, and what was kept, may bring an answer unasked; but never a failure."""
        if event.id in (self._pending, self._answering):
            return False
        unasked = event.kind in (EventKind.FAILED, EventKind.PROGRESS)
        return unasked or event.id.startswith(REQUEST)

    def _add_answer(self, event: Event) -> Event | None:
        """The beginning of an answer is a result to the model, what follows is not; and the rest
        of one that was interrupted is not told at all."""
        complete = event.kind is EventKind.RESULT
        sentences = self._sentences(event)
        if event.id == self._stopped:
            self._unsaid(self._conversation.unsaid, *sentences)
            if complete:
                self._settle(event.id)
            return None
        if not sentences and not complete:
            return None
        if not sentences and event.id == self._pending and event.id != self._acted:
            return self._fail(
                Event(EventKind.FAILED, event.id, "nothing in its answer can be said")
            )
        lasting = event.id.startswith((KEPT, TOLD, TIMER))
        fresh = self._answers.add(event.id, sentences, complete, self._turns, lasting)
        self._settle(event.id)
        if not complete:
            self._answering = event.id
        return replace(event, kind=EventKind.RESULT if fresh else EventKind.PARTIAL)

    def _sentences(self, event: Event) -> list[str]:
        """The sentences that are whole with a piece of an answer, without its markup, while it is
        not too long."""
        before = self._lengths[event.id]
        self._lengths[event.id] = length = before + len(event.text)
        if before <= MAX_ANSWER < length:
            log.warning(
                "the answer to %s has %d characters so far; only the first %d are told",
                event.id,
                length,
                MAX_ANSWER,
            )
        ends = event.kind is EventKind.RESULT
        if ends:
            del self._lengths[event.id]
        pieces = self._pieces.pop(event.id, None) or Pieces()
        if not ends:
            self._pieces[event.id] = pieces
        return pieces.sentences(event.text[: max(0, MAX_ANSWER - before)], ends)

    def _ask(self, name: str, request_id: str) -> None:
        if name in self._actions:
            self._acted = request_id
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

    @property
    def unsaid_orders(self) -> int:
        """Texts to be said now that wait here, or are in the mouth."""
        return len(self._to_say) + len(self._announced)

    @property
    def undelivered(self) -> int:
        """Texts that wait for a fitting moment to be said."""
        return len(self._told) + self._answers.waiting(TOLD)

    def asked_actions(self) -> tuple[Action, ...]:
        """What the background model has asked for since the last call."""
        asked, self._asked = tuple(self._asked), []
        if self._mode is Mode.STANDBY:
            return tuple(action for action in asked if action.name == STOP_MOTION)
        return asked

    def utterance(self, decision: Decision, turn: MicroTurn) -> Utterance | None:
        """The words for what the model decided to say, or the next words of an answer that is
        being spoken; None when nothing begins."""
        if self._mode is not Mode.NORMAL:
            return None
        if decision.say is None and self._to_say:
            announcement = self._say(self._to_say.popleft(), ANNOUNCE, turn)
            self._announced.add(announcement.id)
            return announcement
        if decision.say is None:
            soon_silent = turn.voice.seconds_left < FOLLOW_S
            following = self._answers.follow(turn.voice.speaking, soon_silent, self._turns)
            return self._delivery(following, turn, goes_on=True)
        if decision.say == DELIVER:
            if not self._answers.ready:
                log.info("the model wanted to deliver a result, and none is waiting")
            return self._delivery(self._answers.take(self._turns), turn)
        return self._say(self._words(decision.say), decision.say, turn)

    def _delivery(
        self, answer: tuple[str, str] | None, turn: MicroTurn, goes_on: bool = False
    ) -> Utterance | None:
        if answer is None or not answer[1]:
            return None
        request_id, text = answer
        if request_id != f"{self._kept}{NOTICE}":
            self._kept = request_id if request_id.startswith(KEPT) else None
        self._unsaid()  # It takes the place of what was interrupted before.
        utterance = self._say(text, DELIVER, turn, request_id, goes_on)
        self._given[utterance.id] = request_id, text
        return utterance

    def _say(
        self,
        text: str,
        act: str,
        turn: MicroTurn,
        request_id: str | None = None,
        goes_on: bool = False,
    ) -> Utterance:
        self._utterances += 1
        utterance = Utterance(f"utterance-{self._utterances}", text, act, request_id, goes_on)
        if answers(utterance):
            self._conversation.person(self._heard.transcript, turn.index)
        if act != BACKCHANNEL:
            self._conversation.device(utterance, turn.index)
        return utterance

    def listen(self, turn: MicroTurn, decision: Decision) -> None:
        """Remember what was heard in this turn."""
        self._heard.add(turn, decision)

    def voiced(self, events: Iterable[Event]) -> None:
        """What the mouth tells, at once: the rest of what was cut short must not be said now."""
        left, told, stopped = [], [], False
        for event in events:
            given = self._given.pop(event.id, None)
            if event.voice_failed and given is not None:
                self._try_again(*given)
            if event.kind is not EventKind.UTTERANCE_STARTED:
                self._announced.discard(event.id)
            if event.kind is EventKind.UTTERANCE_INTERRUPTED:
                stopped = True
                answered = self._conversation.interrupted(event.id, event.text)
                if answered is not None:
                    told.append(answered)
                    left.append(event.text)
        begun = self._answers.interrupt(told) if stopped else []
        if told or begun:
            self._stopped = begun[-1][0] if begun else told[-1]
            self._unsaid(*left, *(rest for _, rest in begun))

    def _try_again(self, request_id: str, text: str) -> None:
        """Once: the synthesizer may have been short of memory."""
        if request_id not in self._tried_again:
            self._tried_again.append(request_id)
            self._answers.put_back(request_id, text, self._turns)

    def _unsaid(self, *pieces: str) -> None:
        self._conversation.unsaid = " ".join(piece for piece in pieces if piece)

    def delegate(self, decision: Decision, turn: MicroTurn) -> Request | None:
        """Hand a question on or take one back; returns the request that went out. To promise an
        answer is to ask for it: nobody is told "let me check that" for nothing."""
        wanted = decision.delegation is not Delegation.NONE or self._promises_unasked(decision)
        if not wanted or self._mode is Mode.STANDBY:
            return None
        cancelled = decision.delegation is Delegation.CANCEL
        self._take_back(kept_too=cancelled)
        self._handed_on = not cancelled
        if cancelled:
            self._forget_answers()
            return None
        request = self._request(turn)
        self._pending, self._kept = request.id, None
        if request.keep and self._kept_since is not None:
            self._kept_since.add(request.id)
        try:
            self._background.submit(request)
        except BackgroundError as error:
            self._refused.append(Event(EventKind.FAILED, request.id, str(error)))
        return request

    def _promises_unasked(self, decision: Decision) -> bool:
        expected = self._pending or self._answering or self._answers.ready or self._handed_on
        return decision.say == PROMISE and not expected

    def _take_back(self, kept_too: bool) -> None:
        """The question that is out. A new one takes its place, unless it is to be kept."""
        for request_id in (self._pending, self._answering):
            if request_id is not None and (kept_too or not request_id.startswith(KEPT)):
                self._background.cancel(request_id)
        self._pending = self._answering = None
        self._lengths.clear()
        self._pieces.clear()

    def _want_no_more(self, request_id: str) -> None:
        """Of an answer whose beginning is forgotten."""
        if request_id == self._answering:
            self._background.cancel(request_id)
            self._answering = None
            del self._lengths[request_id]
            self._pieces.pop(request_id, None)

    def _forget_answers(self) -> None:
        self._conversation.let_go()
        dropped = [request_id.removesuffix(NOTICE) for request_id in self._answers.clear()]
        if self._kept is not None and self._kept not in dropped:
            dropped.append(self._kept)
        self._kept = None
        for request_id in dropped:
            if request_id.startswith((KEPT, TIMER)):
                self._background.cancel(request_id)

    def _request(self, turn: MicroTurn) -> Request:
        self._requests += 1
        transcript = self._heard.transcript
        letters = self._heard.letters()
        keep = self._keep(transcript, letters)
        return Request(
            id=f"{KEPT}{uuid.uuid4().hex}" if keep else f"{REQUEST}{self._requests}",
            audio=self._heard.audio(),
            transcript=transcript,
            letters=letters,
            language=self._language,
            deadline_s=self._deadline_s,
            conversation=self._conversation.until(turn.index),
            unsaid=self._conversation.unsaid,
            frame=turn.frame if self._send_frame else None,
            keep=keep,
            opus=self._heard.opus(),
        )

    def answered(self) -> None:
        """The device has begun to speak: what the person says next is a new matter."""
        self._heard.clear()
        self._handed_on = False
