"""Message files parse, and their hashes are those that ROS 2 computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_runtime.errors import WireError
from edge_runtime.sinks import message_types, topics
from edge_runtime.sinks.message_types import (
    PACKAGE,
    Field,
    message_folder,
    message_type,
    parse,
    type_hash,
)

# As rosidl of ROS 2 Jazzy wrote them into the .json files beside the messages it generated from.
HASHES = dict(
    line.split()
    for line in """
builtin_interfaces/Time b106235e25a4c5ed35098aa0a61a3ee9c9b18d197f398b0e4206cea9acf9c197
diagnostic_msgs/DiagnosticArray 5a8a36efb05fb25070fa0fb3810290c0e6cd4862b54a8fb975a1ee8dc55a333e
edge_interaction_msgs/Action 6a21df5f6d22a792abab06eb049588a6609388de784cc21de5587813cd739121
edge_interaction_msgs/ActionAck 79a707e47a61270dc1f842bf77b45302ce9ee2afcfdc716ab51f26c0eb4f321e
edge_interaction_msgs/AudioIn b43d6bc28a02538cac737b9c508f97eccf5a56c2fbb56c156eccba3bf204f732
edge_interaction_msgs/Delegation 321bf30e034a8906536afb23565669b790ddc3b62e1ff325b4eaf18a88e9c160
edge_interaction_msgs/MicroTurn 27538fcaea5e6fa3e5fe8646c28c84293a959a0174bc6263cdc769769e031952
edge_interaction_msgs/Seen 3de8603c0f4faa8da9f685e388a05cdfe98bb4ac0e9f3e47d93f24024bce6953
edge_interaction_msgs/SpeechAudio b4fb86cfb429c2d6594006daae5562883be9bcf0052b6f532714f56c2f6a3934
edge_interaction_msgs/UserSpeech ab0bed50316d7c015610657192a04364b38945e8e421227432111f6dd92b7b10
edge_interaction_msgs/Utterance d2c4a078d799035e67be02be2a5f8983f1eb42b54c973ef16d075d50ab29c439
geometry_msgs/PointStamped 4c0296af86e01e562e9e0405d138a01537247580076c58ea38d7923ac1045897
geometry_msgs/Twist 9c45bf16fe0983d80e3cfe750d6835843d265a9a6c46bd2e609fcddde6fb8d2a
geometry_msgs/TwistStamped 5f0fcd4f81d5d06ad9b4c4c63e3ea51b82d6ae4d0558f1d475229b1121db6f64
rmw_dds_common/ParticipantEntitiesInfo 91a0593bacdcc50ea9bdcf849a938b128412cc1ea821245c663bcd26f83c295e
std_msgs/Bool feb91e995ff9ebd09c0cb3d2aed18b11077585839fb5db80193b62d74528f6c9
std_msgs/Header f49fb3ae2cf070f793645ff749683ac6b06203e41c891e17701b1cb597ce6a01
std_msgs/String df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18
""".strip().splitlines()  # noqa: E501 - a hash is as long as it is
)
OURS = [name for name in HASHES if name.startswith(PACKAGE)]
OUR_SERVICES = [name for name in topics.SERVICES.values() if name.startswith(PACKAGE)]


@pytest.mark.parametrize("name", HASHES)
def test_a_hash_is_the_one_that_ros_computes(name: str) -> None:
    assert type_hash(name) == f"RIHS01_{HASHES[name]}"


def test_every_message_file_is_known() -> None:
    assert {f"{PACKAGE}/{path.stem}" for path in message_folder().glob("*.msg")} == set(OURS)


def test_every_topic_of_ours_has_a_type() -> None:
    ours = {
        topic.type
        for topic in (*topics.PUBLISHED, *topics.SUBSCRIBED)
        if topic.type.startswith(PACKAGE)
    }
    assert ours == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_every_field_says_what_it_is(name: str) -> None:
    text = (message_folder() / f"{name.partition('/')[2]}.msg").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) == len(message_type(name).fields) + len(message_type(name).constants)
    assert [line for line in lines if "#" not in line] == []


@pytest.mark.parametrize("name", [*OUR_SERVICES, *OURS])
def test_the_workspace_generates_every_file(name: str, repository: Path) -> None:
    folder = repository / "ros2_ws" / "src" / PACKAGE
    short = name.partition("/")[2]
    kind = "srv" if name in OUR_SERVICES else "msg"
    assert (folder / kind / f"{short}.{kind}").is_file()
    assert f'"{kind}/{short}.{kind}"' in (folder / "CMakeLists.txt").read_text()


def test_names_are_told_as_ros_and_dds_tell_them() -> None:
    message = message_type("edge_interaction_msgs/Action")
    assert message.ros_name == "edge_interaction_msgs/msg/Action"
    assert message.dds_name == "edge_interaction_msgs::msg::dds_::Action_"


def test_a_field_may_be_an_array_a_bounded_text_or_another_message() -> None:
    text = """
    uint8 ONE = 1  # a constant
    string<=256 name
    int16[] samples   # as many as there are
    uint8[16] gid
    Other[<=4] others
    std_msgs/Header header
    """
    message = parse("our_msgs/Thing", text)
    assert message.constants == (("ONE", 1),)
    assert message.fields == (
        Field("name", "string", longest=256),
        Field("samples", "int16", array=True),
        Field("gid", "uint8", array=True, size=16, fixed=True),
        Field("others", "our_msgs/Other", array=True, size=4),
        Field("header", "std_msgs/Header"),
    )


@pytest.mark.parametrize("line", ["float32", "int16 Wrong", "string text 'default'", "int8 a b c"])
def test_a_line_that_is_no_field_is_refused(line: str) -> None:
    with pytest.raises(WireError, match=re.escape(f"line 2: {line!r}")):
        parse("our_msgs/Thing", f"int8 first\n{line}")


@pytest.mark.parametrize("name", ["edge_interaction_msgs/Nothing", "other_msgs/Action", "Action"])
def test_a_message_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="There is no message"):
        message_type(name)


def test_without_message_files_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(message_types, "_IN_CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(message_types, "_IN_PACKAGE", tmp_path / "package")
    with pytest.raises(WireError, match="install edge-runtime again"):
        message_folder()


@pytest.mark.parametrize(
    ("namespace", "name", "whole"),
    [
        ("/", "action", "/action"),
        ("", "action", "/action"),
        ("/robot", "action", "/robot/action"),
        ("robot/head", "image/compressed", "/robot/head/image/compressed"),
        ("/robot", "/diagnostics", "/diagnostics"),
        ("/robot", "", "/robot"),
        ("/", "", "/"),
    ],
)
def test_topics_stand_under_the_namespace(namespace: str, name: str, whole: str) -> None:
    assert topics.resolve(namespace, name) == whole
