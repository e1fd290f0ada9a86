"""Phoneme codes, which espeak-ng and Piper both read between double brackets."""

from __future__ import annotations

import re

_PLAIN = str.maketrans({"[": "[ ", "\0": " "})
"""Else "[[" would begin phoneme codes, and a NUL end the text."""
_HUMMED = re.compile(r"\b(?:mhm|mm-?hmm?)\b(?P<marks>[.,;:!?]*)", re.IGNORECASE)
"""Without a vowel, and so spelled: "em aitch em"."""


def coded(text: str, hum: str) -> str:
    """`text` with codes for its "mhm" only: nothing of its own is read as one.

    `hum` stands for a "mhm" and the punctuation after it, which it names as `\\g<marks>`.
    """
    return _HUMMED.sub(hum, text.translate(_PLAIN))
