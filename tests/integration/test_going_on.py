"""A long answer is interrupted, and resumed on `go on`: by the device, a worker, and an agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker import Broker, needs_mosquitto, running_broker, wait_until
from chat_server import ChatServer
from talking_device import SECOND, TalkingDevice, Written, talking

from edge_runtime.background.agent import AgentAnswerer
from edge_runtime.background.agent_config import AgentConfig
from edge_runtime.background.answerer import Answerer, Ears, SkillsAnswerer
from edge_runtime.background.worker import Worker
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.micro_turn import Decision, Delegation

pytestmark = needs_mosquitto
STORY_BEGINS = "Once there was"
STOP = Decision(0, "yield", stop=True)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as broker:
        yield broker


@contextmanager
def answered_by(answerer: Answerer, broker: Broker) -> Iterator[TalkingDevice]:
    """It speaks for as long as the answers are."""
    with (
        Worker(BrokerSettings(broker.url), "w", answerer, grace_s=0.1),
        talking(broker.url, words=1000) as device,
    ):
        wait_until(lambda: device.remote.available)
        yield device


def interrupted(device: TalkingDevice, beginning: str) -> str:
    """Stop the device in the middle of what begins so; what was left unsaid."""
    wait_until(lambda: any(text.startswith(beginning) for text in device.texts()))
    device.await_turns(3)
    device.model.commands.put(STOP)
    wait_until(lambda: bool(device.unsaid()))
    return device.unsaid()[-1]


def tell_and_go_on(device: TalkingDevice) -> None:
    device.ask("tell me a story")
    unsaid = interrupted(device, STORY_BEGINS)
    story = device.texts()[0]
    assert story.endswith(unsaid) and 0 < len(unsaid) < len(story)
    device.await_turns(SECOND)
    assert device.texts() == [story], "it stays silent until it is asked"
    device.ask("go on")
    device.await_said(unsaid)
    wait_until(lambda: not device.speaking)
    device.ask("go on")
    device.await_said("There is nothing more to say.")
    assert device.texts() == [story, unsaid, "There is nothing more to say."]


def test_the_device_goes_on_by_itself(tmp_path: Path) -> None:
    with talking(Broker(tmp_path).url, words=1000) as device:
        tell_and_go_on(device)


def test_a_worker_goes_on(broker: Broker) -> None:
    with answered_by(SkillsAnswerer(Ears(Written)), broker) as device:
        tell_and_go_on(device)
        assert not any(kind == "failed" for kind, _ in device.events())


def test_a_language_model_is_told_what_was_left_and_goes_on(broker: Broker) -> None:
    pytest.importorskip("pydantic_ai", reason="the agent is an extra: edge-runtime[agent]")
    long = "The sea is wide and deep and old and full of ships and whales and songs of the wind. "
    turns = [long, "It has no end."], ["So, the wind: ", "it has no end."]
    with ChatServer(*turns) as server:
        config = AgentConfig(model="scripted", base_url=server.url)
        with AgentAnswerer(config) as agent, answered_by(agent, broker) as device:
            device.ask("what is the sea")
            unsaid = interrupted(device, "The sea")
            device.await_turns(SECOND)
            said = len(device.texts())
            device.ask("go on")
            wait_until(lambda: "it has no end." in " ".join(device.texts()[said:]))
            told = server.said_by("user")[0]
    assert "The person says now: go on" in told
    (left,) = (line for line in told.splitlines() if "did not get to say" in line)
    assert unsaid.split()[0] in left and left.endswith("It has no end.")
    assert "ago, interrupted): The sea is" in told


def test_a_cancel_ends_it_for_good(broker: Broker) -> None:
    with answered_by(SkillsAnswerer(Ears(Written)), broker) as device:
        device.ask("tell me a story")
        interrupted(device, STORY_BEGINS)
        device.model.commands.put(Decision(0, "listen", delegation=Delegation.CANCEL))
        device.ask("go on")
        device.await_said("There is nothing more to say.")
        assert len(device.texts()) == 2
