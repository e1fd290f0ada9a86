"""Everything that can be configured as one YAML file, made from the schema."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge_runtime.config import keys_at, model_of, near_keys, unknown_key
from edge_runtime.errors import ConfigError

WIDTH = 100
INDENT = "  "
SLIP = 0.8
"""So like a key is one that was mistyped: `phrase`. `turn_right` and `forward` may be names."""
HEAD = """\
# Every key with its default; in brackets what it may be. A key behind `#` is not set, and what
# stands there is an example: to set it, take the `#` away, and that of the section it belongs to.
"""
_KINDS = {"boolean": "true or false", "integer": "whole number", "string": "text"}
_ITEMS = {"number": "numbers", "string": "texts"}
_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " entries"),
)
"""Names of JSON Schema, as all that a schema is asked for here."""


def reference(kind: type[BaseModel], name: str | None = None) -> str:
    """YAML that loads as the defaults, with all keys of `kind`, each with what it does and may be.

    `name` asks for one part, such as `decision` or `actions.valid_ms`; a name of an action or of
    anything else that you name may stand in it. Raises ConfigError for one that is not known.
    """
    if name is None:
        return HEAD + "".join(f"\n{reference(kind, section)}" for section in kind.model_fields)
    return "".join(f"{line}\n" for line in _lines(kind, _way(kind, name.split(".")), "", True))


def markdown(kind: type[BaseModel]) -> str:
    """The same in chapters, one for each section."""
    return "\n".join(
        f"### `{section}`\n\n```yaml\n{reference(kind, section)}```\n"
        for section in kind.model_fields
    )


def flow(value: object) -> str:
    """As YAML on one line."""
    if isinstance(value, PurePath):
        value = str(value)
    text = _dumped(value)
    return text if "\n" not in text else _dumped(value, '"')


def _dumped(value: object, style: str | None = None) -> str:
    text: str = yaml.safe_dump(
        value,
        default_flow_style=True,
        allow_unicode=True,
        sort_keys=False,
        width=float("inf"),
        default_style=style,
    )
    return text.removesuffix("...\n").rstrip("\n")


def _way(kind: type[BaseModel], parts: Sequence[str]) -> list[str]:
    """The keys that lead to a part, without names that are free."""
    model, free, way = kind, False, []
    for at, part in enumerate(parts):
        field = model.model_fields.get(part)
        if field is not None:
            way.append(part)
            found = model_of(field.annotation)
            model, free = found or _Nothing, _is_mapping(field)
        elif free and (at + 1 < len(parts) or _is_name(part, model)):
            free = False
        else:
            ending = f".{part}"
            elsewhere = [known for known in _names(kind) if known.endswith(ending)]
            known = keys_at(kind, parts[:at])
            raise ConfigError(unknown_key(".".join(parts), part, known, elsewhere))
    return way


def _is_name(part: str, model: type[BaseModel]) -> bool:
    """And not a key with a slip in it."""
    return bool(part) and not near_keys(part, sorted(model.model_fields), SLIP)


class _Nothing(BaseModel):
    """What is below a value."""


def _names(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every section and key, such as `voice` and `voice.rate_wpm`."""
    for name, field in model.model_fields.items():
        yield before + name
        if (inner := model_of(field.annotation)) is not None:
            yield from _names(inner, f"{before}{name}.")


def _lines(model: type[BaseModel], way: Sequence[str], indent: str, is_set: bool) -> Iterator[str]:
    """Of all keys, or of the one that `way` goes on with."""
    schemas = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if not way or name == way[0]:
            yield from _of_key(name, field, schemas[name], way[1:], indent, is_set)


def _of_key(
    name: str,
    field: FieldInfo,
    schema: Mapping[str, Any],
    way: Sequence[str],
    indent: str,
    is_set: bool,
) -> Iterator[str]:
    inner, default = model_of(field.annotation), field.get_default(call_default_factory=True)
    is_set = is_set and default is not None and not _is_mapping(field)
    key = f"{indent}{'' if is_set else '#'}{name}:"
    if inner is None:
        example = default if is_set or not field.examples else field.examples[0]
        yield from _comment(f"{field.description} [{_allowed(field, schema, is_set)}]", indent)
        yield f"{key} {flow(example)}"
        return
    if field.description and not way:
        names = "".join(f" [names: {one}]" for one in schema.get("patternProperties", ()))
        yield from _comment(field.description + names, indent)
    yield key
    indent += INDENT
    if _is_mapping(field):
        (example_name,) = (field.examples or [{"name": {}}])[0]
        yield f"{indent}#{example_name}:"
        indent += INDENT
    yield from _lines(inner, way, indent, is_set)


def _is_mapping(field: FieldInfo) -> bool:
    """Of what somebody names to sections: its names are free."""
    return get_origin(field.annotation) is dict and model_of(field.annotation) is not None


def _comment(text: str, indent: str) -> list[str]:
    begin = f"{indent}# "
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=begin,
        subsequent_indent=begin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _allowed(field: FieldInfo, schema: Mapping[str, Any], is_set: bool) -> str:
    """The type, its bounds, and what the line below does not tell about the default."""
    allowed = _type(schema)
    if field.is_required():
        return f"{allowed}; must be given"
    default = field.get_default(call_default_factory=True)
    return allowed if is_set or default is None else f"{allowed}; default: {flow(default)}"


def _type(schema: Mapping[str, Any]) -> str:
    """`number, 0 to 1`: of a schema in JSON Schema."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(flow(choice) for choice in schema["enum"])
    kind = _KINDS.get(schema["type"], schema["type"])
    if schema.get("format") == "path":
        kind = "path"
    elif schema["type"] == "array":
        kind = f"list of {_ITEMS[schema['items']['type']]}"
    elif schema["type"] == "object":
        values = schema["additionalProperties"]
        kind = "mapping" if values is True else f"mapping to {_ITEMS[values['type']]}"
    return ", ".join([kind, *_bounds(schema)])


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "exclusiveMinimum" in schema:
        yield f"above {schema['exclusiveMinimum']:g}"
    for least, most, unit in _RANGES:
        low, high = schema.get(least), schema.get(most)
        if low is not None and low == high:
            yield f"{low:g}{unit}"
        elif low is not None and high is not None:
            yield f"{low:g} to {high:g}{unit}"
        elif low is not None:
            yield f"{low:g} or more{unit}"
        elif high is not None:
            yield f"up to {high:g}{unit}"
    if "pattern" in schema:
        yield f"like {schema['pattern']}"
