"""The device as Home Assistant shall know it: one MQTT discovery payload, in plain values.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (2024.12 or later)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_runtime import __version__
from edge_runtime.delegation.wire import topic_level
from edge_runtime.errors import WireError
from edge_runtime.health import State
from edge_runtime.remote_control import Mode

ON, OFF, PRESS = "ON", "OFF", "PRESS"
STOP, CANCEL, QUIET, TEXT, NOTIFY = "stop", "cancel", "quiet", "say", "notify"
MICROPHONE, CAMERA, VOLUME = "microphone", "camera", "volume"
LONGEST_TEXT = 255
"""Characters of a state, and of a text entity, in Home Assistant."""
Component = dict[str, Any]
OPTIONAL: Mapping[str, str] = {
    "presence": "binary_sensor",
    "said": "sensor",
    "heard": "sensor",
    "action": "event",
    "link": "binary_sensor",
    MICROPHONE: "switch",
    CAMERA: "switch",
    VOLUME: "number",
}
"""By component that not every device has: its platform."""


class HomeTopics:
    """The topics of one device. Raises WireError for a name that cannot be in a topic.

    Home Assistant takes no `.` in a discovery topic, and an identifier without it would be another
    name than the one whose topics a broker grants.
    """

    def __init__(self, device: str, prefix: str) -> None:
        if "." in device:
            raise WireError(
                f"Home Assistant takes no name with a `.`, such as {device!r}: use letters, "
                "digits, `_` and `-`, and the same name as the user at the broker."
            )
        root = f"edge/{topic_level(device, 'the device name')}/home"
        self.device = device
        self.state, self.availability = f"{root}/state", f"{root}/availability"
        self.action = f"{root}/action"
        self.commands = f"{root}/+/set"
        self.all = f"{root}/#"
        self._root = root
        identifier = f"edge_{device}"
        self.identifier = identifier
        self.discovery = f"{prefix}/device/{identifier}/config"
        self.birth = f"{prefix}/status"
        """Where Home Assistant says that it has started."""

    def command(self, name: str) -> str:
        return f"{self._root}/{name}/set"


def discovery(
    topics: HomeTopics,
    floors: Sequence[str],
    tell_heard: bool,
    tell_said: bool,
    has_microphone: bool,
    has_camera: bool,
    sees: bool = False,
    actions: Sequence[str] = (),
    asks_workers: bool = True,
    name: str | None = None,
    area: str | None = None,
    has_volume: bool = False,
) -> dict[str, Any]:
    """The payload of the discovery topic. `floors`: the floor states of the model; `actions`: what
    the device can do; `name` and `area`: how the device is called there, and its room.

    An optional component that the device has not bears its platform alone: Home Assistant keeps
    one that is merely missing, with its last state, and removes this one.
    """
    components = _sensors(topics, floors)
    if sees:
        components["presence"] = _binary("Somebody is there", "presence", "occupancy")
    if tell_said:
        components["said"] = _sensor("Last utterance", "said", icon="mdi:account-voice")
    if tell_heard:
        components["heard"] = _sensor("Heard", "heard", icon="mdi:ear-hearing")
    if actions:
        components["action"] = {
            "platform": "event",
            "name": "Action",
            "icon": "mdi:gesture",
            "event_types": list(actions),
            "state_topic": topics.action,
        }
    if asks_workers:
        components["link"] = _binary("Background model", "link", "connectivity") | {
            "entity_category": "diagnostic"
        }
    components |= _controls(topics)
    switches = {MICROPHONE: has_microphone, CAMERA: has_camera}
    for field, icon in ((MICROPHONE, "mdi:microphone"), (CAMERA, "mdi:camera")):
        if switches[field]:
            components[field] = _switch(topics, field, field.capitalize(), icon)
    if has_volume:
        components[VOLUME] = _volume(topics)
    for field, component in components.items():
        if "value_template" in component:
            component["state_topic"] = topics.state
        component["unique_id"] = f"{topics.identifier}_{field}"
        component["qos"] = 1  # of all together it holds since some later version only
    for field, platform in OPTIONAL.items():
        components.setdefault(field, {"platform": platform})
    return {
        "device": {
            "identifiers": [topics.identifier],
            "name": name or topics.device,
            "manufacturer": "edge-runtime",
            "model": "interaction runtime",
            "sw_version": __version__,
            **({"suggested_area": area} if area else {}),
        },
        "origin": {"name": "edge-runtime", "sw_version": __version__},
        "availability_topic": topics.availability,
        "payload_available": "online",
        "payload_not_available": "offline",
        "components": components,
    }


def _sensors(topics: HomeTopics, floors: Sequence[str]) -> dict[str, Component]:
    return {
        "floor": _sensor("State", "floor", options=list(floors), icon="mdi:forum"),
        "engaged": _binary("Somebody talks to it", "engaged", "occupancy"),
        "direction": _sensor(
            "Direction of sound", "direction", icon="mdi:compass", unit_of_measurement="°"
        ),
        "health": _sensor("Health", "health", options=[state.value for state in State])
        | {
            "entity_category": "diagnostic",
            "json_attributes_topic": topics.state,
            "json_attributes_template": "{{ {'reasons': value_json.reasons} | tojson }}",
        },
    }


def _controls(topics: HomeTopics) -> dict[str, Component]:
    return {
        STOP: _button(topics, STOP, "Stop", "mdi:stop"),
        CANCEL: _button(topics, CANCEL, "Take the question back", "mdi:cancel"),
        QUIET: _switch(topics, QUIET, "Mute", "mdi:volume-off"),
        TEXT: {
            "platform": "text",
            "name": "Say",
            "icon": "mdi:bullhorn",
            "command_topic": topics.command(TEXT),
            "max": LONGEST_TEXT,
        },
        NOTIFY: {
            "platform": "notify",
            "name": "Tell when it fits",
            "command_topic": topics.command(NOTIFY),
        },
    }


def _sensor(name: str, field: str, options: Sequence[str] = (), **more: Any) -> Component:
    enum = {"device_class": "enum", "options": list(options)} if options else {}
    template = f"{{{{ value_json.{field} }}}}"
    return {"platform": "sensor", "name": name, "value_template": template} | enum | more


def _binary(name: str, field: str, device_class: str) -> Component:
    return {
        "platform": "binary_sensor",
        "name": name,
        "device_class": device_class,
        "value_template": f"{{{{ value_json.{field} }}}}",
        "payload_on": ON,
        "payload_off": OFF,
    }


def _button(topics: HomeTopics, command: str, name: str, icon: str) -> Component:
    return {
        "platform": "button",
        "name": name,
        "icon": icon,
        "command_topic": topics.command(command),
        "payload_press": PRESS,
    }


def _switch(topics: HomeTopics, field: str, name: str, icon: str) -> Component:
    return {
        "platform": "switch",
        "name": name,
        "icon": icon,
        "command_topic": topics.command(field),
        "value_template": f"{{{{ value_json.{field} }}}}",
        "payload_on": ON,
        "payload_off": OFF,
        "state_on": ON,
        "state_off": OFF,
    }


def _volume(topics: HomeTopics) -> Component:
    return {
        "platform": "number",
        "name": "Volume",
        "icon": "mdi:volume-high",
        "command_topic": topics.command(VOLUME),
        "value_template": f"{{{{ value_json.{VOLUME} }}}}",
        "min": 0,
        "max": 100,
        "step": 1,
        "unit_of_measurement": "%",
        "mode": "slider",
    }


def quiet(mode: Mode) -> str:
    return OFF if mode is Mode.NORMAL else ON
