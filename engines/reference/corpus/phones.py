"""Phone names of the synthesizers and of the aligner, as indices into `PHONES`."""

from __future__ import annotations

import re

from engines.reference.vocabulary import PHONES

_INDEX = {phone: index for index, phone in enumerate(PHONES)}
_ESPEAK = {
    "t": "T", "n": "N", "I": "IH", "d": "D", "k": "K", "l": "L", "s": "S", "m": "M", "@": "AH",
    "w": "W", "r": "R", "D": "DH", "a": "AE", "z": "Z", "E": "EH", "aI": "AY", "oU": "OW",
    "i:": "IY", "b": "B", "0": "AA", "eI": "EY", "p": "P", "u:": "UW", "V": "AH", "a#": "AH",
    "f": "F", "j": "Y", "h": "HH", "@2": "AH", "v": "V", "aU": "AW", "I2": "IH", "3": "ER",
    "U": "UH", "i": "IY", "g": "G", "N": "NG", "3:": "ER", "tS": "CH", "@L": "L", "O@": "AO",
    "O:": "AO", "r-": "R", "A@": "AA", "T": "TH", "dZ": "JH", "aa": "AE", "S": "SH", "e@": "EH",
    "O2": "AO", "aI2": "AY", "A:": "AA", "t#": "T", "i@3": "IH", "@5": "AH", "w#": "W",
    "o@": "AO", "I#": "IH", "i@": "IH", "Z": "ZH", "VR": "ER", "U@": "UH", "t[": "T",
    "aI@": "AY", "t2": "T", "OI": "OY", "aI3": "AY", "@-": "AH", "IR": "IH", "O": "AO",
}  # fmt: skip
_FLITE = {"ax": "AH", "el": "L", "em": "M", "en": "N", "axr": "ER", "ix": "IH", "dx": "T"}
UNKNOWN = -100


def from_espeak(name: str) -> int:
    """0 for silence, UNKNOWN (ignored in the loss) for a sound without a counterpart."""
    if name.startswith("_") or not name:
        return 0
    return _INDEX.get(_ESPEAK.get(name, ""), UNKNOWN)


def from_flite(name: str) -> int:
    if name in ("pau", "sil", "h#"):
        return 0
    return _INDEX.get(_FLITE.get(name, name.upper()), UNKNOWN)


def from_arpabet(name: str) -> int:
    """`AH0`, `AH`, `SIL`, `+SPN+`, ..."""
    return _INDEX.get(re.sub(r"\d", "", name), 0 if name.startswith(("SIL", "+", "<")) else UNKNOWN)
