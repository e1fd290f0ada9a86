"""How late and how loud our loudspeaker is in the microphone: measured with a sweep, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel

from edge_runtime.config import load
from edge_runtime.errors import ConfigError, SourceError
from edge_runtime.interfaces import AudioSource
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm

SWEEP_HZ = (100.0, 7000.0)
SWEEP_S = 2.0
SWEEP_PEAK = 0.3
QUIET_TURNS = 10
"""Before the sweep: what is heard without it, once the devices have settled."""
SETTLING_TURNS = 5
TAIL_TURNS = 5
"""After it, for a late echo and its reverberation."""
LONGEST_S = 0.5
"""Either way."""
CLEAR = 12.0
"""The peak of the response over its rms."""
ARRIVED = 0.5
"""Of the peak: the first that reaches it is the echo, a stronger reflection may follow."""
CLIPPED = 0.99


@dataclass(frozen=True)
class Echo:
    """Of one pair of devices."""

    delay_samples: int
    """At 16 kHz, by which it is later than the devices say; negative: earlier."""
    level_db: float
    """Of the microphone over what was played."""
    clipped: bool
    """The microphone was driven to its end: levels are unsure, and cancelling is hard."""

    @property
    def delay_ms(self) -> float:
        return self.delay_samples * 1000 / SAMPLE_RATE_HZ


def sweep() -> Pcm:
    """Exponential from 100 to 7,000 Hz (Farina, 2000), float32 (n,), whole turns, peak 0.3."""
    time_s = np.arange(round(SWEEP_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    low, high = SWEEP_HZ
    rate = np.log(high / low)
    phase = 2 * np.pi * low * SWEEP_S / rate * (np.exp(time_s / SWEEP_S * rate) - 1)
    edges = np.minimum(1, np.minimum(time_s, SWEEP_S - time_s) / 0.02)
    sound: Pcm = (SWEEP_PEAK * np.sin(phase) * edges).astype(np.float32)
    return sound


def measure(source: AudioSource, advance: Callable[[], None] = lambda: None) -> Echo:
    """Play the sweep and listen; about 7 s. `advance` is called after each of `steps()` turns.

    Raises SourceError where no echo stands out, or the microphone ends.
    """
    silence = np.zeros(TURN_SAMPLES, np.float32)
    sound = sweep().reshape(-1, TURN_SAMPLES)
    heard, played = [], []
    for part in [silence] * (SETTLING_TURNS + QUIET_TURNS) + [*sound] + [silence] * TAIL_TURNS:
        source.play(part)
        reading = source.read_turn()
        if reading is None or reading.lost_samples >= TURN_SAMPLES:
            raise SourceError("The microphone gave no sound. See `edge-runtime devices`.")
        heard.append(reading.pcm[0])
        played.append(reading.pcm[1])
        advance()
    quiet = np.concatenate(heard[SETTLING_TURNS : SETTLING_TURNS + QUIET_TURNS - 2])
    first = SETTLING_TURNS + QUIET_TURNS - 2
    return found(np.concatenate(heard[first:]), np.concatenate(played[first:]), quiet)


def steps() -> int:
    return SETTLING_TURNS + QUIET_TURNS + sweep().size // TURN_SAMPLES + TAIL_TURNS


def found(heard: Pcm, played: Pcm, quiet: Pcm) -> Echo:
    """From what was heard and played at the same time, float32 (n,), and what is heard without.

    Raises SourceError where no echo stands out.
    """
    size = 2 * heard.size
    spoken = np.fft.rfft(played, size)
    power = np.abs(spoken) ** 2
    response = np.fft.irfft(
        np.fft.rfft(heard, size) * np.conj(spoken) / (power + 1e-3 * power.max() + 1e-12), size
    )
    longest = round(LONGEST_S * SAMPLE_RATE_HZ)
    near = np.abs(np.concatenate([response[-longest:], response[: longest + 1]]))
    echo_power = float(np.mean(heard**2) - np.mean(quiet**2))
    if near.max() < CLEAR * np.sqrt(np.mean(near**2)) or echo_power <= 0:
        raise SourceError(
            "The loudspeaker was not heard by the microphone. Turn its volume up (audio.volume, "
            "audio.mute), look whether the right devices are chosen, and try again in a quiet "
            "room. With headphones there is no echo to measure."
        )
    delay = int(np.flatnonzero(near >= ARRIVED * near.max())[0]) - longest
    level_db = float(10 * np.log10(echo_power / np.mean(played**2)))
    return Echo(delay, level_db, bool(np.abs(heard).max() >= CLIPPED))


class KeptEcho(BaseModel):
    """As in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    delay_ms: float = Field(ge=-500, le=500)
    level_db: float
    clipped: bool = False


class KeptEchoes(RootModel[dict[str, KeptEcho]]):
    """By `devices_name`."""


def devices_name(microphone: str | None, loudspeaker: str | None) -> str:
    """As the configuration names them, which is what stays when card numbers change."""
    return f"{microphone or 'default'} / {loudspeaker or 'default'}"


def keep(path: Path, name: str, echo: Echo) -> None:
    """Write it beside those of other devices. Raises ConfigError."""
    kept = load_echoes(path) if path.exists() else {}
    kept[name] = KeptEcho(
        delay_ms=round(echo.delay_ms, 2), level_db=round(echo.level_db, 1), clipped=echo.clipped
    )
    content = {key: one.model_dump() for key, one in sorted(kept.items())}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}. Give another path."
        ) from error


def load_echoes(path: Path) -> dict[str, KeptEcho]:
    """All that are in a file. Raises ConfigError."""
    return dict(load(path, KeptEchoes).root)


def kept_delay_ms(path: Path, name: str) -> float:
    """Raises ConfigError where the file does not know these devices."""
    if not path.exists():
        raise ConfigError(
            f"audio.echo_file: there is no {path.absolute()}. `edge-runtime calibrate echo` writes "
            "it; or leave audio.echo_file out."
        )
    kept = load_echoes(path)
    if name not in kept:
        known = ", ".join(kept) or "none"
        raise ConfigError(
            f"{path} knows no echo of {name!r}, but of: {known}. Run `edge-runtime calibrate "
            "echo`, or leave audio.echo_file out."
        )
    return kept[name].delay_ms
