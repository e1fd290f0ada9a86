"""What is worth keeping is found in what the interaction model spells, and in little else."""

from __future__ import annotations

import pytest

from edge_runtime.config import DelegationConfig
from edge_runtime.delegation.keep_words import KeepWords, edits_within


@pytest.fixture
def keep() -> KeepWords:
    return KeepWords(DelegationConfig().keep)


@pytest.mark.parametrize(
    "transcript",
    [
        "remind me to call anna",
        "Please REMIND me, in an hour.",
        "remynd me too cal anna",
        "wwell rremind  mee tu cool ana",
        "can you tell me when the bus comes",
        "send a mesage to the workshop",
        "dont forget the milk",
        "erinnere mich an den termin",
    ],
)
def test_what_must_not_get_lost_is_found(keep: KeepWords, transcript: str) -> None:
    assert keep(transcript)


@pytest.mark.parametrize(
    "transcript",
    [
        "",
        "what time is it",
        "how many metres are in three miles",
        "what is twelve times seven",
        "tell me about yourself",
        "set a timer for five minutes",
        "who painted the mona lisa",
        "when does the museum close",
    ],
)
def test_what_matters_only_now_is_not(keep: KeepWords, transcript: str) -> None:
    assert not keep(transcript)


def test_without_phrases_nothing_is_kept() -> None:
    assert not KeepWords(())("remind me to call anna")
    assert not KeepWords(("", " - "))("remind me to call anna")


@pytest.mark.parametrize(
    ("phrase", "text", "edits"),
    [("abc", "xxabcxx", 0), ("abc", "xxaxbcxx", 1), ("abc", "xac", 1), ("abc", "", 3)],
)
def test_edits_are_counted_in_the_best_place(phrase: str, text: str, edits: int) -> None:
    assert edits_within(phrase, text) == edits
