"""Units said in words: `how many metres are in three miles`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from edge_runtime.background.numbers import NUMBER, counted, speakable, words


@dataclass(frozen=True)
class Unit:
    """`value * factor + offset` is the amount in the SI unit of its kind."""

    singular: str
    plural: str
    kind: str
    factor: Fraction
    offset: Fraction = Fraction(0)
    also: tuple[str, ...] = ()
    """Other names: American spelling, short forms."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.singular, self.plural, *self.also)


def _unit(singular: str, plural: str, kind: str, factor: str, *also: str) -> Unit:
    return Unit(singular, plural, kind, Fraction(factor), also=also)


# Factors: BIPM SI brochure; the international yard and pound of 1959; US customary volumes.
UNITS = (
    _unit("millimetre", "millimetres", "length", "0.001", "millimeter", "millimeters"),
    _unit("centimetre", "centimetres", "length", "0.01", "centimeter", "centimeters"),
    _unit("metre", "metres", "length", "1", "meter", "meters"),
    _unit("kilometre", "kilometres", "length", "1000", "kilometer", "kilometers"),
    _unit("inch", "inches", "length", "0.0254"),
    _unit("foot", "feet", "length", "0.3048"),
    _unit("yard", "yards", "length", "0.9144"),
    _unit("mile", "miles", "length", "1609.344"),
    _unit("nautical mile", "nautical miles", "length", "1852"),
    _unit("milligram", "milligrams", "mass", "0.000001"),
    _unit("gram", "grams", "mass", "0.001"),
    _unit("kilogram", "kilograms", "mass", "1", "kilo", "kilos"),
    _unit("tonne", "tonnes", "mass", "1000", "metric ton", "metric tons"),
    _unit("ounce", "ounces", "mass", "0.028349523125"),
    _unit("pound", "pounds", "mass", "0.45359237"),
    _unit("stone", "stone", "mass", "6.35029318", "stones"),
    _unit("millilitre", "millilitres", "volume", "0.000001", "milliliter", "milliliters"),
    _unit("litre", "litres", "volume", "0.001", "liter", "liters"),
    _unit("cubic metre", "cubic metres", "volume", "1", "cubic meter", "cubic meters"),
    _unit("teaspoon", "teaspoons", "volume", "0.00000492892159375"),
    _unit("tablespoon", "tablespoons", "volume", "0.00001478676478125"),
    _unit("cup", "cups", "volume", "0.0002365882365"),
    _unit("pint", "pints", "volume", "0.000473176473"),
    _unit("gallon", "gallons", "volume", "0.003785411784"),
    _unit("metre per second", "metres per second", "speed", "1", "meters per second"),
    Unit(
        *("kilometre per hour", "kilometres per hour", "speed", Fraction(5, 18)),
        also=("kilometer per hour", "kilometers per hour", "kilometres an hour"),
    ),
    Unit(
        *("mile per hour", "miles per hour", "speed", Fraction("0.44704")),
        also=("mile an hour", "miles an hour"),
    ),
    Unit("knot", "knots", "speed", Fraction(1852, 3600)),
    Unit(
        *("degree celsius", "degrees celsius", "temperature", Fraction(1), Fraction("273.15")),
        also=("celsius", "degree centigrade", "degrees centigrade", "centigrade"),
    ),
    Unit(
        *("degree fahrenheit", "degrees fahrenheit", "temperature", Fraction(5, 9)),
        offset=Fraction("459.67") * Fraction(5, 9),
        also=("fahrenheit",),
    ),
    Unit("kelvin", "kelvin", "temperature", Fraction(1)),
    _unit("second", "seconds", "time", "1"),
    _unit("minute", "minutes", "time", "60"),
    _unit("hour", "hours", "time", "3600"),
    _unit("day", "days", "time", "86400"),
    _unit("week", "weeks", "time", "604800"),
)
BY_NAME = {name: unit for unit in UNITS for name in unit.names}

_UNIT = "|".join(sorted(map(re.escape, BY_NAME), key=len, reverse=True))
_AMOUNT = rf"(?P<amount>(?:minus |- ?)?{NUMBER}|an?|half an?|one)"
_TO = rf"(?P<to>{_UNIT})"
_GIVEN = rf"{_AMOUNT} (?P<of>{_UNIT})"
_PHRASINGS = (
    rf"how many {_TO} (?:(?:are there |are |is )?in|are|is|make|do|does) {_GIVEN}(?: make)?",
    rf"(?:convert|change|turn) {_GIVEN} (?:to|into|in) {_TO}",
    rf"(?:(?:what|how much|how many) (?:is|are) )?{_GIVEN} (?:in|to|into|as) {_TO}",
    rf"how (?:long|far|heavy|fast|hot|warm|cold) (?:is|are) {_GIVEN} in {_TO}",
)


def answer(text: str) -> str | None:
    """`text` in lower case with numbers as digits; None if it does not ask for a conversion."""
    for phrasing in _PHRASINGS:
        if match := re.fullmatch(phrasing, text):
            amount, of, to = match["amount"], BY_NAME[match["of"]], BY_NAME[match["to"]]
            return _convert(_amount(amount), of, to)
    return None


def _amount(text: str) -> Fraction:
    if text.startswith("half"):
        return Fraction(1, 2)
    if text in ("a", "an", "one"):
        return Fraction(1)
    return Fraction(text.replace("minus ", "-").replace(" ", ""))


def _convert(value: Fraction, of: Unit, to: Unit) -> str:
    if of.kind != to.kind:
        return (
            f"{_upper(of.plural)} measure {of.kind} and {to.plural} measure {to.kind}, "
            "so one cannot be turned into the other."
        )
    absolute = value * of.factor + of.offset
    if of.kind == "temperature" and absolute < 0:
        return "Nothing can be as cold as that."
    result = (absolute - to.offset) / to.factor
    left = counted(words(value, 9), value, of.singular, of.plural)
    right = counted(speakable(result), result, to.singular, to.plural)
    return f"{_upper(left)} {'is' if value == 1 else 'are'} {right}."


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
