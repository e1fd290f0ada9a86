"""The broker: can it be reached as this device, and who answers there."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from edge_runtime.app import broker_for
from edge_runtime.delegation import wire
from edge_runtime.delegation.mqtt import Arrival, ConnectionState, MqttConnection, Outgoing
from edge_runtime.doctor.finding import Case, Finding, absent, failed, ok, warning
from edge_runtime.errors import EdgeRuntimeError, WireError

CONNECT_S = 8.0
WORKERS_S = 1.0
"""Their statuses are retained: they come at once, all together."""


def broker(case: Case) -> list[Finding]:
    """With a client of its own, beside a device that may be connected; nothing is left there."""
    if case.config.delegation.broker is None:
        return [absent("broker", "none is configured: the device answers by its own skills")]
    try:
        return [_connected(case)]
    except EdgeRuntimeError as error:
        return [failed("broker", str(error))]


class _Seen:
    """What comes on the network thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ended = False
        self._connected = False
        self.workers: dict[str, wire.WorkerStatus] = {}

    def on_state(self, state: ConnectionState) -> None:
        with self._changed:
            self._connected = self._connected or state is ConnectionState.CONNECTED
            self._ended = self._ended or state is ConnectionState.WAITING
            self._changed.notify_all()

    def on_worker(self, arrival: Arrival) -> None:
        try:
            status = wire.decode(wire.WorkerStatus, arrival.payload, wire.MAX_STATUS_BYTES)
        except WireError:
            return
        with self._changed:
            self.workers[arrival.topic.split("/")[1]] = status

    def await_connection(self) -> bool:
        """Whether the first attempt got through."""
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._ended, CONNECT_S)
            return self._connected

    def await_workers(self) -> list[str]:
        """Names of those online after a second."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, WORKERS_S)
            return [name for name, one in self.workers.items() if one.state == "online"]


def _connected(case: Case) -> Finding:
    """Raises ConfigError: the address, a password or a certificate cannot be used."""
    settings = replace(broker_for(case.config), session_expiry_s=0)
    host, port, tls = settings.address()
    device = case.config.device.name
    # An empty retained message is none, and every device may write its probe.
    nothing = Outgoing(wire.Topics(device).probe, b"", retain=True)
    seen = _Seen()
    connection = MqttConnection(
        settings, f"edge-{device}-doctor-{os.getpid()}", nothing, b"", b"", seen.on_state
    )
    connection.subscribe(wire.ALL_WORKERS, seen.on_worker)
    place = f"{host}:{port}{' with TLS' if tls else ''}"
    with connection:
        if not seen.await_connection():
            reason = connection.failure or f"no answer in {CONNECT_S:.0f} s"
            remedy = (
                "Does the broker run, and may this device speak to it? See delegation.broker, "
                "user, password_file and ca_file, a firewall, and the broker's log."
            )
            return failed("broker", f"no connection to {place}: {reason}", remedy)
        online = seen.await_workers()
    if not online:
        remedy = (
            "Start one: edge-runtime background --broker URL. Until then the own skills answer."
        )
        return warning("broker", f"connected to {place}; no worker is online", remedy, workers=0)
    named = ", ".join(f"{name} ({seen.workers[name].model})" for name in sorted(online))
    return ok("broker", f"connected to {place}; online: {named}", workers=len(online))
