"""How loud a device's room, its people and its own echo are, and how late the echo is.

A person stands by: first nobody speaks, then they do, then the device does. What the runtime reads
of it goes into a configuration; the rest is for people, as the gain of a microphone is the mixer's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import yaml

from edge_runtime.app import synthesizer_for
from edge_runtime.config import Config, Video, load_config
from edge_runtime.doctor.hearing import dbfs, listen, play_and_listen, rms
from edge_runtime.errors import ConfigError, SourceError
from edge_runtime.interfaces import AudioSource
from edge_runtime.micro_turn import TURN_MS, TURN_SAMPLES, AudioReading, Pcm
from edge_runtime.senses import extra_delay_ms, senses_for, sound_status_of

QUIET_S, SPEECH_S, CLAPS_S = 5.0, 8.0, 6.0
STRAIGHT_DEG = 5.0
"""A bearing so near to where it should be is left alone: people do not clap more exactly."""
SPEECH_DBFS = -26.0
"""What speech should be at, as in telephony (ITU-T P.56 material): loud, and with room above."""
PEAK_DBFS = -3.0
"""Raised gain must leave the peaks below."""
HEARD_DB = 6.0
"""So much louder than the room must be what counts as speech."""
LOUD_SHARE = 80
"""Speech has pauses: its level is that of the turn that this percentage of turns is below."""
TEXT = (
    "I am listening for my own voice now. It takes a few seconds: one, two, three, four, five, "
    "six, seven, eight, nine, ten. The loudspeaker is here, and the microphone is there. Thank you."
)
ECHO_TAIL_TURNS = 3
MOST_STALE_TURNS = 100
FRESH_S = 0.05
"""A turn that had to be waited for so long is a new one."""


@dataclass(frozen=True)
class Levels:
    """dBFS of the microphone, as it is set now."""

    room_dbfs: float
    speech_dbfs: float | None
    """None: nothing stood out of the room."""
    peak_dbfs: float

    @property
    def gain_db(self) -> float | None:
        """By which to raise the microphone's gain (negative: to lower it); None: unknown."""
        if self.speech_dbfs is None:
            return None
        return round(min(SPEECH_DBFS - self.speech_dbfs, PEAK_DBFS - self.peak_dbfs), 1)


@dataclass(frozen=True)
class Echo:
    """Of our own voice in the microphone."""

    delay_ms: float | None
    """Later than the devices say: `audio.echo_delay_ms`. None: no echo stood out."""
    level_db: float
    """Of what is heard over what is played, both as the runtime has them."""


@dataclass(frozen=True)
class Bearings:
    """Where an array heard claps from, in degrees, left positive; None: nothing stood out."""

    ahead_deg: float | None
    left_deg: float | None

    @property
    def mirrored(self) -> bool:
        """What is on the left is heard on the right of what is ahead."""
        if self.ahead_deg is None or self.left_deg is None:
            return False
        return _turn(self.left_deg - self.ahead_deg) < 0

    @property
    def turned_deg(self) -> float:
        """By how much the array is turned to the left beside what is configured; 0: not to be
        told, or less than people clap exactly."""
        if self.ahead_deg is None or self.left_deg is None or self.mirrored:
            return 0.0
        if abs(self.ahead_deg) < STRAIGHT_DEG:
            return 0.0
        return -self.ahead_deg

    @property
    def line(self) -> str:
        if self.ahead_deg is None or self.left_deg is None:
            return "bearing: not every clap stood out; clap louder, or come nearer"
        said = f"bearing: ahead {self.ahead_deg:+.0f}°, left {self.left_deg:+.0f}°"
        if self.mirrored:
            return f"{said}: left and right are exchanged; compare the geometry's channels"
        if not self.turned_deg:
            return f"{said}: the array is mounted as configured"
        return f"{said}: the array is turned by {self.turned_deg:+.0f}° (audio.array_turned_deg)"


@dataclass(frozen=True)
class Calibration:
    opened: str
    """Devices and streams, for people."""
    levels: Levels
    echo: Echo | None
    """None: the loudspeaker is muted."""
    bearings: Bearings | None = None
    """None: there is no array."""

    @property
    def lines(self) -> list[str]:
        """What was found, and what to do."""
        room, speech, gain_db = self.levels.room_dbfs, self.levels.speech_dbfs, self.levels.gain_db
        said = [self.opened, f"room: {room:.0f} dBFS"]
        if speech is None or gain_db is None:
            said.append("speech: none was heard; come nearer, or raise the microphone's gain")
        else:
            said.append(f"speech: {speech:.0f} dBFS, {speech - room:.0f} dB above the room")
            said.append(f"gain: {_advice(gain_db)}")
        if self.bearings is not None:
            said.append(self.bearings.line)
        if self.echo is None:
            said.append("echo: not measured, the configuration mutes the loudspeaker")
        elif self.echo.delay_ms is None:
            said.append("echo: none was found (headphones, an echo canceller, or a low volume)")
        else:
            later = f"{self.echo.delay_ms:+.1f} ms beside what the devices say"
            said.append(f"echo: {round(self.echo.level_db)} dB, {later}")
        return said


def _advice(gain_db: float) -> str:
    if abs(gain_db) < 3:
        return "the microphone is set well"
    way = "raise" if gain_db > 0 else "lower"
    return f"{way} the microphone's by {abs(gain_db):.0f} dB (alsamixer, F4; pavucontrol)"


Ask = Callable[[str], None]
"""Tells a person what comes, and waits until they are ready."""
Progress = Callable[[str, float], None]
"""What is done, and the level in dBFS."""


def calibrate_sensors(config: Config, ask: Ask, progress: Progress) -> Calibration:
    """Raises SourceError where there is no microphone or loudspeaker that works, VoiceError without
    a voice."""
    only_sound = config.model_copy(update={"video": Video()})
    senses = senses_for(only_sound, realtime=True)
    status = sound_status_of(senses)
    if status is None:
        raise SourceError("This needs a real microphone: leave out audio.source.")
    mute = config.audio.mute or config.audio.volume == 0
    voice = np.zeros(0, np.float32) if mute else _voice(config)
    with senses.audio as source:
        opened = "; ".join(senses.notes())
        ask(f"Let the room be as it is, and do not speak for {QUIET_S:.0f} s.")
        quiet = _heard(source, QUIET_S, "room", progress)
        ask(f"Now speak for {SPEECH_S:.0f} s, as people will, from where they will stand.")
        speech = _heard(source, SPEECH_S, "speech", progress)
        levels = levels_of(quiet, speech)
        bearings = None
        if config.audio.array is not None:
            bearings = _clapped(source, levels.room_dbfs, ask, progress)
        if mute:
            return Calibration(opened, levels, None, bearings)
        ask("Now the device speaks. Please do not.")
        _catch_up(source)
        told_ms = status().delay_ms
        turns = len(voice) // TURN_SAMPLES + ECHO_TAIL_TURNS
        heard = play_and_listen(source, voice, turns, lambda level: progress("echo", level))
        after = status()
    more_ms = after.delay_ms - told_ms + extra_delay_ms(config)
    echo = echo_of(heard, quiet, more_ms if after.delay_found else None)
    return Calibration(opened, levels, echo, bearings)


def bearing_of(heard: Sequence[AudioReading], room_dbfs: float) -> float | None:
    """In degrees: the middle of the bearings (on the circle) of the turns that are louder than the
    room; None where none of them has one."""
    found = [
        reading.direction_rad
        for reading in heard
        if reading.direction_rad is not None and dbfs(rms(reading.pcm[0])) - room_dbfs >= HEARD_DB
    ]
    if not found:
        return None
    middle = np.angle(np.mean(np.exp(1j * np.array(found))))
    return round(math.degrees(float(middle)), 1)


def _clapped(source: AudioSource, room_dbfs: float, ask: Ask, progress: Progress) -> Bearings:
    degrees = []
    for where in ("straight ahead of the device", "at its left side (its own left)"):
        ask(f"Now clap for {CLAPS_S:.0f} s, two steps away, {where}.")
        degrees.append(bearing_of(_heard(source, CLAPS_S, "claps", progress), room_dbfs))
    return Bearings(*degrees)


def _turn(degrees: float) -> float:
    """Into -180..180."""
    return (degrees + 180) % 360 - 180


def levels_of(quiet: Sequence[AudioReading], speech: Sequence[AudioReading]) -> Levels:
    """By turns of a silent room, and of somebody who speaks in it. Raises SourceError for a
    microphone that gives nothing but zeros."""
    room = [rms(reading.pcm[0]) for reading in quiet]
    spoken = [rms(reading.pcm[0]) for reading in speech]
    if not any(room + spoken):
        raise SourceError(
            "The microphone gives nothing but zeros. Its switch or the mixer mutes it (alsamixer, "
            "F4; pavucontrol), or it is broken."
        )
    room_dbfs, speech_dbfs = dbfs(float(np.median(room))), dbfs(_percentile(spoken))
    peak = max(float(np.abs(reading.pcm[0]).max()) for reading in speech)
    stands_out = speech_dbfs - room_dbfs >= HEARD_DB
    return Levels(room_dbfs, speech_dbfs if stands_out else None, dbfs(peak))


def echo_of(
    heard: Sequence[AudioReading], quiet: Sequence[AudioReading], delay_ms: float | None
) -> Echo:
    """The level is that of the power above the room's, over what was played at that time."""
    room = np.mean([rms(reading.pcm[0]) ** 2 for reading in quiet])
    played = np.mean([rms(reading.pcm[1]) ** 2 for reading in heard])
    above = np.mean([rms(reading.pcm[0]) ** 2 for reading in heard]) - room
    ratio = math.sqrt(max(0.0, float(above)) / float(played)) if played > 0 else 0.0
    return Echo(None if delay_ms is None else round(delay_ms, 1), dbfs(ratio))


def write(path: Path, config: Config, found: Calibration) -> Config:
    """A configuration with what was found, the rest as it was. Returns it as it will be read.

    Raises ConfigError where there is such a file already, or it cannot be written.
    """
    audio = config.audio
    if found.echo is not None and found.echo.delay_ms is not None:
        delay_ms = min(500.0, max(-500.0, found.echo.delay_ms))
        found_here = {"echo_delay_ms": delay_ms, "echo_file": None}  # a file would have the say
        audio = audio.model_copy(update=found_here)
    if found.bearings is not None and found.bearings.turned_deg:
        turned_deg = _turn(audio.array_turned_deg + found.bearings.turned_deg)
        audio = audio.model_copy(update={"array_turned_deg": turned_deg})
    changed = config.model_copy(update={"audio": audio})
    said = [f"Measured by `edge-runtime calibrate sensors` on {date.today()}:", *found.lines]
    text = "".join(f"# {line}\n" for line in said) + yaml.safe_dump(
        changed.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and stays: give another --out.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Give --out.") from error
    return load_config(path)


def _voice(config: Config) -> Pcm:
    synthesizer = synthesizer_for(config)
    synthesizer.check()
    voice: Pcm = np.concatenate([*synthesizer.synthesize(TEXT)])
    return voice


def _heard(
    source: AudioSource, seconds: float, what: str, progress: Progress
) -> list[AudioReading]:
    _catch_up(source)
    turns = round(seconds * 1000 / TURN_MS)
    return listen(source, turns, lambda level: progress(what, level))


def _catch_up(source: AudioSource) -> None:
    """Nobody read while a person was asked: what was captured meanwhile is left out."""
    for _ in range(MOST_STALE_TURNS):
        begun_s = time.monotonic()
        listen(source, 1)
        if time.monotonic() - begun_s > FRESH_S:
            return


def _percentile(values: Sequence[float]) -> float:
    return float(np.percentile(values, LOUD_SHARE))
