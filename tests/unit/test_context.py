"""What goes with a question: the sound since the person began, and no more than is kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.delegation.context import (
    FORGET_TURNS,
    HALF_TURNS,
    LEAD_TURNS,
    MAX_SAID,
    MAX_TURNS,
    Conversation,
    Heard,
)
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_SAMPLES,
    Decision,
    Letters,
    MicroTurn,
    Pcm,
    Utterance,
)


def sound(level: float) -> MicroTurn:
    """The person at `level`, the device's own voice far louder."""
    audio = np.full((2, TURN_SAMPLES), 1000.0, np.float32)
    audio[0] = level
    return MicroTurn(0, 0, audio)


def hear(heard: Heard, turns: range, symbols: dict[int, str] | None = None) -> None:
    """Turn n has the level n; `symbols` are written by the model at these turns."""
    for index in turns:
        letters = Letters(("", "a"), np.full((2, 2), index, np.float32))
        written = (symbols or {}).get(index, "")
        heard.add(sound(index), Decision(index, "listen", heard=written, letters=letters))


def turns_of(heard: Heard) -> list[int]:
    """Which turns are in the sound, each whole."""
    blocks = heard.audio().reshape(-1, TURN_SAMPLES)
    assert (blocks == blocks[:, :1]).all()
    letters = heard.letters()
    if letters is not None:
        assert (letters.log_probabilities == np.repeat(blocks[:, :2], 2, axis=0)).all()
    return [int(block[0]) for block in blocks]


def test_the_sound_begins_a_little_before_the_first_symbol() -> None:
    heard = Heard()
    hear(heard, range(20), {10: "wha", 11: "t ti", 14: "me"})
    assert turns_of(heard) == list(range(10 - LEAD_TURNS, 20))
    assert heard.audio().dtype == np.float32
    assert heard.transcript == "what time"


def test_its_letters_go_with_the_sound_and_end_with_it() -> None:
    heard = Heard()
    hear(heard, range(8))
    assert heard.letters() is None
    hear(heard, range(8, 12), {10: "wha"})
    letters = heard.letters()
    assert letters is not None and letters.symbols == ("", "a")
    assert letters.log_probabilities.shape == (2 * len(turns_of(heard)), 2)
    heard.clear()
    assert heard.letters() is None


def test_a_model_that_writes_no_transcript_has_no_letters() -> None:
    heard = Heard(spells=False)
    heard.add(sound(1), Decision(1, "listen"))
    assert turns_of(heard) == [1] and heard.letters() is None


def test_a_person_who_begins_at_once_has_no_lead() -> None:
    heard = Heard()
    hear(heard, range(2), {0: "hi"})
    assert turns_of(heard) == [0, 1]


def test_without_a_symbol_all_that_is_kept_goes_along() -> None:
    heard = Heard()
    hear(heard, range(5), {2: " "})
    assert turns_of(heard) == [0, 1, 2, 3, 4]
    assert heard.transcript == ""


def test_a_long_question_loses_its_first_half_and_never_grows() -> None:
    heard = Heard()
    talk, first = dict.fromkeys(range(10, 1_000, 10), "a"), 10 - LEAD_TURNS
    hear(heard, range(first + MAX_TURNS), talk)
    assert turns_of(heard) == list(range(first, first + MAX_TURNS))
    assert heard.audio().size == 30 * SAMPLE_RATE_HZ
    hear(heard, range(first + MAX_TURNS, first + 1 + MAX_TURNS), talk)
    assert turns_of(heard) == list(range(first + HALF_TURNS, first + 1 + MAX_TURNS))
    hear(heard, range(first + 1 + MAX_TURNS, 900), talk)
    assert HALF_TURNS < len(turns_of(heard)) <= MAX_TURNS
    assert turns_of(heard)[-1] == 899


def test_where_it_is_unknown_when_the_person_began_the_last_while_goes_along() -> None:
    heard = Heard()
    hear(heard, range(400))
    assert turns_of(heard) == list(range(400 - FORGET_TURNS, 400))


def test_a_question_that_nobody_handed_on_is_forgotten_in_the_end() -> None:
    heard = Heard()
    hear(heard, range(1_000), {5: "never mind"})
    assert turns_of(heard) == list(range(1_000 - FORGET_TURNS, 1_000))
    assert heard.transcript == "never mind"


def test_a_model_that_writes_no_transcript_hears_the_person_all_the_time() -> None:
    heard = Heard(spells=False)
    hear(heard, range(100))
    assert turns_of(heard) == list(range(100))
    heard.clear()
    hear(heard, range(100, 140))
    assert turns_of(heard) == list(range(100 - LEAD_TURNS, 140))


class Streams:
    """Streams that keep what they are given, and are encoded at once."""

    def __init__(self) -> None:
        self.begun: list[Kept] = []

    def __call__(self) -> Kept:
        self.begun.append(Kept())
        return self.begun[-1]

    @property
    def open(self) -> int:
        return sum(not stream.closed for stream in self.begun)


class Kept:
    def __init__(self) -> None:
        self.turns: list[Pcm] = []
        self.closed = False

    def add(self, pcm: Pcm) -> None:
        assert not self.closed
        self.turns.append(pcm)

    def end(self) -> Callable[[], bytes]:
        self.drop()
        return lambda: np.concatenate(self.turns).tobytes()

    def drop(self) -> None:
        assert not self.closed
        self.closed = True


def encoded_meanwhile(heard: Heard) -> bool:
    """Asks; whether the sound had been encoded by then. It must be the same sound."""
    audio, opus = heard.audio(), heard.opus()
    if opus is not None:
        assert opus() == audio.tobytes()
    return opus is not None


@pytest.mark.parametrize("turns", [1, HALF_TURNS, MAX_TURNS, MAX_TURNS + 1, 5 * MAX_TURNS])
def test_a_question_is_encoded_while_it_is_heard_however_long(turns: int) -> None:
    heard = Heard(Streams())
    hear(heard, range(turns), dict.fromkeys(range(0, turns, 10), "a"))
    assert encoded_meanwhile(heard)


def test_a_question_that_goes_on_after_it_was_asked_can_be_asked_again() -> None:
    heard = Heard(streams := Streams())
    hear(heard, range(100), dict.fromkeys(range(0, 100, 10), "a"))
    assert encoded_meanwhile(heard)
    assert streams.open == 0
    hear(heard, range(100, 102))
    assert turns_of(heard) == list(range(102))
    assert encoded_meanwhile(heard)


def test_nothing_is_encoded_while_nobody_has_begun() -> None:
    heard = Heard(streams := Streams())
    hear(heard, range(400))
    assert not encoded_meanwhile(heard)
    hear(heard, range(400, 1_000), {500: "never mind"})
    assert streams.begun and streams.open == 0
    hear(heard, range(1_000, 1_010), {1_000: "hello"})
    heard.clear()
    hear(heard, range(1_010, 1_020))
    assert streams.open == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from(["symbol", "quiet", "long quiet", "long talk", "ask", "clear"])))
def test_whatever_happens_what_is_encoded_is_what_was_heard(steps: list[str]) -> None:
    heard, now = Heard(streams := Streams()), 0
    for step in steps:
        if step == "ask":
            encoded_meanwhile(heard)
        elif step == "clear":
            heard.clear()
        else:
            length = 40 if step.startswith("long") else 1
            spoken = range(now, now + length) if step in ("symbol", "long talk") else ()
            hear(heard, range(now, now + length), dict.fromkeys(spoken, "a"))
            now += length
        assert streams.open <= 2
        assert heard.audio().size <= MAX_TURNS * TURN_SAMPLES
    heard.clear()
    assert streams.open == 0


def test_a_pause_to_think_stays_part_of_the_question() -> None:
    heard = Heard()
    hear(heard, range(FORGET_TURNS + 10), {5: "set a ", 5 + FORGET_TURNS: "timer"})
    assert turns_of(heard)[0] == 5 - LEAD_TURNS
    assert heard.transcript == "set a timer"


def test_after_a_long_silence_a_new_question_begins() -> None:
    heard = Heard()
    again = 6 + FORGET_TURNS
    hear(heard, range(again + 3), {5: "never mind", again: "hello"})
    assert turns_of(heard) == list(range(again - LEAD_TURNS, again + 3))
    assert heard.transcript == "hello"


def test_after_the_answer_a_new_question_begins() -> None:
    heard = Heard()
    hear(heard, range(10), {3: "what time is it"})
    heard.clear()
    assert heard.transcript == ""
    hear(heard, range(10, 20), {15: "and now"})
    assert turns_of(heard) == list(range(15 - LEAD_TURNS, 20))
    assert heard.transcript == "and now"


def test_a_sound_buffer_that_is_used_again_does_not_change_what_was_heard() -> None:
    heard, turn = Heard(), sound(1)
    heard.add(turn, Decision(0, "listen"))
    turn.audio[:] = 2
    assert turns_of(heard) == [1]


def test_the_transcript_keeps_its_end_and_never_grows() -> None:
    heard = Heard()
    hear(heard, range(300), {index: f"w{index} " for index in range(300)})
    assert heard.transcript.endswith("w297 w298 w299")
    assert len(heard.transcript) <= 400


def test_before_anything_was_heard_there_is_silence() -> None:
    audio = Heard().audio()
    assert audio.size == TURN_SAMPLES
    assert not audio.any()


def test_what_was_said_more_than_an_hour_ago_is_no_part_of_the_conversation() -> None:
    conversation, hour = Conversation(), 3600 * 5
    conversation.person("good night", 0)
    conversation.person("good morning", 10)
    assert [one.age_s for one in conversation.until(hour)] == [3600.0, 3598.0]
    assert [one.text for one in conversation.until(hour + 1)] == ["good morning"]
    assert conversation.until(31 * 24 * hour) == ()


def answer(part: int, request_id: str = "request-1") -> Utterance:
    words = f"This is part {part}."
    return Utterance(f"utterance-{part}", words, "deliver", request_id, goes_on=part > 0)


def test_the_parts_of_a_long_answer_are_one_turn_of_the_conversation() -> None:
    conversation, parts = Conversation(), 2 * MAX_SAID
    conversation.person("read me the book", 0)
    for part in range(parts):
        conversation.device(answer(part), 5 + 50 * part)
    before, last = answer(parts - 2), answer(parts - 1)
    assert conversation.interrupted(before.id, f"{parts - 2}.") == "request-1"
    assert conversation.interrupted(last.id, last.text) == "request-1"
    asked, told = conversation.until(5 + 50 * parts)
    assert (asked.text, asked.interrupted) == ("read me the book", False)
    assert told.interrupted and told.age_s == 10.0 * parts
    whole = [answer(part).text for part in range(parts - 2)]
    assert told.text == " ".join([*whole, "This is part"])


def test_what_comes_between_two_parts_stays_between_them() -> None:
    conversation = Conversation()
    conversation.device(answer(0), 0)
    conversation.device(Utterance("utterance-9", "Dinner is ready.", "announce"), 10)
    conversation.device(answer(1), 20)
    conversation.device(answer(2), 30)
    conversation.device(answer(0, "request-2"), 40)
    assert [one.text for one in conversation.until(50)] == [
        "This is part 0.",
        "Dinner is ready.",
        "This is part 1. This is part 2.",
        "This is part 0.",
    ]
