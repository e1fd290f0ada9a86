"""What was played, by its number, and between two samples."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sources.played_sound import PlayedSound, PlayedTurns


@pytest.mark.parametrize("block", [1, 77, 1_000, 5_000])
def test_the_newest_samples_are_known_by_their_numbers(block: int) -> None:
    played = PlayedSound(1_000)
    for start in range(0, 10_000, block):
        played.append(np.arange(start, start + block, dtype=np.float32))
    newest = played.count
    np.testing.assert_array_equal(
        played.window(newest - 1_000, 1_000), np.arange(newest - 1_000, newest)
    )


def test_before_and_after_is_silence() -> None:
    played = PlayedSound(100)
    played.append(np.ones(10, np.float32))
    np.testing.assert_array_equal(played.window(-5, 20), [0] * 5 + [1] * 10 + [0] * 5)
    assert not played.window(50, 10).any()
    assert not played.window(-50, 10).any()


@pytest.mark.parametrize("hz", [100, 1_000, 4_000, 6_000])
def test_between_the_samples_it_is_the_same_sound(hz: int) -> None:
    played = PlayedSound(8_000)
    played.append(np.sin(2 * np.pi * hz * np.arange(8_000) / SAMPLE_RATE_HZ).astype(np.float32))
    at = 1_000.37 + np.arange(3_200) * 1.0002
    found = played.at(at)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.sin(2 * np.pi * hz * at / SAMPLE_RATE_HZ), atol=0.02)


def test_on_the_samples_it_is_the_samples() -> None:
    played = PlayedSound(1_000)
    noise = np.random.default_rng(0).normal(0, 0.3, 500).astype(np.float32)
    played.append(noise)
    np.testing.assert_allclose(played.at(np.arange(100.0, 300.0)), noise[100:300], atol=1e-6)


def turn_of(number: int) -> Pcm:
    return np.full(TURN_SAMPLES, number / 16, np.float32)


@pytest.mark.parametrize("latency", [0, 800, 3_200, 10_000, 16_000])
def test_a_block_is_heard_in_the_turn_after_it_so_much_later(latency: int) -> None:
    turns, heard = PlayedTurns(), []
    for number in range(12):
        heard.append(turns.next_turn(latency))
        turns.play(turn_of(number + 1))
    found = np.concatenate(heard)
    said = np.concatenate([turn_of(number) for number in range(12)])
    np.testing.assert_array_equal(found[latency:], said[: said.size - latency])
    assert not found[:latency].any()


def test_a_turn_without_a_block_is_silent_and_blocks_given_at_once_follow_each_other() -> None:
    turns = PlayedTurns()
    turns.play(turn_of(1))
    turns.play(turn_of(2))
    found = [turns.next_turn(0) for _ in range(3)]
    assert [set(one.tolist()) for one in found] == [{0.0625}, {0.125}, {0.0}]


def test_what_was_heard_is_not_taken_back() -> None:
    turns = PlayedTurns()
    turns.play(turn_of(1))
    turns.next_turn(0)
    turns.play(turn_of(2))
    assert (turns.flush(), turns.flush()) == (TURN_SAMPLES, 0)
    assert set(turns.next_turn(1_600)[:1_600].tolist()) == {0.0625}


def test_it_is_played_as_loud_as_the_loudspeaker_is() -> None:
    turns = PlayedTurns(gain=0.5)
    turns.play(turn_of(8))
    turns.play(turn_of(16) * 4)
    assert set(turns.next_turn(0).tolist()) == {0.25}
    assert set(turns.next_turn(0).tolist()) == {1.0}
