"""What the ROS node hears, and what its launch file remaps; a stub stands where ROS would."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edge_runtime.config import Config
from edge_runtime.senses import topic_senses_for
from edge_runtime.sinks import topics
from edge_runtime.sources.ros_topics import StampClock, TopicMicrophone

NODE_MODULES = ("rclpy", "rclpy.node", "rclpy.qos", "rosidl_runtime_py.utilities")
LAUNCH_MODULES = (
    "launch",
    "launch.actions",
    "launch.conditions",
    "launch.substitutions",
    "launch_ros.actions",
    "launch_ros.parameter_descriptions",
    "launch_ros.substitutions",
)


class Made(SimpleNamespace):
    """Whatever a ROS class would make: what it was made with."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(given=given, **named)


class Stub(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Made,), {"__getattr__": lambda made, field: field})


def stub(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        parent = name.partition(".")[0]
        monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent, Stub(parent)))
        monkeypatch.setitem(sys.modules, name, Stub(name))


class Node:
    """Keeps what is subscribed to."""

    def __init__(self) -> None:
        self.subscribed: dict[str, Any] = {}
        self.said: list[str] = []
        self.publishers: dict[str, int] = {}

    def create_subscription(self, kind: Any, topic: str, take: Any, qos: Any) -> str:
        self.subscribed[topic] = take
        return topic

    def destroy_subscription(self, topic: str) -> None:
        del self.subscribed[topic]

    def resolve_topic_name(self, topic: str) -> str:
        return f"/robot/{topic}"

    def count_publishers(self, topic: str) -> int:
        return self.publishers.get(topic, 0)

    def get_logger(self) -> Any:
        return SimpleNamespace(debug=self.said.append, info=self.said.append)


@pytest.fixture
def node_senses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    stub(monkeypatch, *NODE_MODULES)
    for name in ("edge_interaction.wire", "edge_interaction.senses"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("edge_interaction.senses")
    for name in ("edge_interaction.wire", "edge_interaction.senses"):
        sys.modules.pop(name, None)


def subscriptions(
    node_senses: Any, monkeypatch: pytest.MonkeyPatch, missing: str = "", images: str = "both"
) -> tuple[Node, TopicMicrophone]:
    """`missing`: a message type that is not installed. `images`: how they are sent."""

    def message_class(name: str) -> str:
        if name == missing:
            raise AttributeError(f"there is no {name}")
        return name

    monkeypatch.setattr(node_senses, "message_class", message_class)
    monkeypatch.setattr(node_senses, "qos_profile", lambda qos: qos)
    config = Config.model_validate(
        {
            "audio": {"source": "ros"},
            "video": {"source": "ros"},
            "ros": {"image_transport": images},
        }
    )
    node = Node()
    senses = topic_senses_for(config, StampClock(), lambda wanted: node_senses.whence(node, wanted))
    assert isinstance(senses.audio, TopicMicrophone)
    held = node_senses.Subscriptions(node, config, senses, SimpleNamespace(take_ack=None))
    subscribed = dict(node.subscribed)
    held.close()
    assert not node.subscribed
    assert {"audio_in", "action_ack"} <= set(subscribed)
    node.subscribed = subscribed
    return node, senses.audio


def test_audio_info_says_what_audio_stamped_brings(
    node_senses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, microphone = subscriptions(node_senses, monkeypatch)
    told = SimpleNamespace(
        channels=1, sample_rate=16_000, sample_format="S16LE", bitrate=192, coding_format="mp3"
    )
    stamp = SimpleNamespace(sec=0, nanosec=0)
    block = SimpleNamespace(
        header=SimpleNamespace(stamp=stamp), audio=SimpleNamespace(data=bytes(320))
    )
    node.subscribed["audio_stamped"](block)
    assert microphone.refused_blocks == 0
    node.subscribed["audio_info"](told)
    node.subscribed["audio_stamped"](block)
    assert microphone.refused_blocks == 1


@pytest.mark.parametrize("missing", ["AudioDataStamped", "AudioInfo"])
def test_what_is_not_installed_is_done_without(
    missing: str, node_senses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another package of that name has an AudioInfo too, of other fields."""
    node, _ = subscriptions(node_senses, monkeypatch, f"audio_common_msgs/{missing}")
    assert "audio_info" not in node.subscribed
    assert ("audio_stamped" in node.subscribed) == (missing == "AudioInfo")
    assert any(missing in words for words in node.said)


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        ("both", {"image", "image/compressed"}),
        ("raw", {"image"}),
        ("compressed", {"image/compressed"}),
    ],
)
def test_pictures_are_received_as_they_shall_be_sent(
    images: str, wanted: set[str], node_senses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1080p at 30 Hz the raw ones are 187 MB a second."""
    node, _ = subscriptions(node_senses, monkeypatch, images=images)
    assert {name for name in node.subscribed if name.startswith("image")} == wanted


def test_the_log_names_the_topics_it_listens_on(
    node_senses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _ = subscriptions(node_senses, monkeypatch, images="raw")
    names = ("action_ack", "audio_in", "audio_stamped", "audio_info", "image")
    assert node.said == ["it listens on " + ", ".join(f"/robot/{name}" for name in names)]


def test_where_nothing_comes_from_is_told_with_who_publishes_there(
    node_senses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic whose messages are not installed is not received."""
    node, _ = subscriptions(node_senses, monkeypatch)
    node.publishers = {"/robot/image": 2, "/robot/audio_in": 1}
    said = node_senses.whence(node, topics.IMAGES["both"])
    assert said == "/robot/image (2 publishers) or /robot/image/compressed (nobody publishes it)"
    subscriptions(node_senses, monkeypatch, "audio_common_msgs/AudioDataStamped")
    assert node_senses.whence(node, topics.SOUND) == "/robot/audio_in (1 publisher)"


def launched(
    monkeypatch: pytest.MonkeyPatch, repository: Path, **given: str
) -> tuple[dict[str, Any], list[Any]]:
    """The arguments of the launch file with what is given, and the nodes that it starts then."""
    stub(monkeypatch, *LAUNCH_MODULES)
    folder = repository / "ros2_ws" / "src" / "edge_interaction" / "launch"
    launch = runpy.run_path(str(folder / "interaction.launch.py"))
    *declared, starting, loudspeaker = launch["generate_launch_description"]().given[0]
    arguments = {one.given[0]: one.default_value for one in declared}
    assert set(given) <= set(arguments)
    arguments |= given
    nodes = starting.function(SimpleNamespace(launch_configurations=arguments))
    return arguments, [*nodes, loudspeaker]


def test_every_topic_that_a_driver_feeds_can_be_remapped(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    arguments, (node, *_) = launched(monkeypatch, repository)
    remapped = {name: wanted for name, wanted in node.remappings if name != "image/compressed"}
    assert {"audio_in", "audio_stamped", "audio_info", "image", "cmd_vel"} == set(remapped)
    for name, wanted in remapped.items():
        assert wanted.given == (name,), "the argument of the same name"
        assert arguments[name] == name


@pytest.mark.parametrize(
    ("given", "choices"),
    [
        ({}, {}),
        ({"audio": "microphone"}, {"audio.source": "microphone"}),
        ({"video": "0"}, {"video.source": 0}),
        ({"audio": "ros", "video": "BRIO"}, {"audio.source": "ros", "video.source": "BRIO"}),
        ({"video": "none"}, {"video.source": "none"}),
        ({"image_transport": "compressed"}, {"ros.image_transport": "compressed"}),
    ],
)
def test_where_it_hears_and_sees_is_chosen_above_the_parameters_of_the_file(
    given: dict[str, str],
    choices: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    repository: Path,
) -> None:
    """Without a choice nothing is set: the file's `audio.source` stands, whichever it is, or
    where one's own file has none, that of the file that comes with the node."""
    _, (node, *_) = launched(monkeypatch, repository, **given)
    shipped, file, above = node.parameters
    assert shipped.given[0][1:] == ["config", "params.yaml"]
    assert file.given == ("params",)
    chosen = {key: value for key, value in above.items() if "." in key}
    assert {key: getattr(one, "given", (one,))[0] for key, one in chosen.items()} == choices


def test_the_launch_file_s_loudspeaker_is_chosen_and_off_by_default(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    arguments, (node, loudspeaker) = launched(monkeypatch, repository)
    assert arguments["loudspeaker"] == "false"
    (switch,) = loudspeaker.condition.given
    assert (loudspeaker.executable, switch.given) == ("loudspeaker", ("loudspeaker",))
    (chosen,) = loudspeaker.parameters
    assert chosen["output_device"].given[0].given == ("loudspeaker_device",)
    assert loudspeaker.namespace.given == node.namespace.given


def test_nothing_is_played_twice(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    launched(monkeypatch, repository, audio="ros", loudspeaker="true")
    with pytest.raises(ValueError, match="Leave one of them out"):
        launched(monkeypatch, repository, audio="microphone", loudspeaker="true")
