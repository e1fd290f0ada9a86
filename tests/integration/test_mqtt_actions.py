"""Actions reach a house over a real Mosquitto: the model's, and those only an agent asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from broker import Broker, Device, needs_mosquitto, running_broker, wait_until
from chat_server import Call, ChatServer
from talking_device import Written, talking

from edge_runtime.background.answerer import Ears, SkillsAnswerer
from edge_runtime.background.worker import Worker
from edge_runtime.config import ActionConfig
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.wire import Ability
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.mqtt_actions import MqttActions

pytestmark = needs_mosquitto
LAMP = "zigbee2mqtt/kitchen_lamp/set"
ACTIONS = {
    "wave": ActionConfig(mqtt_topic="robot/arm"),
    "stop_motion": ActionConfig(mqtt_topic="robot/base", text="halt"),
    "nod": ActionConfig(ros_topic="gesture"),
    "lamp_on": ActionConfig(
        mqtt_topic=LAMP, text='{"state": "ON"}', description="switch on the kitchen lamp"
    ),
}
TOPICS = ("robot/#", "zigbee2mqtt/#")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def actions_at(broker: Broker, mode: Mode = Mode.NORMAL) -> MqttActions:
    return MqttActions(BrokerSettings(broker.url), "kiosk", ACTIONS, lambda: mode)


def turn(*model: str, asked: tuple[str, ...] = ()) -> TurnRecord:
    """A micro-turn with these actions of the model, and those that a background model asked for."""
    return TurnRecord(
        MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32)),
        EngineOutput(0, {"floor": np.zeros(5, np.float32)}),
        Decision(0, "listen", actions=tuple(Action(name) for name in model)),
        Timings(),
        asked_actions=tuple(Action(name) for name in asked),
    )


def told(client: Device) -> list[tuple[str, bytes]]:
    return [(one.topic, one.payload) for one in client.messages]


def test_each_action_is_told_once_and_a_stop_comes_first(broker: Broker) -> None:
    actions = actions_at(broker)
    with Device(broker, patterns=TOPICS) as client, actions:
        wait_until(lambda: actions.connected)
        actions.publish(turn("wave", "nod", asked=("lamp_on", "wave", "stop_motion")))
        actions.publish(turn())
        actions.publish(turn("wave"))
        client.await_any(lambda: len(client.messages) == 4)
        first, *others, last = told(client)
        assert first == ("robot/base", b"halt")
        assert sorted(others) == [("robot/arm", b"wave"), (LAMP, b'{"state": "ON"}')]
        assert last == ("robot/arm", b"wave")
    with Device(broker, "after", patterns=TOPICS) as after:
        after.send("robot/end", b"")
        after.await_any(lambda: bool(after.messages))
        assert told(after) == [("robot/end", b"")], "nothing is retained"


def test_in_standby_nothing_but_a_stop_goes_out(broker: Broker) -> None:
    actions = actions_at(broker, Mode.STANDBY)
    with Device(broker, patterns=TOPICS) as client, actions:
        wait_until(lambda: actions.connected)
        actions.publish(turn("wave", asked=("lamp_on",)))
        actions.publish(turn("stop_motion"))
        client.await_any(lambda: bool(client.messages))
        assert told(client) == [("robot/base", b"halt")]


def test_an_action_without_a_connection_is_counted_and_not_made_up_for(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    actions = actions_at(broker)
    with actions:
        wait_until(lambda: actions.connected)
        broker.kill()
        wait_until(lambda: not actions.connected)
        actions.publish(turn("wave"))
        actions.publish(turn("wave"))
        assert actions.unsent == 2
        assert caplog.text.count("wave was not published on robot/arm: no connection") == 1
        broker.start()
        with Device(broker, patterns=TOPICS) as client:
            wait_until(lambda: actions.connected)
            actions.publish(turn(asked=("lamp_on",)))
            client.await_any(lambda: bool(client.messages))
            assert told(client) == [(LAMP, b'{"state": "ON"}')]


@pytest.mark.parametrize("with_worker", [False, True])
def test_a_phrase_needs_no_language_model_and_no_worker(broker: Broker, with_worker: bool) -> None:
    lamp = Ability(name="lamp_on", phrases=("turn on the [kitchen] lamp",), answer="There you are.")
    actions = actions_at(broker)
    with (
        ExitStack() as stack,
        Device(broker, patterns=TOPICS) as house,
        actions,
        talking(broker.url, abilities=[lamp], sinks=[actions]) as device,
    ):
        wait_until(lambda: actions.connected)
        if with_worker:
            skills = SkillsAnswerer(Ears(Written))
            stack.enter_context(Worker(BrokerSettings(broker.url), "w", skills, grace_s=0.1))
            wait_until(lambda: device.remote.available)
        device.ask("turn on the lamp")
        house.await_any(lambda: bool(house.messages))
        device.await_said("There you are.")
        assert told(house) == [(LAMP, b'{"state": "ON"}')]


def test_an_agent_switches_the_lamp_that_the_configuration_describes(broker: Broker) -> None:
    """From the question to the lamp: request, worker, language model, tool, reply, topic."""
    pytest.importorskip("pydantic_ai", reason="the agent needs its extra")
    from edge_runtime.background.agent import AgentAnswerer
    from edge_runtime.background.agent_config import AgentConfig

    turns = [Call("lamp_on")], ["The lamp is on."]
    known = [Ability(name=name, description=one.description) for name, one in ACTIONS.items()]
    actions = actions_at(broker)
    with (
        ChatServer(*turns) as server,
        AgentAnswerer(AgentConfig(model="tiny", base_url=server.url)) as agent,
        Worker(BrokerSettings(broker.url), "w", agent, grace_s=0.1),
        Device(broker, patterns=TOPICS) as house,
        actions,
        talking(broker.url, abilities=known, sinks=[actions]) as device,
    ):
        wait_until(lambda: device.remote.available and actions.connected)
        device.ask("put the kitchen lamp on")
        house.await_any(lambda: bool(house.messages))
        device.await_said("The lamp is on.")
        assert told(house) == [(LAMP, b'{"state": "ON"}')]
        offered = {tool["function"]["name"]: tool["function"] for tool in server.bodies[0]["tools"]}
        assert (
            offered["lamp_on"]["description"] == "The device does this: switch on the kitchen lamp"
        )
        assert offered["nod"]["description"] == "The device does this: nod"
