"""From the transcript's logits to symbols, micro-turn by micro-turn.

A model writes a distribution over symbols every few milliseconds, most of them blank (CTC, Graves
et al. 2006). By itself each is a guess at a sound; what is known of the language tells which of the
guesses make words. Both together are a prefix beam search (Hannun et al. 2014).
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.inference.character_model import BOUNDARY, CharacterModel

BLANK = BOUNDARY
BEAMS = 24
LEAST_CHANCE = 1e-3
"""Of a symbol in a step, for it to be considered at all."""
LEAST_SHARE = 1e-5
"""Of a reading, of the likeliest's chance."""
SETTLES_AFTER = 2
"""Micro-turns for which a symbol may still become another one."""
QUIET, APART = 5, 13
"""Micro-turns without a symbol, after which nothing may become another reading any more, and after
which the next symbol begins a sentence: people pause for up to 2.5 s in the middle of one."""
Prefix = tuple[int, ...]


class CtcDecoder(Protocol):
    """Symbols are numbers, 0 the blank, as in `Vocabularies.symbols`."""

    def add(self, logits: NDArray[np.floating]) -> list[int]:
        """A micro-turn's steps, (n, symbols); returns what is settled with them."""
        ...

    def settle(self) -> list[int]:
        """The likeliest of what is not settled yet; it is then."""
        ...


class Greedy:
    """The best symbol a step, repeats merged, blanks dropped: settled at once."""

    def __init__(self) -> None:
        self._last = BLANK

    def add(self, logits: NDArray[np.floating]) -> list[int]:
        symbols: list[int] = []
        for best in logits.argmax(-1).tolist():
            if best not in (self._last, BLANK):
                symbols.append(best)
            self._last = best
        return symbols

    def settle(self) -> list[int]:
        return []


class BeamSearch:
    """The likeliest readings, weighed by a character model.

    Settled is what all of them begin with, and what the likeliest one has had for SETTLES_AFTER
    micro-turns.
    """

    def __init__(self, characters: CharacterModel) -> None:
        self._characters = characters
        self._settled: Prefix = ()
        """The last symbols, as many as the character model looks back, and at least the last."""
        self._beams: dict[Prefix, tuple[float, float]] = {(): (1.0, 0.0)}
        """What may follow them, likeliest first, with the chances that it ends in a blank and in
        its last symbol."""
        self._lengths: deque[int] = deque([0] * SETTLES_AFTER, SETTLES_AFTER)
        """Of the likeliest at the end of the last micro-turns."""
        self._quiet = 0

    def add(self, logits: NDArray[np.floating]) -> list[int]:
        before = self._likeliest
        scaled = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
        for chances in scaled / scaled.sum(-1, keepdims=True):
            self._step(chances)
        likeliest = self._likeliest
        settled = self._settle(likeliest[: max(self._lengths[0], self._in_common())])
        self._lengths.append(len(self._likeliest))
        self._quiet = 0 if likeliest != before or self._holds_a_symbol() else self._quiet + 1
        if self._quiet >= QUIET:
            settled += self.settle()
        if self._quiet >= APART:
            self._settled = ()
        return settled

    def settle(self) -> list[int]:
        return self._settle(self._likeliest)

    @property
    def _likeliest(self) -> Prefix:
        return next(iter(self._beams))

    def _step(self, chances: NDArray[np.float64]) -> None:
        blank = float(chances[BLANK])
        heard = np.flatnonzero(chances[BLANK + 1 :] > LEAST_CHANCE) + BLANK + 1
        symbols = list(zip(heard.tolist(), chances[heard].tolist(), strict=True))
        grown: dict[Prefix, list[float]] = {}
        for prefix, (closed, spoken) in self._beams.items():
            past = self._settled + prefix
            same = grown.setdefault(prefix, [0.0, 0.0])
            same[0] += blank * (closed + spoken)
            fits = self._characters.weights(past) if symbols else ()
            for symbol, chance in symbols:
                source = closed + spoken
                if past and symbol == past[-1]:
                    same[1] += chance * spoken
                    source = closed
                longer = grown.setdefault((*prefix, symbol), [0.0, 0.0])
                longer[1] += chance * source * fits[symbol]
        ranked = sorted(grown.items(), key=lambda one: sum(one[1]), reverse=True)[:BEAMS]
        most = sum(ranked[0][1])
        self._beams = {
            prefix: (closed / most, spoken / most)
            for prefix, (closed, spoken) in ranked
            if closed + spoken >= LEAST_SHARE * most
        }

    def _holds_a_symbol(self) -> bool:
        """Rather than a blank."""
        closed, spoken = self._beams[self._likeliest]
        return spoken > closed

    def _in_common(self) -> int:
        """How many symbols all readings begin with."""
        first, last = min(self._beams), max(self._beams)
        count = 0
        while count < min(len(first), len(last)) and first[count] == last[count]:
            count += 1
        return count

    def _settle(self, symbols: Prefix) -> list[int]:
        count = len(symbols)
        self._beams = {
            prefix[count:]: chances
            for prefix, chances in self._beams.items()
            if prefix[:count] == symbols
        }
        self._settled = (self._settled + symbols)[-max(1, self._characters.looks_back) :]
        self._lengths = deque((max(0, n - count) for n in self._lengths), SETTLES_AFTER)
        return list(symbols)
