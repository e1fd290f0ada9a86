"""The configuration: one YAML file, typed and closed. Without a file the defaults run."""

from __future__ import annotations

import difflib
import logging
import os
import re
import reprlib
import stat
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from edge_runtime import strict_yaml
from edge_runtime.broker_url import broker_address
from edge_runtime.credentials import located
from edge_runtime.errors import ConfigError
from edge_runtime.jsgf import Phrase, shared
from edge_runtime.masking import HIDDEN, holds_secrets, masked
from edge_runtime.micro_turn import ACTION_NAME, LANGUAGE, STOP_MOTION

log = logging.getLogger(__name__)
Settings = TypeVar("Settings", bound=BaseModel)

_MAY_BE_SECRET = re.compile("env|args|command|url|base_url|[a-z_]+_file")
"""Keys of what is shown in no message."""


class _Short(reprlib.Repr):
    """Without what may be a secret."""

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        shown = {key: HIDDEN if _may_be_secret(key) else value for key, value in x.items()}
        return super().repr_dict(shown, level)


_SHORT = _Short()
"""How what was given is shown: a few lines with anchors can stand for more than fits into the
memory."""
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 120, 120
_NAME_AT_HOME = r"[A-Za-z0-9_-]{1,64}"
MICROPHONE, TOPICS = "microphone", "ros"
"""As sources: a microphone of this machine; ROS topics, in the ROS node."""
FOLDER = "folder"
"""Of the configuration file, in the context of a validation."""
_ROS_NAME = r"^/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*$"


def _mode(path: Path) -> int:
    """The permissions of a file; 0 where there is none, or no such name can be."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0
    return status.st_mode if stat.S_ISREG(status.st_mode) else 0


def _for_its_owner(path: Path) -> Path:
    if _mode(located(path)) & stat.S_IROTH:
        log.warning("everybody on this machine can read the secret %s: chmod 600 it", path)
    return path


def _beside(path: Path, info: ValidationInfo) -> Path:
    """A relative name is taken from the configuration's folder. Raises ValueError where only the
    working folder has the file, as it was looked for there once."""
    folder = (info.context or {}).get(FOLDER)
    if folder is None or path.is_absolute():
        return path
    there: Path = folder / path
    if not os.path.exists(there) and os.path.exists(path):
        raise ValueError(
            f"there is no {there}, only {path.absolute()}: a relative name is taken from the "
            "configuration's folder. Move the file, or give its whole path"
        )
    return there


def _credential_or_beside(path: Path, info: ValidationInfo) -> Path:
    return path if located(path) != path else _beside(path, info)


def _secret_beside(path: Path, info: ValidationInfo) -> Path:
    """One that is nowhere keeps its name: its place may be among credentials."""
    there = (info.context or {}).get(FOLDER, Path()) / path
    return there if located(path) == path and os.path.exists(there) else path


def _array_beside(name: str, info: ValidationInfo) -> str:
    """Names of arrays that we know have no ending."""
    is_file = "/" in name or Path(name).suffix
    return str(_beside(Path(name), info)) if is_file else name


def _as_browsers_send_it(origin: str) -> str:
    """In lower case, and without the port that its scheme has anyway. Raises ValueError."""
    parts = urlsplit(origin.lower())
    if not parts.hostname:
        raise ValueError("it names no host; give one such as http://localhost:3000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own = parts.port in (None, {"http": 80, "https": 443}[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if own else f":{parts.port}")


ActionName = Annotated[str, Field(pattern=ACTION_NAME)]
Origin = Annotated[
    str,
    Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]{1,255}$"),
    AfterValidator(_as_browsers_send_it),
]
"""Of a web page: scheme, host and port, as browsers send it."""
InputFile = Annotated[Path, AfterValidator(_beside)]
"""What is read. What is written keeps its name, from the working folder."""
CertificateFile = Annotated[Path, AfterValidator(_credential_or_beside)]
SecretFile = Annotated[Path, AfterValidator(_secret_beside), AfterValidator(_for_its_owner)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Device(_Section):
    name: str = Field("edge", min_length=1, description="What the device calls itself.")
    language: str = Field(
        "en",
        description="Language of its phrases: en, de; another one with voice.phrases. It changes "
        "neither what is understood (the reference model: English), nor voice.voice, nor what the "
        "device's own skills say (time, sums, timers: English).",
    )

    @field_validator("language")
    @classmethod
    def _is_one_that_workers_take(cls, language: str) -> str:
        if not re.fullmatch(LANGUAGE, language):
            raise ValueError("no tag of a language; write it as de, de-AT or gsw")
        return language


class Audio(_Section):
    source: str = Field(
        MICROPHONE, description="`microphone`, a sound file, or in the ROS node `ros`."
    )
    input_device: str | None = Field(
        None,
        examples=["ReSpeaker"],
        description="Part of the microphone's name, its serial number or USB path.",
    )
    output_device: str | None = Field(
        None,
        examples=["USB Speaker"],
        description="Part of the loudspeaker's name, its serial number or USB path.",
    )
    channels: int = Field(1, ge=1, le=16, description="Of the microphone.")
    volume: float = Field(1.0, ge=0.0, le=1.0, description="Of the loudspeaker.")
    mute: bool = Field(False, description="The loudspeaker gives no sound.")
    block_ms: float | None = Field(
        None,
        ge=2,
        le=100,
        examples=[10.0],
        description="What the devices give and take at a time; default: measured at the start.",
    )
    streams: Literal["auto", "one", "two"] = Field(
        "auto", description="One for microphone and loudspeaker if these are one device, or two."
    )
    echo_delay_ms: float = Field(
        0.0,
        ge=-500,
        le=500,
        description="How much later than the devices say the loudspeaker is heard; found by "
        "itself once the device has spoken.",
    )
    echo_file: InputFile | None = Field(
        None,
        strict=False,
        examples=["echo.yaml"],
        description="Of `edge-runtime calibrate echo`; what it measured is in place of "
        "echo_delay_ms.",
    )
    array: Annotated[str, AfterValidator(_array_beside)] | None = Field(
        None,
        min_length=1,
        examples=["respeaker_4"],
        description="Where an array's microphones are: a name (respeaker_4, uma_8, ...) or a file.",
    )
    array_turned_deg: float = Field(
        0.0, ge=-180, le=180, description="By how much the array is mounted turned to the left."
    )
    beam: Literal["delay_and_sum", "mvdr", "none"] = Field(
        "delay_and_sum", description="How an array listens towards the bearing of a sound."
    )
    echo: Literal["auto", "none", "speex", "hardware"] = Field(
        "auto",
        description="What takes our own voice out of the microphone: nothing, libspeexdsp "
        "(`speex`, or `apm` as in older files), or the array's hardware. auto: speex where it is "
        "installed.",
    )

    @property
    def gain(self) -> float:
        """Of all that is played: `volume`, or 0 while muted."""
        return 0.0 if self.mute else self.volume

    @field_validator("echo", mode="before")
    @classmethod
    def _older_name(cls, echo: object) -> object:
        """`apm` promised WebRTC's canceller, which was measured and not taken."""
        return "speex" if echo == "apm" else echo


class Video(_Section):
    source: str | int | None = Field(
        None,
        examples=["BRIO"],
        description="A camera (a part of its name, serial number or USB path, an rtsp:// or "
        "http:// address, a GStreamer pipeline, a number), a video file, a folder of frames, "
        "nothing, or in the ROS node `ros`.",
    )
    max_age_ms: float = Field(600.0, gt=0, description="An older picture counts as none.")
    rotate: Literal[0, 90, 180, 270] = Field(0, description="A camera's picture, clockwise.")
    crop: list[float] | None = Field(
        None,
        min_length=4,
        max_length=4,
        examples=[[0.0, 0.1, 1.0, 0.9]],
        description="Left, top, right, bottom, 0 to 1 of a camera's turned picture; default: all.",
    )
    frozen_s: float = Field(
        1.5, ge=0, le=60, description="Pictures the same for so long: frozen. 0: never."
    )

    @model_validator(mode="after")
    def _crop_leaves_something(self) -> Self:
        if self.crop is not None:
            left, top, right, bottom = self.crop
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError("`crop` is left < right and top < bottom, each from 0 to 1")
        return self


class EngineConfig(_Section):
    folder: InputFile | None = Field(
        None,
        strict=False,
        examples=["models/mine"],
        description="A model folder; default: the reference model.",
    )
    backend: Literal["onnx", "tensorrt"] = Field(
        "onnx", description="What runs the graph: ONNX Runtime, or TensorRT on a Jetson."
    )
    precision: Literal["fp32", "fp16", "int8"] | None = Field(
        None,
        examples=["fp16"],
        description="Of the graph; default: fp32 for onnx, fp16 for tensorrt.",
    )
    threads: int = Field(1, ge=1, le=64, description="Of the engine; measure before raising it.")
    provider: Literal["cpu", "cuda", "tensorrt"] = Field(
        "cpu", description="Where ONNX Runtime runs; all but cpu need onnxruntime-gpu."
    )
    cache: Path | None = Field(
        None,
        strict=False,
        examples=["/var/cache/edge-runtime"],
        description="Folder of built plans; default: the user's cache.",
    )
    workspace_mb: int = Field(512, ge=1, description="The most a TensorRT layer uses for itself.")
    optimization_level: int = Field(
        3, ge=0, le=5, description="Of TensorRT's builder: 0 builds quickly, 5 searches longest."
    )


class DecisionConfig(_Section):
    eagerness: float = Field(
        0.0, ge=-1.0, le=1.0, description="-1 patient .. 1 quick: cut-offs against slow answers."
    )


class VoiceConfig(_Section):
    engine: Literal["espeak", "piper"] = Field("espeak", description="What speaks.")
    voice: str = Field("en-us+f2", description="An espeak-ng voice (`espeak-ng --voices`).")
    model: InputFile | None = Field(
        None,
        strict=False,
        examples=["en_US-lessac-medium.onnx"],
        description="A Piper voice's .onnx file, its .onnx.json beside it.",
    )
    speaker: int | None = Field(
        None, ge=0, examples=[0], description="Of a Piper voice with several."
    )
    rate_wpm: int = Field(165, ge=80, le=450, description="Words a minute.")
    pitch: int = Field(50, ge=0, le=99, description="espeak-ng's pitch.")
    phrases: InputFile | None = Field(
        None,
        strict=False,
        examples=["my_phrases.yaml"],
        description="A file of your own words for the acts; `edge-runtime config --phrases` prints "
        "one.",
    )

    @model_validator(mode="after")
    def _has_a_voice(self) -> Self:
        if self.engine == "piper" and self.model is None:
            raise ValueError("engine: piper needs `model`, the .onnx file of a Piper voice")
        return self


KEEP = (
    "remind me",
    "remember to",
    "don't forget",
    "tell me when",
    "let me know when",
    "message to",
    "leave a message",
    "send a message",
    "erinnere mich",
    "vergiss nicht",
    "sag mir wenn",
    "nachricht an",
)
"""In a question that may be answered late, but must not get lost."""


class BackgroundConfig(_Section):
    deadline_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="How long an answer may take "
        "to its first words, and from each piece of it to the next.",
    )
    recogniser: Literal["pocketsphinx", "none"] = Field(
        "pocketsphinx",
        description="Listens to a question again on the device. none: the model's own spelling is "
        "all there is; less is understood, and a core and 150 MB stay free.",
    )


class DelegationConfig(_Section):
    broker: str | None = Field(
        None,
        examples=["mqtts://broker.lan:8883"],
        description="mqtt://HOST[:PORT], or mqtts:// for TLS; without it all stays here.",
    )
    workers: bool = Field(
        True,
        description="Hand questions to the workers there; false: it is for Home Assistant and "
        "actions alone, and no question leaves the device.",
    )
    user: str | None = Field(None, examples=["kiosk-3"], description="Of the broker.")
    password_file: SecretFile | None = Field(
        None, strict=False, examples=["mqtt-password"], description="Its password is read here."
    )
    ca_file: CertificateFile | None = Field(
        None, strict=False, examples=["ca.pem"], description="Signs the broker's certificate."
    )
    cert_file: CertificateFile | None = Field(
        None, strict=False, examples=["device.pem"], description="The device's certificate."
    )
    key_file: SecretFile | None = Field(
        None, strict=False, examples=["device.key"], description="The device's private key."
    )
    local_first: Literal["none", "commands", "skills"] = Field(
        "commands",
        description="What the device asks no worker for, where the model has spelled it word for "
        "word: the phrases of its actions; skills: sums, units, the time and timers as well.",
    )
    send_frame: bool = Field(False, description="Let a picture go with a question.")
    patience_s: float = Field(
        0.5,
        ge=0.1,
        le=30,
        description="While a question is out: a broker or worker that gives no sign for so long "
        "counts as gone. More where the network is slow.",
    )
    outbox: Path | None = Field(
        None,
        strict=False,
        examples=["/var/lib/edge-runtime/outbox.db"],
        description="A file for questions to be kept until they are answered; default: none are.",
    )
    keep: list[str] = Field(
        default_factory=lambda: list(KEEP),
        description="What is heard in a question to be kept, about so.",
    )
    keep_hours: float = Field(
        24.0, gt=0, le=24 * 30, description="How long a kept question matters."
    )

    @field_validator("broker")
    @classmethod
    def _can_be_reached(cls, broker: str | None) -> str | None:
        if broker is not None:
            broker_address(broker)
        return broker

    @model_validator(mode="after")
    def _a_password_is_somebody_s(self) -> Self:
        if self.password_file is not None and self.user is None:
            raise ValueError("`password_file` needs `user`: no password is sent without one")
        return self


SPEED_TYPES = ("geometry_msgs/Twist", "geometry_msgs/TwistStamped")
"""What a base takes its speeds as."""
_OF_TYPES = {
    "data": ("std_msgs/Bool",),
    "forward_m_s": SPEED_TYPES,
    "turn_rad_s": SPEED_TYPES,
    "for_s": SPEED_TYPES,
    "distance_m": ("geometry_msgs/PointStamped",),
    "height_m": ("geometry_msgs/PointStamped",),
}
"""By key of an action: the types that it means something for."""


class ActionConfig(_Section):
    description: str = Field(
        "",
        max_length=500,
        examples=["switch on the lamp in the kitchen"],
        description="What it does, for a background model that may call it.",
    )
    phrases: list[Phrase] = Field(
        [],
        max_length=32,
        examples=[["(turn | switch) on the [kitchen] lamp"]],
        description="What people say when they want it, where no language model answers: words, "
        "`|` for or, (), [optional].",
    )
    answer: str = Field("Done.", max_length=500, description="What is said after a phrase.")
    ros_topic: str | None = Field(
        None,
        pattern=_ROS_NAME,
        examples=["lamp"],
        description="ROS 2 topic for it, beside `action`.",
    )
    ros_type: Literal[
        "std_msgs/String",
        "std_msgs/Bool",
        "geometry_msgs/Twist",
        "geometry_msgs/TwistStamped",
        "geometry_msgs/PointStamped",
    ] = Field("std_msgs/String", description="Of what is published there.")
    text: str | None = Field(
        None,
        examples=['{"state": "ON"}'],
        description="What String and the MQTT message say; default: the action's name.",
    )
    data: bool = Field(True, description="Bool: what it says.")
    forward_m_s: float = Field(0.0, ge=-3, le=3, description="Twist, TwistStamped: speed ahead.")
    turn_rad_s: float = Field(
        0.0, ge=-6, le=6, description="Twist, TwistStamped: turn, left positive."
    )
    for_s: float = Field(
        1.0, ge=0.1, le=60, description="Twist, TwistStamped: how long, at 10 Hz; then zeros."
    )
    distance_m: float = Field(1.5, gt=0, le=100, description="PointStamped: how far away.")
    height_m: float = Field(0.0, ge=-5, le=5, description="PointStamped: above the frame.")
    bearing_rad: float | None = Field(
        None,
        ge=-3.15,
        le=3.15,
        examples=[0.0],
        description="Where to, if the sound tells no bearing.",
    )
    valid_ms: float = Field(2000.0, gt=0, le=60_000, description="Not to be begun later.")
    mqtt_topic: str | None = Field(
        None,
        pattern=r"^[^+#\x00]+$",
        max_length=1_000,
        examples=["zigbee2mqtt/kitchen_lamp/set"],
        description="MQTT topic for it, at `delegation.broker`.",
    )

    @model_validator(mode="after")
    def _keys_fit_the_type(self) -> Self:
        given = self.model_fields_set
        if "ros_type" in given and self.ros_topic is None:
            raise ValueError("`ros_type` needs `ros_topic`, where it is to be published")
        for key, kinds in _OF_TYPES.items():
            if key in given and self.ros_type not in kinds:
                raise ValueError(f"`{key}` needs `ros_type: {kinds[0]}`, not {self.ros_type}")
        return self

    @property
    def speeds_on(self) -> str | None:
        """The topic of a base that this gives speeds to."""
        return self.ros_topic if self.ros_type in SPEED_TYPES else None


class RosConfig(_Section):
    dds: bool = Field(
        False, description="Publish the ROS 2 topics without a ROS installation (extra `dds`)."
    )
    domain: int | None = Field(
        None, ge=0, le=232, examples=[0], description="Without ROS; default: ROS_DOMAIN_ID, or 0."
    )
    namespace: str = Field(
        "/", pattern=rf"^/$|{_ROS_NAME}", description="Without ROS: of the topics."
    )
    node_name: str = Field(
        "edge_runtime",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Without ROS: in node lists.",
    )
    show_node: bool = Field(
        True, description="Without ROS: be in node lists; false where ROS 2 Humble listens."
    )
    audio_rate_hz: int = Field(
        16_000, ge=8_000, le=192_000, description="Of `audio_stamped`, until `audio_info` tells it."
    )
    audio_channels: int = Field(
        1, ge=1, le=16, description="Of `audio_stamped`, until `audio_info` tells it."
    )
    image_transport: Literal["both", "raw", "compressed"] = Field(
        "both",
        description="In the ROS node: `image`, `image/compressed`, or whichever comes. Who "
        "publishes both is sent for both.",
    )
    frame_id: str = Field(
        "base_link", description="What bearings are measured from (REP-103); of TwistStamped too."
    )
    playback_latency_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="From the stamp of `speech_audio` to that of its echo in `audio_in`; found by "
        "itself once the device has spoken.",
    )


class Recording(_Section):
    path: Path | None = Field(
        None,
        strict=False,
        examples=["/var/lib/edge-runtime/last.mcap"],
        description="Write an MCAP recording of the run here.",
    )
    frames: Literal[True, False, "model"] = Field(
        True,
        description="Keep the pictures in it: about 8 GB an hour of a camera at 640x480. `model` "
        "keeps them in the size that the model takes, 0.2 to 0.5 GB an hour; all else, with the "
        "sound, takes 0.1 to 0.5 GB.",
    )
    max_mb: float = Field(
        1000.0, gt=0, description="Then a new file is begun; at the latest at keep_mb / 4."
    )
    max_hours: float = Field(
        24.0, gt=0, description="Then a new file is begun; at the latest after keep_days / 4."
    )
    keep_mb: float = Field(
        5000.0, ge=10, description="Of all together: beyond it the oldest are removed."
    )
    keep_days: float = Field(
        7.0, ge=0.001, description="Nothing older is kept: a file goes when its beginning is."
    )


class HttpConfig(_Section):
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        examples=[9464],
        description="Serve /health there; default: nothing listens.",
    )
    address: str = Field("127.0.0.1", description="Another one opens it to the network.")
    metrics: bool = Field(False, description="Serve /metrics for Prometheus (extra `metrics`).")
    live: bool = Field(
        False,
        description="Serve a page for a screen at /, and /events for one's own: its state, its "
        "actions and what it says, as it happens.",
    )
    tell_heard: bool = Field(False, description="Show there what is heard and asked, in words.")
    origins: list[Origin] = Field(
        [],
        max_length=16,
        description="Whose web pages may read /events, too, such as http://localhost:3000. By the "
        "host of one, the device may be asked for these pages over the network.",
    )

    @model_validator(mode="after")
    def _pages_have_a_port(self) -> Self:
        for name in ("metrics", "live"):
            if getattr(self, name) and self.port is None:
                raise ValueError(f"`{name}` needs a `port`, such as 9464")
        return self


class HomeAssistantConfig(_Section):
    enabled: bool = Field(
        False,
        description="Appear in Home Assistant, over delegation.broker; device.name without a dot.",
    )
    prefix: str = Field(
        "homeassistant", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Its discovery prefix."
    )
    name: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        examples=["Kiosk at the door"],
        description="What the device is called there; default: device.name.",
    )
    area: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        examples=["Lobby"],
        description="The room that is suggested for it there; one that it has not is made.",
    )
    tell_said: bool = Field(
        True,
        description="Show the last thing that was said; an answer may repeat what was asked.",
    )
    tell_heard: bool = Field(False, description="Show what is heard.")


class HealthConfig(_Section):
    compute_p99_ms: float = Field(120.0, gt=0, description="Of a micro-turn; more is degraded.")
    missed_per_minute: int = Field(5, ge=0, description="More missed micro-turns are degraded.")
    min_free_mb: float = Field(
        500.0,
        ge=0,
        description="Less room on the disk is degraded, and recordings make room or stop.",
    )
    max_temperature_c: float = Field(90.0, gt=0, description="Above it the device is degraded.")


class LoopConfig(_Section):
    fade_ms: float = Field(20.0, ge=0, le=20, description="Fade-out when the device yields.")
    realtime_priority: int | None = Field(
        None, ge=1, le=20, examples=[10], description="`serve`: ask the kernel for it (SCHED_RR)."
    )
    lock_memory: bool = Field(False, description="`serve`: keep it from being paged out.")


class Config(_Section):
    """Everything that can be configured, and nothing else."""

    device: Device = Device()
    audio: Audio = Audio()
    video: Video = Video()
    engine: EngineConfig = EngineConfig()
    decision: DecisionConfig = DecisionConfig()
    voice: VoiceConfig = VoiceConfig()
    background: BackgroundConfig = BackgroundConfig()
    delegation: DelegationConfig = DelegationConfig()
    actions: dict[ActionName, ActionConfig] = Field(
        default_factory=dict,
        examples=[{"lamp_on": {"ros_topic": "lamp"}}],
        description="By name: those of the model (`wave`, `come`, ...) and of your own.",
    )
    ros: RosConfig = RosConfig()
    recording: Recording = Recording()
    health: HealthConfig = HealthConfig()
    http: HttpConfig = HttpConfig()
    home_assistant: HomeAssistantConfig = HomeAssistantConfig()
    loop: LoopConfig = LoopConfig()

    @field_validator("actions")
    @classmethod
    def _stopping_is_no_motion(cls, actions: dict[str, ActionConfig]) -> dict[str, ActionConfig]:
        stop = actions.get(STOP_MOTION, ActionConfig())
        if moving := stop.model_fields_set & {"forward_m_s", "turn_rad_s", "for_s"}:
            raise ValueError(f"`{STOP_MOTION}` stops: take {', '.join(sorted(moving))} out of it")
        return actions

    @field_validator("actions")
    @classmethod
    def _topics_have_a_broker(
        cls, actions: dict[str, ActionConfig], info: ValidationInfo
    ) -> dict[str, ActionConfig]:
        for name, chosen in actions.items():
            if chosen.mqtt_topic is not None:
                _needs_a_broker(f"actions.{name}.mqtt_topic", info)
        return actions

    @field_validator("actions")
    @classmethod
    def _phrases_differ(cls, actions: dict[str, ActionConfig]) -> dict[str, ActionConfig]:
        found = shared({name: chosen.phrases for name, chosen in actions.items()})
        if found is not None:
            sentence, names = found
            raise ValueError(
                f'"{sentence}" asks for {" and for ".join(names)}, and one of them would never '
                "happen: give it to one alone"
            )
        return actions

    @field_validator("home_assistant")
    @classmethod
    def _home_assistant_can_know_it(
        cls, home: HomeAssistantConfig, info: ValidationInfo
    ) -> HomeAssistantConfig:
        if not home.enabled:
            return home
        _needs_a_broker("home_assistant.enabled", info)
        device = info.data.get("device")
        if device is not None and not re.fullmatch(_NAME_AT_HOME, device.name):
            raise ValueError(
                f"device.name {device.name!r} cannot be in Home Assistant's topics: use 1 to 64 "
                "letters, digits, `_` and `-`, and the same name as the user at the broker"
            )
        return home

    def unrecorded(self) -> Config:
        """For a run that is no conversation: a measurement, an evaluation."""
        return self.model_copy(update={"recording": Recording()})

    @property
    def asks_workers(self) -> bool:
        """Questions go to the workers of a broker."""
        return self.delegation.broker is not None and self.delegation.workers

    @property
    def actions_on_mqtt(self) -> list[str]:
        """The names of those that have an MQTT topic."""
        return [name for name, chosen in self.actions.items() if chosen.mqtt_topic is not None]


def _needs_a_broker(what: str, info: ValidationInfo) -> None:
    """Raises ValueError. A `delegation` that is wrong itself is not there: that is told already."""
    delegation = info.data.get("delegation")
    if delegation is not None and delegation.broker is None:
        raise ValueError(f"{what} needs a broker: give delegation.broker, mqtt://HOST")


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Config:
    """A device's configuration, or the defaults. Raises ConfigError with one clear message.

    `overrides` are keys from elsewhere, such as `voice.rate_wpm`, that stand above those of the
    file.
    """
    if not overrides:
        return load(path, Config)
    given = {} if path is None else _read(path)
    data = dict(given)
    for key, value in overrides.items():
        section, _, name = key.rpartition(".")
        kept = data.get(section) or {}
        if isinstance(kept, dict):  # anything else is refused as it is
            data[section] = {**kept, name: value}
    where = "parameters" if path is None else f"{path} and parameters"
    config = _validated(data, Config, where, path)
    if path is not None:
        _look_who_may_read(path, given)
    return config


def load(path: Path | None, kind: type[Settings]) -> Settings:
    """The configuration in `path`, or the defaults. Raises ConfigError with one clear message."""
    if path is None:
        return kind()
    data = _read(path)
    settings = _validated(data, kind, str(path), path)
    _look_who_may_read(path, data)
    return settings


def _read(path: Path) -> dict[str, Any]:
    """The sections of a file. Raises ConfigError."""
    _check_who_may_change(path)
    try:
        data = strict_yaml.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no configuration file {path}. Give its path, or none for the defaults."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_position(error)}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must be a mapping of sections, not a {type(data).__name__}.")
    return data


def _validated(
    data: Mapping[str, Any], kind: type[Settings], where: str, path: Path | None
) -> Settings:
    context = {} if path is None else {FOLDER: path.absolute().parent}
    try:
        given = {k: v for k, v in data.items() if v is not None}
        return kind.model_validate(given, context=context)
    except ValidationError as error:
        lines = dict.fromkeys(_explain(problem, kind) for problem in error.errors())
        raise ConfigError("\n".join([f"{where}:", *lines])) from None


def _check_who_may_change(path: Path) -> None:
    """Whoever can change the configuration decides where sound and pictures go."""
    if _mode(path) & stat.S_IWOTH:
        raise ConfigError(f"{path} can be changed by everybody on this machine: chmod o-w {path}")


def _look_who_may_read(path: Path, data: Mapping[str, Any]) -> None:
    if _mode(path) & stat.S_IROTH and holds_secrets(data):
        log.warning(
            "everybody on this machine can read %s, and with it a password or a token: chmod 640 "
            "it, and let its group be that of who runs this",
            path,
        )


def _position(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    return what if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {what}."


def _explain(problem: Any, kind: type[BaseModel]) -> str:
    """One line: which key, what was given, what is allowed."""
    where: Sequence[Any] = [part for part in problem["loc"] if part not in ("str", "int")]
    key = ".".join(str(part) for part in where)
    given = HIDDEN if any(map(_may_be_secret, where)) else _given(problem["input"])
    if problem["type"] == "extra_forbidden":
        return f"  {unknown_key(key, str(where[-1]), keys_at(kind, where[:-1]))}"
    if problem["loc"] != tuple(where):
        return f"  {key}: a text or a number is wanted; given: {given}."
    return f"  {key}: {problem['msg']}; given: {given}."


def unknown_key(key: str, name: str, known: Sequence[str], elsewhere: Sequence[str] = ()) -> str:
    """What is said of a key that is none: the one that may be meant, and those that there are."""
    ordered = sorted(known)
    near = near_keys(name, ordered) or elsewhere
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return f"{key}: unknown key.{hint} Known here: {', '.join(ordered)}."


def near_keys(name: str, known: Sequence[str], likeness: float = 0.6) -> list[str]:
    """The one that may be meant by a name, if there is one; `likeness` is 1 for the same."""
    return difflib.get_close_matches(name, known, n=1, cutoff=likeness)


def _given(value: object) -> str:
    """In short, and without what may be the password of an address."""
    shown = _SHORT.repr(value)
    return HIDDEN if "@" in shown else masked(shown)


def _may_be_secret(key: object) -> bool:
    return _MAY_BE_SECRET.fullmatch(str(key)) is not None


def keys_at(model: type[BaseModel], where: Sequence[Any]) -> list[str]:
    """The keys that are known at a place in the configuration."""
    for part in where:
        field = model.model_fields.get(str(part))
        found = model_of(field.annotation) if field is not None else None
        if found is None:
            return list(ActionConfig.model_fields) if model is Config else list(model.model_fields)
        model = found
    return list(model.model_fields)


def model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, dict):
        found = (model_of(part) for part in get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
