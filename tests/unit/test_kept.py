"""When a kept answer is struck off the disk: once a sound of it was given out, and not before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from edge_runtime.delegation.kept import Spoken
from edge_runtime.errors import VoiceError
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    Event,
    MicroTurn,
    Pcm,
    Timings,
    TurnRecord,
    Utterance,
)
from edge_runtime.voice.mouth import Mouth

ANSWER = Utterance("utterance-1", "Your train leaves at nine.", "deliver", "kept-1")
MORE = Utterance("utterance-2", "From platform two.", "deliver", "kept-1", goes_on=True)


class Voice:
    """Fails as often as it is told to, and else speaks for a second."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures

    def check(self) -> None:
        pass

    def synthesize(self, text: str) -> Sound:
        self.failures -= 1
        if self.failures >= 0:
            raise VoiceError("espeak-ng could not be started")
        return Sound()


class Sound:
    def __iter__(self) -> Iterator[Pcm]:
        yield np.full(5 * TURN_SAMPLES, 0.5, np.float32)

    def close(self) -> None:
        pass


class Device:
    """Lets micro-turns pass through a mouth and the sink."""

    def __init__(self, mouth: Mouth) -> None:
        self.struck_off: list[str] = []
        self._mouth, self._sink = mouth, Spoken(self.struck_off.append)
        self._events: Sequence[Event] = ()

    def turn(self, said: Utterance | None = None, stop: bool = False) -> None:
        sound = np.zeros((2, TURN_SAMPLES), np.float32)
        turn = MicroTurn(0, 0, sound, events=tuple(self._events))
        if said is not None:
            self._mouth.say(said)
        played = self._mouth.flush(20) if stop else self._mouth.next_turn()
        self._events = self._mouth.events()
        decision = Decision(0, "speak", stop=stop)
        self._sink.publish(TurnRecord(turn, EngineOutput(0, {}), decision, Timings(), said, played))


def test_an_answer_is_struck_off_once_when_it_is_heard() -> None:
    with Mouth(Voice(), block=True) as mouth:
        device = Device(mouth)
        device.turn(ANSWER)
        for _ in range(9):
            device.turn()
    assert device.struck_off == ["kept-1"]


@pytest.mark.parametrize("failures", [1, 2], ids=["its first part", "all of it"])
def test_an_answer_that_the_voice_fails_to_speak_stays(failures: int) -> None:
    with Mouth(Voice(failures), block=True) as mouth:
        device = Device(mouth)
        device.turn(ANSWER)
        for _ in range(3):
            device.turn()
        assert device.struck_off == []
        device.turn(MORE)
        for _ in range(3):
            device.turn()
    assert device.struck_off == (["kept-1"] if failures == 1 else [])


def test_an_answer_that_is_interrupted_before_its_first_sound_stays() -> None:
    with Mouth(Voice(), block=True) as mouth:
        device = Device(mouth)
        device.turn(ANSWER, stop=True)
        for _ in range(3):
            device.turn()
    assert device.struck_off == []
