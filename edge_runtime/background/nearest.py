"""The sentence of a JSGF grammar that is nearest to a rough transcript, by edit distance.

The interaction model spells what it hears letter by letter (`wwhat iss twelll tims seven`); the
grammar knows what can be asked. Weighted finite-state tools do this too, but ship no builds for
the boards we run on, and these sentences are short: dynamic programming over the grammar's own
tree takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_runtime.jsgf import Tree, parse

SUBSTITUTED, MISSING, SURPLUS, DOUBLED, SPACE = 1.0, 0.8, 0.8, 0.2, 0.1
"""Costs of a letter that is another, that is missing in the transcript, that is too many, that
repeats the one before it, and of a space too many or missing."""
SLACK, SHARE = 1.2, 0.45
"""A part of a sentence may cost at most SLACK plus SHARE a letter: others are not followed."""
LONGEST = 200
"""Letters: nobody asks for more in one sentence, and the search takes longer than it is long."""
MOST_STEPS = 4_000_000
"""One or two seconds: the questions that people ask take less than a tenth of it, and a phrase
from the network may be made to take hours."""

Ends = dict[int, tuple[float, tuple[str, ...]]]
"""Where in the transcript a part can end, at what cost, as which words."""


@dataclass(frozen=True)
class Nearest:
    text: str
    cost: float
    """Edits per letter of the transcript; 0 is the same."""


class TooMuch(Exception):
    """A search has taken all the steps that it may take."""


class Steps:
    """How much more may be tried, in one search or in several that answer one question."""

    def __init__(self, most: int | None = None) -> None:
        self._left = MOST_STEPS if most is None else most

    def take(self, count: int) -> None:
        """Raises TooMuch once there are none left."""
        self._left -= count
        if self._left < 0:
            raise TooMuch


class Rules:
    """A grammar's rules by name, in JSGF's notation (words, `|`, `()`, `[]`, `<rule>`)."""

    def __init__(self, rules: Mapping[str, str], start: str) -> None:
        self._trees = {name: parse(text) for name, text in rules.items()}
        self._start = start

    def nearest(self, rough: str, steps: Steps | None = None) -> Nearest | None:
        """The nearest sentence; None where none is near enough to be followed, or where it cannot
        be found within `steps`."""
        text = " ".join(rough.lower().split())
        if len(text) > LONGEST:
            return None
        search = _Search(self._trees, text, steps or Steps())
        try:
            found = search.rule(self._start, 0).get(len(text))
        except TooMuch:
            return None
        if not text or found is None:
            return None
        cost, words = found
        return Nearest(" ".join(words), cost / len(text))


class _Search:
    """One transcript; every result is kept, so that each part is matched once per position."""

    def __init__(self, trees: Mapping[str, Tree], text: str, steps: Steps) -> None:
        self._trees, self._text, self._steps = trees, text, steps
        self._known: dict[tuple[object, int], Ends] = {}

    def rule(self, name: str, begin: int) -> Ends:
        return self._match(self._trees[name], begin)

    def _match(self, tree: Tree, begin: int) -> Ends:
        if tree.kind == "rule":
            return self.rule(tree.text, begin)
        key = (tree if tree.kind == "word" else id(tree), begin)
        if key in self._known:
            return self._known[key]
        ends: Ends = {}
        if tree.kind == "word":
            ends = self._spell(tree.text, begin)
        elif tree.kind == "either":
            for part in tree.parts:
                _merge(ends, self._match(part, begin))
        else:
            ends = {begin: (0.0, ())}
            for part in tree.parts:
                ends = self._after(ends, part, begin)
            if tree.kind == "optional":
                _merge(ends, {begin: (0.0, ())})
        self._known[key] = ends
        return ends

    def _after(self, ends: Ends, part: Tree, begin: int) -> Ends:
        joined: Ends = {}
        for end, (cost, words) in ends.items():
            more_ends = self._match(part, end)
            self._steps.take(1 + len(more_ends))
            for later, (more, rest) in more_ends.items():
                total = cost + more
                if total <= SLACK + SHARE * (later - begin):
                    _merge(joined, {later: (total, words + rest)})
        return joined

    def _spell(self, word: str, begin: int) -> Ends:
        """Where `word` can end; one row of the edit table per letter of the transcript."""
        text = self._text
        row = [MISSING * count for count in range(len(word) + 1)]
        ends: Ends = {}
        if row[-1] <= SLACK:
            ends[begin] = (row[-1], (word,))
        last = min(len(text), begin + 2 * len(word) + 6)
        self._steps.take((last - begin) * len(word))
        for at in range(begin, last):
            letter = text[at]
            extra = SURPLUS
            if letter == " ":
                extra = SPACE
            elif at > 0 and letter == text[at - 1]:
                extra = DOUBLED
            fresh = [row[0] + extra]
            for index, wanted in enumerate(word):
                fresh.append(
                    min(
                        row[index] + SUBSTITUTED * (wanted != letter),
                        row[index + 1] + extra,
                        fresh[index] + MISSING,
                    )
                )
            row = fresh
            if row[-1] <= SLACK + SHARE * (at + 1 - begin):
                ends[at + 1] = (row[-1], (word,))
        return ends


def _merge(ends: Ends, more: Ends) -> None:
    for end, found in more.items():
        if end not in ends or found[0] < ends[end][0]:
            ends[end] = found
