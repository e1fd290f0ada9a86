"""The ROS node's parameters, without ROS: every key of the configuration, by its own types."""

from __future__ import annotations

import array
import logging
from pathlib import Path
from typing import Any

import pytest

from edge_interaction import parameters
from edge_runtime.config import Config, load_config
from edge_runtime.errors import ConfigError
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.messages import TurnMessages, action_topics


def unset() -> dict[str, Any]:
    return dict.fromkeys([parameters.CONFIG_FILE, *parameters.config_keys()])


def test_every_key_can_be_a_parameter_and_says_what_it_means() -> None:
    keys = parameters.config_keys()
    sections = {name for name in Config.model_fields if name != "actions"}
    assert {key.partition(".")[0] for key in keys} == sections
    assert {"voice.rate_wpm", "audio.source", "ros.frame_id", "delegation.broker"} <= set(keys)
    assert not {"ros.dds", "ros.domain"} & set(keys)
    assert all(keys.values())


def test_what_is_not_set_leaves_the_defaults() -> None:
    assert parameters.configuration(unset()) == Config()
    assert parameters.configuration({**unset(), "config_file": "", "audio.source": ""}) == Config()
    dumped = {**dict.fromkeys(unset(), "null"), "voice.rate_wpm": 200}  # by `ros2 param dump`
    assert parameters.configuration(dumped).voice.rate_wpm == 200


def test_a_list_is_taken_as_rclpy_gives_it() -> None:
    crop = array.array("d", [0.0, 0.1, 1.0, 0.9])
    given = {**unset(), "video.crop": crop, "http.origins": ["http://kiosk.lan"]}
    config = parameters.configuration(given)
    assert config.video.crop == [0.0, 0.1, 1.0, 0.9]
    assert config.http.origins == ["http://kiosk.lan"]
    assert parameters.refusal(unset(), {"video.crop": crop}, configured=False) is None
    bad = parameters.refusal(unset(), {"video.crop": array.array("d", [1.0])}, configured=False)
    assert bad is not None and "video.crop" in bad


def test_a_parameter_stands_above_the_file(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text("voice: {rate_wpm: 150}\nactions: {nod: {ros_topic: gesture}}")
    given = {**unset(), "config_file": str(path), "voice.rate_wpm": 200, "autostart": True}
    config = parameters.configuration(given)
    assert config.voice.rate_wpm == 200
    assert config.actions["nod"].ros_topic == "gesture"


def test_no_pictures_stands_above_a_camera_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text("video: {source: 0}")
    given = {**unset(), "config_file": str(path)}
    assert parameters.configuration(given).video.source == 0
    assert parameters.configuration({**given, "video.source": "none"}).video.source is None


def test_topics_without_ros_are_not_published_beside_those_of_the_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They would drive on when the node is deactivated."""
    path = tmp_path / "device.yaml"
    path.write_text("ros: {dds: true, namespace: /kiosk, frame_id: head}")
    given = {**unset(), "config_file": str(path)}
    assert parameters.refusal(given, {"voice.rate_wpm": 200}, configured=False) is None
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING):
        config = parameters.configuration(given)
    assert not config.ros.dds and config.ros.frame_id == "head"
    (told,) = caplog.messages
    assert "ros.dds" in told and "publishes the topics itself" in told and str(path) in told


def test_the_configuration_that_comes_with_it_moves_a_base_and_stops_it(repository: Path) -> None:
    folder = repository / "ros2_ws" / "src" / "edge_interaction" / "config"
    config = load_config(folder / "device.yaml")
    bases = {topic for one in config.actions.values() if (topic := one.speeds_on) is not None}
    stops = TurnMessages(config.actions, "base_link").halt("halt-1", 0)
    assert bases == {"cmd_vel"} <= {stop.topic for stop in stops}
    assert {topic.name for topic in action_topics(config.actions)} >= bases


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"voice.rate_wpm": 9999}, "450"),
        ({"voice.rate_wpm": "fast"}, "integer"),
        ({"config_file": "/nowhere.yaml"}, "no configuration file /nowhere.yaml"),
    ],
)
def test_a_bad_parameter_is_refused_with_a_message(changes: dict[str, Any], words: str) -> None:
    reason = parameters.refusal(unset(), changes, configured=False)
    assert reason is not None and words in reason
    with pytest.raises(ConfigError, match=words):
        parameters.configuration({**unset(), **changes})


def test_a_good_parameter_is_taken() -> None:
    assert parameters.refusal(unset(), {"voice.rate_wpm": 200}, configured=False) is None


def test_while_it_is_configured_nothing_of_the_configuration_changes() -> None:
    reason = parameters.refusal(unset(), {"voice.rate_wpm": 200}, configured=True)
    assert reason == ("voice.rate_wpm cannot change while the node is configured: clean up first.")


@pytest.mark.parametrize("name", ["use_sim_time", "autostart"])
def test_what_is_not_ours_is_left_alone(name: str) -> None:
    assert parameters.refusal(unset(), {name: True}, configured=True) is None


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_may_be_the_first(mode: Mode) -> None:
    assert parameters.initial_mode({"initial_mode": mode.value}) is mode


def test_a_first_mode_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="'loud' is no mode; give one of normal, quiet, standby"):
        parameters.initial_mode({"initial_mode": "loud"})
