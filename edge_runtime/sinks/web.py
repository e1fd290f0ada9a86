"""`/health` and `/metrics` over HTTP: two pages to look at, and nothing to change anything with."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge_runtime.errors import ConfigError
from edge_runtime.every import Every
from edge_runtime.health import HTTP, HealthMonitor, State

log = logging.getLogger(__name__)
PATIENCE_S = 2.0
"""A client that says nothing for so long is hung up on: there is room for so many at a time."""
AT_ONCE = 8
"""Requests that are answered at the same time; one more waits for one of them to end."""
RETRY_S = 10.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class WebServer:
    """Answers each request in a thread of its own, `AT_ONCE` at a time.

    `status` gives what /health says; it answers 503 where its `state` is `failed`. `metrics` gives
    the page /metrics; None: there is none. Entering raises ConfigError where nobody may listen at
    the address.
    """

    def __init__(
        self,
        address: str,
        port: int,
        status: Callable[[], Mapping[str, Any]],
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        self._address, self._wanted_port = address, port
        self._status, self._metrics = status, metrics
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens; known once entered."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def __enter__(self) -> Self:
        pages = self._pages

        class Handler(_Handler):
            page = staticmethod(pages)
            only_local = self._address in LOOPBACK

        self._server = _listening(self._address, self._wanted_port, Handler)
        if self._address not in LOOPBACK:
            log.warning(
                "health and metrics are open to the network at %s:%d", self._address, self.port
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="web", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.hang_up()
            self._server.server_close()

    def _pages(self, path: str) -> tuple[int, str, bytes]:
        """HTTP status, content type and body."""
        if path == "/health":
            status = self._status()
            code = 503 if status["state"] == State.FAILED.value else 200
            return code, "application/json", json.dumps(status).encode()
        if path == "/metrics" and self._metrics is not None:
            return 200, TEXT, self._metrics()
        return 404, TEXT, b"There are /health and, where it is switched on, /metrics.\n"


class PatientWebServer:
    """A WebServer that a device can do without: while nobody may listen at the address, health says
    so, and it is tried again every ten seconds."""

    def __init__(self, server: WebServer, port: int, health: HealthMonitor) -> None:
        self._server, self._port, self._health = server, port, health
        self._listens = False
        self._again = Every(RETRY_S, self._try, "web again", at_once=False)

    def __enter__(self) -> Self:
        self._try()
        if not self._listens:
            log.warning("there is no /health page yet; it is tried again every %g s", RETRY_S)
            self._again.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._again.__exit__(kind, error, trace)
        self._server.__exit__(kind, error, trace)

    def _try(self) -> None:
        if self._listens:
            return
        values = {"port": self._port}
        try:
            self._server.__enter__()
        except ConfigError as error:
            self._health.report(HTTP, State.DEGRADED, str(error).rstrip("."), values)
        else:
            self._listens = True
            self._health.report(HTTP, State.OK, values=values)


def check_listening(address: str, port: int) -> None:
    """Raises ConfigError where nobody may listen there, now."""
    _listening(address, port, BaseHTTPRequestHandler).server_close()


def _listening(address: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    """Raises ConfigError."""

    class Server(_Server):
        address_family = _family(address)

    try:
        return Server((address, port), handler)
    except OSError as error:
        raise ConfigError(
            f"Nobody can listen at {address}:{port}: {error.strerror}. "
            "Choose another http.address or http.port."
        ) from error


class _Server(HTTPServer):
    """A thread for each request, and never more than `AT_ONCE` of them."""

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._answering: dict[socket.socket, threading.Thread] = {}
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(timeout=2 * PATIENCE_S):
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self._answer, args=(request, client_address), name="web-request", daemon=True
        )
        with self._lock:
            self._answering[request] = thread
        try:
            thread.start()
        except RuntimeError:  # no thread can be had: the server goes on and hangs up on this one
            self._forget(request)
            raise

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            self._forget(request)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            del self._answering[request]
        self._room.release()

    def hang_up(self) -> None:
        """End what is being answered; for a server that takes no more requests."""
        with self._lock:
            answering = dict(self._answering)
        for request in answering:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        for thread in answering.values():
            thread.join(PATIENCE_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a client hung up or said nothing", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    page: Callable[[str], tuple[int, str, bytes]]
    only_local: bool
    timeout = PATIENCE_S
    """For one read; all of them together have as long."""
    server_version, sys_version = "edge-runtime", ""

    def setup(self) -> None:
        super().setup()
        self._deadline = threading.Timer(PATIENCE_S, self._hang_up)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        super().finish()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        if self.only_local and not _names_loopback(self.headers.get("Host", "")):
            # A web page in this machine's browser may point a name of its own at 127.0.0.1.
            self._answer(403, TEXT, b"Ask for 127.0.0.1 or localhost.\n")
            return
        try:
            answer = self.page(self.path.partition("?")[0])
        except Exception:
            log.warning("%s could not be answered", self.path, exc_info=True)
            answer = 500, TEXT, b"This page is broken; the log says why.\n"
        self._answer(*answer)

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _names_loopback(host: str) -> bool:
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.strip("[]") in LOOPBACK


def _family(address: str) -> Any:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
