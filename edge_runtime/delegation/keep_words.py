"""Which questions are worth keeping: those in which one of a few phrases was heard.

The interaction model spells by ear (`remynd me too call anna`), and nothing better is known before
a question is sent. So a phrase may differ in a few letters, and spaces do not count; and what its
transcript has lost may still be found by the chances that it was read from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edge_runtime.grammar_search import GrammarSearch
from edge_runtime.micro_turn import Letters

TOLERANCE = 0.25
"""Letters that may differ, as a share of the phrase's."""
ALLOWANCE = 1.1
"""Cost of a phrase in nats a letter, see `GrammarSearch.holds`. Of 59 questions with one of the
phrases, unseen voices among them, 33 are kept by their transcript, 46 with this, and 4 of 177
others (reference model 0.6)."""


class KeepWords:
    """Called with a transcript and the letters that it was read from; whether something is asked
    for that may be late but not lost."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = [letters for phrase in phrases if (letters := _letters(phrase))]
        plain = (re.sub(r"[^\w']|_", " ", phrase.lower()) for phrase in phrases)
        self._rule = " | ".join(phrase for phrase in plain if phrase.strip())
        self._search: tuple[tuple[str, ...], GrammarSearch] | None = None

    def __call__(self, transcript: str, letters: Letters | None = None) -> bool:
        heard = _letters(transcript)
        return any(
            edits_within(phrase, heard) <= TOLERANCE * len(phrase) for phrase in self._phrases
        ) or (letters is not None and self._among(letters))

    def _among(self, letters: Letters) -> bool:
        if not self._rule:
            return False
        if self._search is None or self._search[0] != letters.symbols:
            search = GrammarSearch({"phrase": self._rule}, "phrase", letters.symbols)
            self._search = letters.symbols, search
        return self._search[1].holds(letters, ALLOWANCE)


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
