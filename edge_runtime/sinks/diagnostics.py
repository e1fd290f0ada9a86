"""How the device is, as /diagnostics tells it once a second (REP-107)."""

from __future__ import annotations

from edge_runtime.health import Health
from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication, key_values, stamp


def diagnostics(device: str, health: Health, stamp_ns: int, node: str | None = None) -> Publication:
    """diagnostic_msgs/DiagnosticArray with a status for each part of the device, which is the
    hardware. Names begin with the `node` that tells of it; None: with the device."""
    prefix = device if node is None else node
    status = [
        {
            "level": part.state.severity,
            "name": f"{prefix}: {part.name}",
            "message": part.reason or part.state.value,
            "hardware_id": device,
            "values": key_values(part.values),
        }
        for part in health.parts
    ]
    header = {"stamp": stamp(stamp_ns), "frame_id": ""}
    message = {"header": header, "status": status}
    return Publication(topics.DIAGNOSTICS.name, topics.DIAGNOSTICS.type, message)
