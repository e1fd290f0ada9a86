"""What the recogniser can hear, the skills understand; and the recogniser knows every word."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import datetime

import pytest

from edge_runtime.background import grammar
from edge_runtime.background.skills import UNKNOWN, Skills
from edge_runtime.background.timers import Timers

NOW = datetime(2026, 11, 24, 14, 45)
TOKEN = re.compile(r"/\d+/|<[a-z0-9_]+>|[()\[\]|]|[a-z']+")


def rules() -> dict[str, str]:
    """By name, without the start rule."""
    return dict(re.findall(r"^<(\w+)> = (.+);", grammar.jsgf(), re.MULTILINE))


class Walk:
    """A random sentence of the grammar: every choice is equally likely, weights are ignored."""

    def __init__(self, seed: int) -> None:
        self._random, self._rules = random.Random(seed), rules()

    def say(self, rule: str) -> str:
        tokens = [*TOKEN.findall(self._rules[rule]), ")"]
        assert "".join(tokens[:-1]) == "".join(self._rules[rule].split()), "an unknown token"
        return " ".join(self._choice(iter(tokens)))

    def _choice(self, tokens: Iterator[str]) -> list[str]:
        """Everything up to the closing bracket."""
        branches: list[list[str]] = [[]]
        for token in tokens:
            if token in (")", "]"):
                break
            if token == "|":
                branches.append([])
            elif token in ("(", "["):
                inner = self._choice(tokens)
                if token == "(" or self._random.random() < 0.5:
                    branches[-1] += inner
            elif token.startswith("<"):
                branches[-1].append(self.say(token.strip("<>")))
            elif not token.startswith("/"):
                branches[-1].append(token)
        return [word for word in self._random.choice(branches) if word]


def sentences(rule: str, seed: int, count: int) -> list[str]:
    """With words of address before some of them, as the start rule has it."""
    walk = Walk(seed)
    return [f"{walk.say('lead')} {walk.say(rule)}".strip() for _ in range(count)]


def skills() -> Skills:
    return Skills(Timers(lambda: 0), lambda: NOW)


WORTH = {word: n for n, word in enumerate(f"zero {grammar.DIGITS} {grammar.TEENS}".split())}
WORTH |= {word: 10 * n for n, word in enumerate(grammar.TENS.split(), 2)} | {"a": 1}
GROUPS = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}


def read(text: str) -> int:
    """A whole number in words."""
    total, part = 0, 0
    for word in re.findall(r"[a-z]+", text):
        if word == "hundred":
            part *= 100
        elif word in GROUPS:
            total, part = total + part * GROUPS[word], 0
        elif word != "and":
            part += WORTH[word]
    return total + part


@pytest.mark.parametrize(
    ("rule", "skill", "count"),
    [
        ("time", "time", 300),
        ("sum", "sum", 500),
        ("conversion", "units", 500),
        ("timer", "timer", 500),
        ("about", "about", 300),
    ],
)
def test_whatever_the_grammar_can_say_the_right_skill_answers(
    rule: str, skill: str, count: int
) -> None:
    wrong = [
        (sentence, answer.skill)
        for sentence in sentences(rule, 7, count)
        if (answer := skills().reply(sentence)).skill != skill
    ]
    assert not wrong


def test_requests_beyond_the_device_are_understood_and_honestly_declined() -> None:
    for sentence in sentences("request", 7, 300):
        if "alarm" in sentence:
            continue  # An alarm may be a timer.
        answer = skills().reply(sentence)
        assert answer.skill == UNKNOWN, sentence
        assert re.search(r"\b(?:not|cannot|no|nothing)\b", answer.text.lower()), answer.text


def test_sums_of_the_grammar_have_the_right_value() -> None:
    """Against integer arithmetic on the words, which are read here in another way."""
    walk, checked = Walk(11), 0
    for sentence in (walk.say("sum") for _ in range(300)):
        lead = "what is |how much is |can you calculate |calculate |what do you get for |"
        match = re.fullmatch(rf"(?:{lead})(.+) (plus|minus|times|multiplied by) (.+)", sentence)
        if match is None:
            assert "divided by" in sentence
            continue
        a, operator, b = read(match[1]), match[2], read(match[3])
        wanted = {"plus": a + b, "minus": a - b}.get(operator, a * b)
        said = skills().reply(sentence).text.rsplit(" is ", 1)[1].strip(".")
        sign = -1 if said.startswith("minus ") else 1
        assert sign * read(said.removeprefix("minus ")) == wanted, sentence
        checked += 1
    assert checked > 200


def test_the_conversions_of_the_grammar_stay_within_one_kind() -> None:
    for sentence in sentences("conversion", 13, 300):
        assert "cannot be turned" not in skills().reply(sentence).text, sentence


def test_timers_of_the_grammar_run_for_the_time_that_was_said() -> None:
    sizes = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
    checked = 0
    for sentence in sentences("timer", 17, 400):
        match = re.search(r".*\b(?:for|of|in) (?P<n>[a-z ]+) (?P<unit>[a-z]+)s\b", sentence)
        if match is None or match["unit"] not in sizes:
            continue
        offline = skills()
        said = offline.reply(sentence).text
        seconds = read(match["n"]) * sizes[match["unit"]]
        if seconds > 7 * 86_400:
            assert "at most seven days" in said
        else:
            assert [timer.duration_s for timer in offline.timers.running()] == [seconds], sentence
        checked += 1
    assert checked > 50


def test_every_rule_that_is_used_is_defined_and_every_rule_is_used() -> None:
    bodies = [line.split(" = ", 1)[1] for line in grammar.jsgf().splitlines() if " = " in line]
    used = set(re.findall(r"<(\w+)>", " ".join(bodies)))
    assert used == set(rules())


def test_the_words_are_those_that_sentences_are_made_of() -> None:
    known = grammar.words()
    heard: set[str] = set()
    for rule in ("lead", "time", "sum", "conversion", "timer", "about", "request"):
        for sentence in sentences(rule, 19, 250):
            heard.update(sentence.split())
    assert heard <= known
    assert {"robot", "kilometres", "wednesday", "eleven", "multiplied", "curtain"} <= heard
    assert not known & {"public", "grammar", "jsgf", "any", "lead"}


def test_the_recogniser_knows_every_word_or_is_taught_it() -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    from edge_runtime.background.transcribe import BRITISH

    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL", samprate=16_000)
    unknown = []
    for word in sorted(grammar.words()):
        american = word
        for ours, theirs in BRITISH:
            american = american.replace(ours, theirs)
        if decoder.lookup_word(word) is None and decoder.lookup_word(american) is None:
            unknown.append(word)
    assert not unknown
