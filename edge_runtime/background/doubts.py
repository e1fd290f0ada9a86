"""What a configuration lets people say in vain: phrases that lead nowhere, or somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from edge_runtime.background.commands import MOST_LETTERS, Commands
from edge_runtime.background.skills import RESUME, Skills
from edge_runtime.background.timers import Timers
from edge_runtime.config import TOPICS, ActionConfig, Config
from edge_runtime.delegation.wire import Ability
from edge_runtime.jsgf import sentences

MOST_SENTENCES = 200
"""Of an action: its phrases can have millions."""


def doubts(config: Config) -> list[str]:
    """A line for each. What people say for two actions is refused when it is read."""
    found = list(_too_many(config))
    for name, chosen in config.actions.items():
        if chosen.phrases and not _has_a_way_out(config, chosen):
            found.append(
                f"actions.{name}: what it answers to its phrases is said, and nothing is done. "
                + _remedy(chosen)
            )
        if taken := _going_on(chosen):
            found.append(
                f'actions.{name}: "{taken}" asks the device to go on with its last answer, and not '
                "for this. Choose another phrase"
            )
    return found


def _too_many(config: Config) -> Iterator[str]:
    spoken = [
        Ability(name=name, phrases=tuple(chosen.phrases))
        for name, chosen in config.actions.items()
        if chosen.phrases
    ]
    known = {command.action for command in Commands.of(spoken).all}
    for one in spoken:
        if one.name not in known:
            yield (
                f"actions.{one.name}: its phrases are not understood: with those of the actions "
                f"before it, and their opposites, they have more than {MOST_LETTERS} letters. Use "
                "fewer, or shorter ones"
            )


def _has_a_way_out(config: Config, chosen: ActionConfig) -> bool:
    """Home Assistant, DDS and the ROS node are told of every action. A node that hears and sees by
    devices of this machine is not known for one here: it asks for no doubts."""
    told = config.home_assistant.enabled or config.ros.dds
    in_the_node = TOPICS in (config.audio.source, config.video.source)
    return chosen.mqtt_topic is not None or told or in_the_node


def _remedy(chosen: ActionConfig) -> str:
    if chosen.ros_topic is None:
        return "Give it mqtt_topic, or switch on home_assistant or ros.dds"
    return (
        "Its ros_topic is for the ROS node, or for ros.dds: true; give it mqtt_topic, or switch on "
        "home_assistant"
    )


def _going_on(chosen: ActionConfig) -> str:
    """The first of its sentences that a skill of the device takes before any command; empty where
    there is none."""
    skills = Skills(Timers(lambda: 0))
    said = islice(chain.from_iterable(map(sentences, chosen.phrases)), MOST_SENTENCES)
    return next((one for one in said if skills.reply(one).skill == RESUME), "")
