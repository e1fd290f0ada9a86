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
from edge_runtime.senses import senses_for, sound_status_of

QUIET_S, SPEECH_S = 5.0, 8.0
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
class Calibration:
    opened: str
    """Devices and streams, for people."""
    levels: Levels
    echo: Echo | None
    """None: the loudspeaker is muted."""

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
        if mute:
            return Calibration(opened, levels, None)
        ask("Now the device speaks. Please do not.")
        _catch_up(source)
        told_ms = status().delay_ms
        turns = len(voice) // TURN_SAMPLES + ECHO_TAIL_TURNS
        heard = play_and_listen(source, voice, turns, lambda level: progress("echo", level))
        after = status()
    more_ms = after.delay_ms - told_ms + config.audio.echo_delay_ms
    return Calibration(
        opened, levels, echo_of(heard, quiet, more_ms if after.delay_found else None)
    )


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
        audio = audio.model_copy(update={"echo_delay_ms": delay_ms})
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
