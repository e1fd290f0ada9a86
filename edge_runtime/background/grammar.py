"""What people ask a device, as a JSGF grammar, built from the tables that the skills read.

A recogniser that expects these phrasings makes far fewer errors in them than one that expects
anything. Requests that no skill can answer are in it too: then at least the answer can say what
was understood.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_runtime.background.calendar import WEEKDAYS
from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.timers import UNITS_S
from edge_runtime.letter_graph import ANYTHING

NAME = "requests"
SPOKEN_OPERATORS = ("plus", "minus", "times", "divided by", "multiplied by")
SPOKEN_UNITS = {
    "length": "metre metres kilometre kilometres mile miles foot feet inch inches centimetre "
    "centimetres",
    "mass": "kilogram kilograms pound pounds gram grams ounce ounces",
    "volume": "litre litres gallon gallons",
    "time": "hour hours minute minutes second seconds",
}
"""The usual ones of those that the skills know: every further word costs the others accuracy."""
DIGITS = "one two three four five six seven eight nine"
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
DEVICES = """light, lights, lamp, heater, heating, fan, television, music, radio, oven, dishwasher,
coffee machine, alarm, printer, vacuum cleaner, speaker, window, curtain, door"""
ROOMS = """kitchen, bathroom, bedroom, living room, office, garage, garden, hallway, basement,
lobby, meeting room, library"""
PEOPLE = """mother, father, sister, brother, friend, boss, teacher, neighbor, doctor, daughter,
son, wife, husband"""
NAMES = """anna, ben, carol, david, emma, frank, grace, henry, jack, karen, maria, nick, olivia,
peter, rachel, sam, tina, victor, wendy"""
HEROES = """dog, cat, horse, elephant, tiger, lion, zebra, penguin, dolphin, whale, owl, rabbit,
turtle, bear, fox, robot, mouse, dragon"""
_RULES = {
    "number": "<below1000> | <below100> thousand",
    "below1000": "/8/ <below100> | (a | <digit>) hundred [[and] <below100>]",
    "below100": "<digit> | <teen> | <ten> [<digit>]",
    "duration": "/8/ <number> <spans> | (a | an | one | half an) <span>",
    "lead": "[hey robot | robot | okay | please]",
    "ask": "can you | could you | i would like you to",
    "tell": "can you tell me | could you tell me | do you know | tell me",
    "time": "what time is it [now] | what is the time | <tell> the time | <tell> what time it is"
    " | what (day | date) is it [today] | what is the date [<day>] | what day is <day>",
    "sum": "[<sumlead>] <number> <operator> <number>",
    "sumlead": "what is | how much is | calculate | can you calculate | what do you get for",
    "timer": "[<ask>] (set | start | make) (a | an | another) <timername> (for | of) <duration>"
    " | [<ask>] (set | start) a <number> <span> <timername>"
    " | [<ask>] remind me in <duration> [to <errand>] | [<ask>] remind me to <errand> in <duration>"
    " | [<ask>] wake me up in <duration> | timer for <duration>"
    " | [<ask>] wake me up <moment> | [<ask>] remind me <moment> [to <errand>]"
    " | [<ask>] remind me to <errand> <moment> | [<ask>] set (an alarm | a reminder) for <clock>"
    " | (cancel | stop) (the | my) (<timername> | reminder)"
    " | how (long | much time) is left [on the <timername>] | how long until the <timername>",
    "timername": "timer | countdown | alarm",
    "moment": "[<when>] at <clock> | at <clock> <when>",
    "when": "tomorrow | tomorrow morning | tonight | on <weekday>",
    "clock": "(<hour> [o'clock | thirty | fifteen] | half past <hour> | [a] quarter (past | to)"
    " <hour>) [in the (morning | afternoon | evening)] | noon",
    "hour": "<digit> | ten | eleven | twelve",
    "errand": "call <someone> | visit <someone> | leave [the house] | take a break | go home"
    " | check the <device> | turn off the <device> | drink some water | eat something",
    "about": "<tell> about yourself | <tell> something about yourself"
    " | what can you tell me about yourself | what are you | what can you do"
    " | [<tell>] what you can do | [<tell>] a [short] story [about a <hero>] | [<tell>] a joke",
    "volume": "[<ask>] speak [a bit] (louder | quieter) | [a bit] (louder | quieter) please"
    " | speak up | not so loud | [<ask>] turn (the volume | it) (up | down) | volume (up | down)"
    " | [<ask>] [set the] volume to <number> percent",
    "resume": "go on | continue | carry on | keep going",
    "request": "[<ask>] (turn | switch) (on | off) the <device> [in the <room>]"
    " | [<ask>] (open | close | start | stop) the <device> [in the <room>]"
    " | [<ask>] dim the (light | lights) [in the <room>]"
    " | [<ask>] set the <device> to <number> percent"
    " | what is the weather like [<day>] | will it rain <day> | what is the latest news",
}

_CONVERSION = (
    "how many <{kind}_units> (are | are in | are there in | is | in) <{kind}_amount>"
    " | (convert | can you convert) <{kind}_amount> (to | into) <{kind}_units>"
    " | (what is | how much is) <{kind}_amount> in <{kind}_units>"
)
"""Between units of one kind: metres sound like litres, but no one asks for feet in litres."""


START = "any"


def rules(commands: Commands = NONE, open_errands: bool = False) -> dict[str, str]:
    """Every rule by name, in JSGF's notation; the whole is `START`. With `open_errands` one may be
    reminded of ANYTHING, which a recogniser cannot expect."""
    own = commands.rules()
    kinds = ["time", "sum", "conversion", "timer", "volume", "about", "resume", "request"]
    if own:
        kinds.append("own")
        own["own"] = f"[<ask>] ({_either(f'<{name}>' for name in own)}) [please]"
    rules = {
        **_RULES,
        "errand": f"{_RULES['errand']} | {ANYTHING}" if open_errands else _RULES["errand"],
        **own,
        "digit": _either(DIGITS.split()),
        "teen": _either(TEENS.split()),
        "ten": _either(TENS.split()),
        "operator": _either(SPOKEN_OPERATORS),
        "span": _either(UNITS_S),
        "spans": _either(f"{unit}s" for unit in UNITS_S),
        "day": "today | tomorrow | yesterday | <weekday>",
        "weekday": _either(map(str.lower, WEEKDAYS)),
        "someone": f"my ({_either(_listed(PEOPLE))}) | {_either(_listed(NAMES))}",
        "device": _either(_listed(DEVICES)),
        "room": _either(_listed(ROOMS)),
        "hero": _either(_listed(HEROES)),
    }
    for kind, names in SPOKEN_UNITS.items():
        one, many = names.split()[::2], names.split()[1::2]
        rules[f"{kind}_units"] = _either(many)
        rules[f"{kind}_amount"] = f"/8/ <number> <{kind}_units> | (a | an | one) ({_either(one)})"
    rules["conversion"] = _either(_CONVERSION.format(kind=kind) for kind in SPOKEN_UNITS)
    rules[START] = f"<lead> ({_either(f'<{kind}>' for kind in kinds)})"
    return rules


def jsgf(commands: Commands = NONE) -> str:
    """The grammar's text."""
    known = rules(commands)
    whole = f"public <{START}> = {known.pop(START)};"
    lines = [f"<{name}> = {rule};" for name, rule in known.items()]
    return "\n".join(["#JSGF V1.0;", f"grammar {NAME};", whole, *lines, ""])


def words() -> frozenset[str]:
    """Every word that the grammar can produce."""
    text = jsgf().split("public", 1)[1]
    for mark in "()[]|=;":
        text = text.replace(mark, " ")
    tokens = (token for token in text.split() if token.replace("'", "").isalpha())
    return frozenset(tokens) - {"any"}


def _either(texts: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(texts))


def _listed(text: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split(",")]
