"""How a micro-turn lies in an MCAP recording, both ways and exactly: replay is bit for bit."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import RecordingError
from edge_runtime.micro_turn import (
    Action,
    BackgroundState,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    Frame,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.wall_clock import local_now

FORMAT = "edge_runtime/1"
TURN, FRAME, DECISION, OUTPUT = "/micro_turn", "/frame", "/decision", "/output"
SPOKEN, TIMINGS = "/utterance", "/timings"
TIMING_FIELDS = ("late_ms", "compute_ms", "total_ms", "skipped")
"""All that a replay does not compare: how long the run took, not what was decided."""


def started(now_ns: Callable[[], int]) -> dict[str, Any]:
    """Notes from which a reader knows the time of day of what a clock that shows `now_ns` timed."""
    wall_ns, clock_ns = time.time_ns(), now_ns()
    return {
        "started": local_now().isoformat(timespec="seconds"),
        "started_wall_ns": wall_ns,
        "started_monotonic_ns": clock_ns,
    }


def times_of_day(noted: Mapping[str, Any]) -> Callable[[int], datetime] | None:
    """From a time of the run in ns, as `deadline_ns` is one, to the time of day where it was
    recorded. None where the notes do not tell: of a run on a virtual clock, or of before."""
    try:
        zone = datetime.fromisoformat(noted["started"]).tzinfo
        ahead_ns = noted["started_wall_ns"] - noted["started_monotonic_ns"]
    except (KeyError, TypeError, ValueError):
        return None
    return lambda time_ns: datetime.fromtimestamp((time_ns + ahead_ns) / 1e9, zone)


def pack(array: NDArray[Any]) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "data": data}


def unpack(value: Mapping[str, Any]) -> NDArray[Any]:
    """Raises RecordingError when the bytes do not fit the shape."""
    try:
        raw = base64.b64decode(value["data"], validate=True)
        flat: NDArray[Any] = np.frombuffer(raw, np.dtype(value["dtype"]))
        shaped: NDArray[Any] = flat.reshape(tuple(value["shape"])).copy()
        return shaped
    except (KeyError, ValueError, TypeError) as error:
        raise RecordingError(f"The recording holds a damaged array: {error}.") from error


def turn_to_dict(turn: MicroTurn) -> dict[str, Any]:
    """Everything but the picture, which has a channel of its own."""
    return {
        "index": turn.index,
        "deadline_ns": turn.deadline_ns,
        "audio": pack(turn.audio),
        "lost_samples": turn.lost_samples,
        "direction_rad": turn.direction_rad,
        "frame_age_ms": turn.frame_age_ms,
        "events": [{"kind": e.kind.value, "id": e.id, "text": e.text} for e in turn.events],
        "voice": {"utterance_id": turn.voice.utterance_id, "seconds_left": turn.voice.seconds_left},
        "background": {
            "pending": turn.background.pending,
            "result_ready": turn.background.result_ready,
            "link_up": turn.background.link_up,
        },
    }


def turn_from_dict(data: Mapping[str, Any], frame: Frame | None) -> MicroTurn:
    events = tuple(Event(EventKind(e["kind"]), e["id"], e["text"]) for e in data["events"])
    return MicroTurn(
        index=data["index"],
        deadline_ns=data["deadline_ns"],
        audio=unpack(data["audio"]),
        lost_samples=data["lost_samples"],
        direction_rad=data["direction_rad"],
        frame=frame,
        frame_age_ms=data["frame_age_ms"],
        events=events,
        voice=VoiceState(**data["voice"]),
        background=BackgroundState(**data["background"]),
    )


def decision_to_dict(decision: Decision) -> dict[str, Any]:
    return {
        "index": decision.index,
        "floor": decision.floor,
        "say": decision.say,
        "stop": decision.stop,
        "hesitate": decision.hesitate,
        "actions": [{"name": a.name, "probability": a.probability} for a in decision.actions],
        "delegation": decision.delegation.value,
        "heard": decision.heard,
        "probabilities": {head: dict(p) for head, p in decision.probabilities.items()},
    }


def decision_from_dict(data: Mapping[str, Any]) -> Decision:
    return Decision(
        index=data["index"],
        floor=data["floor"],
        say=data["say"],
        stop=data["stop"],
        hesitate=data.get("hesitate", False),
        actions=tuple(Action(a["name"], a["probability"]) for a in data["actions"]),
        delegation=Delegation(data["delegation"]),
        heard=data["heard"],
        probabilities=data["probabilities"],
    )


def output_to_dict(output: EngineOutput) -> dict[str, Any]:
    return {"index": output.index, "tensors": {k: pack(v) for k, v in output.tensors.items()}}


def output_from_dict(data: Mapping[str, Any]) -> EngineOutput:
    return EngineOutput(data["index"], {k: unpack(v) for k, v in data["tensors"].items()})


def utterance_to_dict(said: Utterance) -> dict[str, Any]:
    return {
        "id": said.id,
        "text": said.text,
        "act": said.act,
        "request_id": said.request_id,
        "goes_on": said.goes_on,
    }


def utterance_from_dict(data: Mapping[str, Any]) -> Utterance:
    goes_on = data.get("goes_on", False)  # not in recordings of before
    return Utterance(data["id"], data["text"], data["act"], data["request_id"], goes_on)


def timings_to_dict(record: TurnRecord) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(record.timings, name) for name in TIMING_FIELDS}
    return {"index": record.turn.index} | values


def timings_from_dict(data: Mapping[str, Any]) -> Timings:
    return Timings(**{name: data[name] for name in TIMING_FIELDS})
