"""A loudspeaker of this machine for speech that somebody else decides: `speech_audio`, in ROS.

No ROS here: messages are anything with the fields of SpeechAudio.msg.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm
from edge_runtime.sound_status import SoundStatus
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.sound_plan import Wanted
from edge_runtime.sources.sound_streams import SoundStreams
from edge_runtime.sources.sound_supervisor import SoundSupervisor

log = logging.getLogger(__name__)
CUSHION_MS, SLACK_MS = 50.0, 20.0
"""A block that comes so late is still played without a gap; and by how much the network may bring
blocks unevenly before the next silence makes up for it."""
KEPT_S = 0.4
"""What is later than that is not said any more."""


class Loudspeaker:
    """Plays blocks one after the other, all of them equally late; silence where none come.

    The device is chosen by a part of its name, its serial number or where it is plugged in; None is
    the system's default. One that is not there yet, or is lost, is sought and opened when it is
    there, and what came meanwhile is not said. Entering raises SourceError, with a remedy, without
    PortAudio, and for a name that fits several.
    """

    def __init__(self, device: str | None = None) -> None:
        self._buffer = DuplexBuffer(cushion_ms=CUSHION_MS, capacity_s=KEPT_S, slack_ms=SLACK_MS)
        wanted = Wanted(loudspeaker=device)
        self._sound = SoundSupervisor(wanted, self._buffer, self._opened, may_be_late=True)
        self._sound.switch(False)  # the microphone
        self.refused_blocks = 0

    def __enter__(self) -> Self:
        self._sound.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sound.__exit__(kind, error, trace)

    def feed(self, message: Any) -> None:
        """Take a SpeechAudio; never blocks. One of another rate or more channels is left out."""
        if (message.sample_rate_hz, message.channels) != (SAMPLE_RATE_HZ, 1):
            self._refuse(message)
            return
        pcm: Pcm = np.asarray(message.data, np.float32) / np.float32(32768)
        self._buffer.play(pcm)

    def status(self) -> SoundStatus:
        """How it is now; the microphone is off. Any thread may ask."""
        streams = self._sound.streams
        return SoundStatus(
            self._sound.end("microphone"),
            self._sound.end("loudspeaker"),
            buffer_ms=0.0 if streams is None else streams.output_s * 1000,
            block_ms=0.0 if streams is None else streams.plan.block_ms,
            underrun_samples=self._buffer.underrun_samples,
        )

    def _opened(self, streams: SoundStreams) -> None:
        self._buffer.flush(0)

    def _refuse(self, message: Any) -> None:
        level = logging.DEBUG if self.refused_blocks else logging.WARNING
        self.refused_blocks += 1
        log.log(
            level,
            "sound of %d Hz and %d channels is left out; a SpeechAudio has %d Hz and one. Does "
            "somebody else publish on `speech_audio`?",
            message.sample_rate_hz,
            message.channels,
            SAMPLE_RATE_HZ,
        )
