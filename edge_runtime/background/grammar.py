"""What people ask a device, as a JSGF grammar, built from the tables that the skills read.

A recogniser that expects these phrasings makes far fewer errors in them than one that expects
anything. Requests that no skill can answer are in it too: then at least the answer can say what
was understood.
"""

from __future__ import annotations

from edge_runtime.background.arithmetic import OPERATORS
from edge_runtime.background.calendar import WEEKDAYS
from edge_runtime.background.timers import UNITS_S
from edge_runtime.background.units import UNITS

NAME = "requests"
DIGITS = "one two three four five six seven eight nine"
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
DEVICES = (
    *(
        "light",
        "lights",
        "lamp",
        "heater",
        "heating",
        "fan",
        "television",
        "music",
        "radio",
        "oven",
    ),
    *("dishwasher", "coffee machine", "alarm", "printer", "vacuum cleaner", "speaker", "window"),
    *("curtain", "door"),
)
ROOMS = (
    *("kitchen", "bathroom", "bedroom", "living room", "office", "garage", "garden", "hallway"),
    *("basement", "lobby", "meeting room", "library"),
)
PEOPLE = (
    *("mother", "father", "sister", "brother", "friend", "boss", "teacher", "neighbor", "doctor"),
    *("daughter", "son", "wife", "husband"),
)
NAMES = (
    *("anna", "ben", "carol", "david", "emma", "frank", "grace", "henry", "jack", "karen", "maria"),
    *("nick", "olivia", "peter", "rachel", "sam", "tina", "victor", "wendy"),
)
HEROES = (
    *("dog", "cat", "horse", "elephant", "tiger", "lion", "zebra", "penguin", "dolphin", "whale"),
    *("owl", "rabbit", "turtle", "bear", "fox", "robot", "mouse", "dragon"),
)
_RULES = {
    "number": "<below1000> | zero | <below1000> thousand [[and] <below1000>]"
    " | <below100> point <digit> [<digit>]",
    "below1000": "/8/ <below100> | (a | <digit>) hundred [[and] <below100>]",
    "below100": "<digit> | <teen> | <ten> [<digit>]",
    "amount": "/8/ <number> | a | an | half a",
    "duration": "(/8/ <number> | a | an | half an) <span> [[and] <number> <span>]"
    " | (a | an) <span> and a half",
    "lead": "[hey robot | robot | okay | excuse me | so | well] [please]",
    "ask": "can you | could you | i would like you to",
    "tell": "can you tell me | could you tell me | do you know | tell me",
    "time": "what time is it [now] | what is the time | <tell> the time | <tell> what time it is"
    " | what (day | date) is it [<day>] | what is the date [<day>] | what day is <day>"
    " | what day will it be <day> | what (year | month) is it",
    "sum": "[<sumlead>] <number> <operator> <number> [<operator> <number>]"
    " | <sumlead> the square root of <number> | <sumlead> <number> squared",
    "sumlead": "what is | how much is | calculate | can you calculate | what do you get for",
    "units": "how many <unit> (are | are in | are there in | is | in) <amount> <unit>"
    " | (convert | can you convert) <number> <unit> (to | into) <unit>"
    " | (what is | how much is) <amount> <unit> in <unit>",
    "timer": "[<ask>] (set | start | make) (a | an | another) <timername> (for | of) <duration>"
    " | [<ask>] (set | start) a <number> <span> <timername>"
    " | [<ask>] remind me in <duration> [to <errand>] | [<ask>] remind me to <errand> in <duration>"
    " | [<ask>] wake me up in <duration> | timer for <duration>"
    " | [<ask>] (cancel | stop | delete) (the | my | all) <timername>"
    " | how (long | much time) is left [on the <timername>] | how long until the <timername>",
    "timername": "timer | countdown | alarm | reminder | timers",
    "errand": "call <someone> | visit <someone> | leave [the house] | take a break | go home"
    " | check the <device> | turn off the <device> | drink some water | eat something",
    "about": "<tell> about yourself | <tell> something about yourself"
    " | what can you tell me about yourself | what are you | what can you do"
    " | [<tell>] what you can do | [<tell>] a [short] story [about a <hero>] | [<tell>] a joke",
    "request": "[<ask>] (turn | switch) (on | off) the <device> [in the <room>]"
    " | [<ask>] (open | close | start | stop) the <device> [in the <room>]"
    " | [<ask>] dim the (light | lights) [in the <room>]"
    " | [<ask>] set the <device> to <number> percent"
    " | what is the weather like [<day>] | will it rain <day> | what is the latest news",
}


def jsgf() -> str:
    """The grammar's text; its start rule is `<any>`."""
    rules = {
        **_RULES,
        "digit": _either(DIGITS.split()),
        "teen": _either(TEENS.split()),
        "ten": _either(TENS.split()),
        "operator": _either(OPERATORS),
        "unit": _either(name for unit in UNITS for name in unit.names),
        "span": _either(form for unit in UNITS_S for form in (unit, f"{unit}s")),
        "day": _either(("today", "tomorrow", "yesterday", *map(str.lower, WEEKDAYS))),
        "someone": f"my ({_either(PEOPLE)}) | {_either(NAMES)}",
        "device": _either(DEVICES),
        "room": _either(ROOMS),
        "hero": _either(HEROES),
    }
    start = "<lead> (<time> | <sum> | <units> | <timer> | <about> | <request>) [please]"
    lines = [f"<{name}> = {rule};" for name, rule in rules.items()]
    return "\n".join(["#JSGF V1.0;", f"grammar {NAME};", f"public <any> = {start};", *lines, ""])


def words() -> frozenset[str]:
    """Every word that the grammar can produce."""
    text = jsgf().split("public", 1)[1]
    for mark in "()[]|=;":
        text = text.replace(mark, " ")
    tokens = (token for token in text.split() if token.replace("'", "").isalpha())
    return frozenset(tokens) - {"any"}


def _either(texts: object) -> str:
    assert not isinstance(texts, str)
    return " | ".join(dict.fromkeys(texts))  # type: ignore[call-overload]
