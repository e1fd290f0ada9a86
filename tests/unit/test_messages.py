"""Records as messages: what goes out when, in which order, and that every value fits its field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_records import RECORDS, a_record, assert_conforms

from edge_runtime.config import ActionConfig
from edge_runtime.errors import ConfigError
from edge_runtime.health import Health, Part, State
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    BackgroundState,
    Delegation,
    Event,
    EventKind,
    Request,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sinks.message_types import message_type
from edge_runtime.sinks.messages import TurnMessages, action_topics, pcm16, stamp

ACTIONS = {
    "stop_motion": ActionConfig(ros_topic="cmd_vel", ros_type="geometry_msgs/Twist"),
    "come": ActionConfig(
        ros_topic="cmd_vel", ros_type="geometry_msgs/Twist", forward_m_s=0.2, turn_rad_s=-0.1
    ),
    "nod": ActionConfig(ros_topic="gesture"),
    "wave": ActionConfig(ros_topic="gesture", text="wave_right", valid_ms=500),
    "look_at": ActionConfig(
        ros_topic="look_at", ros_type="geometry_msgs/PointStamped", distance_m=2, height_m=0.5
    ),
}
TURNS = ActionConfig(ros_topic="turn", ros_type="geometry_msgs/TwistStamped", turn_rad_s=0.5)
NOW_NS = 1_700_000_000_123_456_789
OUT = BackgroundState(pending=True)
STAMPS = st.integers(0, 2**31 * 10**9 - 10**14)


def everything(record: TurnRecord, messages: TurnMessages | None = None) -> list[Any]:
    messages = messages or TurnMessages(ACTIONS, "head", run="run")
    return [*messages.stops(record, NOW_NS), *messages.others(record, NOW_NS)]


def on(topic: str, *records: TurnRecord) -> list[Any]:
    """The messages on one topic, of records that follow each other."""
    messages = TurnMessages(ACTIONS, "head", run="run")
    found = [one for record in records for one in everything(record, messages)]
    return [one.message for one in found if one.topic == topic]


def constant(type_name: str, name: str) -> int:
    return dict(message_type(f"edge_interaction_msgs/{type_name}").constants)[name]


@given(st.lists(RECORDS, min_size=1, max_size=4), STAMPS)
def test_every_message_fits_its_file(records: list[TurnRecord], stamp_ns: int) -> None:
    messages = TurnMessages(ACTIONS, "head")
    for record in records:
        stops = messages.stops(record, stamp_ns)
        others = messages.others(record, stamp_ns)
        for one in [*stops, *others]:
            assert one.topic
            assert_conforms(one.type, one.message)
        assert [one.topic for one in others].count("micro_turn") == 1
        assert not any(one.message.get("name") == "stop_motion" for one in others)


@given(st.text(max_size=5), st.dictionaries(st.text(), st.floats() | st.integers()), STAMPS)
def test_diagnostics_fit_their_type(name: str, values: dict[str, Any], stamp_ns: int) -> None:
    health = Health(tuple(Part(name, state, "", values) for state in State))
    told = diagnostics("kiosk", health, stamp_ns)
    message = told.message
    assert told.topic == "/diagnostics"
    assert_conforms(told.type, message)
    assert [one["level"] for one in message["status"]] == [0, 1, 2]
    assert [one["message"] for one in message["status"]] == ["ok", "degraded", "failed"]


def test_a_node_that_tells_of_a_device_is_named_first() -> None:
    health = Health((Part("loop", State.OK),))
    (status,) = diagnostics("kiosk", health, 0, "robot/edge_interaction").message["status"]
    assert status["name"] == "robot/edge_interaction: loop"
    assert status["hardware_id"] == "kiosk"


@given(STAMPS)
def test_a_stamp_holds_every_nanosecond(ns: int) -> None:
    parts = stamp(ns)
    assert parts["sec"] * 10**9 + parts["nanosec"] == ns
    assert parts["nanosec"] < 10**9


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_samples_that_were_whole_stay_so(samples: list[int]) -> None:
    whole = np.array(samples, np.int16)
    assert np.array_equal(pcm16(whole.astype(np.float32) / 32768), whole)


def test_samples_beyond_full_scale_are_clipped() -> None:
    assert pcm16(np.array([1.0, 1.5, -1.0, -3.0], np.float32)).tolist() == [
        32767, 32767, -32768, -32768,
    ]  # fmt: skip


def test_a_quiet_turn_is_its_state_and_its_silence() -> None:
    record = a_record(7, played=np.zeros(TURN_SAMPLES, np.float32))
    assert [one.topic for one in everything(record)] == ["speech_audio", "micro_turn"]
    (state,) = on("micro_turn", record)
    assert state["index"] == 7 and state["floor"] == "listen"
    assert math.isnan(state["direction_rad"]) and math.isnan(state["frame_age_ms"])
    assert state["header"] == {"stamp": stamp(NOW_NS), "frame_id": "head"}


def test_an_action_says_what_how_sure_and_until_when() -> None:
    (message,) = on("action", a_record(12, actions=(Action("wave", 0.75),)))
    assert (message["id"], message["name"], message["confidence"]) == ("run-12-wave", "wave", 0.75)
    assert message["expires"] == stamp(NOW_NS + 500_000_000)
    assert message["source"] == constant("Action", "MODEL")


def test_an_action_that_both_ask_for_is_one() -> None:
    record = a_record(actions=(Action("nod", 0.9),), asked_actions=(Action("nod"), Action("come")))
    found = {message["name"]: message["source"] for message in on("action", record)}
    assert found == {
        "nod": constant("Action", "MODEL"),
        "come": constant("Action", "BACKGROUND"),
    }
    assert len(on("action", record)) == 2


def test_stopping_is_apart_from_the_rest_and_nothing_is_done_beside_it() -> None:
    record = a_record(
        3, actions=(Action("wave"), Action("stop_motion")), asked_actions=(Action("come"),)
    )
    messages = TurnMessages(ACTIONS, "head")
    assert [one.topic for one in messages.others(record, NOW_NS)] == ["micro_turn"]
    stops = messages.stops(record, NOW_NS)
    assert [one.topic for one in stops] == ["action", "cmd_vel"]
    assert stops[0].message["name"] == "stop_motion"
    assert stops[1].message["linear"] == {"x": 0.0, "y": 0.0, "z": 0.0}


def test_the_runtime_itself_can_stop_the_body() -> None:
    action, twist = TurnMessages(ACTIONS, "head", run="run").halt("halt-1", NOW_NS)
    assert action.message["source"] == constant("Action", "SAFETY")
    assert (action.message["id"], action.message["confidence"]) == ("run-halt-1", 1.0)
    assert twist.topic == "cmd_vel"


def test_what_the_loop_itself_stops_is_for_safety() -> None:
    """And its id is not that of a stop that the model decided in the same micro-turn."""
    stop = (Action("stop_motion"),)
    messages = TurnMessages({}, "head")
    (model,) = messages.stops(a_record(7, actions=stop), NOW_NS)
    (loop,) = messages.stops(a_record(7, actions=stop, failed=True), NOW_NS)
    assert model.message["source"] == constant("Action", "MODEL")
    assert loop.message["source"] == constant("Action", "SAFETY")
    assert model.message["id"] != loop.message["id"]


@pytest.mark.parametrize(
    "stop", [None, ActionConfig(ros_topic="lock", ros_type="std_msgs/Bool"), ACTIONS["stop_motion"]]
)
def test_what_can_be_moved_can_be_stopped(stop: ActionConfig | None) -> None:
    """Whatever `stop_motion` is mapped to, zeros go out on every topic that has speeds."""
    actions = {**ACTIONS, "turn_left": TURNS}
    del actions["stop_motion"]
    actions |= {} if stop is None else {"stop_motion": stop}
    messages = TurnMessages(actions, "head")
    record = a_record(3, actions=(Action("stop_motion"),))
    for found in (messages.stops(record, NOW_NS), messages.halt("halt-1", NOW_NS)):
        by_topic = {one.topic: one for one in found}
        locks = {"lock"} if stop is not None and stop.ros_topic == "lock" else set()
        assert set(by_topic) == {"action", "cmd_vel", "turn"} | locks
        assert len(found) == len(by_topic) and found[0].topic == "action"
        zero = {"x": 0.0, "y": 0.0, "z": 0.0}
        assert by_topic["cmd_vel"].message == {"linear": zero, "angular": zero}
        assert by_topic["turn"].message["twist"] == {"linear": zero, "angular": zero}
        for one in found:
            assert_conforms(one.type, one.message)
            assert one.for_s == 0.0
            assert one.topic != "lock" or one.message == {"data": True}


def test_a_speed_says_how_long_it_goes_on_and_what_is_then() -> None:
    actions = {"come": ACTIONS["come"].model_copy(update={"for_s": 2.5}), "turn_left": TURNS}
    record = a_record(actions=(Action("come"), Action("turn_left")))
    found = {one.topic: one for one in everything(record, TurnMessages(actions, "head"))}
    assert found["cmd_vel"].for_s == 2.5 and found["turn"].for_s == 1.0
    assert found["action"].for_s == 0.0
    for topic in ("cmd_vel", "turn"):
        rest = found[topic].at_rest()
        assert_conforms(rest.type, rest.message)
        assert rest.for_s == 0.0 and "0.5" not in str(rest.message)
        assert rest.message.get("header") == found[topic].message.get("header")


def test_a_lock_is_closed_and_opened() -> None:
    lock = ActionConfig(ros_topic="lock", ros_type="std_msgs/Bool")
    actions = {"hold": lock, "go_on": lock.model_copy(update={"data": False})}
    record = a_record(actions=(Action("hold"), Action("go_on")))
    found = everything(record, TurnMessages(actions, "head"))
    assert [one.message["data"] for one in found if one.topic == "lock"] == [True, False]


def test_no_id_comes_again_after_a_restart() -> None:
    """But that of a question which is kept: by it, its answer is known after one."""
    said = Utterance("utterance-1", "Hello", "deliver", "request-1")
    record = a_record(
        28,
        actions=(Action("wave"),),
        said=said,
        events=(Event(EventKind.RESULT, "timer-1", "Time is up."),),
        voice=VoiceState("utterance-1", 0.4),
        played=np.zeros(TURN_SAMPLES, np.float32),
        request=Request("request-1", np.zeros(4, np.float32)),
    )

    def ids() -> set[str]:
        messages = TurnMessages(ACTIONS, "head")
        stopping = a_record(29, actions=(Action("stop_motion"),))
        stops = [*messages.halt("halt-1", NOW_NS), *messages.stops(stopping, NOW_NS)]
        found = [*stops, *everything(record, messages)]
        fields = ("id", "utterance_id", "request_id")
        return {one.message[name] for one in found for name in fields if name in one.message}

    assert len(ids()) == 6
    assert ids().isdisjoint(ids())
    kept = Request("kept-0123", np.zeros(4, np.float32))
    assert on("delegation", a_record(0, request=kept))[0]["request_id"] == "kept-0123"
    linked = a_record(0, events=(Event(EventKind.LINK_UP),))
    assert on("delegation", linked)[0]["request_id"] == ""


def test_actions_become_what_the_configuration_says() -> None:
    record = a_record(actions=(Action("come"), Action("nod"), Action("wave")))
    assert [one["data"] for one in on("gesture", record)] == ["nod", "wave_right"]
    (twist,) = on("cmd_vel", record)
    assert (twist["linear"]["x"], twist["angular"]["z"]) == (0.2, -0.1)


def test_a_base_may_take_its_speeds_stamped() -> None:
    come = ACTIONS["come"].model_copy(update={"ros_type": "geometry_msgs/TwistStamped"})
    messages = TurnMessages({"come": come}, "base_link")
    found = everything(a_record(actions=(Action("come"),)), messages)
    (stamped,) = [one for one in found if one.topic == "cmd_vel"]
    assert stamped.type == "geometry_msgs/TwistStamped"
    assert_conforms(stamped.type, stamped.message)
    assert stamped.message["header"] == {"stamp": stamp(NOW_NS), "frame_id": "base_link"}
    assert stamped.message["twist"]["linear"]["x"] == 0.2
    assert stamped.message["twist"]["angular"]["z"] == -0.1


def test_looking_goes_where_the_sound_comes_from() -> None:
    (point,) = on("look_at", a_record(actions=(Action("look_at"),), direction_rad=math.pi / 2))
    assert point["header"]["frame_id"] == "head"
    assert point["point"] == pytest.approx({"x": 0.0, "y": 2.0, "z": 0.5})
    (action,) = on("action", a_record(actions=(Action("look_at"),), direction_rad=-0.5))
    assert action["arguments"] == [{"key": "bearing_rad", "value": "-0.5000"}]


def test_without_a_bearing_there_is_no_point_unless_one_is_configured() -> None:
    record = a_record(actions=(Action("look_at"),))
    assert on("look_at", record) == []
    assert on("action", record)[0]["arguments"] == []
    ahead = ACTIONS["look_at"].model_copy(update={"bearing_rad": 0.0})
    found = everything(record, TurnMessages({"look_at": ahead}, "head"))
    assert next(one.message["point"]["x"] for one in found if one.topic == "look_at") == 2.0


def test_the_topics_of_actions_are_known_beforehand() -> None:
    found = {topic.name: topic.type for topic in action_topics(ACTIONS)}
    assert found == {
        "cmd_vel": "geometry_msgs/Twist",
        "gesture": "std_msgs/String",
        "look_at": "geometry_msgs/PointStamped",
    }


@pytest.mark.parametrize(
    ("topic", "kind", "taken"),
    [
        ("utterance", "std_msgs/String", "edge_interaction_msgs/Utterance"),
        ("cmd_vel", "std_msgs/String", "geometry_msgs/Twist"),
        ("mode", "std_msgs/String", "std_msgs/String"),
    ],
)
def test_a_topic_carries_one_type(topic: str, kind: Any, taken: str) -> None:
    wrong = {**ACTIONS, "nod": ActionConfig(ros_topic=topic, ros_type=kind)}
    with pytest.raises(ConfigError, match=f"actions.nod.ros_topic: {topic} carries {taken}"):
        action_topics(wrong)


def test_an_utterance_is_told_from_its_decision_to_its_end() -> None:
    said = Utterance("utterance-1", "It is noon.", "deliver", "request-1")
    started = Event(EventKind.UTTERANCE_STARTED, "utterance-1")
    cut = Event(EventKind.UTTERANCE_INTERRUPTED, "utterance-1", "noon.")
    told = on("utterance", a_record(0, said=said), a_record(1, events=(started,)),
              a_record(2, events=(cut,)), a_record(3, events=(cut,)))  # fmt: skip
    states = ("DECIDED", "STARTED", "INTERRUPTED")
    assert [one["state"] for one in told] == [constant("Utterance", state) for state in states]
    assert [one["unsaid"] for one in told] == ["", "", "noon."]
    assert {(one["id"], one["text"], one["request_id"]) for one in told} == {
        ("run-utterance-1", "It is noon.", "run-request-1")
    }


def test_speech_names_what_is_being_said() -> None:
    sound = np.full(TURN_SAMPLES, 0.5, np.float32)
    fresh = a_record(said=Utterance("utterance-2", "Hello", "greet"), played=sound)
    going_on = a_record(voice=VoiceState("utterance-2", 0.4), played=sound)
    found = on("speech_audio", fresh, going_on, a_record(played=sound))
    assert [one["utterance_id"] for one in found] == ["run-utterance-2", "run-utterance-2", ""]
    assert set(found[0]["data"].tolist()) == {16384}


@pytest.mark.parametrize(("gain", "loudest"), [(1.0, 16384), (0.1, 1638), (0.0, 0)])
def test_speech_is_as_loud_as_the_loudspeaker_shall_be(gain: float, loudest: int) -> None:
    messages = TurnMessages(ACTIONS, "head", gain=lambda: gain)
    record = a_record(played=np.full(TURN_SAMPLES, 0.5, np.float32))
    (found,) = (one for one in everything(record, messages) if one.topic == "speech_audio")
    assert set(found.message["data"].tolist()) == {loudest}


def test_a_question_is_followed_to_its_answer() -> None:
    request = Request("request-1", np.zeros(4, np.float32), "WHAT TIME IS IT")
    asked = a_record(0, delegation=Delegation.DELEGATE, request=request)
    working = Event(EventKind.PROGRESS, "request-1", "thinking")
    answer = Event(EventKind.RESULT, "request-1", "Noon.")
    found = on("delegation", asked, a_record(1, events=(working,), background=OUT),
               a_record(2, events=(answer,)),
               a_record(3, delegation=Delegation.CANCEL))  # fmt: skip
    assert [(one["request_id"], one["state"], one["text"]) for one in found] == [
        ("run-request-1", constant("Delegation", "REQUESTED"), "WHAT TIME IS IT"),
        ("run-request-1", constant("Delegation", "PROGRESS"), "thinking"),
        ("run-request-1", constant("Delegation", "RESULT"), "Noon."),
    ]


@pytest.mark.parametrize("what", [Delegation.CANCEL, Delegation.DELEGATE])
def test_a_question_that_is_out_is_taken_back(what: Delegation) -> None:
    def ask(number: int) -> Request:
        return Request(f"request-{number}", np.zeros(4, np.float32))

    first = a_record(0, delegation=Delegation.DELEGATE, request=ask(1))
    again = ask(2) if what is Delegation.DELEGATE else None
    found = on("delegation", first, a_record(1, delegation=what, request=again, background=OUT))
    states = {value: name for name, value in message_type(
        "edge_interaction_msgs/Delegation").constants}  # fmt: skip
    told = [(one["request_id"], states[one["state"]]) for one in found]
    expected = [("run-request-1", "REQUESTED"), ("run-request-1", "CANCELLED")]
    assert told == expected + ([("run-request-2", "REQUESTED")] if again else [])


def test_a_question_that_somebody_outside_takes_back_is_told_too() -> None:
    request = Request("request-1", np.zeros(4, np.float32))
    asked = a_record(0, delegation=Delegation.DELEGATE, request=request)
    found = on("delegation", asked, a_record(1, background=OUT), a_record(2), a_record(3))
    assert [one["state"] for one in found] == [
        constant("Delegation", "REQUESTED"),
        constant("Delegation", "CANCELLED"),
    ]


def test_a_question_that_is_kept_is_not_taken_back() -> None:
    """Neither when the person is told of it, nor when they ask another one."""
    asked = a_record(
        0, delegation=Delegation.DELEGATE, request=Request("kept-a", np.zeros(4, np.float32))
    )
    notice = Event(EventKind.RESULT, "kept-a-notice", "I shall tell you later.")
    other = a_record(
        1, delegation=Delegation.DELEGATE, request=Request("request-2", np.zeros(4, np.float32)),
        background=OUT,
    )  # fmt: skip
    for second in (a_record(1, events=(notice,)), other):
        found = on("delegation", asked, second, a_record(2, background=OUT))
        assert constant("Delegation", "CANCELLED") not in [one["state"] for one in found]
        assert len(found) == 2


def test_in_standby_nothing_goes_out_but_a_stop() -> None:
    messages = TurnMessages(ACTIONS, "head", lambda: Mode.STANDBY)
    record = a_record(0, actions=(Action("wave"), Action("stop_motion")))
    assert [one.topic for one in messages.stops(record, NOW_NS)] == ["action", "cmd_vel"]
    assert [one.topic for one in messages.others(record, NOW_NS)] == ["micro_turn"]


def test_what_is_announced_meanwhile_is_no_answer() -> None:
    found = on(
        "user_speech",
        a_record(0, heard="TURN ON "),
        a_record(1, said=Utterance("utterance-1", "Dinner is ready", "announce")),
        a_record(2, heard="THE LAMP"),
        a_record(3, say="greet", said=Utterance("utterance-2", "Done", "greet")),
    )
    assert [(one["text"], one["final"]) for one in found] == [
        ("TURN ON", False),
        ("TURN ON THE LAMP", False),
        ("TURN ON THE LAMP", True),
    ]


def test_of_what_nobody_answers_the_newest_is_kept() -> None:
    found = on("user_speech", *(a_record(at, heard="ON AND ON ") for at in range(200)))
    assert len(found) == 200 and found[-1]["text"].endswith("ON AND ON")
    assert max(len(one["text"]) for one in found) <= 1000


def test_what_the_person_says_grows_until_the_device_answers() -> None:
    hello = Utterance("utterance-1", "Hello", "greet")
    found = on(
        "user_speech",
        a_record(0, heard="WHAT "),
        a_record(1),
        a_record(2, heard="TIME"),
        a_record(3, say="backchannel", said=hello),
        a_record(4, say="greet", said=hello),
        a_record(5, say="greet", said=hello),
        a_record(6, heard="STOP", stop=True),
    )
    assert [(one["text"], one["final"]) for one in found] == [
        ("WHAT", False),
        ("WHAT TIME", False),
        ("WHAT TIME", True),
        ("STOP", True),
    ]


def test_what_is_seen_is_told_when_it_changes() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    chances = (0.1, 0.2, 0.9, 0.8)
    records = [
        a_record(index, frame=picture, probabilities={"seen": {"present": chance}})
        for index, chance in enumerate(chances)
    ]
    told = on("seen", *records)
    assert [one["present"] for one in told] == [False, True]
    assert (told[1]["names"], told[1]["chances"]) == (["present"], [0.9])
    assert told[1]["header"] == {"stamp": stamp(NOW_NS), "frame_id": "head"}
