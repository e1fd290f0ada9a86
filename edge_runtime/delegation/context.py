"""What goes with a request: the sound since the person began, and the conversation before it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_runtime.micro_turn import TURN_MS, TURN_SAMPLES, Decision, MicroTurn, Pcm, Said, Utterance

LEAD_TURNS = 3
"""Kept from before the first symbol: the model writes it only once it has heard the sound."""
MAX_TURNS = 75
"""15 s: longer questions lose their beginning."""
FORGET_TURNS = 30
"""Without a symbol for so long, what was heard before is no longer part of the question."""
MAX_SAID = 40
"""Turns of the conversation that are remembered."""


class Conversation:
    """What both sides said, as far as the device knows. Times are micro-turns."""

    def __init__(self) -> None:
        self._said: deque[_Entry] = deque(maxlen=MAX_SAID)
        self.unsaid = ""
        """What was left of the last answer when it was interrupted; `go on` asks for it."""

    def person(self, text: str, index: int) -> None:
        if text:
            self._said.append(_Entry("person", text, index))

    def device(self, utterance: Utterance, index: int) -> None:
        self._said.append(
            _Entry("device", utterance.text, index, utterance.id, utterance.request_id)
        )

    def interrupted(self, utterance_id: str, unsaid: str) -> str | None:
        """Cut a remembered utterance to what was said of it; the request that it answers, if it
        is an answer."""
        for entry in reversed(self._said):
            if entry.utterance_id == utterance_id:
                words, left = entry.text.split(), len(unsaid.split())
                entry.text = " ".join(words[: max(0, len(words) - left)])
                entry.interrupted = True
                return entry.request_id
        return None

    def until(self, index: int) -> tuple[Said, ...]:
        """Oldest first, with ages at micro-turn `index`."""
        return tuple(
            Said(e.speaker, e.text, (index - e.index) * TURN_MS / 1000, e.interrupted)
            for e in self._said
            if e.text
        )


@dataclass
class _Entry:
    speaker: Literal["person", "device"]
    text: str
    index: int
    utterance_id: str = ""
    request_id: str | None = None
    interrupted: bool = False


class Heard:
    """Follows what the person has said since the device last spoke.

    Where a person began is read off the model's own transcript; nothing here listens to the level
    of the sound, and nothing here decides whose turn it is.
    """

    def __init__(self) -> None:
        self._audio: deque[Pcm] = deque(maxlen=MAX_TURNS)
        self._began: int | None = None
        """Turns since the first symbol, that turn included."""
        self._quiet = 0
        self._text = ""

    def add(self, turn: MicroTurn, decision: Decision) -> None:
        self._audio.append(turn.audio[0].copy())
        if self._began is not None:
            self._began += 1
        if decision.heard.strip():
            if self._began is None or self._quiet >= FORGET_TURNS:
                self._began, self._text = 1, ""
            self._quiet = 0
        else:
            self._quiet += 1
        self._text = (self._text + decision.heard)[-400:]

    def clear(self) -> None:
        """The device has answered: what comes next is a new matter."""
        self._began, self._quiet, self._text = None, 0, ""

    @property
    def transcript(self) -> str:
        return " ".join(self._text.split())

    def audio(self) -> Pcm:
        """float32 (n,), 16 kHz: since the person began, or all that is kept if that is unknown."""
        turns = len(self._audio) if self._began is None else self._began + LEAD_TURNS
        recent = list(self._audio)[-turns:]
        return np.concatenate(recent) if recent else np.zeros(TURN_SAMPLES, np.float32)
