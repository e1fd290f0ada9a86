"""What people may say in vain is told."""

from __future__ import annotations

from typing import Any

import pytest

from edge_runtime.background.doubts import doubts
from edge_runtime.config import Config


def of(action: dict[str, Any], **sections: Any) -> list[str]:
    broker = {"delegation": {"broker": "mqtt://lan"}}
    return doubts(Config.model_validate(broker | {"actions": {"it": action}} | sections))


@pytest.mark.parametrize(
    "said", ["go on", "well go on", "[please] continue", "(hush | Tell me more)"]
)
def test_what_goes_on_with_an_answer_is_no_command(said: str) -> None:
    (doubt,) = of({"phrases": [said], "mqtt_topic": "it"})
    assert doubt.startswith('actions.it: "') and "go on with its last answer" in doubt


def test_what_the_device_knows_itself_may_be_a_command_too() -> None:
    """An owner's own word counts more."""
    assert of({"phrases": ["what time is it", "set a timer"], "mqtt_topic": "it"}) == []


def test_an_action_that_is_asked_for_and_goes_nowhere() -> None:
    asked = {"phrases": ["lamp on"], "answer": "It is on."}
    (doubt,) = of(asked)
    assert "actions.it" in doubt and "nothing is done" in doubt
    assert of(asked | {"mqtt_topic": "it"}) == []
    assert of(asked, home_assistant={"enabled": True}) == of(asked, ros={"dds": True}) == []
    assert of({"description": "for a language model"}) == []


def test_a_ros_topic_is_a_way_out_where_there_is_ros() -> None:
    docked = {"phrases": ["go and dock"], "ros_topic": "dock"}
    (doubt,) = of(docked)
    assert "nothing is done" in doubt and "ros_topic is for the ROS node" in doubt
    assert of(docked | {"mqtt_topic": "dock"}) == of(docked, ros={"dds": True}) == []
    assert of(docked, audio={"source": "ros"}) == of(docked, video={"source": "ros"}) == []


def test_phrases_that_are_millions_of_sentences_cost_nothing() -> None:
    assert of({"phrases": ["(a | b) " * 22 + "x"], "mqtt_topic": "it"}) == []


def test_an_action_whose_phrases_are_too_many_to_be_understood() -> None:
    long = " ".join(["lights"] * 25)
    several = {
        f"act_{'x' * number}": {"phrases": [f"{long} {'x' * number}"], "mqtt_topic": "it"}
        for number in range(1, 21)
    }
    lamp = {"phrases": ["lamp on"], "mqtt_topic": "it"}
    turns = ["on up in out " * 12 + "a" * count for count in range(1, 33)]
    endless = {"phrases": turns, "mqtt_topic": "it"}
    assert of(lamp, actions={"lamp": lamp, **several}) == []
    found = of(lamp, actions={"lamp": lamp, "endless": endless, **several})
    assert "actions.endless: its phrases are not understood" in found[0]
    assert len(found) == 21, "it, and those behind it"
