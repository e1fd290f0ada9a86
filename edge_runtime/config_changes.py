"""In what a configuration differs from the defaults, for people to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from edge_runtime.config_reference import flow
from edge_runtime.masking import masked

HIDDEN = "***"


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
            yield f"{key}: {_shown(value)} (default: {_shown(usual)})"


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
        return [_argument(*pair) for pair in zip(["", *value], value, strict=False)]
    return masked(str(value)) if isinstance(value, (str, Path)) else value


def _argument(before: object, value: object) -> object:
    """Of a list; what follows an option such as `--token` is a secret."""
    option = str(before)
    pair = f"{option}={value}"
    if option.startswith("-") and "=" not in option and masked(pair) != pair:
        return HIDDEN
    return _without_secrets(value)
