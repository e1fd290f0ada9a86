"""Phrases as the sentences that they are."""

from __future__ import annotations

import pytest

from edge_runtime.jsgf import sentences, shared


def test_all_sentences_of_a_phrase() -> None:
    found = list(sentences("(Turn | switch) on [the [kitchen]] lamp"))
    assert sorted(found) == [
        *("switch on lamp", "switch on the kitchen lamp", "switch on the lamp"),
        *("turn on lamp", "turn on the kitchen lamp", "turn on the lamp"),
    ]


def test_what_two_names_share_is_found_and_the_shortest_of_it() -> None:
    assert shared(
        {
            "one": ["nothing like it", "(turn | switch) on the [kitchen] [big] lamp"],
            "none": ["turn on", "turn on the"],
            "two": ["Switch [the light] on the kitchen lamp", "turn on the kitchen (big lamp | x)"],
        }
    ) == ("switch on the kitchen lamp", ["one", "two"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["turn on the lamp"], ["turn on the lamps", "turn on", "on the lamp"]),
        (["[a] b [c]"], ["a c", "c b"]),
        (["a", "a"], []),
    ],
)
def test_names_that_share_nothing(one: list[str], other: list[str]) -> None:
    assert shared({"one": one, "other": other}) is None


def test_phrases_with_any_number_of_sentences_are_looked_at_and_given_up() -> None:
    many, more = "(a | b) " * 22, "[a] [b] " * 22
    assert shared({"one": [many + "x"], "two": [many + "y"]}) is None
    assert shared({"one": [more + "x"], "two": [more + "y", more + "x"]}) == ("x", ["one", "two"])
