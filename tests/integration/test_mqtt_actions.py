"""Actions reach a house over a real Mosquitto: the model's, and those only an agent asks for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from broker import Broker, Device, free_port, needs_mosquitto, running_broker, wait_until
from chat_server import Call, ChatServer
from program import needs_espeak
from talking_device import (
    ACTION_PATIENCE_S,
    SECOND,
    Room,
    TalkingDevice,
    Written,
    ask_configured,
    talking,
)

from edge_runtime import app
from edge_runtime.background.answerer import Ears, SkillsAnswerer
from edge_runtime.background.worker import Worker
from edge_runtime.config import ActionConfig, Config
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.confirmed import UNREACHABLE_WORDS
from edge_runtime.delegation.wire import Ability
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    Decision,
    EngineOutput,
    EventKind,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.pacing import MonotonicClock
from edge_runtime.remote_control import Mode
from edge_runtime.senses import Senses
from edge_runtime.sinks.mqtt_actions import MqttActions

pytestmark = needs_mosquitto
LAMP, ON = "zigbee2mqtt/kitchen_lamp/set", "The lamp is on."
ACTIONS = {
    "wave": ActionConfig(mqtt_topic="robot/arm"),
    "stop_motion": ActionConfig(mqtt_topic="robot/base", text="halt"),
    "nod": ActionConfig(ros_topic="gesture"),
    "lamp_on": ActionConfig(
        mqtt_topic=LAMP, text='{"state": "ON"}', description="switch on the kitchen lamp"
    ),
}
TOPICS = ("robot/#", "zigbee2mqtt/#")


class _JealousBroker(Broker):
    """It lets a device publish on its own topics only."""

    def settings_text(self) -> str:
        rights = self._folder / "acl"
        rights.write_text("topic readwrite edge/#\ntopic read #\n")
        rights.chmod(0o644)
        return f"{super().settings_text()}acl_file {rights}\nuser root\n"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def actions_at(broker: Broker, mode: Mode = Mode.NORMAL) -> MqttActions:
    settings = BrokerSettings(broker.url)
    return MqttActions(settings, "kiosk", ACTIONS, lambda: mode, ACTION_PATIENCE_S)


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


def test_each_action_is_told_once_and_nothing_beside_a_stop(broker: Broker) -> None:
    actions = actions_at(broker)
    with Device(broker, patterns=TOPICS) as client, actions:
        wait_until(lambda: actions.connected)
        actions.publish(turn("wave", "nod", asked=("lamp_on", "wave")))
        actions.publish(turn("wave", asked=("lamp_on", "stop_motion")))
        actions.publish(turn())
        actions.publish(turn("wave"))
        client.await_any(lambda: len(client.messages) == 4)
        *others, stop, last = told(client)
        assert sorted(others) == [("robot/arm", b"wave"), (LAMP, b'{"state": "ON"}')]
        assert stop == ("robot/base", b"halt")
        assert last == ("robot/arm", b"wave")
    with Device(broker, "after", patterns=TOPICS) as after:
        after.send("robot/end", b"")
        after.await_any(lambda: bool(after.messages))
        assert told(after) == [("robot/end", b"")], "nothing is retained"


def test_a_body_is_stopped_at_the_end(broker: Broker) -> None:
    with Device(broker, patterns=TOPICS) as client:
        with actions_at(broker) as actions:
            wait_until(lambda: actions.connected)
            actions.publish(turn("wave"))
        client.await_any(lambda: len(client.messages) == 2)
        assert told(client) == [("robot/arm", b"wave"), ("robot/base", b"halt")]


def test_who_leaves_as_it_should_has_no_last_will(broker: Broker) -> None:
    with Device(broker, patterns=TOPICS) as client:
        for _ in range(8):  # acknowledgements that nobody has read reset a connection
            with actions_at(broker) as actions:
                wait_until(lambda: actions.connected)
                actions.publish(turn("wave"))
        client.send("robot/end", b"")
        client.await_any(lambda: told(client)[-1:] == [("robot/end", b"")])
        assert [topic for topic, _ in told(client)].count("robot/base") == 8


def test_a_body_is_stopped_when_what_moved_it_is_suddenly_gone(broker: Broker) -> None:
    program = f"""
import time
from test_mqtt_actions import BrokerSettings, MqttActions, ACTIONS, turn
with MqttActions(BrokerSettings({broker.url!r}), "kiosk", ACTIONS) as actions:
    while not actions.connected:
        time.sleep(0.01)
    actions.publish(turn("wave"))
    time.sleep(60)
"""
    with Device(broker, patterns=TOPICS) as client:
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        device = subprocess.Popen([sys.executable, "-c", program], env=os.environ | paths)
        try:
            client.await_any(lambda: told(client) == [("robot/arm", b"wave")])
        finally:
            device.kill()
            device.wait()
        client.await_any(lambda: len(client.messages) == 2)
        assert told(client)[-1] == ("robot/base", b"halt")


def test_a_broker_that_may_have_refused_the_last_stop_is_told_of() -> None:
    """Some do so when they are connected to; Mosquitto does not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = BrokerSettings(f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        with MqttActions(settings, "kiosk", ACTIONS) as actions:
            link, _ = server.accept()
            with link:
                link.recv(1000)
                link.sendall(b"\x20\x03\x00\x87\x00")  # CONNACK: not authorized
                wait_until(lambda: "Not authorized" in actions.trouble)
            assert "(or may not write on robot/base)" in actions.trouble


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
    assert caplog.text.count("wave was not published") == 2, "the second is told at the end"


def test_an_action_that_is_not_acknowledged_is_told_and_counted(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    actions = actions_at(broker)
    with actions:
        wait_until(lambda: actions.connected)
        broker.send_signal(signal.SIGSTOP)
        actions.publish(turn(asked=("lamp_on",)))
        assert actions.outcome("lamp_on", 0) is None

        def given_up() -> bool:
            actions.publish(turn())  # five times a second, and it watches the connection
            return not actions.connected

        wait_until(given_up)
        wait_until(lambda: actions.unsent == 1)
        assert "ended before the broker acknowledged it" in str(actions.outcome("lamp_on", 0))
    assert f"lamp_on was not published on {LAMP}" in caplog.text


def test_an_action_that_nobody_listens_for_is_told(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    with actions_at(broker) as actions:
        wait_until(lambda: actions.connected)
        actions.publish(turn("wave"))
        wait_until(lambda: actions.unsent == 1)
    assert "wave was not published on robot/arm: nobody listens there" in caplog.text


@pytest.mark.parametrize("with_worker", [False, True])
def test_a_phrase_needs_no_language_model_and_no_worker(broker: Broker, with_worker: bool) -> None:
    lamp = Ability(name="lamp_on", phrases=("turn on the [kitchen] lamp",), answer="There you are.")
    actions = actions_at(broker)
    with (
        ExitStack() as stack,
        Device(broker, patterns=TOPICS) as house,
        actions,
        talking(broker.url, abilities=[lamp], house=actions) as device,
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


def lamp_of(broker: Broker) -> tuple[MqttActions, AbstractContextManager[TalkingDevice]]:
    """Where its actions go out, and a device that knows the lamp by a phrase."""
    lamp = Ability(name="lamp_on", phrases=("turn on the lamp",), answer=ON)
    actions = actions_at(broker)
    return actions, talking(broker.url, abilities=[lamp], house=actions)


@pytest.mark.parametrize("with_worker", [False, True])
def test_a_lamp_that_nobody_answers_for_is_not_said_to_be_on(
    broker: Broker, with_worker: bool
) -> None:
    actions, talk = lamp_of(broker)
    with ExitStack() as stack, actions, talk as device:
        wait_until(lambda: actions.connected)
        if with_worker:
            skills = SkillsAnswerer(Ears(Written))
            stack.enter_context(Worker(BrokerSettings(broker.url), "w", skills, grace_s=0.1))
            wait_until(lambda: device.remote.available)
        request = device.ask("turn on the lamp")
        device.await_said(UNREACHABLE_WORDS)
        assert device.texts() == [UNREACHABLE_WORDS]
        assert ("undone", request) in device.events()
        with Device(broker, patterns=TOPICS) as house:
            device.ask("turn on the lamp")
            house.await_any(lambda: bool(house.messages))
            device.await_said(ON)


def test_without_a_broker_the_lamp_is_said_to_be_out_of_reach_each_time(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    actions, talk = lamp_of(broker)
    with actions, talk as device:
        wait_until(lambda: actions.connected)
        broker.kill()
        wait_until(lambda: not actions.connected)
        for count in (1, 2):
            device.ask("turn on the lamp")
            wait_until(lambda count=count: device.texts() == count * [UNREACHABLE_WORDS])
        assert actions.unsent == 2
    assert caplog.text.count(f"lamp_on was not published on {LAMP}: no connection") == 2


def test_a_lamp_that_the_device_may_not_switch_is_said_to_be_out_of_reach(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = _JealousBroker(tmp_path)
    broker.start()
    try:
        actions, talk = lamp_of(broker)
        with actions, talk as device:
            wait_until(lambda: actions.connected)
            device.ask("turn on the lamp")
            device.await_said(UNREACHABLE_WORDS)
            assert device.texts() == [UNREACHABLE_WORDS]
    finally:
        broker.kill()
    assert f"lamp_on was not published on {LAMP}: the broker refuses it: Not auth" in caplog.text


def test_a_lamp_behind_a_dead_link_is_not_said_to_be_on(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    actions, talk = lamp_of(broker)
    with actions, talk as device:
        wait_until(lambda: actions.connected)
        broker.send_signal(signal.SIGSTOP)  # the connection stays open
        device.ask("turn on the lamp")
        device.await_said(UNREACHABLE_WORDS)
        broker.kill()
        broker.start()
        with Device(broker, patterns=TOPICS) as house:
            wait_until(lambda: actions.connected)
            house.send("robot/end", b"")
            house.await_any(lambda: bool(house.messages))
            assert told(house) == [("robot/end", b"")]
        assert device.texts() == [UNREACHABLE_WORDS]
    assert f"lamp_on was not published on {LAMP}" in caplog.text


def test_what_goes_out_another_way_too_is_not_waited_for(broker: Broker) -> None:
    both = {"come": ActionConfig(mqtt_topic="robot/come", ros_topic="come")}
    actions = MqttActions(BrokerSettings(broker.url), "kiosk", both, patience_s=ACTION_PATIENCE_S)
    come = Ability(name="come", phrases=("come over here",), answer="I am coming.")
    with actions, talking(broker.url, abilities=[come], house=actions) as device:
        broker.kill()
        device.ask("come over here")
        device.await_said("I am coming.")
        wait_until(lambda: actions.unsent == 1)


@needs_espeak
@pytest.mark.skipif(find_spec("prometheus_client") is None, reason="the metrics need their extra")
def test_a_configured_device_does_not_say_that_a_lamp_is_on_before_it_was_told_to(
    broker: Broker,
) -> None:
    """As it is put together: but for the loop, so that nothing goes out."""
    config = Config.model_validate(
        {
            "delegation": {"broker": broker.url},
            "background": {"recogniser": "none"},
            "home_assistant": {"enabled": True},
            "http": {"port": free_port(), "metrics": True},
            "actions": {
                "lamp_on": {"mqtt_topic": LAMP, "phrases": ["turn on the lamp"], "answer": ON}
            },
        }
    )
    senses = Senses(Room(), None, MonotonicClock(), realtime=True)
    with app.device(config, senses) as ready:
        told = ask_configured(ready, "turn on the lamp")
        said = [one.text for one in told if one.kind is EventKind.RESULT]
        with urlopen(f"http://127.0.0.1:{config.http.port}/metrics", timeout=30) as page:
            figures = page.read().decode()
    for name in ("actions_lost", "commands_refused", "payloads_ignored"):
        assert f"edge_{name}_total 0.0" in figures
    assert said[0].startswith(("I cannot reach", "That did not work"))


def test_an_agent_does_not_say_done_of_a_lamp_that_was_not_reached(broker: Broker) -> None:
    pytest.importorskip("pydantic_ai", reason="the agent needs its extra")
    from edge_runtime.background.agent import AgentAnswerer
    from edge_runtime.background.agent_config import AgentConfig

    actions, talk = lamp_of(broker)
    with (
        ChatServer([Call("lamp_on")], [ON]) as server,
        AgentAnswerer(AgentConfig(model="tiny", base_url=server.url)) as agent,
        Worker(BrokerSettings(broker.url), "w", agent, grace_s=0.1),
        actions,
        talk as device,
    ):
        wait_until(lambda: device.remote.available and actions.connected)
        device.ask("put the kitchen lamp on")
        device.await_said(UNREACHABLE_WORDS)
        device.await_turns(SECOND)
        assert device.texts() == [UNREACHABLE_WORDS]


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
        talking(broker.url, abilities=known, house=actions) as device,
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
