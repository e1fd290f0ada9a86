"""A real Home Assistant core with its MQTT integration; told what to do by lines of JSON.

Run by an interpreter that has the packages `homeassistant` and `paho-mqtt` (see
test_home_assistant.py). There is no web interface, so what hangs on it counts as loaded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import Any

from homeassistant import bootstrap, config_entries, core, loader
from homeassistant.helpers import device_registry, entity_registry


async def started(port: int) -> Any:
    folder = Path(tempfile.mkdtemp())
    (folder / "configuration.yaml").touch()
    hass = core.HomeAssistant(str(folder))
    hass.config.skip_pip = True
    hass.config.components.update({"http", "file_upload", "repairs"})
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.set_state(core.CoreState.running)
    entry = config_entries.ConfigEntry(
        version=1,
        minor_version=2,
        domain="mqtt",
        title="test",
        data={"broker": "127.0.0.1", "port": port, "discovery": True},
        source="user",
        options={},
        unique_id=None,
        discovery_keys=MappingProxyType({}),
        subentries_data=None,
    )
    await hass.config_entries.async_add(entry)
    await hass.async_block_till_done()
    return hass


def everything(hass: Any) -> dict[str, Any]:
    entities = {}
    for entry in entity_registry.async_get(hass).entities.values():
        state = hass.states.get(entry.entity_id)
        if entry.platform == "mqtt" and state is not None:
            # The state of an event is when it was.
            entities[entry.entity_id] = state.attributes.get("event_type") or state.state
    devices = device_registry.async_get(hass).devices.values()
    return {"entities": entities, "devices": [device.name for device in devices]}


async def main() -> None:
    hass = await started(int(sys.argv[1]))
    print("started", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        if order:
            await hass.services.async_call(*order, blocking=True)
        await hass.async_block_till_done()
        print(json.dumps(everything(hass)), flush=True)


asyncio.run(main())
