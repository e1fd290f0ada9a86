"""The volume in words: as people ask for it, within its bounds, and not where there is none."""

from __future__ import annotations

import pytest

from edge_runtime.background.skills import VOLUME, Skills, plain
from edge_runtime.background.timers import Timers
from edge_runtime.background.volume import LOUDEST, NONE, QUIETEST, Volume
from edge_runtime.errors import InputError

pytest.importorskip("num2words", reason="the skills are an extra: edge-runtime[background]")


class Loudspeaker:
    def __init__(self, volume: float = 0.4) -> None:
        self.at = volume

    def set_to(self, volume: float) -> None:
        self.at = volume

    def ask(self, text: str) -> str | None:
        return Volume(lambda: self.at, self.set_to).answer(plain(text))


@pytest.mark.parametrize(
    "said",
    [
        "louder",
        "Louder, please!",
        "a bit louder",
        "a little bit louder",
        "speak a bit louder",
        "speak up",
        "turn it up",
        "turn the volume up a bit",
        "turn up the volume",
        "turn your voice up",
        "make it louder",
        "volume up",
        "raise the volume",
        "increase your volume",
        "you are too quiet",
        "I can't hear you",
    ],
)
def test_louder_however_it_is_asked_for(said: str) -> None:
    loudspeaker = Loudspeaker()
    assert loudspeaker.ask(said) == "I am louder now."
    assert loudspeaker.at == pytest.approx(0.64)


@pytest.mark.parametrize(
    "said",
    [
        "quieter",
        "a bit quieter please",
        "speak softer",
        "not so loud",
        "turn it down",
        "turn down the volume",
        "make it a bit quieter",
        "volume down",
        "lower your voice",
        "you are too loud",
    ],
)
def test_quieter_however_it_is_asked_for(said: str) -> None:
    loudspeaker = Loudspeaker()
    assert loudspeaker.ask(said) == "I am quieter now."
    assert loudspeaker.at == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("said", "at", "answer"),
    [
        ("set the volume to fifty percent", 0.5, "My volume is at fifty percent."),
        ("volume 70 %", 0.7, "My volume is at seventy percent."),
        ("volume to five", 0.5, "My volume is at fifty percent."),
        ("turn the volume to ten", 1.0, "My volume is at one hundred percent."),
        ("volume thirty", 0.3, "My volume is at thirty percent."),
        ("set the volume to zero", QUIETEST, "My volume is at five percent."),
        ("volume to forty percent", 0.4, "My volume is at forty percent."),
        ("full volume", LOUDEST, "This is my full volume."),
        ("volume to the maximum", LOUDEST, "This is my full volume."),
        ("set the volume to two hundred percent", 0.4, "My volume goes up to one hundred percent."),
        ("what is the volume", 0.4, "My volume is at forty percent."),
    ],
)
def test_to_a_number(said: str, at: float, answer: str) -> None:
    loudspeaker = Loudspeaker()
    assert loudspeaker.ask(said) == answer
    assert loudspeaker.at == pytest.approx(at)


def test_at_its_bounds_it_says_so() -> None:
    loudspeaker = Loudspeaker(0.9)
    assert loudspeaker.ask("louder") == "I am louder now."
    assert loudspeaker.at == LOUDEST and loudspeaker.ask("louder") == "I cannot get any louder."
    loudspeaker.at = QUIETEST
    assert loudspeaker.ask("quieter") == "I cannot get any quieter."
    assert loudspeaker.at == QUIETEST


@pytest.mark.parametrize(
    "said",
    [
        "what is the volume of a box",
        "turn the radio up",
        "turn the lights down",
        "that was a loud bang",
        "can you hear me",
        "",
    ],
)
def test_what_is_not_about_it(said: str) -> None:
    loudspeaker = Loudspeaker()
    assert loudspeaker.ask(said) is None and loudspeaker.at == 0.4


def test_a_device_without_one_knows_nothing_of_it() -> None:
    skills = Skills(Timers(lambda: 0), volume=NONE)
    assert NONE.answer("louder") is None
    assert skills.reply("louder").skill == "unknown"
    assert Skills(Timers(lambda: 0)).reply("could you speak louder").skill == VOLUME


def test_one_that_can_no_longer_be_set_says_so() -> None:
    def gone(volume: float) -> None:
        raise InputError("there is none any more")

    assert Volume(lambda: 0.5, gone).answer("louder") == "I cannot set my volume here."
