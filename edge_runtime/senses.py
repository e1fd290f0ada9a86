"""Ears and eyes as configured: the composition root's part that names their concrete classes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.config import MICROPHONE as MICROPHONE
from edge_runtime.config import TOPICS as TOPICS
from edge_runtime.config import Audio, Config, Video
from edge_runtime.errors import ConfigError, SourceError
from edge_runtime.health import CameraState
from edge_runtime.interfaces import (
    AudioSource,
    Clock,
    FrameSource,
    FrontEnd,
)
from edge_runtime.micro_turn import SAMPLE_RATE_HZ
from edge_runtime.pacing import MonotonicClock, VirtualClock
from edge_runtime.remote_control import RemoteControl
from edge_runtime.sinks import topics
from edge_runtime.sinks.turn_health import Fed
from edge_runtime.sound_status import SoundStatus
from edge_runtime.sources import echo
from edge_runtime.sources.camera import CameraSource
from edge_runtime.sources.camera_devices import PIPELINE
from edge_runtime.sources.camera_watch import View
from edge_runtime.sources.echo_calibration import devices_name, kept_delay_ms
from edge_runtime.sources.front_end import SoundFrontEnd
from edge_runtime.sources.geometry import load_geometry
from edge_runtime.sources.mic_array import MicArray
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.sources.recording import RecordingSource
from edge_runtime.sources.ros_topics import StampClock, TopicCamera, TopicMicrophone
from edge_runtime.sources.sound_plan import Wanted

log = logging.getLogger(__name__)
OF_DEVICES = (
    "input_device",
    "output_device",
    "block_ms",
    "streams",
    "echo_delay_ms",
    "echo_file",
)
"""Keys of `audio` that mean the sound devices of this machine."""


@dataclass(frozen=True)
class Senses:
    """Where a run hears and sees, and which clock it keeps."""

    audio: AudioSource
    frames: FrameSource | None
    clock: Clock
    realtime: bool
    notes: Callable[[], Sequence[str]] = field(default=lambda: ())
    """Lines that say what was done with the inputs; known once they are open."""
    staged: bool = False
    """For show or for a measurement: what is decided moves no robot and switches no lamp."""
    ear: Fed | None = None
    eye: Fed | None = None
    """Where sound or pictures come from topics."""


def senses_for(
    config: Config, realtime: bool, tail_turns: int = 0, may_be_late: bool = False
) -> Senses:
    """Microphone and camera, or recordings of both. Raises SourceError for other mixtures.

    With `may_be_late` a microphone, loudspeaker or camera that is not there when it is entered is
    waited for, as one that is lost later."""
    _load_opencv(config)
    ear, eye = config.audio.source, config.video.source
    if TOPICS in (ear, eye):
        raise SourceError(
            "Sound and pictures come from ROS topics in the ROS node only: ros2 launch "
            "edge_interaction interaction.launch.py. Give another audio.source and video.source."
        )
    pictures = Path(eye) if isinstance(eye, str) and _is_there(eye) else None
    if ear == MICROPHONE and (realtime or pictures is None):
        if not realtime:
            raise SourceError("A microphone runs in real time: --speed max needs --audio FILE.")
        return _live_senses(config, may_be_late)
    if eye is not None and pictures is None:
        raise SourceError(
            f"{eye!r} is no video file and no folder of pictures. A recorded sound goes with a "
            "recorded picture: give --video one of these, or leave it out."
        )
    clock: Clock = MonotonicClock() if realtime else VirtualClock()
    sound = None if ear == MICROPHONE else Path(ear)
    source = RecordingSource(sound, pictures, realtime, clock, tail_turns)
    frames = None if pictures is None else source
    return Senses(source, frames, clock, realtime, lambda: source.descriptions)


def _is_there(eye: str) -> bool:
    """Whether a video source is a path; a GStreamer pipeline may be too long to ask."""
    return PIPELINE not in eye and Path(eye).exists()


def _load_opencv(config: Config) -> None:
    """Before any thread or process of ours runs: while cv2 is imported, its own folder is the first
    in sys.path, and a recogniser that is spawned just then finds its `typing` there and dies."""
    if config.video.source is not None:
        import cv2  # noqa: F401


def _camera(config: Config, may_be_late: bool) -> CameraSource | None:
    chosen = config.video
    if chosen.source is None or chosen.source == TOPICS:
        return None
    view = _view(config)
    return CameraSource(chosen.source, view=view, frozen_s=chosen.frozen_s, may_be_late=may_be_late)


def _view(config: Config) -> View:
    chosen = config.video
    return View(chosen.rotate, None if chosen.crop is None else tuple(chosen.crop))


def camera_state(senses: Senses) -> Callable[[], CameraState] | None:
    return senses.frames.state if isinstance(senses.frames, CameraSource) else None


def camera_reopened(senses: Senses) -> Callable[[], int] | None:
    """Asks how often a camera was opened again; None where the pictures come from elsewhere."""
    camera = senses.frames
    return (lambda: camera.reopened) if isinstance(camera, CameraSource) else None


def front_end_for(config: Config, channels: int | None = None) -> FrontEnd | None:
    """Echo canceller and array as configured; None where there is neither. `channels`: as many are
    heard where there is no array; default: those of the microphone. Raises ConfigError and
    SourceError."""
    chosen = config.audio
    cancels = chosen.echo == "speex" or (chosen.echo == "auto" and echo.available())
    if chosen.echo == "auto" and not cancels and chosen.gain > 0:
        log.warning(
            "no echo canceller is installed, and the device hears itself: sudo apt-get install "
            "libspeexdsp1, or audio.echo: none where nothing echoes"
        )
    if chosen.array is None:
        if chosen.echo == "hardware":
            raise ConfigError(
                "audio.echo: hardware needs audio.array, which knows the channel that the device "
                "gives without echo."
            )
        return SoundFrontEnd(echo.EchoCanceller(channels or chosen.channels)) if cancels else None
    geometry = load_geometry(chosen.array, chosen.channels)
    if chosen.echo == "hardware" and geometry.processed_channel is None:
        raise ConfigError(
            f"audio.echo: hardware needs an array with a processed_channel; {chosen.array} has "
            "none."
        )
    positions_m = geometry.positions_m(math.radians(chosen.array_turned_deg))
    return SoundFrontEnd(
        echo.EchoCanceller(len(geometry.channels)) if cancels else None,
        MicArray(positions_m, geometry.channels, chosen.beam),
        geometry.processed_channel if chosen.echo == "hardware" else None,
    )


def microphone_for(
    config: Config, bare: bool = False, may_be_late: bool = False
) -> MicrophoneSource:
    """Microphone and loudspeaker as configured. `bare`: as the devices give it, to be measured."""
    chosen = config.audio
    wanted = Wanted(
        chosen.input_device,
        chosen.output_device,
        chosen.channels,
        chosen.block_ms,
        chosen.streams,
    )
    return MicrophoneSource(
        wanted,
        chosen.gain,
        front_end=_first_raw_microphone(config) if bare else front_end_for(config),
        extra_delay_samples=0 if bare else round(extra_delay_ms(config) * SAMPLE_RATE_HZ / 1000),
        follow_delay=not bare,
        delay_channel=_first_raw_channel(config),
        may_be_late=may_be_late,
    )


def gain_of(config: Config, control: RemoteControl) -> Callable[[], float]:
    """Asks how loud is to be what is played elsewhere."""
    chosen = config.audio

    def gain() -> float:
        if chosen.mute:
            return 0.0
        return chosen.volume if control.set_to is None else control.set_to

    return gain


def extra_delay_ms(config: Config) -> float:
    """By how much the echo comes later than the devices say, as it was measured or configured."""
    chosen = config.audio
    if chosen.echo_file is None:
        return chosen.echo_delay_ms
    return kept_delay_ms(chosen.echo_file, devices_name(chosen.input_device, chosen.output_device))


def _first_raw_microphone(config: Config) -> FrontEnd | None:
    """Of an array; its other channels may be its own result, or what is played."""
    chosen = config.audio
    if chosen.array is None:
        return None
    geometry = load_geometry(chosen.array, chosen.channels)
    return SoundFrontEnd(array=MicArray(geometry.positions_m(), geometry.channels, "none"))


def _first_raw_channel(config: Config) -> int:
    """A microphone with the echo still in it: channel 0 of some arrays is their own result."""
    chosen = config.audio
    if chosen.array is None:
        return 0
    return load_geometry(chosen.array, chosen.channels).channels[0]


def _live_senses(config: Config, may_be_late: bool) -> Senses:
    microphone = microphone_for(config, may_be_late=may_be_late)
    camera = _camera(config, may_be_late)
    return Senses(microphone, camera, MonotonicClock(), True, lambda: [microphone.description])


def topic_senses_for(
    config: Config, stamps: StampClock, whence: Callable[[Sequence[topics.Topic]], str]
) -> Senses:
    """In the ROS node: what its subscriptions feed, where the configuration says `ros`, beside a
    microphone or a camera of this machine, which may be late; or recordings. `whence` tells what
    topics are named here, and who publishes them. Raises SourceError."""
    _load_opencv(config)
    ear, eye = config.audio.source, config.video.source
    if TOPICS not in (ear, eye):
        return senses_for(config, realtime=True, may_be_late=True)
    if ear not in (TOPICS, MICROPHONE):
        raise SourceError(f"Pictures from topics go with sound from topics, not with {ear!r}.")
    if isinstance(eye, str) and eye != TOPICS and _is_there(eye):
        raise SourceError(f"Sound from topics goes with pictures from topics, not with {eye!r}.")
    audio: AudioSource
    frames: FrameSource | None
    fed_ear = fed_eye = None
    if ear == TOPICS:
        audio = microphone = _topic_microphone(config, stamps)
        fed_ear = Fed(lambda: whence(topics.SOUND), microphone.counts)
    else:
        audio = microphone_for(config, may_be_late=True)
    if eye == TOPICS:
        frames = camera = _topic_camera(config, stamps)
        fed_eye = Fed(lambda: whence(topics.IMAGES[config.ros.image_transport]), camera.counts)
    else:
        frames = _camera(config, may_be_late=True)
    return Senses(audio, frames, MonotonicClock(), True, ear=fed_ear, eye=fed_eye)


def _topic_camera(config: Config, stamps: StampClock) -> TopicCamera:
    if config.video.frozen_s not in (0.0, Video.model_fields["frozen_s"].default):
        log.warning(
            "video.frozen_s: without effect on pictures from topics, which are never judged "
            "frozen. Leave it out"
        )
    return TopicCamera(stamps, _view(config))


def _topic_microphone(config: Config, stamps: StampClock) -> TopicMicrophone:
    """With the front end of a microphone of this machine. Raises ConfigError and SourceError."""
    chosen = config.audio
    array_channels = None if chosen.array is None else chosen.channels
    _warn_of_what_only_devices_have(config)
    return TopicMicrophone(
        config.ros.playback_latency_ms,
        stamps,
        chosen.gain,
        front_end_for(config, channels=1),
        array_channels,
        _first_raw_channel(config),
    )


def _warn_of_what_only_devices_have(config: Config) -> None:
    chosen = config.audio
    names = [*OF_DEVICES, *([] if chosen.array else ["channels"])]
    idle = [name for name in names if getattr(chosen, name) != Audio.model_fields[name].default]
    if idle:
        log.warning(
            "%s: without effect on sound from topics. Leave out what is of this machine's devices; "
            "ros.playback_latency_ms says how late the echo is, and messages and `audio_info` how "
            "many channels there are",
            ", ".join(f"audio.{name}" for name in idle),
        )


def dropped_samples_of(senses: Senses) -> Callable[[], int] | None:
    """Asks how many samples of live sound the loop was too late for; None for other sound."""
    ear = senses.audio
    if not isinstance(ear, MicrophoneSource | TopicMicrophone):
        return None
    return lambda: ear.dropped_samples


def sound_status_of(senses: Senses) -> Callable[[], SoundStatus] | None:
    """Asks how microphone and loudspeaker are; None where the sound comes from elsewhere."""
    return senses.audio.status if isinstance(senses.audio, MicrophoneSource) else None
