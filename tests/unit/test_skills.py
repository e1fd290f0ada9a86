"""Questions in many phrasings, answers word for word; and never an exception for any text."""

from __future__ import annotations

import re
from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.background import numbers
from edge_runtime.background.calendar import spoken_date, spoken_time
from edge_runtime.background.commands import Command, Commands
from edge_runtime.background.skills import (
    COMMAND,
    EXACT,
    MAX_QUOTED_WORDS,
    UNKNOWN,
    Skills,
    knows,
)
from edge_runtime.background.timers import WHEN, Timers

NOW = datetime(2026, 11, 24, 14, 45)
TIME = "It is a quarter to three in the afternoon."
TODAY = "Today is Tuesday, the twenty-fourth of November, twenty twenty-six."
TOMORROW = "Tomorrow is Wednesday, the twenty-fifth of November, twenty twenty-six."
FRIDAY = "The next Friday is Friday, the twenty-seventh of November, twenty twenty-six."
NO_DIVISION = "Nothing can be divided by zero, so that has no answer."
MARKUP = re.compile(r"[<>{}\[\]()|\\^~`#*=+/@&$_\"\x00-\x1f\x7f]")


def ask(text: str, now: datetime = NOW) -> tuple[str, str]:
    """The skill that answered, and what it said."""
    answer = Skills(Timers(lambda: 0), lambda: now, "Kiosk").reply(text)
    return answer.skill, answer.text


@pytest.mark.parametrize(
    "question",
    [
        "what time is it",
        "What time is it?",
        "What's the time?",
        "what is the time please",
        "hey robot what time is it now",
        "okay so what time is it",
        "um, what time is it, please?",
        "can you tell me the time",
        "could you tell me what time it is",
        "do you know what time it is",
        "tell me the time",
        "how late is it",
        "WHAT TIME IS IT",
    ],
)
def test_the_time_however_it_is_asked_for(question: str) -> None:
    assert ask(question) == ("time", TIME)


def test_the_time_elsewhere_is_not_made_up() -> None:
    skill, said = ask("what time is it in paris")
    assert skill == "time"
    assert said == (
        "Here it is a quarter to three in the afternoon, "
        "but I do not know what time it is in paris."
    )


@pytest.mark.parametrize(
    ("hour", "minute", "said"),
    [
        (0, 0, "midnight"),
        (0, 5, "five minutes past twelve at night"),
        (3, 1, "one minute past three at night"),
        (5, 0, "five o'clock in the morning"),
        (9, 30, "half past nine in the morning"),
        (11, 59, "one minute to twelve in the morning"),
        (12, 0, "noon"),
        (12, 15, "a quarter past twelve in the afternoon"),
        (17, 31, "twenty-nine minutes to six in the afternoon"),
        (18, 20, "twenty minutes past six in the evening"),
        (22, 45, "a quarter to eleven at night"),
        (23, 50, "ten minutes to twelve at night"),
    ],
)
def test_the_time_is_said_as_people_say_it(hour: int, minute: int, said: str) -> None:
    assert spoken_time(datetime(2026, 1, 1, hour, minute)) == said


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what is the date", TODAY),
        ("what's the date today?", TODAY),
        ("what is today's date", TODAY),
        ("what day is it", TODAY),
        ("which day is it today", TODAY),
        ("what day of the week is it", TODAY),
        ("what date is it today", TODAY),
        ("what day is tuesday", TODAY),
        ("tell me what day it is", TODAY),
        ("what day is tomorrow", TOMORROW),
        ("what day will it be tomorrow", TOMORROW),
        ("what is the date tomorrow", TOMORROW),
        (
            "what day was yesterday",
            "Yesterday was Monday, the twenty-third of November, twenty twenty-six.",
        ),
        ("what day is friday", FRIDAY),
        ("what is the date on friday", FRIDAY),
        (
            "what is the date monday",
            "The next Monday is Monday, the thirtieth of November, twenty twenty-six.",
        ),
        ("what year is it", "It is twenty twenty-six."),
        ("which month are we in", "It is November."),
    ],
)
def test_the_date(question: str, answer: str) -> None:
    assert ask(question) == ("time", answer)


@pytest.mark.parametrize(
    ("now", "tomorrow"),
    [
        (datetime(2026, 12, 31), "Friday, the first of January, twenty twenty-seven"),
        (datetime(2028, 2, 28), "Tuesday, the twenty-ninth of February, twenty twenty-eight"),
        (datetime(2026, 2, 28), "Sunday, the first of March, twenty twenty-six"),
    ],
)
def test_tomorrow_knows_the_ends_of_months_and_years(now: datetime, tomorrow: str) -> None:
    assert ask("what day is tomorrow", now) == ("time", f"Tomorrow is {tomorrow}.")


def test_early_years_are_said_as_years() -> None:
    assert spoken_date(datetime(2005, 5, 3)) == "Tuesday, the third of May, two thousand and five"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what is three plus four", "Three plus four is seven."),
        ("How much is twelve plus thirty?", "Twelve plus thirty is forty-two."),
        ("six times seven", "Six times seven is forty-two."),
        ("calculate six multiplied by seven", "Six times seven is forty-two."),
        ("can you work out six times seven", "Six times seven is forty-two."),
        ("what do you get for six times seven", "Six times seven is forty-two."),
        ("what's 12 x 12", "Twelve times twelve is one hundred and forty-four."),
        ("2+2", "Two plus two is four."),
        ("twenty five take away five", "Twenty-five minus five is twenty."),
        ("twenty five less five", "Twenty-five minus five is twenty."),
        ("what is a hundred and five minus nine", "One hundred and five minus nine is ninety-six."),
        ("a hundred and five plus one", "One hundred and five plus one is one hundred and six."),
        (
            "three hundred and five minus nine",
            "Three hundred and five minus nine is two hundred and ninety-six.",
        ),
        ("what is 1,000 plus 1", "One thousand plus one is one thousand and one."),
        ("what is two plus three times four", "Two plus three times four is fourteen."),
        ("twelve divided by four times three", "Twelve divided by four times three is nine."),
        ("ten minus three minus two", "Ten minus three minus two is five."),
        ("what is seven divided by two", "Seven divided by two is three point five."),
        ("seven over two", "Seven divided by two is three point five."),
        ("one divided by three", "One divided by three is about zero point three three."),
        (
            "a hundred divided by seven",
            "One hundred divided by seven is about fourteen point two nine.",
        ),
        ("one divided by a thousand", "One divided by one thousand is zero point zero zero one."),
        (
            "one point five plus two point two five",
            "One point five plus two point two five is three point seven five.",
        ),
        ("what is 0.005 times 2", "Zero point zero zero five times two is zero point zero one."),
        ("what is three minus ten", "Three minus ten is minus seven."),
        ("minus three plus one", "Minus three plus one is minus two."),
        ("what is minus three times minus four", "Minus three times minus four is twelve."),
        ("nine times zero", "Nine times zero is zero."),
        ("zero divided by nine", "Zero divided by nine is zero."),
        ("what is one divided by zero", NO_DIVISION),
        ("zero divided by zero", NO_DIVISION),
        ("five over three minus one divided by zero", NO_DIVISION),
        ("zero to the power of minus one", NO_DIVISION),
        ("what is ten percent of fifty", "Ten percent of fifty is five."),
        ("What's 15% of 80?", "Fifteen percent of eighty is twelve."),
        ("2^10", "Two to the power of ten is one thousand and twenty-four."),
        ("\N{MINUS SIGN}5 + 3", "Minus five plus three is minus two."),
        ("6 \N{MULTIPLICATION SIGN} 7", "Six times seven is forty-two."),
        ("10 \N{DIVISION SIGN} 4", "Ten divided by four is two point five."),
        ("(2 + 3) * 4", "That is twenty."),
        ("what is (two plus three) times four?", "That is twenty."),
        ("100 - (20 + 30)", "That is fifty."),
        ("(5-3)/2", "That is one."),
        ("two to the power of ten", "Two to the power of ten is one thousand and twenty-four."),
        ("three squared", "Three to the power of two is nine."),
        ("what is the square root of sixteen", "The square root of sixteen is four."),
        ("the square root of two", "The square root of two is about one point four one."),
        ("the square root of minus four", "A negative number has no real square root."),
        ("two to the power of a hundred", "That power is beyond what I can work out here."),
        (
            f"the square root of ({' * '.join(21 * ['999999999999999'])})",
            "The answer is too large a number for me to say.",
        ),
        ("a thousand times a thousand", "One thousand times one thousand is one million."),
        ("ten to the power of fifteen", "Ten to the power of fifteen is one quadrillion."),
        ("ten to the power of sixteen", "The answer is too large a number for me to say."),
        (
            "one million times one million times one million",
            "The answer is too large a number for me to say.",
        ),
        (
            "nine hundred ninety nine thousand times nine hundred ninety nine thousand",
            "Nine hundred and ninety-nine thousand times nine hundred and ninety-nine thousand "
            "is nine hundred and ninety-eight billion, one million.",
        ),
    ],
)
def test_sums(question: str, answer: str) -> None:
    assert ask(question) == ("sum", answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("how many feet is a metre", "One metre is about three point two eight feet."),
        ("how many feet is one meter", "One metre is about three point two eight feet."),
        ("how many inches are in six feet", "Six feet are seventy-two inches."),
        ("how many inches in half a foot", "Zero point five feet are six inches."),
        ("how many ounces are there in a pound", "One pound is sixteen ounces."),
        ("how many seconds are in an hour", "One hour is three thousand, six hundred seconds."),
        ("how many days do two weeks make", "Two weeks are fourteen days."),
        ("ninety minutes in hours", "Ninety minutes are one point five hours."),
        ("can you convert two hours into minutes", "Two hours are one hundred and twenty minutes."),
        (
            "what is five miles in kilometers",
            "Five miles are about eight point zero five kilometres.",
        ),
        (
            "how much is five pounds in kilograms",
            "Five pounds are about two point two seven kilograms.",
        ),
        ("how many gallons in ten liters", "Ten litres are about two point six four gallons."),
        ("zero miles in metres", "Zero miles are zero metres."),
        (
            "how many metres are in three miles",
            "Three miles are about four thousand, eight hundred and twenty-eight metres.",
        ),
        (
            "how many knots are ten metres per second",
            "Ten metres per second are about nineteen point four knots.",
        ),
        (
            "how fast is sixty miles per hour in kilometres per hour",
            "Sixty miles per hour are about ninety-six point six kilometres per hour.",
        ),
        (
            "what is twenty degrees celsius in fahrenheit",
            "Twenty degrees celsius are sixty-eight degrees fahrenheit.",
        ),
        (
            "zero degrees celsius in fahrenheit",
            "Zero degrees celsius are thirty-two degrees fahrenheit.",
        ),
        (
            "-40 celsius in fahrenheit",
            "Minus forty degrees celsius are minus forty degrees fahrenheit.",
        ),
        (
            "what is minus forty celsius in fahrenheit",
            "Minus forty degrees celsius are minus forty degrees fahrenheit.",
        ),
        (
            "convert a hundred degrees fahrenheit to celsius",
            "One hundred degrees fahrenheit are about thirty-seven point eight degrees celsius.",
        ),
        (
            "how warm is 20 degrees centigrade in kelvin",
            "Twenty degrees celsius are about two hundred and ninety-three kelvin.",
        ),
        ("minus three hundred celsius in kelvin", "Nothing can be as cold as that."),
        ("minus one kelvin in celsius", "Nothing can be as cold as that."),
        (
            "how many kilograms are in three miles",
            "Miles measure length and kilograms measure mass, "
            "so one cannot be turned into the other.",
        ),
        (
            "convert ten litres to degrees celsius",
            "Litres measure volume and degrees celsius measure temperature, "
            "so one cannot be turned into the other.",
        ),
    ],
)
def test_conversions(question: str, answer: str) -> None:
    assert ask(question) == ("units", answer)


@pytest.mark.parametrize(
    "question",
    [
        "what are you",
        "who are you",
        "tell me about yourself",
        "can you tell me something about yourself",
        "what can you tell me about yourself",
        "please introduce yourself",
    ],
)
def test_it_says_what_it_is_by_its_name(question: str) -> None:
    skill, said = ask(question)
    assert skill == "about"
    assert said.startswith("I am Kiosk, a small machine that listens and watches all the time.")


@pytest.mark.parametrize(
    "question", ["what can you do", "tell me what you can do", "how can you help me", "help"]
)
def test_it_says_what_it_can_do(question: str) -> None:
    skill, said = ask(question)
    assert skill == "about"
    assert said.startswith("By myself I can tell you the time and the date, work out sums,")


def test_a_story_is_about_whom_one_asks_for() -> None:
    assert "a small dragon by the sea" in ask("tell me a short story about a dragon")[1]
    assert "a small lighthouse by the sea" in ask("can you tell me a story")[1]
    assert "count to infinity" in ask("tell me a joke")[1]


@pytest.mark.parametrize(
    "question",
    [
        "who won the world cup",
        "what is the capital of france",
        "will it rain tomorrow",
        "how many miles in an apple",
        "turn on the light in the kitchen",
        "sing a song",
        "what is five",
    ],
)
def test_what_it_does_not_know_it_says_so_with_what_it_understood(question: str) -> None:
    skill, said = ask(question)
    assert skill == UNKNOWN
    assert question in said
    assert re.search(r"do not know|have no answer|cannot do|Nothing here lets me", said)
    assert ask(question) == (skill, said), "the same words every time"


@pytest.mark.parametrize("text", ["", "   ", "...", "?!", "<>", "***", "\n\x00"])
def test_without_words_it_says_that_it_could_not_make_them_out(text: str) -> None:
    assert ask(text) == (UNKNOWN, "I could not make out what you said.")


@pytest.mark.parametrize("when", ["tomorrow", "on monday", "at once"])
def test_a_reminder_without_a_time_is_not_known_here(when: str) -> None:
    assert ask(f"remind me {when} to call anna") == (UNKNOWN, WHEN)


@pytest.mark.parametrize(
    ("said", "commands", "exact"),
    [
        ("Turn on the lamp, please!", True, True),
        ("turn on the damp", False, False),
        ("what time is it", False, True),
        ("how much is six times seven", False, True),
        ("wake me up at seven", False, True),
        ("set a timer for ten minutes", False, True),
        ("remind me in ten minutes to caller", False, False),
        ("tell me a joke", False, False),
        ("remind me tomorrow", False, False),
        ("", False, False),
    ],
)
def test_what_is_known_word_for_word(said: str, commands: bool, exact: bool) -> None:
    lamp = Commands((Command("lamp_on", ("turn on the lamp",), "Done."),))
    assert knows(said, lamp, {COMMAND}) is commands
    assert knows(said, lamp, EXACT) is exact


def test_a_long_question_is_quoted_only_in_part() -> None:
    question = " ".join(["why"] * 3 * MAX_QUOTED_WORDS)
    assert ask(question)[1].count("why") == MAX_QUOTED_WORDS


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10_000,
        "a " * 5_000,
        "9" * 10_000,
        "- " * 5_000 + "1",
        "minus " * 1_600 + "one",
        "what is " + "two to the power of " * 500 + "one",
        "1 + " * 2_500 + "1",
        "remind me to " + "x in 5 minutes " * 660,
        "set a timer for " + "1 minute and " * 800 + "1 second",
        "what day " + "is it was will be have we do " * 350,
        "please " * 1_400,
        "tell me a story about a " + "very " * 2_000,
        "what is " + "9" * 300 + " times zero",
        "set a timer for " + "9" * 300 + " seconds",
        "how many miles are in " + "9" * 300 + " feet",
    ],
    ids=lambda text: text[:24],
)
def test_very_long_texts_get_a_short_answer(text: str) -> None:
    skill, said = ask(text)
    assert skill == UNKNOWN
    assert 0 < len(said) < 400
    assert not MARKUP.search(said)


@pytest.mark.parametrize("levels", [2, 6, 19])
def test_powers_of_powers_take_no_time(levels: int) -> None:
    question = "(" * levels + "0.1" + "**64)" * levels
    assert ask(question) == ("sum", "That power is beyond what I can work out here.")


VOCABULARY = (
    "what is how many set a timer for remind me in to cancel the all how long is left minutes "
    "hours second seconds metres miles per plus minus times divided by over power of squared "
    "percent square root half and an one two ten hundred thousand million billion zero point 5 9 "
    "0.5 . + - * / % ( ) ' < > tomorrow day date time it celsius convert into story about who are "
    "you please"
).split()
DEVICE = Skills(Timers(lambda: 0), lambda: NOW)


def assert_speakable(said: str) -> None:
    assert re.search(r"[A-Za-z]{2}", said), said
    assert said[0].isupper() and said[-1] in ".?", said
    assert not MARKUP.search(said), said


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200))
def test_any_text_gets_an_answer_that_can_be_spoken(text: str) -> None:
    assert_speakable(DEVICE.reply(text).text)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(VOCABULARY), max_size=14))
def test_any_jumble_of_the_skills_own_words_gets_an_answer_that_can_be_spoken(
    tokens: list[str],
) -> None:
    assert_speakable(DEVICE.reply(" ".join(tokens)).text)


@settings(deadline=None)
@given(st.integers(-(10**6), 10**6), st.sampled_from("+-*"), st.integers(0, 10**6))
def test_sums_of_whole_numbers_are_exact(a: int, operator: str, b: int) -> None:
    value = {"+": a + b, "-": a - b, "*": a * b}[operator]
    skill, said = ask(f"what is {a} {operator} {b}")
    assert skill == "sum"
    assert said.endswith(f" is {numbers.words(value)}.")


@settings(deadline=None)
@given(st.integers(0, 999_999))
def test_numbers_in_words_become_the_same_number_again(value: int) -> None:
    spoken = numbers.words(value).replace("-", " ").replace(",", "")
    assert numbers.digits(f"{spoken} miles") == f"{value} miles"


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("a hundred and five", "105"),
        ("a thousand and one", "1001"),
        ("three hundred and five minus nine", "305 minus 9"),
        ("two point five miles", "2.5 miles"),
        ("a twenty second timer", "a 20 second timer"),
        ("one minute and one second", "1 minute and 1 second"),
        ("check the second door twenty times", "check the second door 20 times"),
        ("nothing of the kind", "nothing of the kind"),
    ],
)
def test_spoken_numbers_become_digits(text: str, digits: str) -> None:
    assert numbers.digits(text) == digits


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Fraction(0), "zero"),
        (Fraction(1, 3), "about zero point three three"),
        (Fraction(1, 800), "about zero point zero zero one two"),
        (Fraction(5, 2), "two point five"),
        (Fraction(41, 4), "about ten point two"),
        (Fraction(1609344, 1000), "about one thousand, six hundred and nine"),
        (Fraction(-5, 2), "minus two point five"),
    ],
)
def test_only_places_that_matter_are_said(value: Fraction, said: str) -> None:
    assert numbers.speakable(value) == said
