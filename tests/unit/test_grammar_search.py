"""The chances of letters to the likeliest sentence that can be asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime import grammar_search
from edge_runtime.background import grammar
from edge_runtime.background.commands import Commands
from edge_runtime.background.transcribe import SpellingTranscriber
from edge_runtime.delegation.wire import Ability
from edge_runtime.errors import InputError
from edge_runtime.grammar_search import FLOOR, RUN_ON, GrammarSearch
from edge_runtime.jsgf import Tree, parse
from edge_runtime.letter_graph import LetterGraph
from edge_runtime.micro_turn import Letters

SYMBOLS = ("", " ", *ascii_lowercase, "'")
FEW = ("", " ", "a", "b")
RULES = {
    "any": "[please] (turn (on | off) the <thing> | stop) | how much is /8/ <n> plus <n>",
    "thing": "light | radio",
    "n": "one | two | twenty [<n2>]",
    "n2": "one | two",
}
BABBLE = {"any": "a | [b] (ab | bb a) <tail> | ba [a] [b]", "tail": "b | [ab] a"}
QUESTIONS = GrammarSearch(grammar.rules(), grammar.START, SYMBOLS)


def spelled(text: str, sure: float = 0.99) -> Letters:
    """A step for each letter of `text` and a blank after it; `_` is a blank, too. `|` parts
    readings of the same length that are as likely as each other."""
    readings = ["".join(f"{letter}_" for letter in reading) for reading in text.split("|")]
    steps = np.full((len(readings[0]), len(SYMBOLS)), (1 - sure) / (len(SYMBOLS) - 1))
    for step, symbols in enumerate(zip(*readings, strict=True)):
        for symbol in symbols:
            number = 0 if symbol == "_" else SYMBOLS.index(symbol)
            steps[step, number] = sure / len(set(symbols))
    return Letters(SYMBOLS, np.log(steps).astype(np.float32))


def sentences(rules: dict[str, str], start: str) -> set[str]:
    trees = {name: parse(text) for name, text in rules.items()}

    def ways(tree: Tree) -> Iterator[tuple[str, ...]]:
        if tree.kind == "word":
            yield (tree.text,)
        elif tree.kind == "rule":
            yield from ways(trees[tree.text])
        elif tree.kind == "either":
            for part in tree.parts:
                yield from ways(part)
        else:
            if tree.kind == "optional":
                yield ()
            for parts in itertools.product(*(list(ways(part)) for part in tree.parts)):
                yield tuple(itertools.chain(*parts))

    return {" ".join(way) for way in ways(trees[start])}


def written(graph: LetterGraph) -> set[str]:
    """All that the graph spells, without the space before it."""

    def ways(node: int, before: str) -> Iterator[str]:
        text = before + graph.letters[node]
        if node in graph.last:
            yield text
        for other in graph.after[node]:
            yield from ways(other, text)

    return {text.strip() for node in graph.first for text in ways(node, "")}


def score(text: str, chances: NDArray[np.float32], symbols: tuple[str, ...]) -> float:
    """Of the best alignment of one text, by trying all lengths of its parts (CTC, max for sum)."""
    labels = [symbols.index(letter) for letter in text]
    states = [0, *itertools.chain(*((label, 0) for label in labels))]
    best = np.full(len(states), -np.inf)
    best[0] = 0.0
    for row in chances:
        fresh = np.full(len(states), -np.inf)
        for state, symbol in enumerate(states):
            ways = [best[state]]
            if state:
                ways.append(best[state - 1])
            if state > 1 and symbol and symbol != states[state - 2]:
                ways.append(best[state - 2])
            fresh[state] = max(ways) + row[symbol]
        best = fresh
    return float(max(best[-2:]))


def test_the_graph_spells_the_sentences_of_its_grammar_and_no_others() -> None:
    for rules in (RULES, BABBLE):
        assert written(LetterGraph.of(rules, "any")) == sentences(rules, "any")


@pytest.mark.parametrize("many", [19, 60])
def test_a_short_phrase_with_endless_beginnings_is_refused(many: int) -> None:
    phrase = "[a|b] " * many + "a " + "(a|b) " * many
    with pytest.raises(InputError, match="write the phrases out"):
        LetterGraph.of({"any": phrase}, "any")


def test_without_such_phrases_the_skills_are_found_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    phrase = "[a|b]" * 19 + "a" + "(a|b)" * 19
    commands = Commands.of([Ability(name="gate", phrases=(phrase,))])
    chances = spelled("what time is it")
    for _ in range(2):
        heard = SpellingTranscriber().transcribe(np.zeros(0, np.float32), "", commands, chances)
        assert heard.text == "what time is it"
    assert caplog.text.count("the phrases of a device's actions are left out") == 1


def test_what_begins_or_ends_alike_shares_its_letters() -> None:
    graph = LetterGraph.of({"any": "lamp on | lamp off | ramp on | ramp off"}, "any")
    assert "".join(sorted(graph.letters)) == "".join(sorted("lramponff  "))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_no_sentence_is_likelier_than_the_one_that_is_found(seed: int, steps: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (steps, len(FEW)))
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    letters = Letters(FEW, log_probabilities.astype(np.float32))
    found = GrammarSearch(BABBLE, "any", FEW).likeliest(letters)
    chances = np.maximum(letters.log_probabilities, FLOOR)
    heard = int((chances.argmax(-1) > 0).sum())
    scores: dict[str, float] = {}
    for text in sentences(BABBLE, "any"):
        words = text.split()
        for spaces in itertools.product((" ", ""), repeat=len(words) - 1):
            joined = "".join(itertools.chain(*zip(words, (*spaces, ""), strict=True)))
            run_on = RUN_ON * spaces.count("")
            for start in ("", " "):
                way = score(start + joined, chances, FEW) + run_on
                scores[text] = max(scores.get(text, -np.inf), way)
    best = max(scores.values())
    if found is None:
        assert not heard or best == -np.inf
        return
    assert scores[found.text] == pytest.approx(best, abs=1e-3)
    assert found.cost * heard == pytest.approx(float(chances.max(-1).sum()) - best, abs=1e-3)


@pytest.mark.parametrize(
    ("heard", "asked"),
    [
        ("what time is it", "what time is it"),
        ("__wha__t time__ is it___", "what time is it"),
        ("whattimeisit", "what time is it"),
        ("what is twelve timesseven", "what is twelve times seven"),
        ("set a tymer for five minuts", "set a timer for five minutes"),
        (" tel me a storee", "tell me a story"),
    ],
)
def test_what_was_heard_finds_its_question(heard: str, asked: str) -> None:
    found = QUESTIONS.likeliest(spelled(heard))
    assert found is not None
    assert found.text == asked


def test_a_second_guess_decides_where_the_first_makes_no_sense() -> None:
    """In a transcript `turn ok` would be as near to on as to off."""
    lights = GrammarSearch({"any": "turn (on | off) the light"}, "any", SYMBOLS)
    for heard, asked in (
        ("turn ok_ the light|turn off the light", "turn off the light"),
        ("turn ok_ the light|turn on_ the light", "turn on the light"),
    ):
        found = lights.likeliest(spelled(heard))
        assert found is not None and found.text == asked


def test_the_same_words_cost_less_than_others_and_others_less_than_nonsense() -> None:
    costs = []
    for heard in ("tell me a joke", "tell me a jo_e", "the oranges were cold yesterday"):
        found = QUESTIONS.likeliest(spelled(heard))
        assert found is not None
        costs.append(found.cost)
    assert costs[0] < 0.05 < costs[1] < 0.85 < costs[2]


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.floats(0.0, 3.0))
@settings(max_examples=100, deadline=None)
def test_a_part_is_held_where_one_of_all_parts_costs_little_enough(
    seed: int, steps: int, allowance: float
) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (steps, len(FEW)))
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    letters = Letters(FEW, log_probabilities.astype(np.float32))
    chances = np.maximum(letters.log_probabilities, FLOOR)
    relative = chances - chances.max(-1, keepdims=True)
    rules = {"any": "ab | ba a | b"}
    best = max(
        score(text, relative[begin:end], FEW)
        + RUN_ON * (phrase != text)
        + allowance * len(phrase.replace(" ", ""))
        for phrase in sentences(rules, "any")
        for text in (phrase, phrase.replace(" ", ""))
        for begin in range(steps)
        for end in range(begin + 1, steps + 1)
    )
    if abs(best) > 1e-3:
        assert GrammarSearch(rules, "any", FEW).holds(letters, allowance) == (best > 0)


def test_silence_and_no_steps_at_all_are_nothing() -> None:
    assert QUESTIONS.likeliest(spelled("____")) is None
    assert QUESTIONS.likeliest(Letters(SYMBOLS, np.zeros((0, 29), np.float32))) is None


def test_what_would_take_too_much_memory_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    assert QUESTIONS.likeliest(spelled("what time is it")) is not None
    assert QUESTIONS.likeliest(spelled("what time is it".ljust(1001, "_"))) is None
    monkeypatch.setattr(grammar_search, "MOST_STATES", 100_000)
    assert QUESTIONS.likeliest(spelled("what time is it")) is None


def test_too_little_for_any_sentence_is_nothing() -> None:
    assert GrammarSearch({"any": "hello"}, "any", SYMBOLS).likeliest(spelled("he")) is None


def test_a_word_with_a_letter_that_the_model_does_not_know_is_not_found() -> None:
    search = GrammarSearch({"any": "ab | abc"}, "any", FEW)
    found = search.likeliest(Letters(FEW, np.log(np.eye(4, dtype=np.float32)[[2, 3]] + 1e-4)))
    assert found is not None and found.text == "ab"
    assert GrammarSearch({"any": "xy"}, "any", FEW).likeliest(spelled("ab")) is None


REMINDERS = GrammarSearch(
    {"any": "remind me in (one | nine) minutes to <what>", "what": "go home | _"}, "any", SYMBOLS
)


@pytest.mark.parametrize(
    ("said", "transcript", "text"),
    [
        ("water the plants", "remind me in nine minutes to water the plants", "water the plants"),
        ("watter tha plans", "remind me in nine minutes to water the plans", "water the plans"),
        ("water the plants", "", "water the plants"),
        ("go homme", "remind me in nine minutes to go homme", "go home"),
    ],
)
def test_what_may_be_anything_is_written_as_it_was_heard(
    said: str, transcript: str, text: str
) -> None:
    found = REMINDERS.likeliest(spelled(f"remind me in nine minutes to {said}"), transcript)
    assert found is not None and found.text == f"remind me in nine minutes to {text}"
    assert found.cost == pytest.approx(0.0, abs=1e-3) or text == "go home"


def test_what_may_be_anything_makes_no_sentence_of_another() -> None:
    found = REMINDERS.likeliest(spelled("who wrote the story of the whale"))
    assert found is None or found.cost > 1.0


def test_a_long_transcript_takes_no_long_time() -> None:
    """It comes from outside, to a worker."""
    letters = spelled("remind me in nine minutes to water the plants")
    found = REMINDERS.likeliest(letters, "a b c d e f g h " * 2_000 + "to water the plants")
    assert found is not None and found.text.endswith("to water the plants")
