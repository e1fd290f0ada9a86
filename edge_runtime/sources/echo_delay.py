"""Where our own voice is found in what the microphone hears: how late, to the sample. Pure."""

from __future__ import annotations

import numpy as np

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sources.played_sound import LONGEST_LATENCY_S

WINDOW_TURNS = 8
EVERY_TURNS = 5
"""Looked for once a second, while we speak."""
LONGEST_S = 0.4
"""Either way."""
LATEST = SAMPLE_RATE_HZ
"""An echo before its sound, or more than a second after it, is none."""
LEAD_SAMPLES = 8
"""By which the reference shall stand before its echo, 0.5 ms: an echo canceller looks back only."""
CLEAR = 12.0
"""The peak over the correlation's rms. Of 341 pairs of unrelated speech the most alike had 9; an
echo 30 dB down has 65 and more, and less beside a person who talks."""
AGREE_SAMPLES = 8
"""While two clocks settle, it moves a little."""
LEAST_RMS = 1e-3
"""Of the reference: quieter is no speech of ours."""
LEAST_HEARD_RMS = 1e-5
"""Of the microphone: below is no sound, only what rounding leaves."""
LEAST_SHARE = 1e-2
"""Frequencies at which the reference is so much weaker than at its strongest tell nothing."""
BAND_HZ = (200.0, 6000.0)


class EchoDelay:
    """By generalized cross-correlation with phase transform (Knapp and Carter, 1976). It costs
    about 1 ms when it looks, and tells only what it has found twice in a row."""

    def __init__(self) -> None:
        self._microphone: Pcm = np.zeros(WINDOW_TURNS * TURN_SAMPLES, np.float32)
        self._reference: Pcm = self._microphone.copy()
        self._turns = 0
        self._before: int | None = None
        self.found = False
        """An echo has been found since the streams were opened."""

    def reset(self) -> None:
        """The streams were opened anew: what was known is no longer so."""
        self._turns, self._before, self.found = 0, None, False

    def follow(self, latency_samples: int, microphone: Pcm, reference: Pcm) -> int:
        """As `hear`, of a reference that is delayed by `latency_samples`: by how many it shall be
        from the next turn on."""
        later = latency_samples + (self.hear(microphone, reference) or 0)
        # An echo before its sound, or a second after, is none.
        return later if 0 <= later <= LONGEST_LATENCY_S * SAMPLE_RATE_HZ else latency_samples

    def hear(self, microphone: Pcm, reference: Pcm) -> int | None:
        """Take a turn of both, float32 (3200,). Returns by how many samples the reference is to be
        delayed more (or, negative, less), once that is certain and it is not right already."""
        self._microphone = np.concatenate([self._microphone[TURN_SAMPLES:], microphone])
        self._reference = np.concatenate([self._reference[TURN_SAMPLES:], reference])
        self._turns += 1
        if self._turns < WINDOW_TURNS or self._turns % EVERY_TURNS:
            return None
        if np.sqrt(np.mean(self._reference**2)) < LEAST_RMS:
            return None
        late = lateness(self._microphone, self._reference)
        before, self._before = self._before, late
        if late is None or before is None or abs(late - before) > AGREE_SAMPLES:
            return None
        self.found = True
        more = late - LEAD_SAMPLES
        if abs(more) <= LEAD_SAMPLES // 2:
            return None
        self._turns, self._before = 0, None
        return more


def lateness(microphone: Pcm, reference: Pcm) -> int | None:
    """By how many samples the reference's echo is late in the microphone; None: there is none that
    stands out."""
    size = 2 ** int(np.ceil(np.log2(2 * microphone.size)))
    if np.sqrt(np.mean(microphone**2)) < LEAST_HEARD_RMS:
        return None
    spoken = np.fft.rfft(reference, size)
    cross = np.fft.rfft(microphone, size) * np.conj(spoken)
    frequencies_hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    cross[(frequencies_hz < BAND_HZ[0]) | (frequencies_hz > BAND_HZ[1])] = 0
    cross[np.abs(spoken) < LEAST_SHARE * np.abs(spoken).max()] = 0
    likeness = np.fft.irfft(cross / np.maximum(np.abs(cross), 1e-12), size)
    longest = round(LONGEST_S * SAMPLE_RATE_HZ)
    near = np.concatenate([likeness[-longest:], likeness[: longest + 1]])
    peak = int(np.argmax(near))
    if near[peak] < CLEAR * np.sqrt(np.mean(near**2)):
        return None
    return peak - longest
