"""The node's parameters: one for each key of the configuration, judged by its own types. No ROS."""

from __future__ import annotations

import array
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge_runtime.config import Config, load_config
from edge_runtime.errors import ConfigError
from edge_runtime.remote_control import Mode

log = logging.getLogger(__name__)
CONFIG_FILE = "config_file"
INITIAL_MODE = "initial_mode"
VIDEO_SOURCE, NO_PICTURES = "video.source", "none"
UNSET = (None, "", "null")
"""`null` is what `ros2 param dump` writes for a key that is not set, and rcl reads as a text."""
NOT_HERE = frozenset({"ros.dds", "ros.domain", "ros.namespace", "ros.node_name", "ros.show_node"})
"""Keys that only mean something without ROS."""


def config_keys() -> dict[str, str]:
    """Every key that can be a parameter, such as `voice.rate_wpm`, with its description.

    The actions are not among them, since their names are the model's: they come from the file.
    """
    return {key: text for key, text in _keys(Config, "") if key not in NOT_HERE}


def _keys(model: type[BaseModel], before: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{before}{name}.")
        elif before:
            yield f"{before}{name}", field.description or ""


def configuration(values: Mapping[str, Any]) -> Config:
    """What the parameters say, over the file that `config_file` names. Those that are UNSET are
    not set; `video.source` may be `none`. Raises ConfigError."""
    config = _judged(values)
    if not config.ros.dds:
        return config
    log.warning(
        "ros.dds: true means nothing in the node, which publishes the topics itself; leave it out "
        "of %s",
        values[CONFIG_FILE],
    )
    return config.model_copy(update={"ros": config.ros.model_copy(update={"dds": False})})


def _judged(values: Mapping[str, Any]) -> Config:
    known = config_keys()
    path = values.get(CONFIG_FILE)
    plain = {key: _plain(value) for key, value in values.items() if key in known}
    chosen = {key: value for key, value in plain.items() if value not in UNSET}
    if chosen.get(VIDEO_SOURCE) == NO_PICTURES:
        chosen[VIDEO_SOURCE] = None
    return load_config(None if path in UNSET else Path(path), chosen)


def _plain(value: Any) -> Any:
    """rclpy gives the numbers of a list as an array."""
    return list(value) if isinstance(value, array.array | tuple) else value


def initial_mode(values: Mapping[str, Any]) -> Mode:
    """In which mode the node starts. Raises ConfigError."""
    try:
        return Mode(values[INITIAL_MODE])
    except ValueError:
        known = ", ".join(mode.value for mode in Mode)
        raise ConfigError(
            f"{INITIAL_MODE}: {values[INITIAL_MODE]!r} is no mode; give one of {known}."
        ) from None


def refusal(values: Mapping[str, Any], changes: Mapping[str, Any], configured: bool) -> str | None:
    """Why the changes cannot be made to the values; None: they can."""
    ours = [key for key in changes if key == CONFIG_FILE or key in config_keys()]
    if not ours:
        return None
    if configured:
        return f"{', '.join(ours)} cannot change while the node is configured: clean up first."
    try:
        _judged({**values, **changes})
    except ConfigError as error:
        return str(error)
    return None
