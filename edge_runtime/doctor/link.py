"""The broker: can it be reached as this device, and who answers there?"""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from edge_runtime.app import broker_for
from edge_runtime.config import Config, DelegationConfig
from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import (
    UNHEARD,
    Arrival,
    ConnectionState,
    MqttConnection,
    Outgoing,
)
from edge_runtime.doctor.finding import Case, Finding, absent, failed, ok, warning
from edge_runtime.errors import EdgeRuntimeError, WireError
from edge_runtime.sinks.home_assistant_discovery import HomeTopics

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


def reached(chosen: DelegationConfig, url: str, needed: str) -> Finding:
    """Whether a client with these settings gets in."""
    try:
        settings = replace(BrokerSettings.configured(chosen, url), session_expiry_s=0)
        host, port, tls = settings.address()
        seen, place = _Seen(), f"{host}:{port}{' with TLS' if tls else ''}"
        connection = MqttConnection(settings, f"doctor-{os.getpid()}", on_state=seen.on_state)
        with connection:
            if seen.await_connection():
                return ok("broker", f"connected to {place}; {needed}")
    except EdgeRuntimeError as error:
        return failed("broker", str(error))
    reason = connection.failure or f"no answer in {CONNECT_S:.0f} s"
    remedy = "Does the broker run? See delegation.broker, user, password_file and ca_file"
    return failed("broker", f"no connection to {place}: {reason}", f"{remedy}; {needed}.")


def rights(config: Config) -> str:
    """What the device's user at the broker must be allowed."""
    write, read = [], []
    if config.asks_workers:
        own = wire.Topics(config.device.name)
        write += [own.status, own.requests, own.cancel, own.probe]
        read += [own.replies, wire.ALL_WORKERS]
    if config.home_assistant.enabled:
        home = HomeTopics(config.device.name, config.home_assistant.prefix)
        write += [home.discovery, home.all]
        read += [home.discovery, home.all, home.birth]
    write += [one.mqtt_topic for one in config.actions.values() if one.mqtt_topic is not None]
    wanted = [
        f"to {verb} {', '.join(dict.fromkeys(topics))}"
        for verb, topics in (("write", write), ("read", read))
        if topics
    ]
    return f"its user there needs the right {', and '.join(wanted) or 'to nothing'}"


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


def _unheard(connection: MqttConnection, device: str) -> bool:
    """Whether the broker has nobody to hand a cancel to: it is of no question and harms nobody."""
    outcomes: list[str] = []
    known = threading.Event()

    def told(why_not: str) -> None:
        outcomes.append(why_not)
        known.set()

    topic, payload = wire.Topics(device).cancel, wire.encode(wire.CancelMessage(id="doctor"))
    connection.publish(Outgoing(topic, payload, expiry_s=1, told=told))
    known.wait(WORKERS_S)
    return outcomes == [UNHEARD]


def _connected(case: Case) -> Finding:
    """Raises ConfigError: the address, a password or a certificate cannot be used."""
    settings = replace(broker_for(case.config), session_expiry_s=0)
    host, port, tls = settings.address()
    name = f"edge-{case.config.device.name}-doctor-{os.getpid()}"
    seen, asks = _Seen(), case.config.asks_workers
    connection = MqttConnection(settings, name, on_state=seen.on_state)
    if asks:
        connection.subscribe(wire.ALL_WORKERS, seen.on_worker)
    place, needed = f"{host}:{port}{' with TLS' if tls else ''}", rights(case.config)
    with connection:
        if not seen.await_connection():
            reason = connection.failure or f"no answer in {CONNECT_S:.0f} s"
            remedy = (
                "Does the broker run, and may this device speak to it? See delegation.broker, "
                f"user, password_file and ca_file, a firewall, and the broker's log; {needed}."
            )
            return failed("broker", f"no connection to {place}: {reason}", remedy)
        online = seen.await_workers() if asks else []
        unheard = bool(online) and _unheard(connection, case.config.device.name)
    if not asks:
        return ok("broker", f"connected to {place}; no worker is asked; {needed}")
    named = [f"{name} ({seen.workers[name].model})" for name in sorted(online)]
    return _answering(f"connected to {place}", named, unheard, needed)


def _answering(connected: str, workers: list[str], unheard: bool, needed: str) -> Finding:
    if not workers:
        remedy = (
            "Start one: edge-runtime background --broker URL. Until then the own skills answer."
        )
        text = f"{connected}; no worker is online; {needed}"
        return warning("broker", text, remedy, workers=0)
    named = ", ".join(workers)
    if unheard:
        remedy = (
            "A worker that died together with the broker stays online there: clear it with "
            "mosquitto_pub -r -n -t background/NAME/status. One that takes no cancels looks the "
            "same."
        )
        text = f"{connected}; said to be online, but nobody listens: {named}; {needed}"
        return warning("broker", text, remedy, workers=0)
    return ok("broker", f"{connected}; online: {named}; {needed}", workers=len(workers))
