"""A synthesizer's silence before and after what it says."""

from __future__ import annotations

import numpy as np

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm

QUIET_LEVEL = 1e-3
"""-60 dBFS: what a synthesizer gives below it is its pause before and after the text."""
LEAD_MS = 5
"""Kept before the first sample above QUIET_LEVEL: a consonant begins softly."""
TAIL_MS = 50
"""Kept after the last sample above QUIET_LEVEL."""


class SilenceTrimmer:
    """Leaves out the silence before the first sound, and all but TAIL_MS after the last."""

    def __init__(self) -> None:
        self._lead = SAMPLE_RATE_HZ * LEAD_MS // 1000
        self._tail = SAMPLE_RATE_HZ * TAIL_MS // 1000
        self._begun = False
        self._held = np.zeros(0, np.float32)
        """Quiet samples that are given out only if a sound follows."""

    def push(self, block: Pcm) -> Pcm:
        """float32 (n,) in; float32 (m,) out: what is certain to belong to the speech so far."""
        sound = np.concatenate([self._held, block])
        loud = np.flatnonzero(np.abs(sound) > QUIET_LEVEL)
        if loud.size == 0:
            self._held = sound if self._begun else sound[-self._lead :]
            return sound[:0]
        begin = 0 if self._begun else max(0, int(loud[0]) - self._lead)
        end = int(loud[-1]) + 1
        self._begun, self._held = True, sound[end:]
        return sound[begin:end]

    def finish(self) -> Pcm:
        """float32 (m,): the end of the speech, at most TAIL_MS."""
        return self._held[: self._tail] if self._begun else self._held[:0]
