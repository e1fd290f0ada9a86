"""What is worth keeping is found in what the interaction model spells, and in little else."""

from __future__ import annotations

import numpy as np
import pytest
from heard_letters import SYMBOLS, heard_as

from edge_runtime.config import DelegationConfig
from edge_runtime.delegation.keep_words import KeepWords, edits_within
from edge_runtime.micro_turn import Letters


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


def test_what_the_transcript_has_lost_is_found_in_its_letters(keep: KeepWords) -> None:
    rough, meant = "please rimonbni to call", "please remind me to call"
    rough = rough.ljust(len(meant))
    assert not keep(rough)
    assert keep(rough, heard_as(rough, meant))
    assert not keep(rough, heard_as(rough))
    assert keep("", heard_as("pleaseremindmetocallanna"))


@pytest.mark.parametrize("text", ["what time is it", "tell me about yourself", "me", " "])
def test_other_letters_are_not_kept(keep: KeepWords, text: str) -> None:
    assert not keep(text, heard_as(text))


def test_letters_of_another_alphabet_and_none_at_all_keep_nothing(keep: KeepWords) -> None:
    pieces = Letters(("", "re", "mind"), np.zeros((5, 3), np.float32))
    assert not keep("", pieces)
    assert keep("remind me", pieces)
    assert not keep("", Letters(SYMBOLS, np.zeros((0, len(SYMBOLS)), np.float32)))
    assert not KeepWords(("", "-"))("", heard_as("remind me"))


@pytest.mark.parametrize(
    ("phrase", "text", "edits"),
    [("abc", "xxabcxx", 0), ("abc", "xxaxbcxx", 1), ("abc", "xac", 1), ("abc", "", 3)],
)
def test_edits_are_counted_in_the_best_place(phrase: str, text: str, edits: int) -> None:
    assert edits_within(phrase, text) == edits
