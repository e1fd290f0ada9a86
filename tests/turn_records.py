"""Any record that a run could hold, for property tests; and what a message must be like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    BackgroundState,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    MicroTurn,
    Request,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.sinks.message_types import Field, message_type

TEXT = st.text(max_size=20)
NAMES = st.sampled_from(("wave", "nod", "look_at", "come", "stop_motion"))
SIGHTS = st.sampled_from(("present", "facing", "waving"))
CHANCES = st.floats(0, 1)
MILLISECONDS = st.floats(0, 1e6)
ACTIONS = st.lists(st.builds(Action, NAMES, CHANCES), max_size=3).map(tuple)
UTTERANCES = st.builds(Utterance, TEXT, TEXT, TEXT, st.none() | TEXT)
_SILENCE = np.zeros((2, TURN_SAMPLES), np.float32)
_SOUNDS = st.floats(-2, 2, width=32).map(lambda level: np.full(TURN_SAMPLES, level, np.float32))
TURNS = st.builds(
    MicroTurn,
    index=st.integers(0, 2**40),
    deadline_ns=st.integers(0, 2**62),
    audio=st.just(_SILENCE),
    lost_samples=st.integers(0, TURN_SAMPLES),
    direction_rad=st.none() | st.floats(-math.pi, math.pi),
    frame=st.none() | st.just(np.zeros((4, 6, 3), np.uint8)),
    frame_age_ms=st.none() | MILLISECONDS,
    events=st.lists(st.builds(Event, st.sampled_from(EventKind), TEXT, TEXT), max_size=4).map(
        tuple
    ),
    voice=st.builds(VoiceState, st.none() | TEXT, st.floats(0, 1e4)),
    background=st.builds(BackgroundState, st.booleans(), st.booleans(), st.booleans()),
)
DECISIONS = st.builds(
    Decision,
    index=st.integers(0, 2**40),
    floor=st.sampled_from(("listen", "backchannel", "speak", "yield", "hold")),
    say=st.none() | st.sampled_from(("greet", "deliver", "backchannel")),
    stop=st.booleans(),
    actions=ACTIONS,
    delegation=st.sampled_from(Delegation),
    heard=TEXT,
    probabilities=st.just({})
    | st.dictionaries(TEXT, CHANCES, max_size=5).map(lambda floor: {"floor": floor})
    | st.dictionaries(SIGHTS, CHANCES, max_size=3).map(lambda seen: {"seen": seen}),
)
RECORDS = st.builds(
    TurnRecord,
    turn=TURNS,
    output=st.just(EngineOutput(0, {})),
    decision=DECISIONS,
    timings=st.builds(Timings, MILLISECONDS, MILLISECONDS, MILLISECONDS, st.integers(0, 2**40)),
    said=st.none() | UTTERANCES,
    played=st.none() | _SOUNDS,
    asked_actions=ACTIONS,
    request=st.none() | st.builds(Request, TEXT, st.just(_SILENCE[0]), TEXT),
)


def a_record(index: int = 0, **fields: Any) -> TurnRecord:
    """A quiet record; `fields` are those of the record, of its turn, or of its decision."""
    turn = {k: v for k, v in fields.items() if k in MicroTurn.__dataclass_fields__}
    decision = {k: v for k, v in fields.items() if k in Decision.__dataclass_fields__}
    rest = {k: v for k, v in fields.items() if k not in {**turn, **decision}}
    return TurnRecord(
        turn=MicroTurn(index, **{"deadline_ns": 0, "audio": _SILENCE} | turn),
        output=EngineOutput(index, {}),
        decision=Decision(index, **{"floor": "listen"} | decision),
        **{"timings": Timings()} | rest,
    )


def assert_conforms(name: str, message: Mapping[str, Any]) -> None:
    """The message has the fields that its file names and no others, each with a fitting value."""
    fields = message_type(name).fields
    assert list(message) == [field.name for field in fields]
    for field in fields:
        value = message[field.name]
        if not field.array:
            _assert_fits(field, value)
        elif isinstance(value, np.ndarray):
            assert value.dtype == np.dtype(field.type) and value.ndim == 1
        else:
            assert len(value) == field.size if field.fixed else isinstance(value, list)
            for one in value:
                _assert_fits(field, one)


def _assert_fits(field: Field, value: Any) -> None:
    if field.nested:
        assert_conforms(field.type, value)
    elif field.type.startswith("float"):
        assert isinstance(value, float)
    elif field.type == "bool":
        assert isinstance(value, bool)
    elif field.type == "string":
        assert isinstance(value, str)
    else:
        kind = np.iinfo("uint8" if field.type == "byte" else field.type)
        assert isinstance(value, int) and kind.min <= value <= kind.max
