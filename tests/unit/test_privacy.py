"""What `edge-runtime privacy` says is what the configuration does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_runtime.config import Config, DelegationConfig
from edge_runtime.privacy import privacy


def said(**sections: Any) -> dict[str, str]:
    return {one.question: " ".join(one.lines) for one in privacy(Config.model_validate(sections))}


def test_by_default_nothing_is_kept_and_nothing_leaves() -> None:
    answers = said()
    assert "default microphone" in answers["What it takes in"]
    assert "No picture." in answers["What it takes in"]
    assert "No recording." in answers["What it keeps"]
    assert answers["What leaves this device"] == "Nothing."
    assert "listens on no port" in answers["Who can look at it or command it"]


def test_what_is_switched_off_is_kept_by_a_service() -> None:
    answers = said()
    assert "As a service it keeps that, and mute, over a restart" in answers["What it takes in"]
    assert "is switched off, and mute" in answers["What it keeps"]


def test_timers_are_kept_in_words_by_a_service() -> None:
    kept = said()["What it keeps"]
    assert "As a service: timers and reminders, with what to remind of in words" in kept
    assert "a damaged file of them, until it is removed by hand" in kept


def test_a_broker_gets_the_sound_of_a_question_and_a_picture_only_where_allowed() -> None:
    plain = said(delegation={"broker": "mqtt://10.0.0.2"})["What leaves this device"]
    assert "the sound since the person began, the conversation" in plain
    assert "NOT encrypted" in plain
    assert "picture" not in plain
    who = said(delegation={"broker": "mqtt://10.0.0.2"})["Who can look at it or command it"]
    assert "may publish on edge/edge/replies" in who and "Nobody" not in who
    secret = said(delegation={"broker": "mqtts://b.lan", "send_frame": True})
    assert "a picture" in secret["What leaves this device"]
    assert "(encrypted)" in secret["What leaves this device"]


def test_without_workers_no_question_leaves_and_nobody_answers() -> None:
    alone = {"broker": "mqtt://b.lan", "workers": False, "outbox": Path("/var/lib/x/o.db")}
    answers = said(delegation=alone, home_assistant={"enabled": True})
    leaves = answers["What leaves this device"]
    assert "No question and no sound goes to mqtt://b.lan (NOT encrypted" in leaves
    assert "to the workers" not in leaves and "To Home Assistant" in leaves
    assert "Questions that must not get lost" not in answers["What it keeps"]
    assert "replies" not in answers["Who can look at it or command it"]


def test_the_password_of_a_broker_is_masked_however_it_came_here() -> None:
    delegation = DelegationConfig().model_copy(update={"broker": "mqtt://u:hunter2@lan"})
    told = str(privacy(Config(delegation=delegation)))
    assert "mqtt://***@lan" in told and "hunter2" not in told


def test_the_smart_home_hears_what_it_is_told() -> None:
    broker = {"broker": "mqtt://10.0.0.2"}
    default = said(delegation=broker, home_assistant={"enabled": True})
    assert "what it last said" in default["What leaves this device"]
    assert "what it hears" not in default["What leaves this device"]
    assert "an answer may repeat what was asked" in default["What leaves this device"]
    silent = said(delegation=broker, home_assistant={"enabled": True, "tell_said": False})
    assert "what was asked" not in silent["What leaves this device"]
    assert "can make it speak" in default["Who can look at it or command it"]
    open_ = said(delegation=broker, home_assistant={"enabled": True, "tell_heard": True})
    assert "what it hears, in words" in open_["What leaves this device"]


def test_actions_that_are_told_on_topics_are_named() -> None:
    acts = {"wave": {"ros_topic": "arm"}, "lamp_on": {"mqtt_topic": "lamp/set"}}
    told = said(delegation={"broker": "mqtt://10.0.0.2"}, actions=acts)["What leaves this device"]
    assert "it does lamp_on." in told and "wave" not in told


def test_topics_without_ros_are_open_to_the_network() -> None:
    asked = "What leaves this device"
    assert said(ros={"domain": 7})[asked] == "Nothing."
    shown = said(ros={"dds": True, "domain": 7})[asked]
    assert "domain 7" in shown and "what it hears, in words" in shown and "NOT encrypted" in shown
    assert "its questions" in shown and "ROS)" not in shown
    who = said(ros={"dds": True})["Who can look at it or command it"]
    assert "acknowledge its actions, and do no more" in who and "Nobody" not in who


def test_the_ros_node_is_open_to_whoever_takes_part_in_ros() -> None:
    answers = said(audio={"source": "ros"}, video={"source": "ros"})
    taken = answers["What it takes in"]
    assert "Sound from ROS topics" in taken and "Pictures from ROS topics" in taken
    assert "can be switched off" not in taken and "Parameters of the ROS node" in taken
    leaves = answers["What leaves this device"]
    for part in ("takes part in ROS", "ROS_DOMAIN_ID", "hears, in words", "NOT encrypted"):
        assert part in leaves
    who = answers["Who can look at it or command it"]
    assert "make it speak, silence and stop it" in who and "Nobody" not in who
    assert "Nothing" not in leaves


def test_a_file_that_may_be_a_ros_node_s_says_so() -> None:
    answers = said(actions={"wave": {"ros_topic": "arm"}})
    leaves = answers["What leaves this device"]
    assert leaves.startswith("Nothing. Started as a ROS node: to every program")
    who = answers["Who can look at it or command it"]
    assert "no port. Started as a ROS node: every program" in who


def test_recordings_are_named_with_their_limits() -> None:
    kept = said(recording={"path": Path("/var/lib/x/last.mcap"), "frames": False, "keep_days": 2})
    assert "Recordings with sound and words in /var/lib/x" in kept["What it keeps"]
    assert "at most 2 days" in kept["What it keeps"]


def test_a_port_that_is_open_to_the_network_is_in_capitals() -> None:
    local = said(http={"port": 9100, "metrics": True})["Who can look at it or command it"]
    assert local.startswith("Programs on this machine can read /health and /metrics (port 9100)")
    wide = said(http={"port": 9100, "address": "0.0.0.0"})["Who can look at it or command it"]
    assert wide.startswith("EVERYBODY who reaches 0.0.0.0 can read /health (port 9100)")


def test_a_screen_shows_what_is_said_and_only_where_allowed_what_is_heard() -> None:
    asked, leaves = "Who can look at it or command it", "What leaves this device"
    assert "/events" not in said(http={"port": 9464})[asked]
    local = said(http={"port": 9464, "live": True})
    assert "Programs on this machine can watch the page / and /events (port 9464)" in local[asked]
    assert "what it says, in words" in local[asked] and "hears" not in local[asked]
    assert local[leaves] == "Nothing."
    heard = said(http={"port": 9464, "live": True, "tell_heard": True})[asked]
    assert "what it hears and is asked, in words" in heard
    wide = said(http={"port": 9464, "live": True, "address": "0.0.0.0"})
    assert "EVERYBODY who reaches 0.0.0.0 can watch" in wide[asked]
    assert "To everybody who reaches 0.0.0.0: what it says, in words" in wide[leaves]
    assert "NOT encrypted" in wide[leaves]
    other = said(http={"port": 9464, "live": True, "origins": ["http://localhost:3000"]})[asked]
    assert "Web pages from http://localhost:3000 can read /events" in other


def test_every_section_that_hands_something_on_is_asked() -> None:
    """A new section of the configuration is a question to privacy.py: answer it, then add it."""
    silent = {"device", "engine", "decision", "voice", "background", "health", "loop"}
    spoken = {
        "actions",
        "audio",
        "video",
        "delegation",
        "recording",
        "http",
        "home_assistant",
        "ros",
    }
    assert set(Config.model_fields) == silent | spoken
