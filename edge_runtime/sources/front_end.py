"""From several microphones to the one channel that the model hears: echo canceller, then array."""

from __future__ import annotations

from edge_runtime.micro_turn import Channels, Pcm
from edge_runtime.sources.echo import EchoCanceller
from edge_runtime.sources.mic_array import MicArray


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

    def process(self, microphones: Channels, reference: Pcm) -> tuple[Pcm, float | None]:
        """Float32 (channels, 3200) and (3200,) -> float32 (3200,), and a bearing or None."""
        heard = microphones if self._array is None else self._array.select(microphones)
        if self._canceller is not None:
            heard = self._canceller.process(heard, reference)
        if self._array is None:
            beam, bearing_rad = heard.mean(axis=0), None
        else:
            beam, bearing_rad = self._array.process(heard)
        if self._processed is not None:
            beam = microphones[self._processed]
        return beam, bearing_rad
