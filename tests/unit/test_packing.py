"""A request as it is sent: whatever has been said before, a worker takes it."""

from __future__ import annotations

import numpy as np

from edge_runtime.delegation import wire
from edge_runtime.delegation.context import MAX_SAID, MAX_TURNS
from edge_runtime.delegation.packing import Abilities, pack
from edge_runtime.micro_turn import TURN_SAMPLES, Letters, Request, Said

SILENCE = np.zeros(TURN_SAMPLES, np.float32)


def packed(request: Request) -> wire.RequestMessage:
    payload = pack("a-1", request, Abilities("kiosk"), "2026-11-28T07:00:00+00:00")
    return wire.decode(wire.RequestMessage, payload, wire.MAX_REQUEST_BYTES)


def test_a_very_long_answer_does_not_keep_the_next_question_from_being_sent() -> None:
    answer = "tea " * 100_000 + "and biscuits"
    said = (Said("device", answer, 3.0, interrupted=True),)
    message = packed(Request("request-2", SILENCE, conversation=said, unsaid="first, " + answer))
    assert message.conversation[0].text.endswith("tea and biscuits")
    assert message.conversation[0].interrupted
    assert message.unsaid.startswith("first, tea")


def test_the_longest_question_after_the_longest_conversation_fits() -> None:
    said = (Said("device", "\u8336" * 100_000, 3.0),) * MAX_SAID
    rng = np.random.default_rng(0)
    noise = rng.uniform(-1, 1, MAX_TURNS * TURN_SAMPLES).astype(np.float32)
    message = packed(Request("request-2", noise, conversation=said))
    assert len(message.conversation) == MAX_SAID
    assert len(wire.unpack_audio(message.audio)) == len(noise)


def test_sound_that_was_encoded_before_is_sent_as_it_is() -> None:
    assert packed(Request("request-1", SILENCE, opus=lambda: b"ogg")).audio == "b2dn"


def test_the_letters_of_the_longest_question_go_along() -> None:
    steps = np.log(np.random.default_rng(0).dirichlet(np.ones(29), 10 * MAX_TURNS))
    letters = Letters(tuple(map(chr, range(32, 61))), steps.astype(np.float32))
    message = packed(Request("request-1", SILENCE, letters=letters))
    assert message.letters is not None
    back = wire.unpack_letters(message.letters)
    assert back.symbols == letters.symbols and len(back.log_probabilities) == len(steps)
    assert packed(Request("request-2", SILENCE)).letters is None
