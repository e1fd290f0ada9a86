"""espeak-ng as a library, with the time of every phone. Only the factory loads it."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import VoiceError
from engines.reference.corpus.phones import from_espeak

ACCENTS = (
    "en-us", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd",
    "en-029", "en-us-nyc",
)  # fmt: skip
_SYNCHRONOUS, _PHONEME_EVENTS = 2, 1
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
Phones = tuple[tuple[int, float, float], ...]


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class EspeakVoice:
    name: str
    rate_wpm: int
    pitch: int
    spread: int


class MissingSynthesizerError(VoiceError, RuntimeError):
    """No corpus without it; whoever can do without catches RuntimeError, as for the others."""


class Espeak:
    """One per process: the library keeps global state. Raises MissingSynthesizerError."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            self._library = ctypes.CDLL(name)
        except OSError as error:
            raise MissingSynthesizerError(
                "espeak-ng is missing: apt-get install libespeak-ng1"
            ) from error
        self.rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        self._blocks: list[NDArray[np.int16]] = []
        self._events: list[tuple[str, float]] = []
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint,
            ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip

    def _receive(self, wave: object, count: int, events: object) -> int:
        if count > 0:
            self._blocks.append(np.ctypeslib.as_array(wave, (count,)).copy())  # type: ignore[arg-type]
        index = 0
        while (event := events[index]).type != _EVENT_END:  # type: ignore[index]
            if event.type == _EVENT_PHONEME:
                name = event.id.string.decode("utf-8", "ignore")
                self._events.append((name, event.audio_position / 1000))
            index += 1
        return 0

    def variants(self) -> list[str]:
        """Voice variants that are installed, without the whispers."""
        self._library.espeak_Info.restype = ctypes.c_char_p
        home = ctypes.c_char_p()
        self._library.espeak_Info(ctypes.byref(home))
        folder = Path((home.value or b"").decode()) / "voices" / "!v"
        return sorted(
            p.name for p in folder.glob("*") if "whisper" not in p.name and p.name != "fast"
        )

    def say(self, text: str, voice: EspeakVoice) -> tuple[NDArray[np.float32], Phones]:
        """float32 (n,) at `rate_hz`, int16 scale, and (phone, start_s, end_s)."""
        library = self._library
        library.espeak_SetVoiceByName(voice.name.encode())
        settings = ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.spread))
        for parameter, value in settings:
            library.espeak_SetParameter(parameter, int(value), 0)
        self._blocks, self._events = [], []
        data = text.encode() + b"\0"
        library.espeak_Synth(data, len(data), 0, 1, 0, 1, None, None)
        pcm = np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)
        ends = [start for _, start in self._events[1:]] + [len(pcm) / self.rate_hz]
        phones = tuple(
            (from_espeak(name), start, end)
            for (name, start), end in zip(self._events, ends, strict=True)
        )
        return pcm.astype(np.float32), phones
