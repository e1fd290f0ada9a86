"""Tells systemd how the service is: sd_notify(3), which is one datagram to a socket."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from types import TracebackType

from typing_extensions import Self

from edge_runtime.every import Every
from edge_runtime.health import Health
from edge_runtime.micro_turn import TurnRecord

log = logging.getLogger(__name__)
STATUS_EVERY_S = 1.0


class ServiceNotifier:
    """A Sink: READY with the first micro-turn, and the watchdog is fed by completed ones alone.

    STATUS is the health in one line, from a thread of its own, so that it also tells of a loop that
    is stuck. Without systemd (no NOTIFY_SOCKET) it does nothing.
    """

    def __init__(
        self, health: Callable[[], Health], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._health = health
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        self._ready = False
        self._told = ""
        self._telling = Every(STATUS_EVERY_S, self._tell, "the service's status", at_once=False)

    def __enter__(self) -> Self:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # a full queue must not hold a micro-turn up
            self._send("STATUS=starting")
            self._telling.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._telling.__exit__(kind, error, trace)
            end = "STOPPING=1" if error is None else f"STOPPING=1\nSTATUS={_line(str(error))}"
            self._send(end)
            self._socket.close()
            self._socket = None

    def publish(self, record: TurnRecord) -> None:
        if not record.output.tensors:  # a safe stop: a part has failed
            return
        if not self._ready:
            self._ready = self._send("READY=1")
        self._send("WATCHDOG=1")

    def _tell(self) -> None:
        status = _line(self._health().line)
        if status != self._told and self._send(f"STATUS={status}"):
            self._told = status

    def _send(self, message: str) -> bool:
        """Whether systemd has it."""
        if self._socket is None:
            return False
        # A name that begins with @ is in the abstract namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            self._socket.sendto(message.encode(), address)
        except OSError as error:
            log.debug("systemd was not told %s: %s", message, error)
            return False
        return True


def _line(text: str) -> str:
    """A new line would end the field."""
    return " ".join(text.split())
