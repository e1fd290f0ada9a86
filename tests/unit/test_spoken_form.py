"""What is written for the eye is said in words, and what only looks like it stays as it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.app import synthesizer_for
from edge_runtime.config import Config
from edge_runtime.micro_turn import Pcm
from edge_runtime.voice.espeak import EspeakSynthesizer
from edge_runtime.voice.spoken_form import AsSpoken, SpokenForm

ENGLISH, GERMAN = SpokenForm("en"), SpokenForm("de-CH")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("120 km/h", "120 kilometers per hour"),
        ("1 kg or 5kg", "1 kilogram or 5 kilograms"),
        ("1,234.5 km", "1,234.5 kilometers"),
        ("20 °C, 68°F", "20 degrees Celsius, 68 degrees Fahrenheit"),
        ("-5 °C", "-5 degrees Celsius"),
        ("turn 90°", "turn 90 degrees"),
        ("5 min. Then 2 h.", "5 minutes. Then 2 hours."),
        ("12 V, 3.5 GHz, 16 GB", "12 volts, 3.5 gigahertz, 16 gigabytes"),
        ("10 m²", "10 square meters"),
        ("It costs $5.20.", "It costs 5 dollars 20."),
        ("$1", "1 dollar"),
        ("$5.00 or €3.05", "5 dollars or 3 euros 5"),
        ("$1,234.50", "1,234 dollars 50"),
        ("£20, ¥500 and 20 CHF", "20 pounds, 500 yen and 20 Swiss francs"),
        ("€1.2M or $3 million", "1.2 million euros or 3 million dollars"),
        ("$5-10", "5 dollars to 10"),
        ("5-10 km/h", "5 to 10 kilometers per hour"),
        ("10\N{EN DASH}12 people, 2019-2021", "10 to 12 people, 2019 to 2021"),
        ("on 2026-12-01", "on December 1, 2026"),
        ("#5, No. 7", "number 5, number 7"),
        ("1/2 cup and 3/4", "a half cup and three quarters"),
    ],
)
def test_english(written: str, said: str) -> None:
    assert ENGLISH(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2,5 km in 5 min", "2,5 Kilometer in 5 Minuten"),
        ("1 h", "1 Stunde"),
        ("3,50 € oder $5", "3 Euro 50 oder 5 US-Dollar"),
        ("1.000 €", "1.000 Euro"),
        ("5\N{EN DASH}7 °C", "5 bis 7 Grad Celsius"),
        ("am 2026-12-01", "am 1. Dezember 2026"),
        ("1/2", "1/2"),
    ],
)
def test_german(written: str, said: str) -> None:
    assert GERMAN(written) == said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no figures, km/h and $",
        "5 lamps, 7 hours, 5 minutes",
        "10:30 pm",
        "call 555-1234 or 1-800-555-1234",
        "9-1-1",
        "it ended 3-2",
        "F-16, A4, 5G, 4K, v1.2.3, 13-year-old",
        "192.168.1.10",
        "12/25/2026 and 2026-13-45",
        "50%",
        "24/7",
        "[[5 km]x",
    ],
)
def test_what_stays_as_it_is(text: str) -> None:
    assert ENGLISH(text) == text.replace("5 km]", "5 kilometers]")


def test_a_language_that_nobody_knows_loses_nothing() -> None:
    for name in ("xx", "tlh", "e"):
        assert (
            SpokenForm(name)("5 km for $5.20, 5\N{EN DASH}7 °C")
            == "5 km for $5.20, 5\N{EN DASH}7 °C"
        )


@given(st.text(alphabet="0123456789.,-\N{EN DASH}/ $€°C#%kmh²'MNo\N{NO-BREAK SPACE}"))
def test_no_text_is_too_strange(text: str) -> None:
    for form in (ENGLISH, GERMAN):
        assert isinstance(form(text), str)


class Voice:
    def __init__(self) -> None:
        self.said: list[str] = []

    def check(self) -> None:
        self.said.append("checked")

    def synthesize(self, text: str) -> Blocks:
        self.said.append(text)
        return Blocks()


class Blocks:
    def __iter__(self) -> Iterator[Pcm]:
        yield np.zeros(1, np.float32)

    def close(self) -> None: ...


def test_a_voice_is_given_what_is_to_be_said() -> None:
    voice = Voice()
    spoken = AsSpoken(voice, "en")
    spoken.check()
    assert len(list(spoken.synthesize("5 km"))) == 1
    assert voice.said == ["checked", "5 kilometers"]


def test_every_voice_of_a_device_is() -> None:
    voice = synthesizer_for(Config())
    assert isinstance(voice, AsSpoken) and isinstance(voice._synthesizer, EspeakSynthesizer)


@pytest.mark.parametrize("piece", ["1'", "1.", "1,", "1-", "1 ", "$1", "5 k", "12 - ", "1 km "])
def test_a_long_text_takes_no_long_time(piece: str) -> None:
    """Nor does it with its square: so long a text would never end."""
    assert len(ENGLISH(piece * 20_000)) >= 20_000
