"""What the device says about itself, and a story: longer answers, in our own words."""

from __future__ import annotations

import re

_LEAD = r"(?:can you |could you |will you |please )?(?:tell me |tell us |explain to me )?"
_SELF = re.compile(
    rf"{_LEAD}(?:what )?(?:can you |do you )?(?:tell me |tell us )?(?:something |a bit |more )?"
    r"about (?:yourself|you)"
    r"|(?:and )?(?:what|who) are you|who made you|what do you do|what are you for"
    r"|(?:please )?introduce yourself|describe yourself"
)
_ABLE = re.compile(
    rf"{_LEAD}what (?:can you do|you can do|are you able to do|do you know|can i ask you)"
    r"(?: for me| here)?|what are your skills|how can you help(?: me)?|help"
)
_STORY = re.compile(
    rf"{_LEAD}(?:read me |another |a )?(?:short |long |little |nice )*story"
    r"(?: about (?:an?|the|my)? ?(?P<hero>[a-z]+(?: [a-z]+)?))?"
)
_JOKE = re.compile(rf"{_LEAD}(?:another |a )?(?:good |funny )?joke(?: about .+)?")


def answer(text: str, device_name: str) -> str | None:
    """`text` in lower case; None if it asks for something else."""
    if _SELF.fullmatch(text):
        return (
            f"I am {device_name}, a small machine that listens and watches all the time. You can "
            "interrupt me whenever you like. I know the time, do sums, convert units and set "
            "timers."
        )
    if _ABLE.fullmatch(text):
        return (
            "By myself I can tell you the time and the date, work out sums, convert units such as "
            "miles into kilometres, and set timers. I also wave, nod, and tell a short story."
        )
    if match := _STORY.fullmatch(text):
        return _story(match["hero"] or "lighthouse")
    if _JOKE.fullmatch(text):
        return (
            "Somebody asked me to count to infinity. I am still looking for a good place to stop."
        )
    return None


def _story(hero: str) -> str:
    return (
        f"Once there was a small {hero} by the sea that was afraid of the dark. One night a ship "
        f"lost its way, and the little {hero} sang until the morning. Since then it likes the "
        "night best."
    )
