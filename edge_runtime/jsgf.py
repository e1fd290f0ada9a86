"""The notation of grammars, JSGF 1.0: words, `|`, `()`, `[]` for what may be left out, `<rule>`."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

MOST_BEGINNINGS = 20_000
"""Of sentences that several have in common: a short phrase can have any number."""
_TOKEN = re.compile(r"/[\d.]+/|<(\w+)>|([\w']+)|([()\[\]|])")
_CLOSES = {"(": ")", "[": "]"}
_UNMATCHED = "the brackets do not match"


@dataclass(frozen=True)
class Tree:
    kind: str
    """`word`, `rule`, `either`, `sequence` or `optional` (a sequence that may be left out)."""
    text: str = ""
    parts: tuple[Tree, ...] = ()


Rest = tuple[Tree, ...]
"""What of a phrase is still to be said."""


def parse(text: str) -> Tree:
    """Raises ValueError where the brackets do not match."""
    tokens = [match for match in _TOKEN.finditer(text) if not match[0].startswith("/")]
    tree, used = _alternatives(tokens, 0)
    if used != len(tokens):
        raise ValueError(_UNMATCHED)
    return tree


def _alternatives(tokens: list[re.Match[str]], at: int) -> tuple[Tree, int]:
    choices: list[Tree] = []
    parts: list[Tree] = []
    while at < len(tokens) and tokens[at][0] not in (")", "]"):
        token = tokens[at]
        if token[0] == "|":
            choices.append(Tree("sequence", parts=tuple(parts)))
            parts, at = [], at + 1
        elif token[0] in ("(", "["):
            inner, at = _alternatives(tokens, at + 1)
            if at >= len(tokens) or tokens[at][0] != _CLOSES[token[0]]:
                raise ValueError(_UNMATCHED)
            parts.append(inner if token[0] == "(" else Tree("optional", parts=(inner,)))
            at += 1
        else:
            kind = "rule" if token[1] else "word"
            parts.append(Tree(kind, token[1] or token[2]))
            at += 1
    choices.append(Tree("sequence", parts=tuple(parts)))
    return (choices[0] if len(choices) == 1 else Tree("either", parts=tuple(choices))), at


def words_of(rule: str) -> list[str]:
    """The words in a rule's text, in their order."""
    return [match[2] for match in _TOKEN.finditer(rule) if match[2]]


def phrase(text: str) -> str:
    """`text`, where it is a phrase: words, `|`, `()`, `[]`. Raises ValueError where it is not, or
    where it could be nothing at all."""
    if not re.fullmatch(r"[A-Za-z' |()\[\]]+", text):
        raise ValueError("a phrase is made of words in letters, `|` for or, () and [optional]")
    tree = parse(text.lower())
    if _has_gap(tree):
        raise ValueError("a phrase has a word on both sides of `|` and between brackets")
    if _may_be_empty(tree):
        raise ValueError("a phrase must have a word that is always said")
    return text


Phrase = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(phrase)]
"""A sentence, or several: `(turn | switch) on the [kitchen] lamp`."""


def _has_gap(tree: Tree) -> bool:
    return (tree.kind == "sequence" and not tree.parts) or any(map(_has_gap, tree.parts))


def _may_be_empty(tree: Tree) -> bool:
    if tree.kind == "either":
        return any(map(_may_be_empty, tree.parts))
    return tree.kind == "optional" or (
        tree.kind == "sequence" and all(map(_may_be_empty, tree.parts))
    )


def sentences(text: str) -> Iterator[str]:
    """All that a phrase can be, in small letters; a short one can be millions."""
    left: list[tuple[Rest, tuple[str, ...]]] = [((parse(text.lower()),), ())]
    while left:
        rest, said = left.pop()
        over, after = _steps(rest)
        if over:
            yield " ".join(said)
        left += [(one, (*said, word)) for word, rests in after.items() for one in rests]


def shared(phrases: Mapping[str, Sequence[str]]) -> tuple[str, list[str]] | None:
    """The shortest sentence that phrases of several names can be, and these names, in their order.
    None: there is none, or there is too much to look at."""
    start: frozenset[tuple[str, Rest]] = frozenset(
        (name, (parse(text.lower()),)) for name, texts in phrases.items() for text in texts
    )
    left: deque[tuple[frozenset[tuple[str, Rest]], tuple[str, ...]]] = deque([(start, ())])
    known = {start}
    while left and len(known) < MOST_BEGINNINGS:
        places, said = left.popleft()
        done: set[str] = set()
        after: dict[str, set[tuple[str, Rest]]] = {}
        for name, rest in places:
            over, steps = _steps(rest)
            done |= {name} if over else set()
            for word, rests in steps.items():
                after.setdefault(word, set()).update((name, one) for one in rests)
        if len(done) > 1:
            return " ".join(said), [name for name in phrases if name in done]
        for word, ends in after.items():
            later = frozenset(ends)
            if later not in known and len({name for name, _ in later}) > 1:
                known.add(later)
                left.append((later, (*said, word)))
    return None


@lru_cache(maxsize=4096)
def _steps(rest: Rest) -> tuple[bool, Mapping[str, set[Rest]]]:
    """Whether the sentence may be over, and what is left after each word that may come next."""
    over, after = False, dict[str, set[Rest]]()
    left, known = [rest], {rest}
    while left:
        now = left.pop()
        if not now:
            over = True
            continue
        first, others = now[0], now[1:]
        if first.kind == "word":
            after.setdefault(first.text, set()).add(others)
            continue
        if first.kind == "either":
            ways = [(part, *others) for part in first.parts]
        else:
            ways = [(*first.parts, *others)]
        if first.kind == "optional":
            ways.append(others)
        left += [way for way in ways if way not in known]
        known.update(ways)
    return over, after
