"""How the device is, as /diagnostics tells it once a second (REP-107)."""

from __future__ import annotations

from edge_runtime.health import Health
from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication, key_values, stamp


def diagnostics(device: str, health: Health, stamp_ns: int) -> Publication:
    """diagnostic_msgs/DiagnosticArray with a status for each part of the device."""
    status = [
        {
            "level": part.state.severity,
            "name": f"{device}: {part.name}",
            "message": part.reason or part.state.value,
            "hardware_id": device,
            "values": key_values(part.values),
        }
        for part in health.parts
    ]
    header = {"stamp": stamp(stamp_ns), "frame_id": ""}
    message = {"header": header, "status": status}
    return Publication(topics.DIAGNOSTICS.name, topics.DIAGNOSTICS.type, message)
