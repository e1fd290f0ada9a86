"""What systemd is told, over a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import EngineError
from edge_runtime.health import LOOP, Health, HealthMonitor, State
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.sinks import service_notify
from edge_runtime.sinks.service_notify import ServiceNotifier


@dataclass
class Systemd:
    address: str
    inbox: socket.socket

    def next(self) -> str:
        """The next message, once it is there."""
        return self.inbox.recv(4096).decode()

    def waiting(self) -> list[str]:
        """All messages that are there already."""
        found = []
        self.inbox.setblocking(False)
        try:
            while True:
                found.append(self.inbox.recv(4096).decode())
        except BlockingIOError:
            return found
        finally:
            self.inbox.settimeout(30)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.settimeout(30)
        inbox.bind(path if request.param == "path" else "\0" + path)
        yield Systemd(path if request.param == "path" else "@" + path, inbox)


def record(outputs: bool = True) -> TurnRecord:
    turn = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))
    output = EngineOutput(0, {"floor": np.zeros(5, np.float32)} if outputs else {})
    return TurnRecord(turn, output, Decision(0, "listen"), Timings())


def test_it_is_ready_with_the_first_turn_and_every_turn_feeds_the_watchdog(
    systemd: Systemd,
) -> None:
    with ServiceNotifier(Health, systemd.environment) as notifier:
        assert systemd.next() == "STATUS=starting"
        notifier.publish(record())
        notifier.publish(record())
        told = [one for one in systemd.waiting() if not one.startswith("STATUS")]
        assert told == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert systemd.waiting()[-1] == "STOPPING=1"


def test_a_turn_in_which_the_engine_failed_feeds_nothing(systemd: Systemd) -> None:
    with ServiceNotifier(Health, systemd.environment) as notifier:
        notifier.publish(record(outputs=False))
    assert systemd.waiting() == ["STATUS=starting", "STOPPING=1"]


def test_the_status_follows_the_health_without_a_turn(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_notify, "STATUS_EVERY_S", 0.001)
    health = HealthMonitor()
    with ServiceNotifier(health.snapshot, systemd.environment):
        assert systemd.next() == "STATUS=starting"
        assert systemd.next() == "STATUS=ok"
        health.report(LOOP, State.FAILED, "no sign of it\nfor 4 s")
        assert systemd.next() == "STATUS=failed: loop: no sign of it for 4 s"


def test_an_error_is_the_last_status(systemd: Systemd) -> None:
    with (
        pytest.raises(EngineError),
        ServiceNotifier(Health, systemd.environment),
    ):
        raise EngineError("the model\nis gone")
    assert systemd.waiting()[-1] == "STOPPING=1\nSTATUS=the model is gone"


def test_a_full_socket_holds_no_turn_up(systemd: Systemd) -> None:
    with ServiceNotifier(Health, systemd.environment) as notifier:
        for _ in range(5000):
            notifier.publish(record())


def test_ready_is_told_later_where_it_could_not_be_told_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with ServiceNotifier(Health, {"NOTIFY_SOCKET": path}) as notifier:
        notifier.publish(record())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
            inbox.bind(path)
            notifier.publish(record())
            assert "READY=1" in Systemd(path, inbox).waiting()


def test_without_systemd_it_does_nothing() -> None:
    threads = threading.active_count()
    with ServiceNotifier(Health, {}) as notifier:
        notifier.publish(record())
        assert threading.active_count() == threads
