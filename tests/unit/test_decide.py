"""Decoding: the same logits always give the same decision, and a decision is given once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_model import checked_manifest

from edge_runtime.decide import FloorDecider, states
from edge_runtime.inference.character_model import CharacterModel
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    Delegation,
    EngineOutput,
    MicroTurn,
    VoiceState,
)

WORDS = {
    "floor": ("listen", "backchannel", "speak", "yield", "hold"),
    "act": ("none", "greet", "deliver"),
    "action": ("none", "wave", "nod"),
    "delegate": ("none", "delegate", "cancel"),
    "transcript": ("", " ", "h", "i", "l"),
    "seen": ("present", "waving"),
}
STEPS = 4
SURE = 20.0
"""A logit that makes a class almost certain."""


def decider(
    eagerness: float = 0.0,
    *,
    heads: tuple[str, ...] = tuple(WORDS),
    words: dict[str, tuple[str, ...]] | None = None,
    characters: CharacterModel | None = None,
    **decoding: float,
) -> FloorDecider:
    names = {**WORDS, **(words or {})}
    outputs = []
    for head in heads:
        steps = [STEPS] if head == "transcript" else []
        shape = [1, *steps, len(names[head])]
        outputs.append({"name": head, "role": head, "shape": shape, "dtype": "float32"})
    changes: dict[str, Any] = {"outputs": outputs, "decoding": decoding}
    for head in heads:
        changes[f"vocabularies.{'symbols' if head == 'transcript' else head}"] = names[head]
    return FloorDecider(checked_manifest(changes), eagerness, characters)


def output(index: int = 0, heard: str = "____", **sure_of: str | dict[str, float]) -> EngineOutput:
    """Logits by head: `act="greet"` is sure, `floor={"speak": 0.3}` gives a logit; else 0.

    `heard` has one symbol a step, `_` the blank.
    """
    tensors = {}
    for head, names in WORDS.items():
        if head in ("transcript", "seen"):
            continue
        default = "listen" if head == "floor" else "none"
        given = sure_of.get(head, default)
        logits = {given: SURE} if isinstance(given, str) else given
        tensors[head] = np.array([[logits.get(name, 0.0) for name in names]], np.float32)
    steps = np.zeros((1, STEPS, len(WORDS["transcript"])), np.float32)
    for step, symbol in enumerate(heard):
        steps[0, step, 0 if symbol == "_" else WORDS["transcript"].index(symbol)] = SURE
    seen = np.array([[2.0, -2.0]], np.float32)
    return EngineOutput(index, {**tensors, "transcript": steps, "seen": seen})


def turn(speaking: bool = False) -> MicroTurn:
    voice = VoiceState("u1", 1.0) if speaking else VoiceState()
    return MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32), voice=voice)


def decide(by: FloorDecider, speaking: bool = False, **what: Any) -> Decision:
    return by.decide(output(**what), turn(speaking))


def yields(chance: float) -> dict[str, float]:
    return {"yield": float(np.log(chance)), "hold": float(np.log(1 - chance))}


class TestFloor:
    @pytest.mark.parametrize("state", ["listen", "backchannel", "speak"])
    def test_in_silence_the_model_may_start(self, state: str) -> None:
        assert decide(decider(), floor=state).floor == state

    @pytest.mark.parametrize("state", ["yield", "hold"])
    def test_while_speaking_the_model_may_stop(self, state: str) -> None:
        decision = decide(decider(), speaking=True, floor=state)
        assert decision.floor == state
        assert decision.stop is (state == "yield")

    @pytest.mark.parametrize("state", ["listen", "backchannel", "speak"])
    def test_while_speaking_nothing_new_starts(self, state: str) -> None:
        unsure = {state: SURE, "yield": -1.0, "hold": 1.0}
        decision = decide(decider(), speaking=True, floor=unsure, act="greet")
        assert (decision.floor, decision.say, decision.stop) == ("hold", None, False)

    def test_in_silence_there_is_nothing_to_yield(self) -> None:
        decision = decide(decider(), floor={"yield": SURE, "listen": 2.0})
        assert (decision.floor, decision.stop) == ("listen", False)

    def test_chances_are_shared_among_what_is_possible_now(self) -> None:
        level: dict[str, float] = {}
        silent = decide(decider(), floor=level).probabilities["floor"]
        third = pytest.approx(1 / 3)
        assert silent == {
            "listen": third,
            "backchannel": third,
            "speak": third,
            "yield": 0,
            "hold": 0,
        }
        speaking = decide(decider(), speaking=True, floor=level).probabilities["floor"]
        assert speaking == {"listen": 0, "backchannel": 0, "speak": 0, "yield": 0.5, "hold": 0.5}

    def test_the_manifest_says_how_sure_the_model_must_be_to_speak(self) -> None:
        chance_of_07 = {
            "speak": float(np.log(0.7)),
            "listen": float(np.log(0.3)),
            "backchannel": -SURE,
        }
        assert decide(decider(speak=0.6), floor=chance_of_07).floor == "speak"
        assert decide(decider(speak=0.8), floor=chance_of_07).floor == "listen"

    def test_the_manifest_says_how_sure_the_model_must_be_to_yield(self) -> None:
        chance_of_07 = yields(0.7)
        assert decide(decider(**{"yield": 0.6}), speaking=True, floor=chance_of_07).stop
        assert not decide(decider(**{"yield": 0.8}), speaking=True, floor=chance_of_07).stop

    @pytest.mark.parametrize(
        ("chances", "states"),
        [
            ([0.1, 0.3, 0.2, 0.05, 0.1], ["hold", "hesitate", "hesitate", "hold", "hold"]),
            ([0.3, 0.1, 0.1, 0.1, 0.1], ["hesitate"] * 3 + ["yield", "hold"]),
            ([0.3, 0.3, 0.3], ["hesitate", "yield", "hesitate"]),
            ([0.3, 0.05, 0.3, 0.3], ["hesitate", "hold", "hesitate", "yield"]),
            ([0.6, 0.1], ["yield", "hold"]),
        ],
    )
    def test_in_doubt_it_is_silent_until_it_is_surer(
        self, chances: list[float], states: list[str]
    ) -> None:
        """Doubt adds up: one of two turns of .3 meant it with .51."""
        by = decider(**{"yield": 0.48, "hesitate": 0.2, "resume": 0.08})
        found = [decide(by, speaking=True, floor=yields(chance)) for chance in chances]
        assert [one.floor for one in found] == states
        assert [one.hesitate for one in found] == [state == "hesitate" for state in states]
        assert [one.stop for one in found] == [state == "yield" for state in states]

    def test_doubt_ends_with_the_utterance(self) -> None:
        by = decider(**{"yield": 0.5, "hesitate": 0.2})
        assert decide(by, speaking=True, floor=yields(0.4)).hesitate
        assert decide(by, floor=yields(0.4)).floor == "listen"
        assert decide(by, speaking=True, floor=yields(0.4)).hesitate, "and not yield"

    def test_only_some_models_hesitate(self) -> None:
        by = decider(**{"yield": 0.5})
        assert decide(by, speaking=True, floor=yields(0.4)).floor == "hold"
        hesitating = checked_manifest({"decoding": {"hesitate": 0.2}})
        assert states(hesitating) == (*WORDS["floor"], "hesitate")
        assert states(checked_manifest({})) == WORDS["floor"]

    def test_speaking_comes_before_a_backchannel(self) -> None:
        both = {"speak": SURE, "backchannel": SURE}
        assert decide(decider(speak=0.4, backchannel=0.4), floor=both).floor == "speak"

    @pytest.mark.parametrize(
        ("eagerness", "floor"), [(-1.0, "listen"), (-0.5, "listen"), (0.5, "speak"), (1.0, "speak")]
    )
    def test_eagerness_decides_when_the_model_is_torn(self, eagerness: float, floor: str) -> None:
        torn = {"speak": 0.0, "listen": 0.0, "backchannel": -SURE}
        assert decide(decider(eagerness), floor=torn).floor == floor

    def test_eagerness_does_not_overrule_a_sure_model(self) -> None:
        assert decide(decider(1.0), floor="listen").floor == "listen"
        assert decide(decider(-1.0), floor="speak").floor == "speak"

    def test_eagerness_does_not_make_the_device_hold_on(self) -> None:
        torn = {"yield": 0.1, "hold": 0.0}
        chances = [
            decide(decider(eagerness), speaking=True, floor=torn).probabilities["floor"]
            for eagerness in (-1.0, 0.0, 1.0)
        ]
        assert chances[0] == chances[1] == chances[2]

    def test_a_model_without_yield_speaks_to_the_end(self) -> None:
        two = decider(heads=("floor",), words={"floor": ("listen", "speak")})
        given = EngineOutput(0, {"floor": np.array([[SURE, 0.0]], np.float32)})
        decision = two.decide(given, turn(speaking=True))
        assert (decision.floor, decision.stop) == ("hold", False)


class TestSay:
    def test_what_to_say_is_the_most_likely_act(self) -> None:
        decision = decide(decider(), floor="speak", act={"greet": 1.0, "deliver": 2.0})
        assert decision.say == "deliver"

    def test_who_takes_the_floor_says_something(self) -> None:
        """The floor decides whether; the acts decide only what."""
        decision = decide(decider(), floor="speak", act={"none": SURE, "greet": 1.0})
        assert decision.say == "greet"

    def test_a_backchannel_needs_no_act(self) -> None:
        assert decide(decider(), floor="backchannel", act="deliver").say == "backchannel"

    def test_listening_says_nothing(self) -> None:
        assert decide(decider(), floor="listen", act="greet").say is None

    def test_a_model_without_acts_acknowledges(self) -> None:
        assert decide(decider(heads=("floor",)), floor="speak").say == "acknowledge"

    def test_it_is_asked_once_until_the_mouth_could_answer(self) -> None:
        """The mouth reports one turn late; a second start in between would say it twice."""
        by = decider()
        said = [decide(by, floor="speak", act="greet").say]
        said.append(decide(by, floor="speak", act="greet").say)
        said.append(decide(by, speaking=True, floor="speak", act="greet").say)
        assert said == ["greet", None, None]

    def test_a_mouth_that_stayed_silent_is_asked_again(self) -> None:
        by = decider()
        said = [decide(by, floor="speak", act="greet").say for _ in range(3)]
        assert said == ["greet", None, "greet"]


class TestRisingDecisions:
    def test_an_action_is_given_when_it_rises(self) -> None:
        by = decider()
        given = [
            [action.name for action in decide(by, action=state).actions]
            for state in ("none", "wave", "wave", "none", "wave", "nod")
        ]
        assert given == [[], ["wave"], [], [], ["wave"], ["nod"]]

    def test_an_action_carries_its_probability(self) -> None:
        likely = {"wave": float(np.log(0.75)), "none": float(np.log(0.25)), "nod": -SURE}
        (action,) = decide(decider(), action=likely).actions
        assert action.probability == pytest.approx(0.75, abs=1e-6)

    def test_two_actions_at_once(self) -> None:
        both = {"wave": SURE, "nod": SURE}
        actions = decide(decider(action=0.4), action=both).actions
        assert [action.name for action in actions] == ["wave", "nod"]

    def test_an_unsure_action_is_not_given(self) -> None:
        likely = {"wave": float(np.log(0.75)), "none": float(np.log(0.25)), "nod": -SURE}
        assert decide(decider(action=0.8), action=likely).actions == ()

    def test_a_request_is_handed_on_once(self) -> None:
        by = decider()
        states = ("none", "delegate", "delegate", "none", "cancel", "cancel")
        assert [decide(by, delegate=state).delegation for state in states] == [
            Delegation.NONE,
            Delegation.DELEGATE,
            Delegation.NONE,
            Delegation.NONE,
            Delegation.CANCEL,
            Delegation.NONE,
        ]

    def test_cancelling_comes_before_asking(self) -> None:
        both = {"delegate": SURE, "cancel": SURE}
        assert decide(decider(delegate=0.4), delegate=both).delegation is Delegation.CANCEL

    def test_actions_do_not_wait_for_the_floor(self) -> None:
        decision = decide(decider(), speaking=True, floor="hold", action="nod", delegate="delegate")
        assert [action.name for action in decision.actions] == ["nod"]
        assert decision.delegation is Delegation.DELEGATE


class TestHeard:
    @pytest.mark.parametrize(
        ("steps", "text"),
        [
            (["____"], ""),
            (["hi__"], "hi"),
            (["hhii"], "hi"),
            (["l_l_"], "ll"),
            (["h_ii", "iiii", "i___"], "hi"),
            (["hi__", "_ hi"], "hi hi"),
            (["_hil", "_l__"], "hill"),
        ],
        ids=[
            "blanks",
            "plain",
            "repeats are one",
            "a blank parts two",
            "one sound over three turns",
            "a space",
            "a blank at the border",
        ],
    )
    def test_symbols_become_text_across_turns(self, steps: list[str], text: str) -> None:
        by = decider()
        assert "".join(decide(by, heard=each).heard for each in steps) == text

    def test_each_turn_gives_only_what_it_adds(self) -> None:
        by = decider()
        assert [decide(by, heard=each).heard for each in ("_hhi", "ii_l", "____")] == [
            "hi",
            "l",
            "",
        ]

    def test_what_is_acted_on_is_read_to_its_end(self) -> None:
        """The last symbols may still change: a question must not lack them."""
        none = np.zeros(0, np.uint64)
        by = decider(characters=CharacterModel([none, none], [none, none], 5))
        torn = output(heard="h___")
        torn.tensors["transcript"][0, 1, [WORDS["transcript"].index(c) for c in "il"]] = SURE + 9
        assert by.decide(torn, turn()).heard == "h"
        by.reset()
        torn.tensors["delegate"][0] = [0.0, SURE, 0.0]
        asked = by.decide(torn, turn())
        assert asked.delegation is Delegation.DELEGATE
        assert asked.heard in ("hi", "hl")

    def test_what_was_read_goes_along_with_its_chances(self) -> None:
        letters = decide(decider(), heard="_hi_").letters
        assert letters is not None
        assert letters.symbols == tuple(WORDS["transcript"])
        best = letters.log_probabilities.argmax(-1)
        assert "".join(letters.symbols[one] or "_" for one in best) == "_hi_"
        assert np.exp(letters.log_probabilities).sum(-1) == pytest.approx(1.0, abs=1e-5)
        assert letters.log_probabilities.dtype == np.float32

    def test_a_model_without_transcript_hears_no_words(self) -> None:
        decision = decide(decider(heads=("floor",)), heard="hi__")
        assert (decision.heard, decision.letters) == ("", None)


class TestReset:
    def test_everything_rises_anew(self) -> None:
        by = decider()
        everything: dict[str, Any] = {
            **{"floor": "speak", "act": "greet", "action": "wave"},
            **{"delegate": "delegate", "heard": "llll"},
        }
        first = decide(by, **everything)
        by.reset()
        afresh = decide(by, **everything)
        repeated = decide(by, **everything)
        assert (repeated.say, repeated.actions, repeated.heard) == (None, (), "")
        assert afresh == first
        assert (afresh.say, afresh.heard) == ("greet", "l")
        assert afresh.delegation is Delegation.DELEGATE

    def test_what_is_seen_is_told_each_by_itself(self) -> None:
        seen = decider().decide(output(), turn()).probabilities["seen"]
        assert seen == pytest.approx({"present": 0.881, "waving": 0.119}, abs=1e-3)
        assert "seen" not in decider(heads=("floor",)).decide(output(), turn()).probabilities

    def test_the_decision_has_the_index_of_the_turn(self) -> None:
        by = decider()
        heard = np.zeros((2, TURN_SAMPLES), np.float32)
        assert by.decide(output(index=41), MicroTurn(41, 0, heard)).index == 41
