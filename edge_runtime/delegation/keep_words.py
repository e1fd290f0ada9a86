"""Which questions are worth keeping: those whose rough transcript holds one of a few phrases.

The interaction model spells by ear (`remynd me too call anna`), and nothing better is known before
a question is sent. So a phrase may differ in a few letters, and spaces do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TOLERANCE = 0.25
"""Letters that may differ, as a share of the phrase's."""


class KeepWords:
    """Called with a transcript; whether it asks for something that may be late but not lost."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = [letters for phrase in phrases if (letters := _letters(phrase))]

    def __call__(self, transcript: str) -> bool:
        heard = _letters(transcript)
        return any(
            edits_within(phrase, heard) <= TOLERANCE * len(phrase) for phrase in self._phrases
        )


def edits_within(phrase: str, text: str) -> int:
    """The fewest edits that turn some part of `text` into `phrase` (Sellers 1980)."""
    row = list(range(len(phrase) + 1))
    best = row[-1]
    for letter in text:
        fresh = [0]
        for index, wanted in enumerate(phrase):
            changed = row[index] + (wanted != letter)
            fresh.append(min(changed, row[index + 1] + 1, fresh[index] + 1))
        row = fresh
        best = min(best, row[-1])
    return best


def _letters(text: str) -> str:
    """Without spaces and marks; a letter that is held counts once."""
    letters = "".join(filter(str.isalnum, text.casefold()))
    return re.sub(r"(.)\1+", r"\1", letters)
