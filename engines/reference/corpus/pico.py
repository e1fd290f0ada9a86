"""SVOX Pico, two English voices at any pitch and pace. It does not tell the times of its phones."""

from __future__ import annotations

import importlib.util
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.reference.children import end_with_parent, out_of_reach_of_ctrl_c
from engines.reference.corpus.espeak import Phones

VOICES = ("en-US", "en-GB")
RATE_HZ = 16_000
VOLUME = 25
"""Percent; at 50 a low voice clips."""

_engines: dict[str, Any] = {}


def _say(text: str, voice: str, pitch: int, pace: int) -> bytes:
    """In the process that loads it."""
    import ttspico

    if voice not in _engines:
        _engines[voice] = ttspico.TtsEngine(voice)
        _engines[voice].volume = VOLUME
    engine = _engines[voice]
    engine.pitch, engine.rate = pitch, pace
    return engine.speak(text) or b""


class Pico:
    """In a process of its own: its binding (ttspico 0.3.2) never frees what it has handed out."""

    def __init__(self) -> None:
        if importlib.util.find_spec("ttspico") is None:
            raise RuntimeError("Pico is missing: pip install ttspico (it needs a C compiler)")
        self._process = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=end_with_parent
        )

    def say(
        self, text: str, voice: str, pitch: int, pace: int
    ) -> tuple[NDArray[np.float32], Phones, int]:
        """float32 (n,) on int16 scale, no phones, and the sample rate in Hz.

        `pitch` (50 to 200) and `pace` (20 to 500) are in percent of the voice's own.
        """
        with out_of_reach_of_ctrl_c():  # the first one starts the process
            sound = self._process.submit(_say, text, voice, pitch, pace)
        return np.frombuffer(sound.result(), np.int16).astype(np.float32), (), RATE_HZ

    def close(self) -> None:
        self._process.shutdown(cancel_futures=True)
