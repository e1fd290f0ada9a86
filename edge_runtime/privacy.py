"""What the device hears, sees, keeps and hands on, in plain words, from its configuration."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.config import MICROPHONE, TOPICS, Audio, Config
from edge_runtime.masking import masked

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ON_TOPICS = (
    "what it says, in words and sound, what it hears, in words, what it sees of people, where "
    "sound comes from, its questions and the answers, its state and its actions"
)


@dataclass(frozen=True)
class Answer:
    """One question that people ask, and what is true of this configuration."""

    question: str
    lines: tuple[str, ...]


def privacy(config: Config) -> tuple[Answer, ...]:
    """Nothing of it is general: it says what this configuration does."""
    return (
        Answer("What it takes in", _taken_in(config)),
        Answer("What it keeps", _kept(config)),
        Answer("What leaves this device", _handed_on(config)),
        Answer("Who can look at it or command it", _open_to(config)),
    )


def _taken_in(config: Config) -> tuple[str, ...]:
    ear, eye = config.audio.source, config.video.source
    lines = [_heard(config.audio)]
    if eye is None:
        lines.append("No picture.")
    else:
        where = "ROS topics" if eye == TOPICS else masked(str(eye))
        lines.append(f"Pictures from {where}, all the time.")
    if TOPICS in (ear, eye):
        lines.append(
            "What comes from topics is switched off where it is published, not here. Parameters of "
            "the ROS node stand above this file."
        )
    elif ear == MICROPHONE or eye is not None:
        lines.append(
            "Microphone and camera can be switched off, from the smart home or by a program: then "
            "they are closed, and status, health and smart home say so. As a service it keeps "
            "that, and mute, over a restart."
        )
    return tuple(lines)


def _heard(audio: Audio) -> str:
    if audio.source == TOPICS:
        return "Sound from ROS topics, all the time."
    if audio.source != MICROPHONE:
        return f"Sound from the file {audio.source}."
    named = f"microphone {audio.input_device!r}" if audio.input_device else "default microphone"
    return f"Sound from the {named}, all the time."


def _kept(config: Config) -> tuple[str, ...]:
    recording = config.recording
    if recording.path is None:
        lines = ["No recording."]
    else:
        what = "sound, pictures and words" if recording.frames else "sound and words"
        lines = [
            f"Recordings with {what} in {recording.path.parent}: at most "
            f"{recording.keep_mb:.0f} MB, for at most {recording.keep_days:g} days; what is older "
            "is removed while the device runs."
        ]
    if config.asks_workers and config.delegation.outbox is not None:
        lines.append(
            f"Questions that must not get lost, with their sound, in {config.delegation.outbox}: "
            f"until they are answered, for at most {config.delegation.keep_hours:g} hours."
        )
    lines.append("As a service: what of microphone and camera is switched off, and mute.")
    lines.append(
        "As a service: timers and reminders, with what to remind of in words, until they are told "
        "or cancelled; what was in a damaged file of them, until it is removed by hand."
    )
    lines.append(
        "In memory, until it ends: the conversation, and the sound since the person began."
    )
    lines.append("The log holds no word of what was heard or said.")
    lines.append("As a service: in its log when somebody talked with it, and how it went.")
    return tuple(lines)


def _handed_on(config: Config) -> tuple[str, ...]:
    delegation = config.delegation
    lines = []
    if delegation.broker is not None:
        secret = (
            "encrypted"
            if delegation.broker.startswith("mqtts:")
            else "NOT encrypted: whoever can listen on the network can hear it"
        )
        picture = "a picture, " if delegation.send_frame else ""
        lines.append(
            "With every question, while a worker can be reached: the sound since the "
            f"person began, {picture}the conversation so far and the time, to the workers at "
            f"{masked(delegation.broker)} ({secret}). What they do with it is up to them."
            if delegation.workers
            else f"No question and no sound goes to {masked(delegation.broker)} ({secret})."
        )
        if delegation.workers or config.home_assistant.enabled:
            lines.append(f"That the device is on or off, to {masked(delegation.broker)}.")
    if told_acts := config.actions_on_mqtt:
        lines.append(
            "Over the same broker, to whoever reads the topics: "
            f"that it does {', '.join(told_acts)}."
        )
    home = config.home_assistant
    if home.enabled:
        words = [
            *([f"what it last said{_repeats(home.tell_heard)}"] if home.tell_said else []),
            *(["what it hears, in words"] if home.tell_heard else []),
        ]
        people = "whether somebody is there or talks to it"
        parts = ["its state, its actions", people, "the direction of sound, its health", *words]
        told = ", ".join(parts)
        lines.append(f"To Home Assistant over the same broker: {told}.")
    if config.http.live and config.http.address not in LOOPBACK:
        lines.append(f"To everybody who reaches {config.http.address}: {_shown(config)}.")
    if config.ros.dds:
        domain = "of ROS_DOMAIN_ID" if config.ros.domain is None else config.ros.domain
        lines.append(
            "To every program on the network that takes part in DDS (domain "
            f"{domain}): {ON_TOPICS}; NOT encrypted."
        )
    return _with_ros(
        config,
        lines,
        "Nothing.",
        "to every program on the network that takes part in ROS (domain of ROS_DOMAIN_ID): "
        f"{ON_TOPICS}; NOT encrypted, unless ROS itself is set up for it (SROS 2).",
    )


def _shown(config: Config) -> str:
    """On the page for a screen, and as its events."""
    words = [f"what it says, in words{_repeats(config.http.tell_heard)}"]
    if config.http.tell_heard:
        words.append("what it hears and is asked, in words")
    told = ", ".join([*words, "its state, its actions, what it sees of people, its health"])
    return f"{told}; NOT encrypted"


def _repeats(heard: bool) -> str:
    return "" if heard else " (an answer may repeat what was asked)"


def _with_ros(config: Config, lines: list[str], none: str, told: str) -> tuple[str, ...]:
    """`lines`, `none` where there are none, and what the ROS node adds to them; with a condition
    where only its parameters could tell that this file is for it."""
    if TOPICS in (config.audio.source, config.video.source):
        return (*lines, told[0].upper() + told[1:])
    certain = lines or [none]
    if any(act.ros_topic is not None for act in config.actions.values()):
        return (*certain, f"Started as a ROS node: {told}")
    return tuple(certain)


def _open_to(config: Config) -> tuple[str, ...]:
    lines = []
    http, home = config.http, config.home_assistant
    if http.port is not None:
        pages = "/health and /metrics" if http.metrics else "/health"
        who = (
            "Programs on this machine"
            if http.address in LOOPBACK
            else f"EVERYBODY who reaches {http.address}"
        )
        lines.append(f"{who} can read {pages} (port {http.port}): figures, and no words.")
        if http.live:
            lines.append(
                f"{who} can watch the page / and /events (port {http.port}): {_shown(config)}."
            )
        if http.live and http.origins:
            lines.append(
                f"Web pages from {', '.join(http.origins)} can read /events in any browser that "
                "reaches it."
            )
    if config.asks_workers:
        lines.append(
            f"Whoever may publish on edge/{config.device.name}/replies at the broker can make it "
            "speak and act: the broker's access list decides who."
        )
    if home.enabled:
        lines.append(
            "Whoever may publish on the broker below "
            f"edge/{config.device.name}/home can make it speak, silence it, and switch microphone "
            "and camera: the broker's access list decides who."
        )
    if config.ros.dds:
        lines.append(
            "Every program on the network that takes part in DDS can acknowledge its actions, and "
            "do no more."
        )
    return _with_ros(
        config,
        lines,
        "Nobody but the people around it; it listens on no port.",
        "every program on the network that takes part in ROS can make it speak, silence and stop "
        "it, take back its questions, change its mode and its parameters, and deactivate it; what "
        "comes from topics, any of them may have published.",
    )
