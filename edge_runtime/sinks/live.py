"""What the device does, as events for a screen beside it: /events of the web server."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType

from typing_extensions import Self

from edge_runtime.every import Every
from edge_runtime.health import HealthMonitor
from edge_runtime.micro_turn import TurnRecord
from edge_runtime.remote_control import RemoteControl
from edge_runtime.sinks import topics
from edge_runtime.sinks.acts import acts
from edge_runtime.sinks.broadcast import Broadcast
from edge_runtime.sinks.company import Company
from edge_runtime.sinks.message_types import message_type
from edge_runtime.sinks.messages import Message, TurnMessages
from edge_runtime.sinks.sight import LIKELY, PRESENT, seen_in

STATE, SAID, HEARD, ACTION = "state", "said", "heard", "action"
QUESTION, SEEN, HEALTH = "question", "seen", "health"
KINDS = (STATE, SAID, HEARD, ACTION, QUESTION, SEEN, HEALTH)
IDLE, LISTENING, WAITING, SPEAKING = "idle", "listening", "waiting", "speaking"
HEALTH_S = 1.0
LONGEST_HEARD = 255
_FLOW = ("floor", "speaking", "pending", "result_ready", "link_up")
"""The fields of MicroTurn.msg that a state has, too."""


class LiveEvents:
    """A Sink: put it behind a QueueSink. `tell_heard`: what people say may be told, in words."""

    def __init__(
        self,
        broadcast: Broadcast,
        device: str,
        control: RemoteControl,
        health: HealthMonitor,
        tell_heard: bool = False,
    ) -> None:
        self._broadcast, self._device = broadcast, device
        self._control, self._health, self._tell_heard = control, health, tell_heard
        self._company = Company(LONGEST_HEARD if tell_heard else 0)
        self._messages = TurnMessages({}, "")
        self._saying: str | None = None
        """The utterance that who comes is told of."""
        self._sees = False
        self._watching = Every(HEALTH_S, self._show_health, "health for the screen")

    def __enter__(self) -> Self:
        self._watching.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watching.__exit__(kind, error, trace)

    def publish(self, record: TurnRecord) -> None:
        self._company.note(record)
        if self._tell_heard and record.decision.heard.strip():
            self._broadcast.tell(HEARD, {"text": " ".join(self._company.heard.split())})
        for action, source in acts(record, self._control.mode):
            self._broadcast.tell(ACTION, {"name": action.name, "source": source.lower()})
        for topic, _, message, _ in self._messages.others(_told_by_messages(record), 0):
            if topic == topics.UTTERANCE.name:
                self._tell_said(message)
            elif topic == topics.DELEGATION.name:
                self._tell_question(message)
            elif topic == topics.MICRO_TURN.name:
                self._show_state(message)
        self._show_seen(record)

    def _show_state(self, message: Message) -> None:
        if message["speaking"]:
            state = SPEAKING
        elif message["pending"] or message["result_ready"]:
            state = WAITING
        else:
            state = LISTENING if self._company.engaged else IDLE
        if not message["speaking"]:  # its end may have been in a micro-turn that was lost
            self._drop_said()
        told = {name: message[name] for name in _FLOW}
        capture = {name: "on" if on else "off" for name, on in self._control.capture.items()}
        mode = self._control.mode.value
        self._broadcast.show(STATE, {"state": state, **told, "mode": mode, "capture": capture})

    def _tell_said(self, message: Message) -> None:
        """As long as it is being said, who comes is told so."""
        state = _name(topics.UTTERANCE, message["state"])
        told = {"id": message["id"], "state": state, "act": message["act"], "text": message["text"]}
        if state == "started":
            self._saying = message["id"]
            self._broadcast.show(SAID, told)
        elif state in ("interrupted", "finished"):
            if message["id"] == self._saying:  # and not one that waited behind it
                self._drop_said()
            unsaid = {"unsaid": message["unsaid"]} if state == "interrupted" else {}
            self._broadcast.tell(SAID, told | unsaid)

    def _drop_said(self) -> None:
        self._saying = None
        self._broadcast.drop(SAID)

    def _tell_question(self, message: Message) -> None:
        if not message["request_id"]:  # of the link, which the state tells
            return
        state = _name(topics.DELEGATION, message["state"])
        told = {"id": message["request_id"], "state": state}
        words = {"text": message["text"]} if self._tell_heard else {}
        self._broadcast.tell(QUESTION, told | words)

    def _show_seen(self, record: TurnRecord) -> None:
        """Somebody is there until they have been gone for a while; the rest, as it is seen."""
        chances = seen_in(record)
        if chances is not None and self._company.present is not None:
            self._sees = True
            seen = {name: chance >= LIKELY for name, chance in chances.items()}
            self._broadcast.show(SEEN, seen | {PRESENT: self._company.present})
        elif self._sees:  # the picture has gone: nobody can tell any more
            self._broadcast.show(SEEN, {PRESENT: None})

    def _show_health(self) -> None:
        health = self._health.snapshot()
        told = {"device": self._device, "state": health.state.value}
        self._broadcast.show(HEALTH, told | {"reasons": list(health.reasons)})


def _told_by_messages(record: TurnRecord) -> TurnRecord:
    """Without what they are not asked for here: sound, actions, and what is heard."""
    decision = replace(record.decision, actions=(), heard="")
    return replace(record, decision=decision, played=None, asked_actions=())


def _name(topic: topics.Topic, state: int) -> str:
    return {code: name for name, code in message_type(topic.type).constants}[state].lower()
