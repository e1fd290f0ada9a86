"""What there is to look at over HTTP, and nothing to change anything with: `/health`, `/metrics`,
and for a screen `/events` and the page `/` that shows them."""

from __future__ import annotations

import contextlib
import json
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import MappingProxyType, TracebackType
from typing import Any

from typing_extensions import Self

from edge_runtime.errors import ConfigError
from edge_runtime.every import Every
from edge_runtime.health import HTTP, HealthMonitor, State
from edge_runtime.sinks.broadcast import KEEP_ALIVE, Broadcast, Listener
from edge_runtime.sinks.live_page import Page
from edge_runtime.sinks.web_access import (
    LOOPBACK,
    may_read,
    names_loopback,
    names_this_device,
)

log = logging.getLogger(__name__)
PATIENCE_S = 2.0
"""A client that says nothing for so long is hung up on: there is room for so many at a time."""
AT_ONCE = 8
"""Requests that are answered at the same time, beside streams; one more waits for one to end."""
KEEP_ALIVE_S = 15.0
LOOK_S = 1.0
"""How often a stream is looked after: whose client has gone gives its place to another."""
STALLED_S = 30.0
"""A stream whose client takes nothing for so long is ended."""
RETRY_S = 10.0
TEXT = "text/plain; version=0.0.4; charset=utf-8"
HTML = "text/html; charset=utf-8"
STREAMED = {"Vary": "Origin", "X-Accel-Buffering": "no"}
"""Headers of a stream; nginx would keep small events back."""
FULL = b"As many watch already as can at a time: close another screen, and try again.\n"
UNKNOWN_NAME = (
    b"This name may be one that another page points here: ask for the device's address, or name "
    b"http://, this name and the port in http.origins.\n"
)
ELSEWHERE = b"A page from elsewhere may not read this: name its origin in http.origins.\n"


@dataclass(frozen=True)
class Live:
    """What a screen is shown."""

    broadcast: Broadcast
    page: Page
    origins: tuple[str, ...] = ()
    """Whose web pages may read the events, beside the one that is served here; their hosts may be
    names of this device."""


class WebServer:
    """Answers each request in a thread of its own, `AT_ONCE` at a time.

    `status` gives what /health says; it answers 503 where its `state` is `failed`. `metrics` gives
    the page /metrics; None: there is none. `live` is what /events and / show; None: these are not
    there. Entering raises ConfigError where nobody may listen at the address.
    """

    def __init__(
        self,
        address: str,
        port: int,
        status: Callable[[], Mapping[str, Any]],
        metrics: Callable[[], bytes] | None = None,
        live: Live | None = None,
    ) -> None:
        self._address, self._wanted_port = address, port
        self._status, self._metrics, self._live = status, metrics, live
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens; known once entered."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def __enter__(self) -> Self:
        pages, shown = self._pages, self._live

        class Handler(_Handler):
            page = staticmethod(pages)
            only_local = self._address in LOOPBACK
            live = shown

        streams = 0 if shown is None else shown.broadcast.most
        self._server = _listening(self._address, self._wanted_port, Handler, AT_ONCE + streams)
        if self._address not in LOOPBACK:
            what = "metrics" if shown is None else "all that http.live shows"
            where = f"{self._address}:{self.port}"
            log.warning("health and %s are open to the network at %s", what, where)
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
            if self._live is not None:
                self._live.broadcast.close()
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


def _listening(
    address: str, port: int, handler: type[BaseHTTPRequestHandler], at_once: int = 1
) -> _Server:
    """Raises ConfigError."""

    class Server(_Server):
        address_family = _family(address)

    try:
        return Server(at_once, (address, port), handler)
    except OSError as error:
        raise ConfigError(
            f"Nobody can listen at {address}:{port}: {error.strerror}. "
            "Choose another http.address or http.port."
        ) from error


class _Server(HTTPServer):
    """A thread for each request, and never more than `at_once` of them."""

    def __init__(self, at_once: int, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(at_once)
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
    live: Live | None
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
        path = self.path.partition("?")[0]
        shown = self.live if path in ("/", "/events") else None
        if self.only_local and not names_loopback(self.headers):
            # A web page in this machine's browser may point a name of its own at 127.0.0.1.
            self._answer(403, TEXT, b"Ask for 127.0.0.1 or localhost.\n")
        elif shown is not None and not self._is_asked_for(shown):
            self._answer(403, TEXT, UNKNOWN_NAME)
        elif shown is not None and path == "/":
            policy = {"Content-Security-Policy": shown.page.policy}
            self._answer(200, HTML, shown.page.body, policy)
        elif shown is not None:
            self._stream(shown)
        else:
            self._answer(*self._figures(path))

    def _is_asked_for(self, live: Live) -> bool:
        return self.only_local or names_this_device(self.headers, live.origins)

    def _figures(self, path: str) -> tuple[int, str, bytes]:
        try:
            return self.page(path)
        except Exception:
            log.warning("%s could not be answered", self.path, exc_info=True)
            return 500, TEXT, b"This page is broken; the log says why.\n"

    def _answer(
        self, code: int, kind: str, body: bytes, more: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._head(code, kind, {"Content-Length": str(len(body)), **more})
        self.wfile.write(body)

    def _head(self, code: int, kind: str, more: Mapping[str, str]) -> None:
        self.send_response(code)
        headers = {
            "Content-Type": kind,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in {**headers, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, live: Live) -> None:
        """Until the client goes, or the server ends."""
        if not may_read(self.headers, live.origins):
            self._answer(403, TEXT, ELSEWHERE)
            return
        with live.broadcast.listening() as listener:
            if listener is None:
                self._answer(503, TEXT, FULL)
                return
            self._deadline.cancel()
            self.connection.settimeout(STALLED_S)
            stalled_ms = int(STALLED_S * 1000)
            with contextlib.suppress(OSError):  # not every kernel knows it
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_ms)
            origin = self.headers.get("Origin", "")
            allowed = {"Access-Control-Allow-Origin": origin} if origin in live.origins else {}
            self._head(200, "text/event-stream", {**STREAMED, **allowed})
            self._follow(live.broadcast, listener)

    def _follow(self, broadcast: Broadcast, listener: Listener) -> None:
        written_s = time.monotonic()
        while (text := broadcast.take(listener, min(LOOK_S, KEEP_ALIVE_S))) is not None:
            if _has_gone(self.connection):
                return
            now_s = time.monotonic()
            if text != KEEP_ALIVE or now_s >= written_s + KEEP_ALIVE_S:
                self.wfile.write(text)
                written_s = now_s

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _has_gone(client: socket.socket) -> bool:
    """Whether it has closed its end; a write would find out at the second attempt only."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))


def _family(address: str) -> Any:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
