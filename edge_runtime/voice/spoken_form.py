"""What is written for the eye, as a voice can say it: units, money, dates and ranges in words.

A synthesizer reads numbers by itself, and the rest letter by letter: `km/h` as "K M slash H",
`$5.20` as "dollar five point two zero". The names of units and currencies, with their plurals, come
from the Unicode CLDR (by Babel), for every language that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from edge_runtime.voice.mouth import Synthesis, Synthesizer

if TYPE_CHECKING:
    from babel import Locale

UNITS = {
    "km/h": "kilometer-per-hour",
    "kph": "kilometer-per-hour",
    "mph": "mile-per-hour",
    "m/s": "meter-per-second",
    "km²": "square-kilometer",
    "m²": "square-meter",
    "cm²": "square-centimeter",
    "m³": "cubic-meter",
    "km": "kilometer",
    "m": "meter",
    "cm": "centimeter",
    "mm": "millimeter",
    "ft": "foot",
    "yd": "yard",
    "kg": "kilogram",
    "g": "gram",
    "mg": "milligram",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
    "l": "liter",
    "L": "liter",
    "ml": "milliliter",
    "mL": "milliliter",
    "cl": "centiliter",
    "°C": "celsius",
    "℃": "celsius",
    "°F": "fahrenheit",
    "℉": "fahrenheit",
    "°": "degree",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "min": "minute",
    "mins": "minute",
    "s": "second",
    "sec": "second",
    "ms": "millisecond",
    "W": "watt",
    "kW": "kilowatt",
    "MW": "megawatt",
    "kWh": "kilowatt-hour",
    "V": "volt",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "KB": "kilobyte",
    "kB": "kilobyte",
    "MB": "megabyte",
    "GB": "gigabyte",
    "TB": "terabyte",
    "hPa": "hectopascal",
    "mbar": "millibar",
    "kcal": "kilocalorie",
    "lx": "lux",
    "lm": "lumen",
}
"""By symbol, as the CLDR names it."""
CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "US$": "USD"}
_CODES = "USD EUR GBP JPY CHF CAD AUD NZD INR CNY SEK NOK DKK PLN CZK".split()
TO = {
    "en": "to",
    "de": "bis",
    "fr": "à",
    "es": "a",
    "it": "a",
    "pt": "a",
    "nl": "tot",
    "sv": "till",
    "da": "til",
    "nb": "til",
    "pl": "do",
}
"""By language: what stands between the ends of a range."""
_MULTIPLES = {"M": "million", "bn": "billion", "B": "billion", "k": "thousand", "K": "thousand"}
"""English."""

_DASHES = "-\N{EN DASH}"
_THIN = "\N{NARROW NO-BREAK SPACE}"
_QUOTES = "'\N{RIGHT SINGLE QUOTATION MARK}"
_NUMBER = rf"\d+(?:[.,{_THIN}{_QUOTES}]\d+)*"
_SPACE = f"[ \N{NO-BREAK SPACE}{_THIN}]?"
_BEFORE = rf"(?<![\w.,{_QUOTES}])"
_MONEY = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_SYMBOL = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_LARGE = r"(?: (?P<word>million|billion|trillion|thousand)|(?P<letter>M|bn|B|k|K)(?!\w))?"
_PRICE = re.compile(
    rf"{_BEFORE}(?P<sign>{_MONEY}){_SPACE}(?P<number>{_NUMBER}){_LARGE}(?!\w|[.,]\d)"
)
_PRICE_AFTER = re.compile(
    rf"{_BEFORE}(?P<number>{_NUMBER}){_SPACE}(?P<sign>{_MONEY}|{'|'.join(_CODES)})(?!\w)"
)
_END = r"\d{1,4}(?:[.,]\d{1,2})?"
_RANGE = re.compile(
    rf"{_BEFORE}(?<![{_DASHES}])(?P<low>{_END}){_SPACE}[{_DASHES}]{_SPACE}"
    rf"(?P<high>{_END})(?![{_DASHES}:\w]|[.,]\d)"
)
_DECIMALS = re.compile(r"[.,](\d{1,2})$")
_DATE = re.compile(r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?![\w-])")
_QUANTITY = re.compile(
    rf"(?P<number>{_BEFORE}{_NUMBER}){_SPACE}(?P<unit>{_SYMBOL})(?![\w/²³°{_QUOTES}])"
)
_NUMERAL = re.compile(r"(?:#|\bNo\. ?|\bno\. )(?=\d)")
_HALVES = {
    "1/2": "a half",
    "1/3": "a third",
    "2/3": "two thirds",
    "1/4": "a quarter",
    "3/4": "three quarters",
}
_FRACTION = re.compile(rf"(?<![\w/.,])(?:{'|'.join(_HALVES)})(?![\w/]|[.,]\d)")


class SpokenForm:
    """For one language, `de` or `en-GB`. What is not known in it stays as it is."""

    def __init__(self, language: str) -> None:
        self._name = language.partition("-")[0].lower()
        self._locale = _locale(language)

    def __call__(self, text: str) -> str:
        if not any(map(str.isdigit, text)):
            return text
        steps: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
            (_DATE, self._date),
            (_RANGE, self._range),
            (_PRICE, self._price),
            (_PRICE_AFTER, self._price),
            (_QUANTITY, self._quantity),
        ]
        if self._name == "en":
            text = _NUMERAL.sub("number ", text)
            text = _FRACTION.sub(lambda found: _HALVES[found[0]], text)
        for pattern, spoken in steps:
            text = pattern.sub(spoken, text)
        return text

    def _quantity(self, found: re.Match[str]) -> str:
        from babel.numbers import format_decimal
        from babel.units import format_unit

        if self._locale is None:
            return found[0]
        value = _value(found["number"])
        named = format_unit(value, UNITS[found["unit"]], "long", locale=self._locale)
        return _plain(named).replace(format_decimal(value, locale=self._locale), found["number"], 1)

    def _price(self, found: re.Match[str]) -> str:
        from babel.numbers import get_currency_name

        number, sign, parts = found["number"], found["sign"], found.groupdict()
        large = parts.get("word") or _MULTIPLES.get(parts.get("letter") or "", "")
        if self._locale is None or (large and self._name != "en"):
            return found[0]
        value, code = _value(number), CURRENCIES.get(sign, sign)
        name = _plain(get_currency_name(code, count=value, locale=self._locale))
        if sign in CURRENCIES and self._name == "en":
            name = re.sub(r"^(?:US|British|Japanese) ", "", name)
        if large:
            return f"{number} {large} {name}"
        cents = re.search(r"[.,](\d\d)$", number)
        if cents is None:
            return f"{number} {name}"
        return f"{number[:-3]} {name} {int(cents[1]) or ''}".rstrip()

    def _range(self, found: re.Match[str]) -> str:
        low, high, between = found["low"], found["high"], TO.get(self._name)
        rising = _value(low) < _value(high) and (len(low), len(high)) != (3, 4)  # no telephone
        if between is None or ("-" in found[0] and not rising):
            return found[0]
        return f"{low} {between} {high}"

    def _date(self, found: re.Match[str]) -> str:
        from babel.dates import format_date

        try:
            day = date(*map(int, found.groups()))
        except ValueError:
            return found[0]
        return found[0] if self._locale is None else format_date(day, "long", locale=self._locale)


@cache
def _locale(language: str) -> Locale | None:
    from babel import Locale, UnknownLocaleError

    for name in (language, language.partition("-")[0]):
        try:
            return Locale.parse(name, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return None


def _value(number: str) -> Decimal:
    """Near enough to choose between one and several, whichever way thousands are written."""
    decimals = _DECIMALS.search(number)
    whole = number[: decimals.start()] if decimals else number
    return Decimal(f"{re.sub(r'[^0-9]', '', whole)}.{decimals[1] if decimals else 0}").normalize()


def _plain(text: str) -> str:
    """With spaces that every synthesizer knows."""
    return " ".join(text.split())


class AsSpoken:
    """A `Synthesizer` that is given text as it is written."""

    def __init__(self, synthesizer: Synthesizer, language: str) -> None:
        self._synthesizer, self._spoken = synthesizer, SpokenForm(language)

    def check(self) -> None:
        """Raises VoiceError."""
        self._spoken("1 km")  # reads the names, which takes a tenth of a second
        self._synthesizer.check()

    def synthesize(self, text: str) -> Synthesis:
        return self._synthesizer.synthesize(self._spoken(text))
