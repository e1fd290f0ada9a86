"""What was said and how it was heard: errors, and whether a sentence is the one that is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edge_runtime.grammar_search import GrammarSearch
from edge_runtime.micro_turn import Letters


class Sentence(NamedTuple):
    """What was said in a clip, and how it was heard."""

    truth: str
    guess: str
    letters: Letters | None = None


def told_apart(sentences: Sequence[Sentence]) -> list[bool]:
    """For each sentence, whether it is the one that is found: the vocabulary is all that is said
    among them, so with more of them it is harder. Found is the likeliest by the letters, as the
    runtime finds a question, and where there are none the one whose spelling is nearest."""
    vocabulary = sorted({one.truth for one in sentences})
    if len(vocabulary) < 2:
        return []
    searches: dict[tuple[str, ...], GrammarSearch] = {}

    def found(one: Sentence) -> bool:
        if one.letters is None or not one.letters.spell:
            distance = edits(one.truth, one.guess)
            others = (other for other in vocabulary if other != one.truth)
            return one.guess != "" and all(distance < edits(other, one.guess) for other in others)
        symbols = one.letters.symbols
        if symbols not in searches:
            searches[symbols] = GrammarSearch({"said": " | ".join(vocabulary)}, "said", symbols)
        likeliest = searches[symbols].likeliest(one.letters)
        return likeliest is not None and likeliest.text == one.truth

    return [found(one) for one in sentences]


def edits(truth: Sequence[str], guess: Sequence[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(guess) + 1))
    for i, a in enumerate(truth, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(guess, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
