"""Micro-turns as messages: what goes out on which topic, in plain values, without any vendor.

A message is a mapping by the field names of its .msg file: numbers, texts, lists, further mappings.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import ActionConfig
from edge_runtime.dialogue import KEPT, NOTICE, answers
from edge_runtime.errors import ConfigError
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    STOP_MOTION,
    Action,
    Delegation,
    Event,
    EventKind,
    Pcm,
    TurnRecord,
    Utterance,
)
from edge_runtime.remote_control import Mode
from edge_runtime.sinks import topics
from edge_runtime.sinks.acts import MOST_HEARD, SAFETY, acts
from edge_runtime.sinks.message_types import message_type
from edge_runtime.sinks.robot_messages import robot_message, speed
from edge_runtime.sinks.sight import Sight

Message = Mapping[str, Any]
_MAX_UINT32 = 2**32 - 1
_NO_ACTION = ActionConfig()
_IDS = ("id", "utterance_id", "request_id")
"""The fields of our messages that name something."""
_UTTERANCE_STATES = {
    EventKind.UTTERANCE_STARTED: "STARTED",
    EventKind.UTTERANCE_FINISHED: "FINISHED",
    EventKind.UTTERANCE_INTERRUPTED: "INTERRUPTED",
}
_DELEGATION_STATES = {
    EventKind.PROGRESS: "PROGRESS",
    EventKind.RESULT: "RESULT",
    EventKind.PARTIAL: "PARTIAL",
    EventKind.FAILED: "FAILED",
    EventKind.LINK_UP: "LINK_UP",
    EventKind.LINK_DOWN: "LINK_DOWN",
}


class Publication(NamedTuple):
    topic: str
    """As in the table, or as the configuration says."""
    type: str
    """`package/Name`."""
    message: Message
    for_s: float = 0.0
    """Of a speed: it goes out again and again for so long, and then zeros do."""

    def at_rest(self) -> Publication:
        """Zeros in place of a speed."""
        zeros = speed(self.type, self.message.get("header", {}))
        return self._replace(message=zeros, for_s=0.0)


def action_topics(actions: Mapping[str, ActionConfig]) -> list[topics.Topic]:
    """The topics that the configuration gives to actions, beside those of the table.

    Raises ConfigError where one is taken already, or is to carry two types.
    """
    table = (*topics.PUBLISHED, topics.MODE, *topics.SUBSCRIBED)
    known = {topic.name: topic.type for topic in table}
    wanted: dict[str, str] = {}
    for action, chosen in actions.items():
        name, kind = chosen.ros_topic, chosen.ros_type
        if name is None:
            continue
        if name in known or wanted.get(name, kind) != kind:
            taken = known.get(name) or wanted[name]
            raise ConfigError(
                f"actions.{action}.ros_topic: {name} carries {taken} already; give another topic."
            )
        wanted[name] = kind
    return [topics.Topic(name, kind, topics.EVENTS) for name, kind in wanted.items()]


class TurnMessages:
    """Makes the messages of one record after the other, and keeps what later ones need of earlier
    ones. `frame_id` is where bearings and sounds are measured from; in STANDBY, `mode` leaves only
    stops of the actions. `gain` is that of the loudspeaker: whoever plays `speech_audio` turns
    nothing down. `run` is part of every id, so that none comes again after a restart; None: a
    random one."""

    def __init__(
        self,
        actions: Mapping[str, ActionConfig],
        frame_id: str,
        mode: Callable[[], Mode] = lambda: Mode.NORMAL,
        gain: Callable[[], float] = lambda: 1.0,
        run: str | None = None,
    ) -> None:
        self._actions, self._frame_id, self._mode = actions, frame_id, mode
        self._gain = gain
        self._run = uuid.uuid4().hex[:8] if run is None else run
        self._bases = {
            chosen.speeds_on: chosen.ros_type
            for chosen in actions.values()
            if chosen.speeds_on is not None
        }
        """By topic, what it takes its speeds as."""
        self._said: dict[str, Utterance] = {}
        self._pending: str | None = None
        self._heard = ""
        self._sight = Sight()

    def stops(self, record: TurnRecord, stamp_ns: int) -> list[Publication]:
        """What must go out before anything else: `stop_motion`, if the record holds one, and zeros
        to every base that an action moves."""
        found = list(self._acts(record, stamp_ns, stop=True))
        return self._whole_stop(found, stamp_ns) if found else []

    def others(self, record: TurnRecord, stamp_ns: int) -> list[Publication]:
        """All other messages of the record, the most urgent first."""
        header = self._header(stamp_ns)
        found = list(self._acts(record, stamp_ns, stop=False))
        if record.played is not None:
            found.append(_publication(topics.SPEECH_AUDIO, self._speech(record, header)))
        found += self._utterances(record, header)
        found += self._delegations(record, header)
        found += self._user_speech(record, header)
        if (news := self._sight.news(record)) is not None:
            found.append(_publication(topics.SEEN, {"header": header, **news}))
        found.append(_publication(topics.MICRO_TURN, _micro_turn(record, header)))
        return self._with_unique_ids(found)

    def halt(self, id: str, stamp_ns: int) -> list[Publication]:
        """`stop_motion` of the runtime itself, outside of any micro-turn."""
        found = list(self._act(Action(STOP_MOTION), id, SAFETY, None, stamp_ns))
        return self._whole_stop(found, stamp_ns)

    def _whole_stop(self, found: list[Publication], stamp_ns: int) -> list[Publication]:
        """What can be moved can be stopped, whatever `stop_motion` is mapped to."""
        told = {one.topic for one in found}
        header = self._header(stamp_ns)
        zeros = [
            Publication(topic, type_name, speed(type_name, header))
            for topic, type_name in self._bases.items()
            if topic not in told
        ]
        return self._with_unique_ids([*found, *zeros])

    def _with_unique_ids(self, found: Iterable[Publication]) -> list[Publication]:
        return [
            one._replace(
                message={
                    key: self._unique(value) if key in _IDS else value
                    for key, value in one.message.items()
                }
            )
            for one in found
        ]

    def _unique(self, id: str) -> str:
        """What is kept has an id unlike any other already, by which it is known after a restart."""
        return id if not id or id.startswith(KEPT) else f"{self._run}-{id}"

    def _header(self, stamp_ns: int) -> Message:
        return {"stamp": stamp(stamp_ns), "frame_id": self._frame_id}

    def _acts(self, record: TurnRecord, stamp_ns: int, stop: bool) -> Iterator[Publication]:
        for action, source in acts(record, self._mode()):
            if (action.name == STOP_MOTION) == stop:
                id = f"{record.turn.index}-{'failed-' * record.failed}{action.name}"
                yield from self._act(action, id, source, record.turn.direction_rad, stamp_ns)

    def _act(
        self, action: Action, id: str, source: str, direction_rad: float | None, stamp_ns: int
    ) -> Iterator[Publication]:
        chosen = self._actions.get(action.name, _NO_ACTION)
        bearing_rad = direction_rad if direction_rad is not None else chosen.bearing_rad
        arguments = {} if bearing_rad is None else {"bearing_rad": f"{bearing_rad:.4f}"}
        yield _publication(
            topics.ACTION,
            {
                "header": self._header(stamp_ns),
                "id": id,
                "name": action.name,
                "arguments": key_values(arguments),
                "confidence": action.probability,
                "expires": stamp(stamp_ns + round(chosen.valid_ms * 1e6)),
                "source": _constant(topics.ACTION.type, source),
            },
        )
        if chosen.ros_topic is not None:
            header = self._header(stamp_ns)
            message = robot_message(action.name, chosen, bearing_rad, header)
            moves = chosen.speeds_on is not None and action.name != STOP_MOTION
            for_s = chosen.for_s if moves else 0.0
            if message is not None:
                yield Publication(chosen.ros_topic, chosen.ros_type, message, for_s)

    def _speech(self, record: TurnRecord, header: Message) -> Message:
        assert record.played is not None
        said, voice = record.said, record.turn.voice
        return {
            "header": header,
            "index": record.turn.index,
            "utterance_id": voice.utterance_id or (said.id if said is not None else ""),
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "channels": 1,
            "data": pcm16(record.played * self._gain()),
        }

    def _utterances(self, record: TurnRecord, header: Message) -> Iterator[Publication]:
        for event in record.turn.events:
            state = _UTTERANCE_STATES.get(event.kind)
            if state is not None and (said := self._said.get(event.id)) is not None:
                unsaid = event.text if state == "INTERRUPTED" else ""
                yield _utterance(said, state, unsaid, header)
                if state != "STARTED":
                    del self._said[event.id]
        if record.said is not None:
            self._said[record.said.id] = record.said
            yield _utterance(record.said, "DECIDED", "", header)

    def _delegations(self, record: TurnRecord, header: Message) -> Iterator[Publication]:
        for event in record.turn.events:
            if event.kind in _DELEGATION_STATES:
                self._settle(event)
                yield _delegation(event.id, _DELEGATION_STATES[event.kind], event.text, header)
        if self._pending is not None and self._taken_back(record):
            yield _delegation(self._pending, "CANCELLED", "", header)
            self._pending = None
        if record.request is not None:
            self._pending = record.request.id
            yield _delegation(record.request.id, "REQUESTED", record.request.transcript, header)

    def _taken_back(self, record: TurnRecord) -> bool:
        """By the model (which takes back nothing in STANDBY), by somebody outside since the last
        micro-turn, or for a new one: one that is kept is answered all the same."""
        kept = self._pending is not None and self._pending.startswith(KEPT)
        by_model = record.decision.delegation is Delegation.CANCEL
        by_model = by_model and self._mode() is not Mode.STANDBY
        replaced = record.request is not None and not kept
        return by_model or replaced or not record.turn.background.pending

    def _settle(self, event: Event) -> None:
        ends = event.kind in (EventKind.RESULT, EventKind.FAILED)
        if ends and event.id.removesuffix(NOTICE) == self._pending:
            self._pending = None

    def _user_speech(self, record: TurnRecord, header: Message) -> Iterator[Publication]:
        decision = record.decision
        self._heard = (self._heard + decision.heard)[-MOST_HEARD:]
        text = " ".join(self._heard.split())
        final = decision.stop or answers(record.said)
        if text and (decision.heard or final):
            yield _publication(topics.USER_SPEECH, {"header": header, "text": text, "final": final})
        if final:
            self._heard = ""


def stamp(ns: int) -> Message:
    """builtin_interfaces/Time of nanoseconds since 1970."""
    return {"sec": ns // 10**9, "nanosec": ns % 10**9}


def key_values(values: Mapping[str, Any]) -> list[Message]:
    """diagnostic_msgs/KeyValue[]."""
    return [{"key": key, "value": str(value)} for key, value in values.items()]


def pcm16(pcm: Pcm) -> NDArray[np.int16]:
    """int16 (n,) of float32 (n,), -1..1."""
    whole: NDArray[np.int16] = np.clip(np.rint(pcm * 32768.0), -32768, 32767).astype(np.int16)
    return whole


def _micro_turn(record: TurnRecord, header: Message) -> Message:
    turn, decision, timings = record.turn, record.decision, record.timings
    chances = decision.probabilities.get("floor", {})
    return {
        "header": header,
        "index": turn.index,
        "floor": decision.floor,
        "floor_names": list(chances),
        "floor_probabilities": list(chances.values()),
        "speaking": turn.voice.speaking,
        "utterance_id": turn.voice.utterance_id or "",
        "speech_left_s": turn.voice.seconds_left,
        "pending": turn.background.pending,
        "result_ready": turn.background.result_ready,
        "link_up": turn.background.link_up,
        "lost_samples": turn.lost_samples,
        "direction_rad": _or_nan(turn.direction_rad),
        "has_frame": turn.frame is not None,
        "frame_age_ms": _or_nan(turn.frame_age_ms if turn.frame is not None else None),
        "late_ms": timings.late_ms,
        "compute_ms": timings.compute_ms,
        "total_ms": timings.total_ms,
        "skipped": min(timings.skipped, _MAX_UINT32),
    }


def _utterance(said: Utterance, state: str, unsaid: str, header: Message) -> Publication:
    message = {
        "header": header,
        "id": said.id,
        "state": _constant(topics.UTTERANCE.type, state),
        "text": said.text,
        "unsaid": unsaid,
        "act": said.act,
        "request_id": said.request_id or "",
    }
    return _publication(topics.UTTERANCE, message)


def _delegation(request_id: str, state: str, text: str, header: Message) -> Publication:
    code = _constant(topics.DELEGATION.type, state)
    message = {"header": header, "request_id": request_id, "state": code, "text": text}
    return _publication(topics.DELEGATION, message)


def _publication(topic: topics.Topic, message: Message) -> Publication:
    return Publication(topic.name, topic.type, message)


def _constant(type_name: str, name: str) -> int:
    return dict(message_type(type_name).constants)[name]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
