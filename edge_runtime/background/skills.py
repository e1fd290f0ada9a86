"""Offline skills: what a device can answer with no network and no language model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from edge_runtime.background.numbers import NUMBER_WORDS, parse_number, say_number
from edge_runtime.background.timers import Timers

ABOUT = (
    "I am {name}, a small machine that listens and watches all the time. I can tell you the time and "
    "the date, do some arithmetic, convert units and set timers. When I do not know something, I say "
    "so, or I ask a larger model if there is one on the network. And you can stop me at any moment."
)
STORY = (
    "A lighthouse once fell in love with a ship. Every night it turned its light to follow her, and "
    "every night she sailed a little closer. The keeper told it that ships never stay. But one foggy "
    "evening she lost her way, and only the light could bring her home. She has anchored there ever "
    "since, and the lighthouse has not been lonely."
)
JOKE = "Why did the robot go on holiday? It needed to recharge its batteries."
_NUMBER = rf"(?:(?:{'|'.join(NUMBER_WORDS)}|and|point|\d+(?:\.\d+)?|an?)\s?)+"
_OPERATORS = {
    "plus": "+", "and": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/",
    "over": "/",
}  # fmt: skip
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_LENGTH = {
    "millimetre": 0.001, "centimetre": 0.01, "metre": 1.0, "kilometre": 1000.0, "inch": 0.0254,
    "foot": 0.3048, "yard": 0.9144, "mile": 1609.344,
}  # fmt: skip
_MASS = {"gram": 0.001, "kilogram": 1.0, "ounce": 0.028349523, "pound": 0.45359237}
_VOLUME = {"millilitre": 0.001, "litre": 1.0, "pint": 0.473176473, "gallon": 3.785411784}
_DIMENSIONS = (_LENGTH, _MASS, _VOLUME, {k: float(v) for k, v in _SECONDS.items()})
_PLURALS = {"feet": "foot", "inches": "inch"}
_SPELLING = (("meter", "metre"), ("liter", "litre"), ("kilo ", "kilogram "))


@dataclass(frozen=True, slots=True)
class Answer:
    """Something to say, and the skill that said it."""

    text: str
    skill: str


@dataclass(frozen=True)
class SkillContext:
    """What skills know of the world."""

    now: Callable[[], datetime]
    timers: Timers
    device_name: str = "edge"


Skill = Callable[[str, SkillContext], str | None]


def clean(text: str) -> str:
    """Lower case words without fillers and with one spelling of units."""
    words = re.sub(r"[^a-z0-9.' ]", " ", text.lower().replace("-", " ")).split()
    words = [word.strip(".") for word in words if word not in ("um", "uh", "er", "uhm", "hmm")]
    joined = " ".join(word for word in words if word)
    for american, british in _SPELLING:
        joined = joined.replace(american, british)
    return joined


def arithmetic(text: str, context: SkillContext) -> str | None:
    """Spoken sums; multiplication and division first."""
    names = "|".join(name for name in _OPERATORS if name != "and")
    found = re.search(rf"({_NUMBER})(?:({names})\s({_NUMBER}))+", text)
    if found is None:
        return None
    pieces = re.split(rf"\s?({names})\s?", found[0].strip())
    values = [parse_number(piece.split()) for piece in pieces[::2]]
    if any(value is None for value in values):
        return None
    operators = [_OPERATORS[name] for name in pieces[1::2]]
    try:
        result = _evaluate([value for value in values if value is not None], operators)
    except ZeroDivisionError:
        return "One cannot divide by zero."
    spoken = " ".join(
        piece if index % 2 else say_number(values[index // 2] or 0)
        for index, piece in enumerate(pieces)
    )
    return f"{spoken} is {say_number(result)}."


def _evaluate(values: Sequence[float], operators: Sequence[str]) -> float:
    terms, signs = [values[0]], ["+"]
    for operator, value in zip(operators, values[1:], strict=True):
        if operator == "*":
            terms[-1] *= value
        elif operator == "/":
            terms[-1] /= value
        else:
            terms.append(value)
            signs.append(operator)
    return sum(term if sign == "+" else -term for sign, term in zip(signs, terms, strict=True))


def units(text: str, context: SkillContext) -> str | None:
    names = "|".join(sorted({*(u for d in _DIMENSIONS for u in d), *_PLURALS}, key=len)[::-1])
    unit = rf"({names})s?"
    ask = re.search(rf"how many {unit} (?:are there in|are in|are|in) ({_NUMBER})\s?{unit}", text)
    if ask is not None:
        target, amount, source = ask[1], ask[2], ask[3]
    else:
        order = re.search(rf"({_NUMBER})\s?{unit} (?:in|to|into) {unit}", text)
        if order is None:
            return None
        amount, source, target = order[1], order[2], order[3]
    value = parse_number(amount.split())
    source, target = _PLURALS.get(source, source), _PLURALS.get(target, target)
    for dimension in _DIMENSIONS:
        if value is not None and source in dimension and target in dimension:
            result = value * dimension[source] / dimension[target]
            return f"{say_number(value)} {_many(source, value)} is {say_number(result)} {_many(target, result)}."
    return f"I cannot turn {_many(source, 2)} into {_many(target, 2)}."


def _many(unit: str, count: float) -> str:
    if count == 1:
        return unit
    return {"foot": "feet", "inch": "inches"}.get(unit, unit + "s")


def timer(text: str, context: SkillContext) -> str | None:
    timers = context.timers
    if "timer" in text and re.search(r"\b(cancel|stop|delete)\b", text):
        return "The timer is cancelled." if timers.cancel_all() else "There is no timer running."
    if "timer" in text and re.search(r"how (long|much)", text):
        left = timers.seconds_left()
        return "There is no timer running." if left is None else f"{_duration(left)} left."
    if not re.search(r"\b(timer|remind me|countdown|wake me)\b", text):
        return None
    found = re.search(rf"({_NUMBER})\s?(second|minute|hour|day)s?", text)
    value = parse_number(found[1].split()) if found else None
    if found is None or value is None or value <= 0:
        return "For how long should I set the timer?"
    length = f"{say_number(value)} {_many(found[2], value)}"
    reminder = re.search(r"\bto ([a-z' ]+)$", text)
    says = f"It is time to {reminder[1]}." if reminder else f"Your timer of {length} is done."
    timers.start(value * _SECONDS[found[2]], says)
    return f"Okay, {length} from now."


def _duration(seconds: float) -> str:
    if seconds >= 90:
        minutes = round(seconds / 60)
        return f"{say_number(minutes)} minutes"
    return f"{say_number(round(seconds))} seconds"


def time_and_date(text: str, context: SkillContext) -> str | None:
    now = context.now()
    if re.search(r"\btime is it|the time\b", text):
        minute = now.minute
        past = (
            "o'clock"
            if minute == 0
            else f"oh {say_number(minute)}"
            if minute < 10
            else say_number(minute)
        )
        half = (
            "in the morning"
            if now.hour < 12
            else "in the afternoon"
            if now.hour < 18
            else "in the evening"
        )
        return f"It is {say_number((now.hour - 1) % 12 + 1)} {past} {half}."
    if re.search(r"\b(what|which) (day|date)\b|the date\b|what day", text):
        return f"Today is {now:%A}, {now:%B} {say_number(now.day)}."
    return None


def about(text: str, context: SkillContext) -> str | None:
    if re.search(
        r"about (yourself|you)\b|what (can|do) you|what are you|who are you|you can do", text
    ):
        return ABOUT.format(name=context.device_name)
    if "story" in text:
        return STORY
    if "joke" in text:
        return JOKE
    return None


SKILLS: tuple[tuple[str, Skill], ...] = (
    ("timer", timer),
    ("units", units),
    ("arithmetic", arithmetic),
    ("time", time_and_date),
    ("about", about),
)


def answer(text: str, context: SkillContext) -> Answer:
    """The first skill that has an answer; an honest one when none has."""
    plain = clean(text)
    for name, skill in SKILLS:
        if (said := skill(plain, context)) is not None:
            return Answer(said, name)
    if plain:
        return Answer(f"I heard: {plain}. I do not know that here.", "unknown")
    return Answer("I did not understand that well enough to answer.", "unknown")
