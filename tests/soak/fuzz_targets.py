"""What comes from outside, as functions of bytes: only our own errors may come out of them.

python tests/soak/fuzz_targets.py recording -max_total_time=600 CORPUS   # with atheris
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

from edge_runtime.background.worker_config import WorkerConfig
from edge_runtime.config import Config, load
from edge_runtime.delegation import wire
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.health import HealthMonitor
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.remote_control import RemoteControl

GUIDED = ("edge_runtime", "yaml", "mcap", "json")
"""Packages whose code coverage leads atheris; all that is loaded would take minutes."""
_FOLDER = Path(tempfile.mkdtemp(prefix="edge-fuzz-"))
MESSAGES = (wire.RequestMessage, wire.ReplyMessage, wire.CancelMessage, wire.WorkerStatus)


def config(data: bytes) -> None:
    path = _FOLDER / "edge.yaml"
    path.write_bytes(data)
    for kind in (Config, WorkerConfig):
        load(path, kind)


def message(data: bytes) -> None:
    """A payload of MQTT, as each of the messages it might be, and its sound."""
    for kind in MESSAGES:
        try:
            found = wire.decode(kind, data, 100_000)
        except EdgeRuntimeError:
            continue
        if isinstance(found, wire.RequestMessage):
            wire.unpack_audio(found.audio)


def command(data: bytes) -> None:
    """A command of the smart home: the first byte chooses which."""
    from edge_runtime.delegation.broker import BrokerSettings
    from edge_runtime.delegation.mqtt import Arrival
    from edge_runtime.sinks.home_assistant import HomeAssistant, HomeSettings

    names = ("stop", "say", "notify", "quiet", "microphone", "camera", "nothing")
    house = HomeAssistant(
        BrokerSettings("mqtt://127.0.0.1"), HomeSettings("kiosk"), RemoteControl(), HealthMonitor()
    )
    name = names[data[0] % len(names)] if data else "stop"
    house._on_command(Arrival(f"edge/kiosk/home/{name}/set", data[1:]))


def manifest(data: bytes) -> None:
    path = _FOLDER / "manifest.yaml"
    path.write_bytes(data)
    load_manifest(_FOLDER)


def recording(data: bytes) -> None:
    from edge_runtime.replay import metadata, read

    path = _FOLDER / "recording.mcap"
    path.write_bytes(data)
    metadata(path)
    for _ in read(path):
        pass


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (config, message, command, manifest, recording)
}


def try_it(target: Callable[[bytes], None], data: bytes) -> None:
    """Raises whatever is not an error of ours with a message."""
    try:
        target(data)
    except EdgeRuntimeError as error:
        assert str(error)


def main() -> None:
    import atheris

    target = TARGETS[sys.argv.pop(1)]
    try_it(target, b"")  # what is imported late is imported now
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and (found.__module__ or "").split(".")[0] in GUIDED:
            atheris.instrument_func(found)
    atheris.Setup(sys.argv, lambda data: try_it(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
