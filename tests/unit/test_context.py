"""What goes with a question: the sound since the person began, and no more than is kept."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.delegation.context import FORGET_TURNS, LEAD_TURNS, MAX_TURNS, Heard
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Decision, MicroTurn


def sound(level: float) -> MicroTurn:
    """The person at `level`, the device's own voice far louder."""
    audio = np.full((2, TURN_SAMPLES), 1000.0, np.float32)
    audio[0] = level
    return MicroTurn(0, 0, audio)


def hear(heard: Heard, turns: range, symbols: dict[int, str] | None = None) -> None:
    """Turn n has the level n; `symbols` are written by the model at these turns."""
    for index in turns:
        heard.add(sound(index), Decision(index, "listen", heard=(symbols or {}).get(index, "")))


def turns_of(heard: Heard) -> list[int]:
    """Which turns are in the sound, each whole."""
    blocks = heard.audio().reshape(-1, TURN_SAMPLES)
    assert (blocks == blocks[:, :1]).all()
    return [int(block[0]) for block in blocks]


def test_the_sound_begins_a_little_before_the_first_symbol() -> None:
    heard = Heard()
    hear(heard, range(20), {10: "wha", 11: "t ti", 14: "me"})
    assert turns_of(heard) == list(range(10 - LEAD_TURNS, 20))
    assert heard.audio().dtype == np.float32
    assert heard.transcript == "what time"


def test_a_person_who_begins_at_once_has_no_lead() -> None:
    heard = Heard()
    hear(heard, range(2), {0: "hi"})
    assert turns_of(heard) == [0, 1]


def test_without_a_symbol_all_that_is_kept_goes_along() -> None:
    heard = Heard()
    hear(heard, range(5), {2: " "})
    assert turns_of(heard) == [0, 1, 2, 3, 4]
    assert heard.transcript == ""


@pytest.mark.parametrize("symbols", [{}, {100: "well"}])
def test_a_long_story_loses_its_beginning_and_never_grows(symbols: dict[int, str]) -> None:
    heard = Heard()
    hear(heard, range(400), symbols | dict.fromkeys(range(120, 400, 10), "a"))
    assert turns_of(heard) == list(range(400 - MAX_TURNS, 400))
    assert heard.audio().size == 15 * SAMPLE_RATE_HZ


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
