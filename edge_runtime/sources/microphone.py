"""Microphone and loudspeaker as the runtime's sound: 16 kHz, on the audio device's own clock."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge_runtime.interfaces import FrontEnd
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, AudioReading, Pcm
from edge_runtime.sound_status import SoundStatus
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.echo_delay import EchoDelay
from edge_runtime.sources.sound_plan import Wanted
from edge_runtime.sources.sound_streams import SoundStreams
from edge_runtime.sources.sound_supervisor import SoundSupervisor

PATIENCE_S = 0.1
"""How late a device may be before a turn goes on without it; so that no turn is missed for it."""


class MicrophoneSource:
    """An AudioSource: captures and plays at 16 kHz, on the audio device's own clock.

    Devices are chosen by a part of their names, their serial number or where they are plugged in,
    as card numbers change; None is the system's default. Entering opens both and starts; it raises
    SourceError, with a remedy, when PortAudio or a device is missing or busy, a name fits none or
    several, or a microphone has too few channels. A device that is lost later is no exception: its
    sound is missing, and it is opened again once it is back; `status` tells. With `may_be_late`
    that is so from the start for one that is not there yet, or is busy.

    Switched off, the stream is closed, and one that only plays takes its place: the microphone is
    not open any more, and the device still speaks. Switched off before it is entered, it is not
    opened at all.
    """

    def __init__(
        self,
        wanted: Wanted | None = None,
        volume: float = 1.0,
        front_end: FrontEnd | None = None,
        extra_delay_samples: int = 0,
        follow_delay: bool = True,
        delay_channel: int = 0,
        may_be_late: bool = False,
    ) -> None:
        """`volume` 0..1; 0 mutes the loudspeaker. `front_end` makes one channel of all; None: it is
        their mean. `extra_delay_samples` (16 kHz) is by how much an echo is later than the devices
        say, as was measured; with `follow_delay` it is corrected while the device speaks, by what
        the microphone of `delay_channel` hears."""
        self._wanted, self._front_end = wanted or Wanted(), front_end
        self._extra_delay, self._delay_channel = extra_delay_samples, delay_channel
        self._delay = EchoDelay() if follow_delay else None
        channels = self._wanted.channels
        self._buffer = DuplexBuffer(volume=volume, patience_s=PATIENCE_S, channels=channels)
        self._sound = SoundSupervisor(self._wanted, self._buffer, self._opened, may_be_late)
        self._resources = ExitStack()
        self._on = True

    def __enter__(self) -> Self:
        with ExitStack() as acquired:
            if self._front_end is not None:
                acquired.enter_context(self._front_end)
            acquired.enter_context(self._sound)
            self._resources = acquired.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    def set_volume(self, volume: float) -> None:
        """0..1, of the loudspeaker, from its next block on."""
        self._buffer.volume = volume

    @property
    def description(self) -> str:
        """What is open, and how; empty where nothing is."""
        streams = self._sound.streams
        if streams is None:
            return ""
        return f"{streams.plan}, {streams.output_s * 1000:.0f} ms of buffer"

    @property
    def lost_samples(self) -> int:
        """Samples dropped because nobody read them, and samples that never came."""
        return self._buffer.lost_samples

    @property
    def dropped_samples(self) -> int:
        """Those among them that a running loop was too late for."""
        return self._buffer.dropped_samples

    @property
    def underrun_samples(self) -> int:
        """Samples of silence played because the next block was late."""
        return self._buffer.underrun_samples

    def status(self) -> SoundStatus:
        """How both devices are now. Any thread may ask."""
        streams, delay = self._sound.streams, self._delay
        return SoundStatus(
            self._sound.end("microphone"),
            self._sound.end("loudspeaker"),
            0.0 if streams is None else streams.output_s * 1000,
            0.0 if streams is None else streams.plan.block_ms,
            None if streams is None else streams.drift_ppm,
            self._buffer.latency_samples * 1000 / SAMPLE_RATE_HZ,
            delay is not None and delay.found,
            self._buffer.underrun_samples,
        )

    def read_turn(self) -> AudioReading:
        """Wait until 3,200 new samples have arrived; zero-filled when the device has stalled, and
        while it is switched off."""
        turn = self._buffer.take_turn()
        microphones, lost = turn.microphones, turn.lost_samples
        if not self._on:
            microphones, lost = np.zeros_like(microphones), TURN_SAMPLES
        if self._delay is not None:
            self._buffer.latency_samples = self._delay.follow(
                self._buffer.latency_samples, microphones[self._delay_channel], turn.reference
            )
        heard: Pcm = microphones.mean(axis=0)
        direction_rad: float | None = None
        if self._front_end is not None:
            heard, direction_rad = self._front_end.process(microphones, turn.reference)
        pcm = np.stack([heard, turn.reference])
        return AudioReading(pcm, lost, turn.captured_ns, direction_rad)

    def switch(self, on: bool) -> None:
        """Off: nothing heard is handed out from now on, and the microphone is closed at once."""
        if on and not self._on:
            self._buffer.forget_captured()
        self._on = on
        self._sound.switch(on)

    def play(self, pcm: Pcm) -> None:
        """Queue float32 (n,), -1..1; never blocks."""
        self._buffer.play(pcm)

    def flush(self, fade_ms: float) -> int:
        """Silence within `fade_ms`; returns how many samples were queued."""
        return self._buffer.flush(fade_ms)

    def _opened(self, streams: SoundStreams) -> None:
        latency = round(streams.latency_s * SAMPLE_RATE_HZ)
        self._buffer.latency_samples = latency + self._extra_delay
        if self._delay is not None:
            self._delay.reset()
