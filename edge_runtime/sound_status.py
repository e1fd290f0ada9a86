"""How microphone and loudspeaker are, as one plain value: for health, metrics and people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edge_runtime.health import LOUDSPEAKER, MICROPHONE, Part, State, Value


class DeviceState(str, Enum):
    """Of one device."""

    PRESENT = "present"
    LOST = "lost"
    """It is not there, or cannot be opened."""
    SILENT = "silent"
    """A microphone that gives nothing but exact zeros: muted by a switch, or broken."""
    STUCK = "stuck"
    """It is open and gives or takes nothing any more."""
    RECOVERING = "recovering"
    """It is being opened again."""
    OFF = "off"
    """Switched off, and closed."""

    @property
    def severity(self) -> State:
        """What it means for the device's health."""
        if self in (DeviceState.PRESENT, DeviceState.OFF):
            return State.OK
        if self in (DeviceState.SILENT, DeviceState.RECOVERING):
            return State.DEGRADED
        return State.FAILED


@dataclass(frozen=True, slots=True)
class End:
    """The microphone or the loudspeaker."""

    state: DeviceState
    name: str = ""
    """As the system calls what is open, or was last."""
    reason: str = ""
    xruns: int = 0
    """How often its buffer ran over or empty, since the start."""
    reopened: int = 0
    """How often it came back."""


@dataclass(frozen=True, slots=True)
class SoundStatus:
    microphone: End
    loudspeaker: End
    buffer_ms: float = 0.0
    """From giving a sample to the loudspeaker's device to its being played, as the device says."""
    block_ms: float = 0.0
    """What the devices give and take at a time."""
    drift_ppm: float | None = None
    """By how much the loudspeaker's clock is faster than the microphone's, where they have two."""
    delay_ms: float = 0.0
    """By which the reference is late, so that it stands beside its echo."""
    delay_found: bool = False
    """The delay was found in what is heard, and is not only what the devices say."""
    underrun_samples: int = 0
    """Samples of silence played because the next block came late (16 kHz)."""

    def parts(self) -> tuple[Part, Part]:
        """For the health monitor: microphone, loudspeaker."""
        delay = {"reference_delay_ms": round(self.delay_ms, 2)}
        if self.drift_ppm is not None:
            delay["clock_drift_ppm"] = round(self.drift_ppm, 1)
        buffers = {"buffer_ms": round(self.buffer_ms, 1), "block_ms": self.block_ms}
        late_ms = {"underrun_ms": round(self.underrun_samples / 16, 1)}
        return (
            _part(MICROPHONE, self.microphone, delay),
            _part(LOUDSPEAKER, self.loudspeaker, {**buffers, **late_ms}),
        )


def _part(name: str, end: End, figures: dict[str, float]) -> Part:
    values: dict[str, Value] = {
        "device": end.name,
        "device_state": end.state.value,
        "xruns": end.xruns,
        "reopened": end.reopened,
        **figures,
    }
    return Part(name, end.state.severity, end.reason, values)
