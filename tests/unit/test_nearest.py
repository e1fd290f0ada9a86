"""A rough spelling to the nearest sentence that can be asked."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.background import grammar
from edge_runtime.background.nearest import Rules, Steps

SMALL = Rules(
    {
        "any": "[please] (turn (on | off) the <thing> | stop) | how much is /8/ <n> plus <n>",
        "thing": "light | radio",
        "n": "one | two | twenty [<n>]",
    },
    "any",
)
QUESTIONS = Rules(grammar.rules(), grammar.START)


@pytest.mark.parametrize(
    ("rough", "text"),
    [
        ("turn on the light", "turn on the light"),
        ("tern onn the lighht", "turn on the light"),
        ("pleas turnof the raydio", "please turn off the radio"),
        ("stopp", "stop"),
        ("how much is twenty one plus to", "how much is twenty one plus two"),
    ],
)
def test_a_rough_spelling_finds_its_sentence(rough: str, text: str) -> None:
    found = SMALL.nearest(rough)
    assert found is not None and found.text == text


def test_the_same_words_cost_nothing_and_an_error_costs_something() -> None:
    same, near = SMALL.nearest("turn off the radio"), SMALL.nearest("turn off the ratio")
    assert same is not None and near is not None
    assert 0.5 > near.cost > same.cost
    assert same.cost < 0.03


@pytest.mark.parametrize(
    ("heard", "asked"),
    [
        ("what iss twell timesseven", "what is twelve times seven"),
        ("tell me abit usellf", "tell me about yourself"),
        ("tell m me as toray", "tell me a story"),
        ("how many feet ar in three meters", "how many feet are in three metres"),
        ("set a tymer for five minits", "set a timer for five minutes"),
    ],
)
def test_what_a_trained_model_spelled_is_understood(heard: str, asked: str) -> None:
    found = QUESTIONS.nearest(heard)
    assert found is not None
    assert (found.text, found.cost < 0.27) == (asked, True)


@pytest.mark.parametrize(
    "heard", ["what is the capital of france", "were is the musium", "why is the sky blu", "od bie"]
)
def test_another_question_is_not_near(heard: str) -> None:
    found = QUESTIONS.nearest(heard)
    assert found is None or found.cost > 0.3


@pytest.mark.parametrize("heard", ["", "   ", "\N{SNOWMAN}", "1234"])
def test_nothing_is_near_to_nothing(heard: str) -> None:
    assert QUESTIONS.nearest(heard) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["", "drop", "double"]))
def test_a_damaged_sentence_never_costs_more_than_its_damage(seed: int, damage: str) -> None:
    rng = random.Random(seed)
    words = ["please", "turn", rng.choice(["on", "off"]), "the", rng.choice(["light", "radio"])]
    text = " ".join(words)
    at = rng.randrange(len(text))
    if damage:
        text = text[:at] + (text[at] * 2 if damage == "double" else "") + text[at + 1 :]
    found = SMALL.nearest(text)
    assert found is not None
    assert found.cost * len(" ".join(text.split())) <= 0.8 + 0.1 * len(words)


def test_a_story_is_no_question() -> None:
    asked = "what time is it"
    assert QUESTIONS.nearest(asked) is not None
    assert QUESTIONS.nearest(asked.replace("i", "i" * 100)) is None


def test_brackets_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="brackets"):
        Rules({"any": "turn (on | off"}, "any")


def test_options_within_options_are_matched_once_per_position() -> None:
    depth = 12
    nested = Rules({"any": "a" + " [a" * depth + "]" * depth}, "any")
    assert nested.nearest("a " * 40, Steps(300_000)) is not None


def test_a_search_that_takes_too_long_finds_nothing() -> None:
    asked = "what time is it"
    assert QUESTIONS.nearest(asked, Steps(1_000_000)) is not None
    assert QUESTIONS.nearest(asked, Steps(1_000)) is None
