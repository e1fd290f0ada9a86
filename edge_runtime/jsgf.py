"""The notation of grammars, JSGF 1.0: words, `|`, `()`, `[]` for what may be left out, `<rule>`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

_TOKEN = re.compile(r"/[\d.]+/|<(\w+)>|([\w']+)|([()\[\]|])")
_CLOSES = {"(": ")", "[": "]"}
_UNMATCHED = "the brackets do not match"


@dataclass(frozen=True)
class Tree:
    kind: str
    """`word`, `rule`, `either`, `sequence` or `optional` (a sequence that may be left out)."""
    text: str = ""
    parts: tuple[Tree, ...] = ()


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
