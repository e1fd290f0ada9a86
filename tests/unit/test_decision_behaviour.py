"""With the model's decisions given, nothing that is heard changes what the device does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from typing_extensions import Self

from edge_runtime.assemble import Assembler
from edge_runtime.dialogue import Dialogue
from edge_runtime.loop import Loop, Parts
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    AudioReading,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    MicroTurn,
    Pcm,
    Request,
    TurnRecord,
    Utterance,
    VoiceState,
)

SCRIPT = (
    *(Decision(index, "listen") for index in range(20)),
    Decision(20, "backchannel", say="backchannel"),
    Decision(21, "listen", heard="what is two and two"),
    Decision(22, "listen", delegation=Delegation.DELEGATE),
    Decision(23, "speak", say="greet", actions=(Action("wave"),)),
    *(Decision(index, "hold") for index in range(24, 40)),
    Decision(40, "yield", stop=True),
    *(Decision(index, "listen") for index in range(41, 60)),
)
"""What a model might decide in 12 s."""


class Room:
    """Every device around the loop, and a note of all that the loop does with them."""

    def __init__(self, sound: Pcm) -> None:
        self._turns = iter(sound.reshape(-1, TURN_SAMPLES))
        self.did: list[tuple[str, object]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def now_ns(self) -> int:
        return 0

    def sleep_until(self, deadline_ns: int) -> None: ...

    def read_turn(self) -> AudioReading | None:
        heard = next(self._turns, None)
        return None if heard is None else AudioReading(np.stack([heard, np.zeros_like(heard)]))

    def play(self, pcm: Pcm) -> None:
        self.did.append(("play", pcm.size))

    def step(self, turn: MicroTurn) -> EngineOutput:
        return EngineOutput(turn.index, {})

    def decide(self, output: EngineOutput, turn: MicroTurn) -> Decision:
        return SCRIPT[output.index]

    def reset(self) -> None: ...

    def say(self, utterance: Utterance) -> None:
        self.did.append(("say", utterance))

    def next_turn(self) -> Pcm:
        return np.zeros(TURN_SAMPLES, np.float32)

    def pause(self, fade_ms: float, unheard: int) -> Pcm:
        self.did.append(("pause", unheard))
        return np.zeros(TURN_SAMPLES, np.float32)

    def flush(self, fade_ms: float, unheard: int = 0) -> Pcm:
        self.did.append(("flush", fade_ms))
        return np.zeros(TURN_SAMPLES, np.float32)

    def state(self) -> VoiceState:
        return VoiceState()

    def events(self) -> Sequence[Event]:
        return ()

    def submit(self, request: Request) -> None:
        self.did.append(("submit", (request.id, request.transcript)))

    def cancel(self, request_id: str) -> None:
        self.did.append(("cancel", request_id))

    def poll(self) -> Sequence[Event]:
        return ()

    def publish(self, record: TurnRecord) -> None:
        self.did.append(("publish", record.decision))


def what_the_loop_does(sound: Pcm) -> list[tuple[str, object]]:
    room = Room(sound)
    dialogue = Dialogue(room, words=lambda act: f"words for {act}")
    parts = Parts(room, Assembler(None), room, room, room, dialogue, [room], room, realtime=False)
    assert Loop(parts).run() == len(SCRIPT)
    return room.did


SECONDS = np.arange(len(SCRIPT) * TURN_SAMPLES) / 16_000
VOICED = np.sin(2 * np.pi * 150 * SECONDS)
SOUNDS = {
    "shouting": np.random.default_rng(0).uniform(-1, 1, SECONDS.size),
    "4 s of voice, then nothing": VOICED * (SECONDS < 4),
    "voice with a pause of 3 s": VOICED * (abs(SECONDS - 4) > 1.5),
}
SILENCE = 0 * SECONDS


def test_the_script_is_followed() -> None:
    did = what_the_loop_does(SILENCE.astype(np.float32))
    assert [what.act for _, what in did if isinstance(what, Utterance)] == ["backchannel", "greet"]
    assert ("submit", ("request-1", "what is two and two")) in did
    assert [what for name, what in did if name == "publish"] == list(SCRIPT)


@pytest.mark.parametrize("sound", SOUNDS)
def test_what_is_heard_changes_nothing(sound: str) -> None:
    heard = SOUNDS[sound].astype(np.float32)
    assert what_the_loop_does(heard) == what_the_loop_does(SILENCE.astype(np.float32))
