"""Sums said in words: `what is three hundred and five minus nine`."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from edge_runtime.background.numbers import LARGEST, NUMBER, Number, speakable, words

OPERATORS = {
    "plus": "+",
    "minus": "-",
    "less": "-",
    "take away": "-",
    "times": "*",
    "multiplied by": "*",
    "divided by": "/",
    "over": "/",
    "to the power of": "**",
    "percent of": "%",
}
"""How each is said."""
SAID = {
    "+": "plus",
    "-": "minus",
    "*": "times",
    "/": "divided by",
    "**": "to the power of",
    "%": "percent of",
}
QUESTION = (
    r"(?:what is|what's|how much is|what are|calculate|compute|work out|can you calculate|"
    r"can you work out|what do you get for|what do you get if you take|what is the result of)"
)
_TOKEN = re.compile(rf"{NUMBER}|\*\*|[-+*/%√()]")
_MAX_EXPONENT = 64
_MAX_BITS = 4096
"""Of a power, above and below the line: powers of powers could take hours."""
_MAX_BRACKETS = 20
_BEYOND = "That power is beyond what I can work out here."
_TOO_LARGE = "The answer is too large a number for me to say."


class _NoAnswer(Exception):
    """The sum has no answer that can be said; the message is the sentence to say."""


def answer(text: str) -> str | None:
    """`text` in lower case with numbers as digits; None if it is not a sum."""
    match = re.fullmatch(rf"(?:{QUESTION} )?(.+)", text)
    tokens = _tokens(match.group(1)) if match else None
    if tokens is None:
        return None
    try:
        value = _Parser(tokens).parse()
    except _NoAnswer as reason:
        return str(reason)
    except ValueError:
        return None
    asked = "That" if "(" in tokens else _aloud(tokens)  # brackets cannot be heard
    sentence = f"{asked} is {speakable_result(value)}."
    return sentence[0].upper() + sentence[1:]


def speakable_result(value: Number) -> str:
    """Whole numbers in full, others to two decimals or two that are not zero."""
    if Fraction(value).denominator == 1:
        return words(value)
    return speakable(value) if abs(Fraction(value)) < 1 else _to_two_decimals(value)


def _to_two_decimals(value: Number) -> str:
    exact = (Fraction(value) * 100).denominator == 1
    return words(value) if exact else f"about {words(value)}"


def _tokens(text: str) -> list[str] | None:
    """None unless every word belongs to a sum with at least one operation."""
    text = re.sub(r"\bthe square root of\b|\bsquare root of\b", "√", text)
    text = re.sub(r"\bsquared\b", "** 2", text)
    text = re.sub(r"\bcubed\b", "** 3", text)
    for name in sorted(OPERATORS, key=len, reverse=True):
        text = re.sub(rf"\b{name}\b", OPERATORS[name], text)
    text = re.sub(r"%\s*of\b", "%", text)
    text = re.sub(r"(?<=\d)\s*x\s*(?=\d)", " * ", text)
    tokens = _TOKEN.findall(text)
    whole = "".join(tokens) == "".join(text.split())
    sums = any(not token[0].isdigit() for token in tokens)
    few = tokens.count("(") <= _MAX_BRACKETS
    return tokens if whole and sums and few and len(tokens) > 1 else None


def _aloud(tokens: list[str]) -> str:
    names = {**SAID, "√": "the square root of"}
    said = [names.get(token) or words(Fraction(token), places=9) for token in tokens]
    return " ".join(said)


class _Parser:
    """Recursive descent: sums of products of powers. Raises ValueError where it is no sum."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, ""]
        self._at = 0

    def parse(self) -> Fraction:
        value = self._sum()
        if self._peek():
            raise ValueError(f"left over: {self._peek()}")
        return _bounded(value)

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _sum(self) -> Fraction:
        value = self._product()
        while self._peek() in ("+", "-"):
            value = value + self._product() if self._next() == "+" else value - self._product()
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while self._peek() in ("*", "/", "%"):
            operator, right = self._next(), self._signed()
            if operator == "*":
                value *= right
            elif operator == "%":
                value *= right / 100
            elif right == 0:
                raise _NoAnswer("Nothing can be divided by zero, so that has no answer.")
            else:
                value /= right
        return value

    def _signed(self) -> Fraction:
        if self._peek() == "-":
            self._next()
            return -self._signed()
        return self._power()

    def _power(self) -> Fraction:
        base = self._atom()
        if self._peek() != "**":
            return base
        self._next()
        exponent = self._signed()
        if exponent.denominator != 1 or abs(exponent) > _MAX_EXPONENT:
            raise _NoAnswer(_BEYOND)
        if _bits(base) * abs(exponent) > _MAX_BITS:
            raise _NoAnswer(_BEYOND)
        if base == 0 and exponent < 0:
            raise _NoAnswer("Nothing can be divided by zero, so that has no answer.")
        return _bounded(Fraction(base**exponent.numerator))

    def _atom(self) -> Fraction:
        token = self._next()
        if token == "√":
            return _square_root(self._signed())
        if token == "(":
            value = self._sum()
            if self._next() != ")":
                raise ValueError("a bracket is not closed")
            return value
        if not token[:1].isdigit():
            raise ValueError(f"a number was expected, not {token!r}")
        return Fraction(token)


def _square_root(value: Fraction) -> Fraction:
    if value < 0:
        raise _NoAnswer("A negative number has no real square root.")
    if value > LARGEST**2:
        raise _NoAnswer(_TOO_LARGE)
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    exact = Fraction(above, below)
    return exact if exact * exact == value else Fraction(math.sqrt(value))


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Fraction) -> Fraction:
    if abs(value) > LARGEST:
        raise _NoAnswer(_TOO_LARGE)
    return value
