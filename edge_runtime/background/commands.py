"""Sentences that ask for an action of the device, as its configuration gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from edge_runtime.background.nearest import Rules, Steps
from edge_runtime.delegation.wire import Ability
from edge_runtime.jsgf import words_of

_PAIRS = (
    "on off, up down, open close, start stop, raise lower, lock unlock, left right, in out, "
    "more less, enable disable, forward backward, louder quieter, brighter darker, "
    "warmer colder, mute unmute, pause continue, play pause, with without"
)
OPPOSITES = {
    word: other
    for pair in _PAIRS.split(", ")
    for word, other in (pair.split(), reversed(pair.split()))
}
MOST_LETTERS = 100_000
"""Of all phrases and their opposites, which dozens of actions do not have: a recogniser makes trees
of them, and keeps those."""


@dataclass(frozen=True)
class Command:
    action: str
    """Empty: nothing is done; it is only there to be told from the others."""
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
        """Beside each phrase its opposite is expected: where only `lamp on` were known, whoever
        spells `lamp off` badly would be taken to mean it. Abilities beyond MOST_LETTERS have no
        command."""
        found: list[Command] = []
        opposites: dict[str, None] = {}
        left = MOST_LETTERS
        for one in filter(lambda one: one.phrases, abilities):
            phrases = tuple(map(str.lower, one.phrases))
            turned = [other for phrase in phrases for other in _opposites(phrase)]
            left -= sum(map(len, (*phrases, *turned)))
            if left < 0:
                break
            found.append(Command(one.name, phrases, one.answer))
            opposites.update(dict.fromkeys(turned))
        known = {phrase for one in found for phrase in one.phrases}
        others = tuple(phrase for phrase in opposites if phrase not in known)
        return Commands((*found, Command("", others, "")) if others else tuple(found))

    def find(self, text: str) -> Command | None:
        """The command that these words are, whatever their case, spaces and punctuation. What is
        merely alike may be the opposite: on, off."""
        plain = in_letters(text)
        steps = Steps()
        for said in dict.fromkeys((plain, plain.removesuffix(" please"))):
            for command in filter(lambda one: one.action, self.all):
                near = _rules(command).nearest(said, steps)
                if near is not None and _letters(near.text) == _letters(said):
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


def in_letters(text: str) -> str:
    """The words alone, in small letters with one space between them, as phrases are written."""
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


def _opposites(phrase: str) -> Iterator[str]:
    """With each word turned round that has an opposite, and with all of them."""
    places = [word for word in re.finditer(r"[a-z']+", phrase) if word[0] in OPPOSITES]
    for word in places:
        yield phrase[: word.start()] + OPPOSITES[word[0]] + phrase[word.end() :]
    if len(places) > 1:
        yield re.sub(r"[a-z']+", lambda word: OPPOSITES.get(word[0], word[0]), phrase)


def _letters(text: str) -> str:
    return text.replace(" ", "")


def _either(command: Command) -> str:
    return " | ".join(f"({phrase})" for phrase in command.phrases)


@lru_cache(maxsize=256)
def _rules(command: Command) -> Rules:
    return Rules({"it": _either(command)}, "it")
