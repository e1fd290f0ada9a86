"""The node as a robot meets it: its transitions, parameters, services and topics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
launch_pytest = pytest.importorskip("launch_pytest", reason="launch_pytest is not installed")
pytest.importorskip("edge_interaction_msgs", reason="the workspace is not built and sourced")

from launch import LaunchDescription  # noqa: E402
from launch_ros.actions import LifecycleNode  # noqa: E402
from robot import Robot  # noqa: E402

from edge_interaction.wire import qos_profile, service_class, to_ros  # noqa: E402
from edge_runtime.sinks import topics  # noqa: E402
from edge_runtime.sinks.messages import stamp  # noqa: E402


@launch_pytest.fixture(scope="module")
def a_node() -> LaunchDescription:
    node = LifecycleNode(
        package="edge_interaction",
        executable="interaction",
        name="edge_interaction",
        namespace="",
        parameters=[{"audio.source": "ros", "video.source": "ros"}],
        output="screen",
    )
    return LaunchDescription([node, launch_pytest.actions.ReadyToTest()])


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


@pytest.mark.launch(fixture=a_node)
def test_the_node_goes_through_every_transition(robot: Robot) -> None:
    turns = robot.listen(topics.MICRO_TURN)
    assert robot.state == "unconfigured"
    assert robot.change("configure")
    assert robot.state == "inactive"
    assert turns == []
    assert robot.change("activate")
    assert robot.state == "active"
    robot.wait_until(lambda: len(turns) >= 3, "three micro-turns")
    assert robot.change("deactivate")
    assert robot.state == "inactive"
    seen = turns[-1].index
    assert robot.change("activate")
    robot.wait_until(lambda: turns[-1].index > seen, "a micro-turn of the second run")
    assert [turn.index for turn in turns] == list(range(turns[-1].index + 1))
    assert robot.change("deactivate")
    assert robot.change("cleanup")
    assert robot.state == "unconfigured"


@pytest.mark.launch(fixture=a_node)
def test_a_transition_that_is_impossible_is_refused_and_does_no_harm(robot: Robot) -> None:
    assert not robot.change("cleanup")
    assert robot.state == "unconfigured"
    assert robot.change("configure")
    assert not robot.change("configure")
    assert robot.change("cleanup")


@pytest.mark.launch(fixture=a_node)
def test_a_bad_parameter_is_refused_with_a_message(robot: Robot) -> None:
    result = robot.set(voice__rate_wpm=9999)
    assert not result.successful
    assert "voice.rate_wpm" in result.reason and "450" in result.reason
    result = robot.set(decision__eagerness="quick")
    assert "decision.eagerness" in result.reason
    assert robot.set(voice__rate_wpm=180).successful


@pytest.mark.launch(fixture=a_node)
def test_parameters_are_fixed_while_it_is_configured(robot: Robot) -> None:
    assert robot.change("configure")
    result = robot.set(voice__rate_wpm=170)
    assert not result.successful and "clean up first" in result.reason
    assert robot.change("cleanup")
    assert robot.set(voice__rate_wpm=170).successful


@pytest.mark.launch(fixture=a_node)
def test_what_cannot_be_acquired_leaves_it_unconfigured(robot: Robot) -> None:
    assert robot.set(engine__folder="/nowhere").successful
    assert not robot.change("configure")
    assert robot.state == "unconfigured"
    assert robot.set(engine__folder="").successful
    assert robot.change("configure")
    assert robot.change("cleanup")


@pytest.mark.launch(fixture=a_node)
def test_topics_are_as_the_table_says(robot: Robot) -> None:
    assert robot.change("configure")
    info = {True: robot.node.get_publishers_info_by_topic,
            False: robot.node.get_subscriptions_info_by_topic}  # fmt: skip
    for published, table in ((True, topics.PUBLISHED), (False, topics.SUBSCRIBED)):
        for topic in table:
            if topic.type.startswith("audio_common_msgs"):  # where that package is installed
                continue
            name = topics.resolve("/", topic.name)
            robot.wait_until(lambda: bool(info[published](name)), topic.name)  # noqa: B023
            (end,) = info[published](name)
            wanted = qos_profile(topic.qos)
            assert end.topic_type == topic.type.replace("/", "/msg/")
            assert end.qos_profile.reliability == wanted.reliability
            assert end.qos_profile.durability == wanted.durability
    assert robot.change("cleanup")


@pytest.mark.launch(fixture=a_node)
def test_services_are_heeded_and_refuse_what_makes_no_sense(robot: Robot) -> None:
    assert robot.change("configure")
    assert robot.ask("Say", text="Hello").message == "The node is not active."
    said = robot.listen(topics.UTTERANCE)
    assert robot.ask("SetMode", mode=2).accepted
    assert robot.change("activate")
    assert "is in mode standby" in robot.ask("Say", text="Hello").message
    assert robot.ask("SetMode", mode=0).accepted
    assert "1 to 1000" in robot.ask("Say", text=" ").message
    assert "`mode` is 9" in robot.ask("SetMode", mode=9).message
    assert robot.ask("Say", text="The door is open.", when=1).accepted
    robot.wait_until(lambda: any(one.text == "The door is open." for one in said), "speech")
    robot.wait_until(lambda: said[-1].state == said[-1].STARTED, "its beginning")
    assert robot.ask("Cancel").accepted
    robot.wait_until(lambda: said[-1].state == said[-1].INTERRUPTED, "its end")
    assert robot.ask("SetMode", mode=1).accepted
    assert "normal first" in robot.ask("Say", text="Hello").message
    assert robot.change("deactivate")
    assert robot.change("cleanup")


@pytest.mark.launch(fixture=a_node)
@pytest.mark.parametrize("mute", [False, True])
def test_what_it_says_is_heard_unless_it_is_muted(robot: Robot, mute: bool) -> None:
    assert robot.set(audio__mute=mute).successful
    assert robot.change("configure")
    said, sounds = robot.listen(topics.UTTERANCE), robot.listen(topics.SPEECH_AUDIO)
    assert robot.change("activate")
    assert robot.ask("SetMode", mode=0).accepted
    assert robot.ask("Say", text="The door is open.", when=1).accepted
    robot.wait_until(lambda: bool(said) and said[-1].state == said[-1].FINISHED, "its end")
    assert robot.change("deactivate")
    assert any(one.utterance_id for one in sounds)
    assert any(any(one.data) for one in sounds) == (not mute)
    assert robot.change("cleanup")
    assert robot.set(audio__mute=False).successful


@pytest.mark.launch(fixture=a_node)
def test_a_stop_is_heeded_in_every_state_that_has_a_body(robot: Robot) -> None:
    kind = service_class("std_srvs/Trigger")
    actions = robot.listen(topics.ACTION)
    assert robot.change("configure")
    assert robot.call(kind, "/stop", kind.Request()).success
    robot.wait_until(lambda: bool(actions), "a stop")
    assert robot.change("activate")
    assert robot.ask("SetMode", mode=0).accepted
    assert robot.ask("Say", text="The door is open.", when=1).accepted
    said = robot.listen(topics.UTTERANCE)
    robot.wait_until(lambda: bool(said) and said[-1].state == said[-1].STARTED, "speech")
    assert robot.call(kind, "/stop", kind.Request()).success
    robot.wait_until(lambda: said[-1].state == said[-1].INTERRUPTED, "its end")
    assert {one.name for one in actions} == {"stop_motion"}
    assert robot.change("deactivate")
    assert robot.change("cleanup")


@pytest.mark.launch(fixture=a_node)
def test_the_mode_is_shown_and_outlives_the_configuration(robot: Robot) -> None:
    modes = robot.listen(topics.MODE)
    for _ in range(2):
        assert robot.change("configure")
        assert robot.change("activate")
        assert robot.ask("SetMode", mode=1).accepted
        robot.wait_until(lambda: bool(modes) and modes[-1].data == "quiet", "the mode")
        assert robot.change("deactivate")
        assert robot.change("cleanup")
    assert [one.data for one in modes if one.data != "normal"] == ["quiet"]
    assert robot.change("configure")
    assert robot.change("activate")
    assert "mode quiet" in robot.ask("Say", text="Hello").message
    assert robot.ask("SetMode", mode=0).accepted
    robot.wait_until(lambda: modes[-1].data == "normal", "the mode")
    assert robot.change("deactivate")
    assert robot.change("cleanup")


@pytest.mark.launch(fixture=a_node)
def test_no_part_is_ever_missing_from_diagnostics_again(robot: Robot) -> None:
    told = robot.listen(topics.DIAGNOSTICS)

    def newest() -> dict[str, str]:
        return {one.name: one.message for one in told[-1].status} if told else {}

    def tells(state: str) -> bool:
        return newest().get("edge_interaction: node") == state

    assert robot.change("configure")
    assert robot.change("activate")
    robot.wait_until(lambda: "edge_interaction: compute" in newest(), "all parts")
    names = list(newest())
    assert robot.change("deactivate")
    robot.wait_until(lambda: tells("inactive"), "its new state")
    assert list(newest()) == names and set(newest().values()) == {"inactive"}
    assert robot.change("cleanup")
    robot.wait_until(lambda: tells("unconfigured"), "its new state")
    assert list(newest()) == names


@pytest.mark.launch(fixture=a_node)
def test_leaving_the_active_state_stops_the_body_until_it_says_so(robot: Robot) -> None:
    actions = robot.listen(topics.ACTION)
    ack = topics.ACTION_ACK
    answer = robot.node.create_publisher(type(to_ros(ack.type, acknowledged(""))), ack.name,
                                         qos_profile(ack.qos))  # fmt: skip
    assert robot.change("configure")
    assert robot.change("activate")
    robot.wait_until(lambda: answer.get_subscription_count() == 1, "a reader of action_ack")
    assert robot.change("deactivate")
    robot.wait_until(lambda: len(actions) >= 2, "a repeated stop")
    assert {one.name for one in actions} == {"stop_motion"}
    assert {one.source for one in actions} == {actions[0].SAFETY}
    answer.publish(to_ros(ack.type, acknowledged(actions[0].id)))
    assert robot.change("cleanup")
    assert len(actions) <= 11


def acknowledged(id: str) -> dict[str, object]:
    header = {"stamp": stamp(0), "frame_id": ""}
    return {"header": header, "id": id, "accepted": True, "detail": ""}
