"""A grammar as a graph of letters, in which every way from a beginning to an end is a sentence.

Words that begin or end alike share their letters (a minimal acyclic automaton, Daciuk et al. 2000):
a few thousand nodes hold millions of sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_runtime.errors import InputError
from edge_runtime.jsgf import Tree, parse

MOST_STATES = 20_000
"""Of a grammar's automaton; the skills' own has fewer than a thousand. What a device adds comes
from outside, and a short phrase can have any number."""
SPACE = " "
ANYTHING = "_"
"""A word that stands for any words."""
_END = -1
"""As a successor: the sentence may be over."""


@dataclass(frozen=True)
class LetterGraph:
    letters: tuple[str, ...]
    """Of each node."""
    after: tuple[frozenset[int], ...]
    """The nodes that may follow each."""
    first: frozenset[int]
    """Where a sentence begins."""
    last: frozenset[int]
    """Where one may end."""

    @staticmethod
    def of(rules: Mapping[str, str], start: str) -> LetterGraph:
        """The sentences of the rule `start`; rules are JSGF's, and none is part of itself. Raises
        InputError where these are too much."""
        words = _Words(rules)
        begin = words.begin(start)
        spelled = _Spelled(words)
        first = spelled.beginnings(begin)
        return LetterGraph(
            tuple(letter for letter, _ in spelled.nodes),
            tuple(after - {_END} for _, after in spelled.nodes),
            first,
            frozenset(n for n, (_, after) in enumerate(spelled.nodes) if _END in after),
        )


class _Words:
    """The grammar as a deterministic automaton over words. States that go on alike are one."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self._trees = {name: parse(text) for name, text in rules.items()}
        self._free: list[list[int]] = []
        """By place in the grammar: the places reached without a word."""
        self._spoken: list[list[tuple[str, int]]] = []
        """... and those reached with one."""
        self._known: dict[frozenset[int], int] = {}
        self._alike: dict[tuple[bool, tuple[tuple[str, int], ...]], int] = {}
        self.states: list[tuple[bool, tuple[tuple[str, int], ...]]] = []
        """Whether a sentence may be over, and the state after each word that may follow."""
        self._end = 0

    def begin(self, start: str) -> int:
        """The state in which nothing has been said yet."""
        place = self._place()
        self._end = self._build(self._trees[start], place)
        return self._state(self._closure({place}))

    def _place(self) -> int:
        self._free.append([])
        self._spoken.append([])
        return len(self._free) - 1

    def _build(self, tree: Tree, begin: int) -> int:
        """The place where it ends."""
        if tree.kind == "rule":
            return self._build(self._trees[tree.text], begin)
        if tree.kind == "word":
            end = self._place()
            self._spoken[begin].append((tree.text, end))
            return end
        if tree.kind == "either":
            end = self._place()
            for part in tree.parts:
                self._free[self._build(part, begin)].append(end)
            return end
        end = begin
        for part in tree.parts:
            end = self._build(part, end)
        if tree.kind == "optional":
            over = self._place()
            self._free[end].append(over)
            self._free[begin].append(over)
            return over
        return end

    def _closure(self, places: set[int]) -> frozenset[int]:
        found, left = set(places), list(places)
        while left:
            for place in self._free[left.pop()]:
                if place not in found:
                    found.add(place)
                    left.append(place)
        return frozenset(found)

    def _state(self, places: frozenset[int]) -> int:
        if places not in self._known:
            after: dict[str, set[int]] = {}
            for place in places:
                for word, end in self._spoken[place]:
                    after.setdefault(word, set()).add(end)
            if len(self._known) > MOST_STATES:
                raise InputError(
                    f"What may be said has more than {MOST_STATES} beginnings. Use fewer `[ ]` and "
                    "`|` beside each other, or write the phrases out."
                )
            arcs = {word: self._state(self._closure(ends)) for word, ends in after.items()}
            key = (self._end in places, tuple(sorted(arcs.items())))
            if key not in self._alike:
                self._alike[key] = len(self.states)
                self.states.append(key)
            self._known[places] = self._alike[key]
        return self._known[places]


class _Spelled:
    """The words' letters, one space between words and perhaps one before them."""

    def __init__(self, words: _Words) -> None:
        self._words = words
        self.nodes: list[tuple[str, frozenset[int]]] = []
        self._alike: dict[tuple[str, frozenset[int]], int] = {}
        self._first: dict[int, frozenset[int]] = {}

    def beginnings(self, state: int) -> frozenset[int]:
        letters = self.after_space(state)
        return letters | {self._node(SPACE, letters)}

    def after_space(self, state: int) -> frozenset[int]:
        """The first letters of what may follow."""
        if state not in self._first:
            _, arcs = self._words.states[state]
            self._first[state] = self._branches([(word, end) for word, end in arcs])
        return self._first[state]

    def _branches(self, words: list[tuple[str, int]]) -> frozenset[int]:
        found = set()
        rests: dict[str, list[tuple[str, int]]] = {}
        for word, state in words:
            if word:
                rests.setdefault(word[0], []).append((word[1:], state))
            else:
                over, arcs = self._words.states[state]
                if over:
                    found.add(_END)
                if arcs:
                    found.add(self._node(SPACE, self.after_space(state)))
        for letter, rest in rests.items():
            found.add(self._node(letter, self._branches(rest)))
        return frozenset(found)

    def _node(self, letter: str, after: frozenset[int]) -> int:
        key = (letter, after)
        if key not in self._alike:
            self._alike[key] = len(self.nodes)
            self.nodes.append(key)
        return self._alike[key]
