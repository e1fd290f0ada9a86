"""The topics and services of the device: one table for ROS, for DDS without ROS, and for tests."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.sinks.message_types import PACKAGE


@dataclass(frozen=True, slots=True)
class Qos:
    """Quality of service, in what ROS and DDS have in common."""

    reliable: bool
    depth: int
    """The newest so many are kept for a slow reader."""
    latched: bool = False
    """Who comes late still gets the last one."""


EVENTS = Qos(reliable=True, depth=10)
STATE = Qos(reliable=True, depth=1, latched=True)
SENSOR_DATA = Qos(reliable=False, depth=5)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic under the node's namespace; one that begins with `/` stands as it is."""

    name: str
    type: str
    """`package/Name`."""
    qos: Qos
    rate_hz: float | None = None
    """None: when something happens."""


MICRO_TURN = Topic("micro_turn", f"{PACKAGE}/MicroTurn", STATE, 5.0)
UTTERANCE = Topic("utterance", f"{PACKAGE}/Utterance", EVENTS)
SPEECH_AUDIO = Topic("speech_audio", f"{PACKAGE}/SpeechAudio", SENSOR_DATA, 5.0)
ACTION = Topic("action", f"{PACKAGE}/Action", EVENTS)
USER_SPEECH = Topic("user_speech", f"{PACKAGE}/UserSpeech", EVENTS)
DELEGATION = Topic("delegation", f"{PACKAGE}/Delegation", EVENTS)
SEEN = Topic("seen", f"{PACKAGE}/Seen", STATE, 1.0)
"""And at each change."""
DIAGNOSTICS = Topic("/diagnostics", "diagnostic_msgs/DiagnosticArray", EVENTS, 1.0)
PUBLISHED = (
    MICRO_TURN,
    UTTERANCE,
    SPEECH_AUDIO,
    ACTION,
    USER_SPEECH,
    DELEGATION,
    SEEN,
    DIAGNOSTICS,
)
MODE = Topic("mode", "std_msgs/String", STATE)
"""In ROS only."""

ACTION_ACK = Topic("action_ack", f"{PACKAGE}/ActionAck", EVENTS)
AUDIO_IN = Topic("audio_in", f"{PACKAGE}/AudioIn", SENSOR_DATA)
IMAGE = Topic("image", "sensor_msgs/Image", SENSOR_DATA)
COMPRESSED_IMAGE = Topic("image/compressed", "sensor_msgs/CompressedImage", SENSOR_DATA)
IMAGES = {
    "raw": (IMAGE,),
    "compressed": (COMPRESSED_IMAGE,),
    "both": (IMAGE, COMPRESSED_IMAGE),
}
"""By `ros.image_transport`."""
AUDIO_STAMPED = Topic("audio_stamped", "audio_common_msgs/AudioDataStamped", SENSOR_DATA)
AUDIO_INFO = Topic("audio_info", "audio_common_msgs/AudioInfo", SENSOR_DATA)
"""The last four in ROS only; AUDIO_... where ros-drivers' audio_common_msgs is installed."""
SOUND = (AUDIO_IN, AUDIO_STAMPED)
SUBSCRIBED = (ACTION_ACK, AUDIO_IN, IMAGE, COMPRESSED_IMAGE, AUDIO_STAMPED, AUDIO_INFO)

SERVICES = {
    "say": f"{PACKAGE}/Say",
    "set_mode": f"{PACKAGE}/SetMode",
    "cancel": f"{PACKAGE}/Cancel",
    "stop": "std_srvs/Trigger",
}
"""In ROS only."""


def resolve(namespace: str, name: str) -> str:
    """The whole name of a topic: `/robot/action` for `action` in `/robot`."""
    if name.startswith("/"):
        return name
    return "/" + "/".join(part for part in (*namespace.split("/"), *name.split("/")) if part)
