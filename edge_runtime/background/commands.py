"""Sentences that ask for an action of the device, as its configuration gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from edge_runtime.background.nearest import Rules
from edge_runtime.delegation.wire import Ability
from edge_runtime.jsgf import words_of

EXACT = 0.02
"""Edits a letter: a space more or less. What is merely alike may be the opposite: on, off."""


@dataclass(frozen=True)
class Command:
    action: str
    phrases: tuple[str, ...]
    """In JSGF's notation: words, `|`, `()`, `[]`."""
    answer: str
    """What is said when it is done."""


@dataclass(frozen=True)
class Commands:
    """All commands of a device. Hashable: a recogniser keeps what it made of them."""

    all: tuple[Command, ...] = ()

    @staticmethod
    def of(abilities: Iterable[Ability]) -> Commands:
        return Commands(
            tuple(
                Command(one.name, tuple(map(str.lower, one.phrases)), one.answer)
                for one in abilities
                if one.phrases
            )
        )

    def find(self, text: str) -> Command | None:
        """The command that these words are, whatever their case and punctuation."""
        plain = " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())
        for command in self.all:
            near = _rules(command).nearest(plain)
            if near is not None and near.cost <= EXACT:
                return command
        return None

    def rules(self) -> dict[str, str]:
        """A rule of the grammar for each."""
        return {f"command{number}": _either(one) for number, one in enumerate(self.all, 1)}

    def words(self) -> frozenset[str]:
        return frozenset(word for rule in self.rules().values() for word in words_of(rule))

    def pronounceable(self, known: Callable[[str], bool]) -> Commands:
        """Without the phrases that have a word which is not `known`."""
        kept = (
            replace(one, phrases=tuple(p for p in one.phrases if all(map(known, words_of(p)))))
            for one in self.all
        )
        return Commands(tuple(one for one in kept if one.phrases))


NONE = Commands()


def _either(command: Command) -> str:
    return " | ".join(f"({phrase})" for phrase in command.phrases)


@lru_cache(maxsize=256)
def _rules(command: Command) -> Rules:
    return Rules({"it": _either(command)}, "it")
