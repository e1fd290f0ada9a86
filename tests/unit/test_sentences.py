"""Sentences out of a stream: the same ones however the text is cut, and nothing but words."""

from __future__ import annotations

import time

import pytest

from edge_runtime.sentences import LONGEST, Pieces, Sentences
from edge_runtime.sentences import spoken as all_spoken


def spoken(text: str, size: int = 3) -> list[str]:
    sentences = Sentences()
    found = [
        sentence
        for start in range(0, len(text), size)
        for sentence in sentences.feed(text[start : start + size])
    ]
    return [*found, *filter(None, [sentences.flush()])]


CASES = {
    "It is 3.5 degrees. Good.": ["It is 3.5 degrees.", "Good."],
    "Dr. Li of the U.S. Army, e.g. in Ohio, agrees! Why?": [
        "Dr. Li of the U.S. Army, e.g. in Ohio, agrees!",
        "Why?",
    ],
    "It is 5 p.m. now. It is 5 p.m. Yes.": ["It is 5 p.m. now.", "It is 5 p.m.", "Yes."],
    "No. 5 is alive. No. Never.": ["No. 5 is alive.", "No.", "Never."],
    "So am I. Well... maybe not.": ["So am I.", "Well... maybe not."],
    'She said "go." He went.': ['She said "go."', "He went."],
    "Es sind ca. 5 Grad, d.h. kalt. Gut.": ["Es sind ca. 5 Grad, d.h. kalt.", "Gut."],
    "\u4f60\u597d\u3002\u6211\u5f88\u597d\u3002": [
        "\u4f60\u597d\u3002",
        "\u6211\u5f88\u597d\u3002",
    ],
    "42. Why do you ask?": ["42.", "Why do you ask?"],
    "1. One thing. More.\n2. Two": ["One thing.", "More.", "Two."],
    "1. Mix:\n   - flour\n\n2) Bake.\n3. Eat.": ["Mix:", "flour.", "Bake.", "Eat."],
    "1. Mai ist Feiertag.": ["1. Mai ist Feiertag."],
    "It is soon:\n1. FC K\u00f6ln plays. Go!\nNo 2. place.": [
        "It is soon:",
        "1. FC K\u00f6ln plays. Go! No 2. place.",
    ],
    f"1. {'So it goes. ' * 25}\n2. No.": ["1. So it goes.", *["So it goes."] * 24, "2.", "No."],
    "2^3 is 8, not 5.": ["2^3 is 8, not 5."],
    "# Title\n\n- **one**\n- _two_\n": ["Title.", "one.", "two."],
    "**Bold. Still bold.** Done": ["Bold.", "Still bold.", "Done."],
    "Take `ls`, snake_case and 3 * 4.": ["Take ls, snake_case and 3 * 4."],
    "See [this](http://a.b/c.html). Or https://www.a.com/x.": ["See this.", "Or a.com."],
    "```python\nprint(1)\n```\n": ["print(1)"],
    "| a | b |\n|---|---|\n| 1 | 2 |\n": ["a, b.", "1, 2."],
    "<b>Hi</b> &amp; welcome \U0001f600!": ["Hi & welcome!"],
    "It is 20 \u00b0C. \u0939\u093f\u0928\u094d\u0926\u0940\u0964": [
        "It is 20 \u00b0C.",
        "\u0939\u093f\u0928\u094d\u0926\u0940\u0964",
    ],
    "-5 degrees.\n---\n***\n": ["-5 degrees."],
    "\U0001f600\n...\n": [],
}


@pytest.mark.parametrize("text", CASES)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_sentences_are_cut_and_freed_of_markup(text: str, size: int) -> None:
    assert spoken(text, size) == CASES[text]


def test_a_sentence_is_told_as_soon_as_the_next_one_begins() -> None:
    sentences = Sentences()
    assert sentences.feed("It is warm. ") == []
    assert sentences.feed("T") == ["It is warm."]


def test_a_sentence_that_does_not_end_is_cut_between_words() -> None:
    words = [f"word{number}" for number in range(200)]
    found = spoken(" ".join(words))
    assert max(map(len, found)) <= LONGEST
    assert " ".join(found) == " ".join(words) + "."


def seconds(text: str) -> float:
    def once() -> float:
        began_s = time.process_time()
        all_spoken((text * 20_000)[:20_000])
        return time.process_time() - began_s

    return min(once() for _ in range(3))


@pytest.mark.parametrize("text", [".", "?!", "\n", "\n ", f"{'a' * 100}{' a. ' * 40}"])
def test_no_text_takes_much_longer_than_prose(text: str) -> None:
    assert seconds(text) < 9 * seconds("This is a sentence of a long book. ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 5 °C outside", "-5 °C outside"),
        ("+ 3 degrees since noon.", "+3 degrees since noon."),
        ("- 5 °C outside. It is cold.\n", "-5 °C outside. It is cold."),
        ("- 5 apples\n- 3 pears", "5 apples. 3 pears"),
        ("- 5 apples. Red ones.\n- 3 pears.", "5 apples. Red ones. 3 pears."),
        ("- milk", "milk"),
        ("> 5 kW", ">5 kW"),
        (">5 kW are needed. Have you?", ">5 kW are needed. Have you?"),
        ("> 5 kW?\n> He said so.", "5 kW? He said so."),
    ],
)
def test_a_sign_before_a_number_is_no_bullet(text: str, said: str) -> None:
    assert " ".join(all_spoken(text)) == said
    for size in (1, 4, 1000):  # as a language model writes it, and the device reads it once more
        told = " ".join(spoken(text, size))
        assert told.removesuffix(".") == said.removesuffix(".")
        assert "\n" in text or " ".join(all_spoken(told)) == told


ANSWER = "Dr. Li said it is 3.5 km. Then **she** left"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_an_answer_in_pieces_of_any_size_is_not_torn(size: int) -> None:
    pieces = Pieces()
    cut = [ANSWER[at : at + size] for at in range(0, len(ANSWER), size)]
    found = [one for piece in cut for one in pieces.sentences(piece, ends=False)]
    found += pieces.sentences("", ends=True)
    assert " ".join(found) == "Dr. Li said it is 3.5 km. Then she left"
    assert all(" " in one for one in found)


@pytest.mark.parametrize(
    "piece",
    ["Yes.", "Is it?", 'So he said: "No!"', "One line\n", "\u3053\u3093\u306b\u3061\u306f\u3002"],
)
def test_a_piece_that_ends_a_sentence_waits_for_nothing(piece: str) -> None:
    (sentence,) = Pieces().sentences(piece, ends=False)
    assert sentence.rstrip(".") == piece.strip().rstrip(".")


@pytest.mark.parametrize("piece", ["It is", "3.", ".", " ", "", "the mus", "Dr."])
def test_a_piece_that_does_not_waits_for_the_rest(piece: str) -> None:
    pieces = Pieces()
    assert pieces.sentences(piece, ends=False) == []
    assert "".join(pieces.sentences("!", ends=True)) in (f"{piece.strip()}!", "")


def test_a_long_piece_takes_no_long_time() -> None:
    assert Pieces().sentences("a " * 100_000, ends=False)
