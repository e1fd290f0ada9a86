"""YAML as plain data, or one kind of error, whatever stands in it.

A key that is given twice is an error: PyYAML would keep the last one silently. So is a key that is
a list or a mapping.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Keys(yaml.constructor.BaseConstructor):
    """Mixed into a loader of PyYAML."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _error("a mapping is wanted", node)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key is one word, not a list or a mapping", key)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise _error(f"the key `{key.value}` is given twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Typed(_Keys, yaml.SafeLoader):
    pass


class _Texts(_Keys, yaml.BaseLoader):
    pass


def parse(text: str, typed: bool = True) -> Any:
    """Plain data; not `typed`: every scalar stays a text, also `yes` and `1`.

    Raises yaml.YAMLError.
    """
    try:
        return yaml.load(text, Loader=_Typed if typed else _Texts)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # What PyYAML lets through for values that are not of their type, such as `!!timestamp x`,
        # `!!bool x` or the 99th of May.
        raise yaml.YAMLError(f"it holds a value that cannot be: {error}") from error


def _error(what: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)
