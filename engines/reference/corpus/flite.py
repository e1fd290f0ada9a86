"""flite as a library, with the time of every phone. Only the factory loads it."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.reference.corpus.espeak import Phones
from engines.reference.corpus.phones import from_flite

VOICES = ("slt", "rms", "kal16")
HELD_OUT = ("awb",)
"""Never trained on: what `generated_unseen` is measured with."""


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


def _open(name: str) -> ctypes.CDLL:
    found = ctypes.util.find_library(name) or f"lib{name}.so.1"
    try:
        return ctypes.CDLL(found, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise RuntimeError("flite is missing: apt-get install libflite1") from error


class Flite:
    def __init__(self) -> None:
        self._library = library = _open("flite")
        _open("flite_usenglish")
        _open("flite_cmulex")
        library.flite_init()
        self._voices: dict[str, Any] = {}
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        library.flite_synth_text.restype = pointer
        library.flite_synth_text.argtypes = [text, pointer]
        library.utt_wave.restype = ctypes.POINTER(_Wave)
        library.utt_wave.argtypes = [pointer]
        for name in ("utt_relation", "relation_head", "item_next"):
            getattr(library, name).restype = pointer
        library.utt_relation.argtypes = [pointer, text]
        library.relation_head.argtypes = library.item_next.argtypes = [pointer]
        library.item_feat_string.restype = text
        library.item_feat_string.argtypes = [pointer, text]
        library.item_feat_float.restype = ctypes.c_float
        library.item_feat_float.argtypes = [pointer, text]
        library.delete_utterance.argtypes = [pointer]
        library.feat_set_float.argtypes = [pointer, text, ctypes.c_float]

    def _voice(self, name: str) -> Any:
        if name not in self._voices:
            register = getattr(_open(f"flite_cmu_us_{name}"), f"register_cmu_us_{name}")
            register.restype = ctypes.c_void_p
            self._voices[name] = register(None)
        return self._voices[name]

    def say(self, text: str, voice: str, stretch: float) -> tuple[NDArray[np.float32], Phones, int]:
        """float32 (n,) on int16 scale, (phone, start_s, end_s), and its sample rate in Hz."""
        library, handle = self._library, self._voice(voice)
        features = ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[1]
        library.feat_set_float(features, b"duration_stretch", stretch)
        utterance = library.flite_synth_text(text.encode(), handle)
        wave = library.utt_wave(utterance).contents
        pcm = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.float32)
        rate_hz = int(wave.sample_rate)
        phones, start = [], 0.0
        item = library.relation_head(library.utt_relation(utterance, b"Segment"))
        while item:
            name = library.item_feat_string(item, b"name").decode()
            end = float(library.item_feat_float(item, b"end"))
            phones.append((from_flite(name), start, end))
            start, item = end, library.item_next(item)
        library.delete_utterance(utterance)
        return pcm, tuple(phones), rate_hz
