"""What to open, and what to try next where that fails. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_runtime.errors import MissingDeviceError, SourceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ
from edge_runtime.sources.audio_device import AudioDevice, AudioKind, choose

BLOCKS_MS = (5.0, 10.0, 20.0, 40.0)
"""What devices may be asked to give and take at a time, from the quickest to the surest."""
COMMON_RATE_HZ = 48_000
"""What nearly every device takes, whatever it says."""
StreamCount = Literal["auto", "one", "two"]


@dataclass(frozen=True)
class Wanted:
    """As the configuration has it."""

    microphone: str | None = None
    loudspeaker: str | None = None
    channels: int = 1
    """Of the microphone."""
    block_ms: float | None = None
    """None: measured when the devices are opened first."""
    streams: StreamCount = "auto"


@dataclass(frozen=True)
class Plan:
    """What to open: both ends together or apart, or one of them alone."""

    microphone: AudioDevice | None
    loudspeaker: AudioDevice | None
    together: bool
    rate_hz: int
    """Of a shared stream, or of the microphone's; a loudspeaker's own runs at the device's rate."""
    channels: int
    """Of the microphone, as opened."""
    block_ms: float

    def __str__(self) -> str:
        names = [f"{end.kind} {end.name}" for end in (self.microphone, self.loudspeaker) if end]
        rate = f"{self.rate_hz} Hz"
        if self.rate_hz != SAMPLE_RATE_HZ:
            rate += f" -> {SAMPLE_RATE_HZ} Hz"
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        streams = "one stream" if self.together or len(names) == 1 else "two streams"
        return f"{', '.join(names)}: {rate}, {channels}, {streams}, {self.block_ms:g} ms blocks"


def find(devices: Sequence[AudioDevice], kind: AudioKind, wanted: Wanted) -> AudioDevice:
    """The device of this kind. Raises MissingDeviceError where there is none, or the default one
    has too few channels; SourceError where the one that is named has, or the name fits several."""
    name = wanted.microphone if kind == "microphone" else wanted.loudspeaker
    device = choose(devices, kind, name)
    if kind == "microphone" and device.channels < wanted.channels:
        kind_of_error = MissingDeviceError if wanted.microphone is None else SourceError
        raise kind_of_error(
            f"The microphone {device.name!r} has only {device.channels} of the {wanted.channels} "
            "channels that audio.channels wants. Give the number that it has, or choose another "
            "microphone (audio.input_device)."
        )
    return device


def plans(
    microphone: AudioDevice | None,
    loudspeaker: AudioDevice | None,
    wanted: Wanted,
    block_ms: float,
) -> Iterator[Plan]:
    """What to try, best first: one stream where both ends are one device, as it needs one clock
    only; what the runtime works in before what the devices prefer."""
    streams = wanted.streams
    if microphone is not None and loudspeaker is not None:
        same = microphone.name == loudspeaker.name
        if streams == "one" or (streams == "auto" and same):
            for rate_hz in _rates_hz(microphone, loudspeaker):
                for channels in _channels(wanted.channels, microphone, loudspeaker):
                    yield Plan(microphone, loudspeaker, True, rate_hz, channels, block_ms)
        if streams == "one":
            return
    if microphone is not None:
        for rate_hz in _rates_hz(microphone):
            for channels in _channels(wanted.channels, microphone):
                yield Plan(microphone, loudspeaker, False, rate_hz, channels, block_ms)
    elif loudspeaker is not None:
        for rate_hz in _rates_hz(loudspeaker):
            yield Plan(None, loudspeaker, False, rate_hz, 1, block_ms)


def _rates_hz(*ends: AudioDevice) -> Sequence[int]:
    return list(dict.fromkeys((SAMPLE_RATE_HZ, *(end.rate_hz for end in ends), COMMON_RATE_HZ)))


def _channels(wanted: int, *ends: AudioDevice) -> Sequence[int]:
    """Some devices have no mono."""
    least = min(end.channels for end in ends)
    if wanted > 1:
        return [wanted] if wanted <= least else []
    return (1, 2) if least >= 2 else (1,)
