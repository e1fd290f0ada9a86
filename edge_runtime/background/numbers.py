"""Numbers as people say them, in English: words to digits and back."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from edge_runtime.errors import BackgroundError

Number = Fraction | int
LARGEST = 10**15
"""Larger numbers are no longer something to listen to."""
NUMBER = r"\d+(?:\.\d+)?"
"""A number as `digits` writes it, for regular expressions."""
MISSING = "pip install 'edge-runtime[background]'"


def digits(text: str) -> str:
    """Every spoken number as digits: `three hundred and five minus nine` -> `305 minus 9`.

    `second` stays as it is, as it may be the unit of time: `a 20 second timer`, `the second door`.
    """
    try:
        from text_to_num import alpha2digit
    except ImportError as error:
        raise BackgroundError(f"text2num is not installed. Install it: {MISSING}") from error
    text = re.sub(r"\ba (?=hundred|thousand|million|billion)", "one ", text)
    parts = re.split(r"\bsecond\b", text)
    return "second".join(str(alpha2digit(part, "en", threshold=0)) for part in parts)


def words(value: Number, places: int = 2) -> str:
    """`305` -> `three hundred and five`; fractions are rounded to `places` decimals."""
    exact = rounded(value, places)
    return _num2words(int(exact) if exact == exact.to_integral_value() else exact, "cardinal")


def ordinal(value: int) -> str:
    return _num2words(value, "ordinal")


def year(value: int) -> str:
    return _num2words(value, "year")


def rounded(value: Number, places: int = 2) -> Decimal:
    """Half to even, without trailing zeros."""
    fraction = Fraction(value)
    scaled = Decimal(fraction.numerator * 10**places) / Decimal(fraction.denominator)
    number = scaled.to_integral_value(ROUND_HALF_EVEN) / Decimal(10**places)
    return number.normalize() + Decimal(0)


def speakable(value: Number) -> str:
    """In words, to about three places that matter; `about ...` where that is not the whole truth.

    From 100 on no decimals, from 10 on one, below two, and below one two that are not zero.
    """
    size = abs(Fraction(value))
    if size >= 100:
        places = 0
    elif size >= 1:
        places = 1 if size >= 10 else 2
    else:
        places = 2
        while size and size * 10**places < 10 and places < 9:
            places += 1
    exact = Fraction(rounded(value, places)) == value
    return words(value, places) if exact else f"about {words(value, places)}"


def counted(amount: str, value: Number, singular: str, plural: str) -> str:
    """The amount with its noun: `one mile`, `two miles`, `zero miles`."""
    return f"{amount} {singular if value == 1 else plural}"


def _num2words(value: int | Decimal, kind: str) -> str:
    try:
        from num2words import num2words
    except ImportError as error:
        raise BackgroundError(f"num2words is not installed. Install it: {MISSING}") from error
    return str(num2words(value, to=kind))
