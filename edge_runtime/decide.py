"""Engine output to Decision. It decodes what the model gave out, and never second-guesses it.

Nothing here looks at the sound or the picture, and nothing here counts time: no detector and no
timer stands between the model and the floor. What it knows besides the output is whether the mouth
is speaking, because one cannot yield what one does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edge_runtime.ctc import BeamSearch, CtcDecoder, Greedy
from edge_runtime.inference.character_model import CharacterModel
from edge_runtime.inference.manifest import (
    WHILE_SILENT,
    WHILE_SPEAKING,
    Decoding,
    Manifest,
    OutputRole,
)
from edge_runtime.micro_turn import (
    Action,
    Decision,
    Delegation,
    EngineOutput,
    Letters,
    MicroTurn,
)

NONE = "none"
EAGERNESS_LOGITS = 2.0
"""What `eagerness` 1.0 adds to the logit of taking the floor."""
HESITATE = "hesitate"
"""No state of the model: it is torn between yielding and holding."""


def states(manifest: Manifest) -> tuple[str, ...]:
    """What `Decision.floor` may be with this model."""
    names = tuple(manifest.vocabularies.floor)
    return names if manifest.decoding.hesitate is None else (*names, HESITATE)


class Doubt:
    """Whether a device that speaks holds the floor, yields it or hesitates, from the chance that it
    should yield in each micro-turn."""

    def __init__(self, at: Decoding) -> None:
        self._at = at
        self.reset()

    def reset(self) -> None:
        self._chance = 0.0
        """That it should have yielded since it began to hesitate; 0: it does not."""

    def state(self, chance: float) -> str:
        """`yield`, `hold` or `hesitate`. `chance`: that it should yield now."""
        at = self._at
        if at.hesitate is None:
            return "yield" if chance >= at.yield_ else "hold"
        if chance < (at.resume if self._chance else at.hesitate):
            self.reset()
            return "hold"
        self._chance = 1 - (1 - self._chance) * (1 - chance)
        if self._chance < at.yield_:
            return HESITATE
        self.reset()
        return "yield"


class FloorDecider:
    """Decodes one model's outputs by its manifest's vocabularies and probabilities.

    `eagerness`, -1 (patient) .. 1 (quick), trades cut-off people against slow answers. `characters`
    help to read the transcript.
    """

    def __init__(
        self,
        manifest: Manifest,
        eagerness: float = 0.0,
        characters: CharacterModel | None = None,
    ) -> None:
        self._manifest = manifest
        self._eagerness = eagerness
        self._characters = characters
        self._words = manifest.vocabularies
        self.reset()

    def reset(self) -> None:
        self._asked = False
        """The last micro-turn asked the mouth to start: it reports that one turn later."""
        self._active: frozenset[str] = frozenset()
        """Actions and delegations that were on in the last micro-turn: only a rise counts."""
        self._doubt = Doubt(self._manifest.decoding)
        self._transcript: CtcDecoder = (
            BeamSearch(self._characters) if self._characters else Greedy()
        )

    def decide(self, output: EngineOutput, turn: MicroTurn) -> Decision:
        speaking = turn.voice.speaking
        chances: dict[str, Mapping[str, float]] = {"floor": self._floor(output, speaking)}
        for role, names in (
            ("act", self._words.act),
            ("action", self._words.action),
            ("delegate", self._words.delegate),
        ):
            if (logits := self._logits(output, role)) is not None:  # type: ignore[arg-type]
                chances[role] = dict(zip(names, _softmax(logits), strict=True))
        seen = self._logits(output, "seen")
        if seen is not None:
            chances["seen"] = dict(zip(self._words.seen, _logistic(seen), strict=True))
        floor = self._state(chances["floor"], speaking)
        say = self._say(floor, chances.get("act", {}))
        self._asked = say is not None
        risen = self._risen(chances)
        delegation = self._delegation(risen)
        actions = tuple(
            Action(name, chances["action"][name])
            for name in self._words.action
            if f"action {name}" in risen
        )
        letters = self._letters(output)
        return Decision(
            index=turn.index,
            floor=floor,
            say=say,
            stop=floor == "yield",
            hesitate=floor == HESITATE,
            actions=actions,
            delegation=delegation,
            heard=self._heard(letters, settle=say is not None or delegation is not Delegation.NONE),
            letters=letters,
            probabilities=MappingProxyType(chances),
        )

    def _logits(self, output: EngineOutput, role: OutputRole) -> NDArray[np.float32] | None:
        tensor = self._manifest.output(role)
        return None if tensor is None else output.tensors[tensor.name][0]

    def _floor(self, output: EngineOutput, speaking: bool) -> dict[str, float]:
        """Probabilities over the states that are possible now; zero for the others."""
        logits = self._logits(output, "floor")
        assert logits is not None
        names = self._words.floor
        shifted = logits.astype(np.float64)
        shifted[names.index("speak")] += EAGERNESS_LOGITS * self._eagerness
        here = WHILE_SPEAKING if speaking else WHILE_SILENT
        possible = [i for i, name in enumerate(names) if name in here] or list(range(len(names)))
        chances = dict.fromkeys(names, 0.0)
        for index, chance in zip(possible, _softmax(shifted[possible]), strict=True):
            chances[names[index]] = chance
        return chances

    def _state(self, chances: Mapping[str, float], speaking: bool) -> str:
        at = self._manifest.decoding
        if speaking:
            return self._doubt.state(chances.get("yield", 0.0))
        self._doubt.reset()
        if chances["speak"] >= at.speak:
            return "speak"
        if chances.get("backchannel", 0.0) >= at.backchannel:
            return "backchannel"
        return "listen"

    def _say(self, floor: str, acts: Mapping[str, float]) -> str | None:
        if self._asked or floor not in ("speak", "backchannel"):
            return None
        if floor == "backchannel":
            return "backchannel"
        known = {name: chance for name, chance in acts.items() if name != NONE}
        return max(known, key=lambda name: known[name]) if known else "acknowledge"

    def _risen(self, chances: Mapping[str, Mapping[str, float]]) -> frozenset[str]:
        at = {
            "action": self._manifest.decoding.action,
            "delegate": self._manifest.decoding.delegate,
        }
        active = frozenset(
            f"{role} {name}"
            for role, limit in at.items()
            for name, chance in chances.get(role, {}).items()
            if name != NONE and chance >= limit
        )
        risen, self._active = active - self._active, active
        return risen

    @staticmethod
    def _delegation(risen: frozenset[str]) -> Delegation:
        for kind in (Delegation.CANCEL, Delegation.DELEGATE):
            if f"delegate {kind.value}" in risen:
                return kind
        return Delegation.NONE

    def _letters(self, output: EngineOutput) -> Letters | None:
        logits = self._logits(output, "transcript")
        if logits is None:
            return None
        shifted = logits - logits.max(-1, keepdims=True)
        total = np.log(np.exp(shifted).sum(-1, keepdims=True))
        return Letters(self._words.symbols, shifted - total)

    def _heard(self, letters: Letters | None, settle: bool) -> str:
        """`settle`: something is done about what was said, which is then read to its end."""
        if letters is None:
            return ""
        symbols = self._transcript.add(letters.log_probabilities)
        if settle:
            symbols += self._transcript.settle()
        return "".join(self._words.symbols[symbol] for symbol in symbols)


def _logistic(logits: NDArray[np.floating]) -> Sequence[float]:
    values: list[float] = (0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))).tolist()
    return values


def _softmax(logits: NDArray[np.floating]) -> Sequence[float]:
    shifted = np.exp(logits.astype(np.float64) - float(logits.max()))
    values: list[float] = (shifted / shifted.sum()).tolist()
    return values
