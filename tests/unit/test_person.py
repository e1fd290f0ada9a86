"""The generated person: the same for the same seed, heard and seen as the script says."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from edge_runtime.demo.person import Diary, Person, Speech
from edge_runtime.demo.renderer import PersonRenderer, Pose
from edge_runtime.demo.scenes import ABOUT, GOODBYE, PAUSE_AFTER, PAUSE_BEFORE
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.pacing import VirtualClock

pytestmark = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the person speaks with espeak-ng"
)


def test_the_same_seed_is_the_same_person_to_the_last_bit() -> None:
    one, other = seen_and_heard(5), seen_and_heard(5)
    assert_array_equal(one[0], other[0], strict=True)
    assert_array_equal(one[1], other[1], strict=True)


def test_another_seed_is_another_person() -> None:
    one, other = seen_and_heard(5), seen_and_heard(6)
    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[1], other[1])


def test_a_pause_lies_between_the_two_pieces_and_nowhere_else() -> None:
    with Person(1, VirtualClock(), False, 100, 24, 32) as person:
        person.script = person.say(PAUSE_BEFORE, 1.2, PAUSE_AFTER)
        heard = read_all(person)
    first, second = person.diary.speech
    assert (first.text, second.text) == (PAUSE_BEFORE, PAUSE_AFTER)
    assert second.start - first.end == 1.2 * SAMPLE_RATE_HZ
    pause = heard[first.end + SAMPLE_RATE_HZ // 2 : second.start]
    assert level(pause) < 0.1 * level(heard[first.start : first.end])
    assert level(heard[second.start : second.end]) > 0.03


def test_the_mouth_is_open_while_the_person_speaks_and_closed_otherwise() -> None:
    closed = PersonRenderer(1, 96, 96)
    opened = []
    with Person(1, VirtualClock(), False, 100, 96, 96) as person:
        person.pose = Pose()
        person.script = person.say(ABOUT, 2.0)
        while person.read_turn() is not None:
            reading = person.latest(0)
            assert reading is not None
            rest = closed.render(Pose(mouth=0.0), person.turn)
            opened.append(not np.array_equal(reading.frame, rest))
    spoken = person.diary.speech[0].end // TURN_SAMPLES
    assert sum(opened[:spoken]) > spoken // 2
    assert not any(opened[spoken + 1 :])


def test_what_the_device_plays_comes_back_as_reference_and_as_a_quiet_echo() -> None:
    tone = (0.5 * np.sin(np.arange(TURN_SAMPLES) * 0.3)).astype(np.float32)
    with Person(1, VirtualClock(), False, 3, 24, 32) as person:
        person.script = person.wait(1.0)
        person.play(tone)
        first, second = person.read_turn(), person.read_turn()
    assert first is not None and second is not None
    assert_array_equal(first.pcm[1], tone)
    assert not second.pcm[1].any()
    assert 0.005 < level(first.pcm[0]) < 0.2 * level(tone)


def test_what_was_flushed_is_never_heard() -> None:
    with Person(1, VirtualClock(), False, 3, 24, 32) as person:
        person.script = person.wait(1.0)
        person.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        assert person.flush(20.0) == TURN_SAMPLES
        reading = person.read_turn()
    assert reading is not None and not reading.pcm[1].any()
    assert not any(person.diary.device)


def test_short_gaps_of_the_device_are_one_stretch_of_speech_and_long_ones_two() -> None:
    steps = [False] * 10 + [True] * 20 + [False] * 29 + [True] * 5 + [False] * 40 + [True] * 3
    diary = Diary(speech=[Speech("x", 0, 1)], device=steps)
    assert diary.device_spans(0, 200 * 160) == [(10 * 160, 64 * 160), (104 * 160, 107 * 160)]
    assert diary.device_spans(15 * 160, 20 * 160) == [(15 * 160, 20 * 160)]


def read_all(person: Person) -> Pcm:
    heard = []
    while (reading := person.read_turn()) is not None:
        heard.append(reading.pcm[0])
    return np.concatenate(heard)


def seen_and_heard(seed: int) -> tuple[np.ndarray, np.ndarray]:
    with Person(seed, VirtualClock(), False, 100) as person:
        person.pose = Pose()
        person.script = person.say(GOODBYE)
        pictures, sound = [], []
        while (reading := person.read_turn()) is not None:
            frame = person.latest(reading.captured_ns)
            assert frame is not None
            pictures.append(frame.frame)
            sound.append(reading.pcm)
    return np.stack(pictures), np.concatenate(sound, axis=1)


def level(pcm: Pcm) -> float:
    return float(np.sqrt(np.mean(pcm * pcm)))
