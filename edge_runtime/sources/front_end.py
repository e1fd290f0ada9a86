"""From several microphones to the one channel that the model hears: echo canceller, then array."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge_runtime.micro_turn import Channels, Pcm
from edge_runtime.sources.echo import EchoCanceller
from edge_runtime.sources.mic_array import MicArray

LEAST_RMS = 1e-3
"""Of the reference: quieter is no sound of ours that the microphones could hear."""


class SoundFrontEnd:
    """A FrontEnd. Each part may be absent: without an array it is the mean of the channels."""

    def __init__(
        self,
        canceller: EchoCanceller | None = None,
        array: MicArray | None = None,
        processed_channel: int | None = None,
    ) -> None:
        """`processed_channel`: a microphone whose hardware cancels echoes gives its result there;
        it is what the model hears, and the array tells the bearing only."""
        self._canceller, self._array = canceller, array
        self._processed = processed_channel
        self._spoke = False
        """In the turn before."""
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        if self._canceller is not None:
            self._resources.enter_context(self._canceller)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    def process(self, microphones: Channels, reference: Pcm) -> tuple[Pcm, float | None]:
        """Float32 (channels, 3200) and (3200,) -> float32 (3200,), and a bearing or None."""
        heard = microphones if self._array is None else self._array.select(microphones)
        if self._canceller is not None:
            heard = self._canceller.process(heard, reference)
        if self._array is None:
            beam, bearing_rad = heard.mean(axis=0), None
        else:
            beam, bearing_rad = self._array.process(heard, self._ours(reference))
        if self._processed is not None:
            beam = microphones[self._processed]
        return beam, bearing_rad

    def _ours(self, reference: Pcm) -> bool:
        """Whether our loudspeaker plays, or did until just now, so that the room still sounds of
        it: what a canceller leaves of that has a bearing of its own."""
        before, self._spoke = self._spoke, float(np.sqrt(np.mean(reference**2))) > LEAST_RMS
        return before or self._spoke
