"""/health and /metrics over a real socket: what is answered, to whom, and how long it waits."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from virtual_sound import wait_until

from edge_runtime.errors import ConfigError
from edge_runtime.health import CAMERA, HTTP, HealthMonitor, State
from edge_runtime.sinks import web
from edge_runtime.sinks.web import PatientWebServer, WebServer, check_listening


@pytest.fixture
def health() -> HealthMonitor:
    return HealthMonitor()


@pytest.fixture
def server(health: HealthMonitor) -> Iterator[WebServer]:
    pages = WebServer("127.0.0.1", 0, lambda: health.snapshot().as_dict(), lambda: b"edge_x 1\n")
    with pages:
        yield pages


def get(server: WebServer, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize(
    ("state", "code"), [(State.OK, 200), (State.DEGRADED, 200), (State.FAILED, 503)]
)
def test_health_is_json_and_its_code_says_whether_it_works(
    server: WebServer, health: HealthMonitor, state: State, code: int
) -> None:
    health.report(CAMERA, state, "because")
    answered, body = get(server, "/health")
    assert answered == code
    content: dict[str, Any] = json.loads(body)
    assert content["state"] == state.value
    assert content["parts"]["camera"]["reason"] == "because"


def test_metrics_are_there_where_they_are_switched_on(server: WebServer) -> None:
    assert get(server, "/metrics?x=1") == (200, b"edge_x 1\n")
    with WebServer("127.0.0.1", 0, dict) as without:
        assert get(without, "/metrics")[0] == 404


@pytest.mark.parametrize("path", ["/", "/healthz", "/../etc/passwd"])
def test_there_is_nothing_else(server: WebServer, path: str) -> None:
    assert get(server, path)[0] == 404


def test_nothing_can_be_changed(server: WebServer) -> None:
    for method in ("POST", "PUT", "DELETE"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, "/health", body=b"{}")
        assert connection.getresponse().status == 501
        connection.close()


@pytest.mark.parametrize(
    ("host", "code"),
    [("localhost", 200), ("127.0.0.1:9100", 200), ("[::1]:80", 200), ("evil.example:80", 403)],
)
def test_on_loopback_only_loopback_names_are_answered(
    server: WebServer, host: str, code: int
) -> None:
    assert get(server, "/health", Host=host)[0] == code


def test_one_that_says_nothing_does_not_keep_others_waiting_for_long(
    health: HealthMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web._Handler, "timeout", 0.05)
    with (
        WebServer("127.0.0.1", 0, lambda: health.snapshot().as_dict()) as server,
        socket.create_connection(("127.0.0.1", server.port)) as mute,
    ):
        mute.sendall(b"GET /hea")
        assert get(server, "/health")[0] == 200


def test_one_that_drips_does_not_keep_others_waiting_either(
    health: HealthMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "PATIENCE_S", 0.3)
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.02):
                client.sendall(b"x")

    with (
        WebServer("127.0.0.1", 0, lambda: health.snapshot().as_dict()) as server,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        thread = threading.Thread(target=drip, args=(slow,))
        thread.start()
        try:
            assert get(server, "/health")[0] == 200
        finally:
            over.set()
            thread.join()


def mute(server: WebServer, stack: contextlib.ExitStack) -> None:
    client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
    client.sendall(b"GET /hea")


def test_one_that_says_nothing_keeps_nobody_waiting(server: WebServer) -> None:
    with contextlib.ExitStack() as stack:
        mute(server, stack)
        begun_s = time.monotonic()
        assert get(server, "/health")[0] == 200
        assert time.monotonic() - begun_s < web.PATIENCE_S


def test_there_is_a_bound_and_who_is_beyond_it_waits(
    health: HealthMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "AT_ONCE", 2)
    monkeypatch.setattr(web._Handler, "timeout", 0.5)  # far less than PATIENCE_S, for slow machines
    with (
        WebServer("127.0.0.1", 0, lambda: health.snapshot().as_dict()) as server,
        contextlib.ExitStack() as stack,
    ):
        assert server._server is not None
        for _ in range(4):
            mute(server, stack)
        most, codes = 0, list[int]()
        asking = threading.Thread(target=lambda: codes.append(get(server, "/health")[0]))
        asking.start()
        while asking.is_alive():  # a thread may outlive its request for a moment
            most = max(most, len(server._server._answering))
        assert (most, codes) == (2, [200])


def test_it_ends_at_once_while_clients_say_nothing(server: WebServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            mute(server, stack)
        assert get(server, "/health")[0] == 200  # those before it are being waited for
        begun_s = time.monotonic()
        server.__exit__(None, None, None)
        assert time.monotonic() - begun_s < web.PATIENCE_S
    assert "web-request" not in [thread.name for thread in threading.enumerate()]


def test_an_error_of_a_page_ends_neither_the_server_nor_its_thread() -> None:
    answers = iter([ValueError("broken"), {"state": "ok"}])

    def status() -> dict[str, str]:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    with WebServer("127.0.0.1", 0, status) as server:
        assert get(server, "/health")[0] == 500
        assert get(server, "/health")[0] == 200


def test_an_address_that_is_taken_has_a_remedy(server: WebServer) -> None:
    with pytest.raises(ConfigError, match=r"Choose another http\.address or http\.port"):
        WebServer("127.0.0.1", server.port, dict).__enter__()


def test_an_address_open_to_the_network_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with WebServer("0.0.0.0", 0, lambda: {"state": "ok"}) as server:
        assert get(server, "/health", Host="kiosk.lan")[0] == 200
    assert "open to the network" in caplog.text


def test_it_leaves_no_thread_and_no_port(server: WebServer) -> None:
    with WebServer("127.0.0.1", 0, dict) as one:
        thread, port = one._thread, one.port
    assert thread is not None and not thread.is_alive()
    with WebServer("127.0.0.1", port, dict):
        pass


class TestPatience:
    def test_a_taken_port_is_a_matter_of_health_and_is_tried_again(
        self,
        server: WebServer,
        health: HealthMonitor,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(web, "RETRY_S", 0.05)
        port = server.port
        late = WebServer("127.0.0.1", port, lambda: health.snapshot().as_dict())
        with PatientWebServer(late, port, health):
            part = health.snapshot().part(HTTP)
            assert part is not None and part.state is State.DEGRADED
            assert f"127.0.0.1:{port}: Address already in use" in part.reason
            assert "http.port" in part.reason
            assert [one.levelname for one in caplog.records if "again" in one.message] == [
                "WARNING"
            ]
            server.__exit__(None, None, None)
            wait_until(lambda: health.snapshot().state is State.OK)
            assert get(late, "/health")[0] == 200
        with WebServer("127.0.0.1", port, dict):
            pass  # it was given back

    def test_one_that_never_listened_ends_all_the_same(
        self, server: WebServer, health: HealthMonitor
    ) -> None:
        late = PatientWebServer(WebServer("127.0.0.1", server.port, dict), server.port, health)
        with late:
            pass
        assert get(server, "/metrics")[0] == 200

    def test_an_address_of_another_machine(self, health: HealthMonitor) -> None:
        with PatientWebServer(WebServer("192.0.2.7", 9464, dict), 9464, health):
            assert "192.0.2.7:9464: Cannot assign" in health.snapshot().reasons[0]


def test_whether_somebody_may_listen_is_asked_without_staying(server: WebServer) -> None:
    with pytest.raises(ConfigError, match=r"Nobody can listen at 127\.0\.0\.1"):
        check_listening("127.0.0.1", server.port)
    server.__exit__(None, None, None)
    check_listening("127.0.0.1", server.port)
    with WebServer("127.0.0.1", server.port, dict):
        pass
