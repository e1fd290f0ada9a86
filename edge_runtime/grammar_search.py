"""The sentence of a grammar that a model has most likely heard, by the chances of its letters.

A transcript keeps one reading of what was heard; the chances that it was read from know how near
the others were. So every sentence of the grammar is held against them at once (Viterbi over CTC's
states, Graves et al. 2006), and the best against what would be read if anything could be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from edge_runtime.letter_graph import ANYTHING, SPACE, LetterGraph
from edge_runtime.micro_turn import Letters

FLOOR = -8.0
"""Log chance of a letter that was not heard at all: one surplus letter must not rule a sentence
out."""
RUN_ON = -1.0
"""For two words without a space between them."""
OPEN = -1.2
"""For each letter of what may be anything: so much less likely may be a word that is expected."""
LONGEST = 2000
"""Steps, 40 s at 50 a second: nobody asks for so long, and the search takes the longer."""
MOST_STATES = 20_000_000
"""Letters of the grammar times steps, five bytes each. The skills' own has 4,400 letters; what a
device adds to it comes from outside."""
LIKE = 0.5
"""Share of letters in common from which words of a transcript are taken to be the same."""
MOST_LIKE = 100
"""Letters that are looked for, and words of a transcript that they are looked for in."""
_NEVER = -1e9
_STAY = -1


@dataclass(frozen=True)
class Likeliest:
    text: str
    cost: float
    """How much less likely it is than the best reading without a grammar, in nats a letter heard;
    0 is the same. What may be anything is not counted."""


class GrammarSearch:
    """A grammar's rules by name, in JSGF's notation, against the letters of one vocabulary."""

    def __init__(self, rules: Mapping[str, str], start: str, symbols: tuple[str, ...]) -> None:
        graph = LetterGraph.of(rules, start)
        number = {symbol: index for index, symbol in enumerate(symbols) if index}
        self._graph, self._alphabet = graph, symbols
        self._symbols = np.array([number.get(letter, -1) for letter in graph.letters], np.intp)
        """Of each node; -1 is none that the model knows."""
        self._open = np.array([letter == ANYTHING for letter in graph.letters], bool)
        self._known = (self._symbols >= 0) | self._open
        self._spaces = np.array([letter == SPACE for letter in graph.letters], bool)
        arcs = sorted(set(self._arcs(graph)), key=lambda arc: arc[1])
        self._from, self._to = np.array([arc[:2] for arc in arcs], np.intp).reshape(-1, 2).T
        self._weight = np.array([arc[2] for arc in arcs], np.float32)
        self._same = self._symbols[self._from] == self._symbols[self._to]
        """The letter again: there must be a blank between the two."""
        self._begins = np.flatnonzero(np.diff(self._to, prepend=-1))
        """Of each node's arcs in `_to`, which is sorted."""
        self._reached = self._to[self._begins]
        self._first = np.fromiter(graph.first, np.intp, len(graph.first))
        self._last = np.fromiter(graph.last, np.intp, len(graph.last))

    @staticmethod
    def _arcs(graph: LetterGraph) -> list[tuple[int, int, float]]:
        arcs = []
        for node, after in enumerate(graph.after):
            for other in after:
                arcs.append((node, other, 0.0))
                if graph.letters[other] == SPACE:
                    arcs += [(node, beyond, RUN_ON) for beyond in graph.after[other]]
        return arcs

    def likeliest(self, letters: Letters, transcript: str = "") -> Likeliest | None:
        """None where nothing was heard, or too much. What may be anything is written as it is in
        the `transcript` that was read from the letters."""
        chances = np.maximum(letters.log_probabilities, FLOOR)
        heard = int((letters.log_probabilities.argmax(-1) > 0).sum()) if len(chances) else 0
        if not heard or not len(self._last):
            return None
        if len(chances) > LONGEST or len(chances) * len(self._symbols) > MOST_STATES:
            return None
        free = float(chances.max(-1).sum())
        score, path = self._best(chances)
        if score <= _NEVER / 2:
            return None
        ends = [*(step for _, step in path[1:]), len(chances)]
        text = ""
        for (node, step), end in zip(path, ends, strict=True):
            if node is None:
                text += SPACE
            elif self._open[node]:
                spelled = self._spelled(chances[step:end])
                text += _part_like(spelled, transcript)
                score, heard = score - OPEN * len(spelled), heard - len(spelled)
            else:
                text += self._graph.letters[node]
        return Likeliest(" ".join(text.split()), max(0.0, free - score) / max(1, heard))

    def _spelled(self, heard: NDArray[np.float32]) -> str:
        best = heard.argmax(-1)
        fresh = best[(np.diff(best, prepend=0) != 0) & (best > 0)]
        return "".join(self._alphabet[symbol] for symbol in fresh)

    def holds(self, letters: Letters, allowance: float) -> bool:
        """Whether a part of what was heard is one of the sentences, at a cost of `allowance` nats
        a letter of it at most."""
        chances = np.maximum(letters.log_probabilities[-LONGEST:], FLOOR)
        spoken, closed = self._nothing(), self._nothing()
        allowed = np.where(self._spaces, 0.0, allowance).astype(np.float32)
        for row in chances - chances.max(-1, keepdims=True, initial=FLOOR):
            before, _ = self._entered(spoken, closed)
            before[self._first] = np.maximum(before[self._first], 0.0)
            spoken, closed = self._next(spoken, closed, before + allowed, row, 0.0)
            if spoken[self._last].max(initial=_NEVER) >= 0:
                return True
        return False

    def _best(self, chances: NDArray[np.float32]) -> tuple[float, list[tuple[int | None, int]]]:
        """The best way through the graph, with its score: nodes, and the steps that they begin in.
        None is a space that was not heard."""
        shape = (len(chances), len(self._symbols))
        spoken, closed = self._nothing(), self._nothing()
        came = np.full(shape, _STAY, np.int32)
        """The arc that led to a letter, `_STAY` where it went on, and less for a beginning."""
        was_spoken = np.zeros(shape, bool)
        """That the blank follows the letter at once."""
        silence = 0.0
        best = chances.argmax(-1)
        anything = chances.max(-1) + OPEN * ((np.diff(best, prepend=0) != 0) & (best > 0))
        for step, row in enumerate(chances):
            before, ways = self._entered(spoken, closed)
            arcs = np.flatnonzero(ways == before[self._to])
            came[step, self._to[arcs]] = arcs
            fresh = self._first[before[self._first] < silence]
            before[fresh], came[step, fresh] = silence, _STAY - 1
            came[step, spoken >= before] = _STAY
            was_spoken[step] = spoken >= closed
            spoken, closed = self._next(spoken, closed, before, row, float(anything[step]))
            silence += float(row[0])
        return self._trace(spoken, closed, came, was_spoken)

    def _nothing(self) -> NDArray[np.float32]:
        """Scores, for each node, of ending in its letter or in a blank after it."""
        return np.full(len(self._symbols), _NEVER, np.float32)

    def _entered(
        self, spoken: NDArray[np.float32], closed: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The best score with which each node can be entered, and those of all arcs."""
        before = self._nothing()
        ends = np.where(self._same, _NEVER, spoken[self._from])
        ways = np.maximum(ends, closed[self._from]) + self._weight
        if len(ways):
            before[self._reached] = np.maximum.reduceat(ways, self._begins)
        return before, ways

    def _next(
        self,
        spoken: NDArray[np.float32],
        closed: NDArray[np.float32],
        before: NDArray[np.float32],
        row: NDArray[np.float32],
        anything: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        heard = np.maximum(spoken, before) + np.where(self._open, anything, row[self._symbols])
        return np.where(self._known, heard, _NEVER), np.maximum(spoken, closed) + row[0]

    def _trace(
        self,
        spoken: NDArray[np.float32],
        closed: NDArray[np.float32],
        came: NDArray[np.int32],
        was_spoken: NDArray[np.bool_],
    ) -> tuple[float, list[tuple[int | None, int]]]:
        ends = np.maximum(spoken, closed)
        node = int(self._last[ends[self._last].argmax()])
        score = float(ends[node])
        in_letter = bool(spoken[node] >= closed[node])
        path: list[tuple[int | None, int]] = []
        for step in range(len(came) - 1, -1, -1):
            if not in_letter:
                in_letter = bool(was_spoken[step, node])
                continue
            arc = int(came[step, node])
            if arc == _STAY:
                continue
            path.append((node, step))
            if arc < _STAY:
                break
            node = int(self._from[arc])
            in_letter = not self._same[arc] and bool(was_spoken[step, node])
            if self._weight[arc]:
                path.append((None, step))
        return score, path[::-1]


def _part_like(spelled: str, transcript: str) -> str:
    """The words of the transcript that are most like it, or itself where it has none, or is too
    much to look for."""
    if len(spelled) > MOST_LIKE:
        return spelled
    words, matcher = transcript.split()[-MOST_LIKE:], SequenceMatcher(None, b=spelled)
    best, found = LIKE, spelled
    for begin in range(len(words)):
        for end in range(begin + 1, len(words) + 1):
            part = " ".join(words[begin:end])
            if len(part) > 2 * len(spelled):
                break  # the ratio cannot be better any more
            matcher.set_seq1(part)
            if (ratio := matcher.ratio()) > best:
                best, found = ratio, part
    return found
