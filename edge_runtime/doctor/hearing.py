"""Microphone and loudspeaker, tried as the runtime uses them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge_runtime.config import Config, Video
from edge_runtime.doctor.finding import Case, Finding, Value, absent, failed, ok, warning
from edge_runtime.doctor.service import told_by_service
from edge_runtime.errors import SourceError
from edge_runtime.interfaces import AudioSource
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, AudioReading, Pcm
from edge_runtime.senses import MICROPHONE, TOPICS, senses_for
from edge_runtime.sources import echo
from edge_runtime.sources.audio_device import AudioDevice, AudioKind, choose, no_rights
from edge_runtime.sources.portaudio import audio_devices

KINDS: tuple[AudioKind, ...] = ("microphone", "loudspeaker")
LISTEN_TURNS = 10
"""2 s."""
SETTLE_TURNS = 2
"""The first sound of a device that was just opened may be missing or crackle."""
FLOOR_DBFS = -120.0
"""What exact silence is called."""
FAINT_DBFS = -80.0
"""A room that is quieter than this is not heard: quiet rooms give -70 dBFS and more."""
CLIPPED = 0.999
CLIPPED_SHARE = 1e-3
TONE_HZ, TONE_LEVEL, TONE_S = 1000.0, 0.1, 1.0
TONE_TURNS = 8
"""Listened to for the tone: its length, and 0.6 s for every buffer on the way."""
HEARD_RATIO = 3.0
"""So much louder than before its frequency must be, 10 dB, to be called heard."""


def sound(case: Case) -> list[Finding]:
    """Both, opened together as the runtime does: the level of 2 s, and with `tone` a tone."""
    source = case.config.audio.source
    if source == TOPICS:
        return [absent(kind, "sound comes from ROS topics") for kind in KINDS]
    if source != MICROPHONE:
        if Path(source).exists():
            return [absent(kind, f"sound comes from {source}") for kind in KINDS]
        return [failed("microphone", f"audio.source {source} does not exist", "Give its path.")]
    if in_use := told_by_service(case, KINDS):
        return in_use
    try:
        devices = audio_devices()
    except SourceError as error:
        return [case.missing("microphone", str(error), "")]
    problems = [problem for kind in KINDS if (problem := _problem(case, devices, kind))]
    if problems:
        return problems
    try:
        return _tried(case)
    except SourceError as error:
        return [failed("microphone", str(error))]


def _problem(case: Case, devices: Sequence[AudioDevice], kind: AudioKind) -> Finding | None:
    """What keeps this kind from being opened; None: nothing that is known yet."""
    chosen = case.config.audio
    wanted = chosen.input_device if kind == "microphone" else chosen.output_device
    try:
        choose(devices, kind, wanted)
    except SourceError as error:
        if any(device.kind == kind for device in devices) or no_rights():
            return failed(kind, str(error))
        return case.missing(kind, str(error), "")
    return None


def _tried(case: Case) -> list[Finding]:
    """Raises SourceError: they cannot be opened."""
    alone = case.config.model_copy(update={"video": Video()})
    senses = senses_for(alone, realtime=True)
    with senses.audio as source:
        notes = "; ".join(senses.notes())
        listen(source, SETTLE_TURNS)
        heard = listen(source, LISTEN_TURNS, case.on_level)
        microphone = microphone_finding(heard, notes)
        if not case.tone:
            return [microphone, ok("loudspeaker", "it is open; --tone plays a tone")]
        during = play_and_listen(source, tone(), TONE_TURNS)
    return [microphone, loudspeaker_finding(case.config, heard, during)]


def echo_canceller(case: Case) -> list[Finding]:
    """What takes the device's own voice out of a microphone; nothing where the configuration wants
    none, or nothing is played."""
    chosen = case.config.audio
    live = chosen.source in (MICROPHONE, TOPICS)
    if not live or chosen.gain == 0 or chosen.echo not in ("auto", "speex"):
        return []
    name = "echo canceller"
    if echo.available():
        return [ok(name, "libspeexdsp takes its own voice out of what the microphone hears")]
    remedy = "sudo apt-get install libspeexdsp1; or audio.echo: none, where nothing echoes."
    if chosen.echo == "speex":
        return [failed(name, "audio.echo: speex needs libspeexdsp, which is missing", remedy)]
    text = "libspeexdsp is missing: the device hears itself, and stops for its own voice"
    return [(warning if case.configured else absent)(name, text, remedy)]


def listen(
    source: AudioSource, turns: int, on_level: Callable[[float], None] = lambda dbfs: None
) -> list[AudioReading]:
    """So many turns, 200 ms each; `on_level` is told the level of each, in dBFS."""
    heard = []
    for _ in range(turns):
        reading = source.read_turn()
        if reading is None:
            break
        heard.append(reading)
        on_level(dbfs(rms(reading.pcm[0])))
    return heard


def play_and_listen(
    source: AudioSource,
    pcm: Pcm,
    turns: int,
    on_level: Callable[[float], None] = lambda dbfs: None,
) -> list[AudioReading]:
    """What is heard in so many turns while float32 (n,) at 16 kHz is played."""
    padded = np.pad(pcm, (0, -len(pcm) % TURN_SAMPLES))
    waiting = deque(np.split(padded, max(1, len(padded) // TURN_SAMPLES)))
    heard = []
    for turn in range(turns):
        # One is always queued behind the one that plays.
        for _ in range(2 if turn == 0 else 1):
            if waiting:
                source.play(waiting.popleft())
        heard += listen(source, 1, on_level)
    return heard


def microphone_finding(heard: Sequence[AudioReading], notes: str) -> Finding:
    """By 2 s of it; `notes` say what was opened."""
    pcm: Pcm = np.concatenate([reading.pcm[0] for reading in heard])
    lost = sum(reading.lost_samples for reading in heard)
    clipped = float(np.mean(np.abs(pcm) >= CLIPPED))
    level, peak = dbfs(rms(pcm)), dbfs(float(np.abs(pcm).max()))
    values: dict[str, Value] = {
        "device": notes,
        "level_dbfs": level,
        "peak_dbfs": peak,
        "clipped": round(clipped, 5),
        "lost_ms": round(lost / SAMPLE_RATE_HZ * 1000, 1),
    }
    text = f"{notes}: level {level:.0f} dBFS, peak {peak:.0f}"
    if lost > TURN_SAMPLES:
        remedy = (
            "Close what keeps the processor busy, give audio.block_ms larger blocks (20, 40), or "
            "use another USB socket, without a hub."
        )
        return warning("microphone", f"{text}; {values['lost_ms']} ms are lost", remedy, **values)
    if not pcm.any():
        remedy = "Its switch or the mixer mutes it (alsamixer, F4; pavucontrol), or it is broken."
        return failed("microphone", f"{notes}: it gives nothing but zeros", remedy, **values)
    if clipped > CLIPPED_SHARE:
        remedy = "Lower its gain: alsamixer, F4; or pavucontrol."
        return warning("microphone", f"{text}; it is too loud and clips", remedy, **values)
    if level < FAINT_DBFS:
        remedy = "Raise its gain: alsamixer, F4; or pavucontrol. Or choose audio.input_device."
        return warning("microphone", f"{text}; hardly anything is heard", remedy, **values)
    return ok("microphone", text, **values)


def loudspeaker_finding(
    config: Config, before: Sequence[AudioReading], during: Sequence[AudioReading]
) -> Finding:
    """Whether the microphone heard the tone."""
    chosen = config.audio
    if chosen.mute or chosen.volume == 0:
        return warning("loudspeaker", "the configuration mutes it", "See audio.mute, audio.volume.")
    quiet, loud = (max(at_tone(reading.pcm[0]) for reading in turns) for turns in (before, during))
    level = dbfs(loud / math.sqrt(2))
    if loud > HEARD_RATIO * quiet and loud > 0:
        text = f"the tone was played, and the microphone heard it at {level:.0f} dBFS"
        return ok("loudspeaker", text, tone_heard_dbfs=level)
    return warning(
        "loudspeaker",
        "the tone was played, and the microphone did not hear it",
        "If you did not either: raise the volume (alsamixer), or choose another audio.output_device"
        "; `edge-runtime devices` lists them. A microphone that cancels echoes need not hear it.",
        tone_heard_dbfs=level,
    )


def tone() -> Pcm:
    """1 s of 1 kHz at -20 dBFS, faded in and out: float32 (16000,)."""
    time_s = np.arange(round(TONE_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    fade = np.minimum(1.0, np.minimum(time_s, TONE_S - time_s) / 0.02)
    pcm: Pcm = (TONE_LEVEL * fade * np.sin(2 * np.pi * TONE_HZ * time_s)).astype(np.float32)
    return pcm


def at_tone(pcm: Pcm) -> float:
    """The amplitude of 1 kHz in float32 (n,) at 16 kHz."""
    phase = np.exp(-2j * np.pi * TONE_HZ / SAMPLE_RATE_HZ * np.arange(len(pcm)))
    return float(2 * abs(np.mean(pcm * phase)))


def dbfs(level: float) -> float:
    """-120 for silence; a full-scale square is 0."""
    return round(max(FLOOR_DBFS, 20 * math.log10(max(level, 1e-9))), 1)


def rms(pcm: Pcm) -> float:
    return float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64))))
