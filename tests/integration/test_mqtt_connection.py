"""The connection that stays, over a real Mosquitto that dies, refuses and knows each name once."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from broker import PATIENCE_S, Broker, Device, needs_mosquitto, running_broker, wait_until

from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import SHORT_LIVED, MqttConnection, Outgoing

pytestmark = needs_mosquitto
PLUGIN = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")
UNREADABLE = "\ufeff"
"""A topic that Mosquitto hands on and paho refuses."""
NOBODY_MAY_READ = {
    "defaultACLAccess": {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    },
    "clients": [],
    "roles": [],
    "groups": [{"groupname": "anyone", "roles": []}],
    "anonymousGroup": "anyone",
}


class _ClosedBroker(Broker):
    """It refuses every subscription, and says so."""

    def settings_text(self) -> str:
        rights = self._folder / "rights.json"
        rights.write_text(json.dumps(NOBODY_MAY_READ))
        rights.chmod(0o666)
        self._folder.chmod(0o777)
        plugin = f"plugin {PLUGIN}\nplugin_opt_config_file {rights}\nuser root\n"
        return super().settings_text() + plugin


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def test_what_is_meant_for_now_does_not_wait_for_the_next_connection(broker: Broker) -> None:
    with MqttConnection(BrokerSettings(broker.url), "kiosk") as connection:
        wait_until(lambda: connection.connected)
        broker.send_signal(signal.SIGSTOP)  # it acknowledges nothing any more
        assert connection.publish(Outgoing("house/lamp", b"on", retain=True, expiry_s=60))
        assert connection.publish(Outgoing("house/old", b"", retain=True, expiry_s=0, again=True))
        assert connection.publish(Outgoing("house/said", b"yes", retain=True, again=True))
        broker.kill()
        wait_until(lambda: not connection.connected)
        broker.start()
        wait_until(lambda: connection.connected)
        with Device(broker, "after", patterns=("house/#",)) as house:
            house.await_any(lambda: bool(house.messages))
            house.send("house/end", b"")
            house.await_any(lambda: house.messages[-1].topic == "house/end")
            assert [(one.topic, one.payload) for one in house.messages[:-1]] == [
                ("house/said", b"yes")
            ]


def test_what_has_become_of_a_message_is_told_once(broker: Broker) -> None:
    told: list[str] = []
    lamp = Outgoing("house/lamp", b"on", told=told.append)
    connection = MqttConnection(BrokerSettings(broker.url), "kiosk")
    assert not connection.publish(lamp) and told == [], "there is no connection yet"
    with Device(broker, "house", patterns=("house/lamp",)), connection:
        wait_until(lambda: connection.connected)
        for _ in range(200):
            assert connection.publish(lamp)
        wait_until(lambda: told == 200 * [""])
        assert connection.publish(replace(lamp, topic="garden/lamp"))
        wait_until(lambda: told[200:] == ["nobody listens there"])
        broker.send_signal(signal.SIGSTOP)
        assert connection.publish(lamp)
        broker.kill()
        broker.start()
        wait_until(lambda: connection.connects == 2)
    assert told[201:] == ["the connection ended before the broker acknowledged it"]


def test_what_another_of_its_name_asked_for_before_is_not_handed_on(broker: Broker) -> None:
    heard: list[bytes] = []
    told: list[str] = []
    settings = BrokerSettings(broker.url)
    lamp = Outgoing("house/lamp", b"on", told=told.append)
    other, device = MqttConnection(settings, "kiosk"), MqttConnection(settings, "kiosk")
    other.subscribe("house/lamp", lambda arrival: heard.append(arrival.payload))
    with other:
        wait_until(lambda: other.connected)
        other.publish(lamp)
        wait_until(lambda: heard == [b"on"] and told == [""])
    with device:
        wait_until(lambda: device.connected)
        device.publish(lamp)
        wait_until(lambda: told[1:] == ["nobody listens there"])


def test_two_with_one_name_are_told_so(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (MqttConnection(BrokerSettings(broker.url), "twin") for _ in range(2))
    with first, second:
        wait_until(lambda: "Does somebody else use the name 'twin' there?" in caplog.text)
    assert caplog.text.count("connection lost") <= 2 * 4, "and it is not told each time"


def test_a_message_that_cannot_be_read_keeps_nobody_off_the_broker(broker: Broker) -> None:
    heard: list[bytes] = []
    connection = MqttConnection(BrokerSettings(broker.url), "kiosk")
    connection.subscribe("edge/kiosk/replies", lambda arrival: heard.append(arrival.payload))
    with Device(broker, "rogue") as rogue, connection:
        wait_until(lambda: connection.connected)
        rogue.send("edge/kiosk/replies", b"poisoned", response_topic=UNREADABLE)
        wait_until(lambda: connection.connects == 1 + SHORT_LIVED and connection.connected)
        rogue.send("edge/kiosk/replies", b"tea")
        wait_until(lambda: heard == [b"tea"])
    assert connection.connects == 1 + SHORT_LIVED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_network_thread_that_ends_is_noticed() -> None:
    """Of a broker that lets a topic pass that is no text, which Mosquitto does not."""
    admitted = bytes([0x20, 3, 0, 0, 0])
    no_text = bytes([0x30, 4, 0, 1, 0xFF, 0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = BrokerSettings(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        with MqttConnection(settings, "kiosk") as connection:
            first, _ = listener.accept()
            with first:
                first.sendall(admitted + no_text)
                listener.settimeout(PATIENCE_S)
                second, _ = listener.accept()
            with second:
                second.sendall(admitted)
                wait_until(lambda: connection.connects == 2 and connection.connected)


@pytest.mark.skipif(not PLUGIN.exists(), reason="Mosquitto's dynamic security is not installed")
def test_a_refused_subscription_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed = _ClosedBroker(tmp_path)
    closed.start()
    try:
        connection = MqttConnection(BrokerSettings(closed.url), "kiosk")
        connection.subscribe("edge/kiosk/replies", lambda arrival: None)
        with connection:
            told = "the broker refuses to hand on edge/kiosk/replies"
            wait_until(lambda: told in caplog.text)
            closed.restart()
            wait_until(lambda: connection.connects == 2)
        assert caplog.text.count(told) == 1
        assert "Give its user the right to read there" in caplog.text
    finally:
        closed.kill()
