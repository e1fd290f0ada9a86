"""In what a configuration differs from the defaults, for people to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge_runtime.config_reference import flow
from edge_runtime.masking import HIDDEN, masked

_OPTION = re.compile(r"--[\w-]*|-.?")


def changes(config: BaseModel, before: str = "") -> Iterator[str]:
    """`key: value (default: x)` for each key that differs, without secrets."""
    for name, field in type(config).model_fields.items():
        value, default = getattr(config, name), field.get_default(call_default_factory=True)
        if value == default:
            continue
        key = f"{before}{name}"
        sections = _sections(key, value)
        for inner, found in sections:
            yield from list(changes(found, f"{inner}.")) or [f"{inner}: {{}} (default: none)"]
        if not sections:
            usual = None if field.is_required() else default
            outline = value if value is None else _OUTLINES.get(name, _as_it_is)(value)
            yield f"{key}: {_shown(outline)} (default: {_shown(usual)})"


def _sections(key: str, value: object) -> list[tuple[str, BaseModel]]:
    """What has keys of its own: a section, or those in a mapping."""
    if isinstance(value, BaseModel):
        return [(key, value)]
    named = value.items() if isinstance(value, dict) else ()
    return [(f"{key}.{name}", one) for name, one in named if isinstance(one, BaseModel)]


def _shown(value: object) -> str:
    return "none" if value is None else flow(_without_secrets(value))


def _without_secrets(value: object) -> object:
    """What environment variables hold may be one."""
    if isinstance(value, dict):
        return dict.fromkeys(value, HIDDEN)
    if isinstance(value, list):
        return [_without_secrets(one) for one in value]
    return masked(str(value)) if isinstance(value, (str, Path)) else value


def _as_it_is(value: object) -> object:
    return value


def _first_word(command: str) -> str:
    return _up_to(r"[\s=]", command)


def without_query(url: str) -> str:
    """It may hold a key; masked() hides the password that may stand in front of the host."""
    return _up_to(r"(?<=[?#])", url)


def _up_to(end: str, text: str) -> str:
    shown = re.split(end, text, maxsplit=1)[0]
    return shown if shown == text else f"{shown}{HIDDEN}"


def _options(arguments: list[str]) -> list[str]:
    """By name, of a short one its letter; of the others any may be a secret."""
    names = [found.group() for one in arguments if (found := _OPTION.match(one))]
    others = len(arguments) - len(names)
    return [*names, f"and {others} more"] if others else names


_OUTLINES: dict[str, Callable[[Any], object]] = {
    "command": _first_word,
    "args": _options,
    "url": without_query,
    "base_url": without_query,
}
"""By key, of what may hold a secret that looks like none."""
