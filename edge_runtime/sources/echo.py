"""Our own voice taken out of what the microphones hear. The only file with libspeexdsp."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Channels, Pcm

BLOCK = SAMPLE_RATE_HZ // 100
"""10 ms."""
TAIL = SAMPLE_RATE_HZ // 5
"""The echo of a sound that is cancelled: 200 ms of it."""
SET_SAMPLING_RATE = 24
"""SPEEX_ECHO_SET_SAMPLING_RATE of speex_echo.h."""
FULL_SCALE = 32_767.0


class EchoCanceller:
    """Speex's adaptive filter (Valin, 2007), one for each microphone. Linear, it subtracts only:
    the person beside the echo, and the phase between microphones, stay what they were.

    The library can take several microphones at once, but then the sum over them is its sign that
    its filters have gone astray: a clap that clips in two of them is enough for it to begin anew.

    Entering begins with filters that know nothing, and raises SourceError where libspeexdsp is
    missing; leaving frees them.
    """

    def __init__(self, channels: int) -> None:
        """`channels`: microphones."""
        self._channels = channels
        self._states: list[int] = []

    def __enter__(self) -> Self:
        library = _library()
        rate_hz = ctypes.c_int(SAMPLE_RATE_HZ)
        for _ in range(self._channels):
            state = library.speex_echo_state_init(BLOCK, TAIL)
            if not state:
                self._free()
                raise SourceError("libspeexdsp could not start: audio.echo: none goes without it.")
            self._states.append(state)
            library.speex_echo_ctl(state, SET_SAMPLING_RATE, ctypes.byref(rate_hz))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._free()

    def _free(self) -> None:
        states, self._states = self._states, []
        for state in states:
            _library().speex_echo_state_destroy(state)

    def process(self, microphones: Channels, reference: Pcm) -> Channels:
        """Float32 (channels, 3200) and what was played then, (3200,): the echo at most 200 ms later
        than its sound, and no earlier -> the microphones without it, (channels, 3200), no delay.

        Raises RuntimeError outside of `with`, and ValueError for other shapes: the library would
        write into freed memory, or beyond its own.
        """
        if not self._states:
            raise RuntimeError("EchoCanceller.process outside of its `with` block")
        if microphones.shape != (self._channels, TURN_SAMPLES) or reference.size != TURN_SAMPLES:
            raise ValueError(f"({self._channels}, {TURN_SAMPLES}), not {microphones.shape}")
        library = _library()
        heard, played = _int16(microphones), _int16(reference)
        cleaned = np.empty_like(heard)
        for state, one, ours in zip(self._states, heard, cleaned, strict=True):
            for start in range(0, TURN_SAMPLES, BLOCK):
                part = slice(start, start + BLOCK)
                blocks = (one[part], played[part], ours[part])
                library.speex_echo_cancellation(state, *(block.ctypes.data for block in blocks))
        without: Channels = cleaned.astype(np.float32) / np.float32(FULL_SCALE)
        return without


def available() -> bool:
    """Whether libspeexdsp is installed."""
    try:
        _library()
    except SourceError:
        return False
    return True


def _int16(pcm: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int16]]:
    scaled = np.rint(np.clip(pcm, -1, 1) * FULL_SCALE)
    return np.ascontiguousarray(scaled, np.int16)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """Raises SourceError."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("speexdsp") or "libspeexdsp.so.1")
    except OSError as error:
        raise SourceError(
            f"The echo canceller is missing ({error}): sudo apt-get install libspeexdsp1, or "
            "switch it off with audio.echo: none."
        ) from error
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.speex_echo_state_init.argtypes = [number] * 2
    library.speex_echo_state_init.restype = pointer
    library.speex_echo_ctl.argtypes = [pointer, number, pointer]
    library.speex_echo_cancellation.argtypes = [pointer] * 4
    library.speex_echo_cancellation.restype = None
    library.speex_echo_state_destroy.argtypes = [pointer]
    library.speex_echo_state_destroy.restype = None
    return library
