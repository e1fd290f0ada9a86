"""Phrases that ask for an action: how they may be written, and what they match."""

from __future__ import annotations

import logging
import shutil
from datetime import datetime

import numpy as np
import pytest
from heard_letters import heard_as
from pydantic import ValidationError
from test_transcribe import needs_espeak, speech

from edge_runtime.background import grammar, nearest, transcribe
from edge_runtime.background.commands import MOST_LETTERS, NONE, Command, Commands
from edge_runtime.background.nearest import Rules
from edge_runtime.background.skills import Skills
from edge_runtime.background.timers import Timers
from edge_runtime.background.transcribe import PocketSphinxTranscriber, SpellingTranscriber
from edge_runtime.config import Config
from edge_runtime.delegation.wire import Ability
from edge_runtime.jsgf import sentences
from edge_runtime.micro_turn import TURN_SAMPLES

LAMP = Command(
    "lamp_on",
    ("(turn | switch) on the [kitchen] lamp", "Let there be light".lower()),
    "The lamp is on.",
)
CURTAIN = Command("curtain_up", ("raise the curtain",), "Done.")
OWN = Commands((LAMP, CURTAIN))
SILENCE = np.zeros(TURN_SAMPLES, np.float32)


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ("turn on the lamp", "lamp_on"),
        ("Switch on the kitchen lamp!", "lamp_on"),
        ("let there  be light", "lamp_on"),
        ("raise the curtain", "curtain_up"),
        ("Raise the curtain, please.", "curtain_up"),
        ("turn off the lamp", None),
        ("raise the curtains of the stage", None),
        ("turn on the kitchen", None),
        ("raise", None),
        ("", None),
    ],
)
def test_a_command_is_found_by_its_words_and_by_no_others(said: str, action: str | None) -> None:
    found = OWN.find(said)
    assert (found and found.action) == action


@pytest.mark.parametrize(
    "phrase",
    [
        "what time is it",
        "turn it on now",
        "so it is as it is",
        "(turn | switch) it (on | off) [in [the] hall] [now]",
        "lights please",
    ],
)
def test_every_sentence_of_a_phrase_is_found_also_where_its_words_are_short(phrase: str) -> None:
    own = Commands.of([Ability(name="it", phrases=(phrase,))])
    for said in sentences(phrase):
        assert own.find(said) and own.find(f"{said} please"), said
        assert Skills(Timers(lambda: 0), commands=own).reply(said).action == "it"


def test_a_search_through_many_commands_ends_after_as_many_steps_as_through_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = Commands(
        tuple(Command("no", (f"call {'x' * (count + 1)}",), "") for count in range(150))
    )
    assert Commands((*many.all, LAMP)).find("turn on the lamp") == LAMP
    monkeypatch.setattr(nearest, "MOST_STEPS", 5_000)
    assert Commands((LAMP,)).find("turn on the lamp") == LAMP
    assert Commands((*many.all, LAMP)).find("turn on the lamp") is None


def test_words_of_address_before_a_command_are_none_of_it() -> None:
    skills = Skills(Timers(lambda: 0), lambda: datetime(2026, 11, 28), commands=OWN)
    for said in ("robot please switch on the lamp", "Could you turn on the lamp?"):
        answer = skills.reply(said)
        assert (answer.skill, answer.action) == ("command", "lamp_on")
        assert answer.text == "The lamp is on."
    assert skills.reply("what is two plus three").action == ""
    assert Skills(Timers(lambda: 0)).reply("raise the curtain").skill == "unknown"


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("turn (on | off", "the brackets do not match"),
        ("turn (on | off]", "the brackets do not match"),
        ("turn on) the lamp", "the brackets do not match"),
        ("turn (on | ) it", "a phrase has a word on both sides of"),
        ("turn () on", "a phrase has a word on both sides of"),
        ("[please] [now]", "a phrase must have a word that is always said"),
        ("[please] (now | [then])", "a phrase must have a word that is always said"),
        ("play <song>", "a phrase is made of words in letters"),
        ("channel 2", "a phrase is made of words in letters"),
        ("   ", "a phrase has a word on both sides of"),
    ],
)
def test_a_phrase_that_cannot_be_is_refused(phrase: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate({"actions": {"lamp_on": {"phrases": [phrase]}}})
    with pytest.raises(ValidationError, match=said):
        Ability(name="lamp_on", phrases=(phrase,))


def test_the_grammar_of_a_device_has_its_commands() -> None:
    with_own = Rules(grammar.rules(OWN), grammar.START)
    near = with_own.nearest("robott lett ther be lihgt")
    assert near is not None and near.text == "robot let there be light"
    assert grammar.jsgf() == grammar.jsgf(NONE)
    assert "command" not in grammar.jsgf()
    assert "(<command1> | <command2>)" in grammar.jsgf(OWN)


@pytest.mark.parametrize(
    "said",
    [
        "could you let there be light",
        "let there be light please",
        "okay can you let there be light",
    ],
)
def test_a_command_is_asked_for_politely_too(said: str) -> None:
    """By its letters, by its spelling, and in the skill that does it."""
    skills = Skills(Timers(lambda: 0), lambda: datetime(2026, 11, 28), commands=OWN)
    ear = SpellingTranscriber()
    for heard in (
        ear.transcribe(SILENCE, said, OWN, heard_as(said)).text,
        ear.transcribe(SILENCE, said.replace("light", "lihgt"), OWN).text,
    ):
        assert heard == said
        assert skills.reply(heard).action == "lamp_on"


def test_of_an_ability_without_phrases_there_is_no_command() -> None:
    assert Commands.of([Ability(name="wave")]) == NONE
    loud = Ability(name="night", phrases=("Good Night House",), answer="")
    assert Commands.of([loud]) == Commands((Command("night", ("good night house",), ""),))


def test_the_opposite_of_a_command_is_not_taken_for_it() -> None:
    """Badly spelled, and no phrase of anybody's: `switch on the bot` would be the nearest."""
    ear = SpellingTranscriber()
    bot = Ability(name="bot", phrases=("(switch | turn) on the bot [in the hall]", "bot forward"))
    own = Commands.of([bot])
    for rough, meant in (("swich onn the bott", "bot"), ("bot forwward", "bot")):
        found = own.find(ear.transcribe(SILENCE, rough, own).text)
        assert found is not None and found.action == meant
    for rough in (
        "swich of the bott",
        "turn off thebot",
        "bot bakward",
        "swich of the bot in the hal",
    ):
        heard = ear.transcribe(SILENCE, rough, own)
        assert heard.in_grammar and own.find(heard.text) is None
    both = Commands.of([bot, Ability(name="still", phrases=("switch off the bot",))])
    found = both.find(ear.transcribe(SILENCE, "swich of the bott", both).text)
    assert found is not None and found.action == "still"


def test_what_the_phrases_of_a_request_can_cost_is_bounded() -> None:
    """Each word has an opposite: 32 phrases would become thousands."""
    words = ("on", "up", "in", "out", "off")
    endless = [
        Ability(
            name=f"act_{number}",
            phrases=tuple(" ".join(words[i % 5] for i in range(at, at + 50)) for at in range(32)),
        )
        for number in range(64)
    ]
    lamp = Ability(name="lamp_on", phrases=("lamp on",))
    own = Commands.of([lamp, *endless])
    assert sum(len(phrase) for one in own.all for phrase in one.phrases) <= MOST_LETTERS
    assert own.find("lamp on") == Command("lamp_on", ("lamp on",), "Done.")
    assert Command("", ("lamp off",), "") in own.all


def test_a_spelling_near_to_a_command_is_taken_for_it() -> None:
    ear = SpellingTranscriber()
    assert ear.transcribe(SILENCE, "leht theer be lightt", OWN).text == "let there be light"
    assert not ear.transcribe(SILENCE, "leht theer be lightt").in_grammar


@needs_espeak
def test_the_recogniser_hears_the_commands_of_each_device_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    monkeypatch.setattr(transcribe, "MOST_GRAMMARS", 4)
    ear = PocketSphinxTranscriber()
    said = {text: speech(text) for text in ("open the garage", "good night house")}
    own = Commands(
        (Command("garage", ("open the garage",), ""), Command("night", ("good night house",), ""))
    )
    for text, pcm in said.items():
        heard = ear.transcribe(pcm, "", own)
        assert heard.in_grammar and heard.text == text
    other = Commands((Command("open_door", ("open sesame",), "Done."),))
    assert own.find(ear.transcribe(said["good night house"], "", other).text) is None
    assert ear.transcribe(speech("open sesame"), "", other).text == "open sesame"
    assert ear.transcribe(speech("what time is it"), "", other).text == "what time is it"
    for number in range(6):  # more devices than grammars are kept
        many = Commands((*own.all, Command(f"act_{'x' * number}", ("do it",), "")))
        assert ear.transcribe(said["open the garage"], "", many).text == "open the garage"
    assert ear.transcribe(said["good night house"], "", own).text == "good night house"


def test_a_word_that_the_recogniser_does_not_know_costs_its_phrase_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    ear = PocketSphinxTranscriber()
    odd = Commands((Command("night", ("zigbeefy the lamp", "good night house"), "Done."),))
    with caplog.at_level(logging.WARNING):
        ear.transcribe(SILENCE, "", odd)
        ear.transcribe(SILENCE, "", odd)
    assert caplog.text.count("does not know the word 'zigbeefy'") == 1
    if shutil.which("espeak-ng"):
        assert ear.transcribe(speech("good night house"), "", odd).text == "good night house"
    assert ear.transcribe(SILENCE, "zigbeefy the lamp", odd).text == "zigbeefy the lamp"
