"""Texts for people, logs and reports, without the passwords of addresses and pipelines."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

HIDDEN = "***"
_SCHEME = r"\b(?:\w+://|(?:mqtt|rtsp|http)s?:)"
_IN_QUOTES = (
    r"(?<={quote}){scheme}"
    r"(?P<secret>(?:\\.|[^{quote}\\\n]|{quote}(?=[^\s,;.:)\]}}]|\S*@))*)@"
)
_ADDRESSES = (
    rf"(?<!['\"]){_SCHEME}(?P<secret>.*)@",
    *(_IN_QUOTES.format(quote=quote, scheme=_SCHEME) for quote in "'\""),
)
"""Up to the last `@` of a line, or of a text in quotes, for a password may hold anything: also a
quote, if more follows at once."""
_NAME = r"[\w-]*(?:pass(?:word|wd|phrase)?|pas|pwd|psw|pw|token|key|auth|secret)"
_KEY = rf"{_NAME}\s*=\s*"
_VALUE = (
    r"(?P<quote>\\?['\"])?(?P<secret>(?(quote)"
    r"(?:(?!(?P=quote))(?:\\.|[^\\\n]))*|"
    r"(?:\\.|[^\s'\"\\{end}]|['\"](?![\s,;.:)\]}}]|$))+))"
)
_GIVEN = (
    rf"(?<![\w?&-]){_KEY}{_VALUE.format(end='')}",
    rf"(?<=[?&]){_KEY}{_VALUE.format(end='&')}",
)
"""To an element of a pipeline, with or without quotes; and in an address, up to the next `&`."""
_SECRETS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (*_ADDRESSES, *_GIVEN))


def masked(text: str) -> str:
    """`rtsp://me:word@host` -> `rtsp://***@host`, `?password=word` -> `?password=***`; and what a
    GStreamer pipeline is given as `user-pw=word` or `user-pw="word"`."""
    found = [one.span("secret") for kind in _SECRETS for one in kind.finditer(text)]
    shown, done = "", 0
    for begin, end in sorted(found):
        if begin >= done:
            shown += text[done:begin] + HIDDEN
        done = max(done, end)
    return shown + text[done:]


def masked_within(value: Any) -> Any:
    """The same in every text of a nested value."""
    if isinstance(value, dict):
        return {name: masked_within(one) for name, one in value.items()}
    if isinstance(value, list):
        return [masked_within(one) for one in value]
    return masked(value) if isinstance(value, str) else value


def holds_secrets(value: Any) -> bool:
    """Whether some text of a nested value is masked, or has the name of a secret: as a variable
    `HOUSE_TOKEN`, or as the argument after `--token`."""
    if isinstance(value, dict):
        return any(_is_secret(name, one) or holds_secrets(one) for name, one in value.items())
    if isinstance(value, list):
        options = [pair for pair in pairwise(value) if str(pair[0]).startswith("-")]
        return any(_is_secret(*pair) for pair in options) or any(map(holds_secrets, value))
    return isinstance(value, str) and masked(value) != value


def _is_secret(name: Any, value: Any) -> bool:
    given = isinstance(value, str) and value != ""
    return given and re.fullmatch(_NAME, str(name), re.IGNORECASE) is not None
