"""Logging to systemd's journal: priorities and fields, so that `journalctl -p warning` works.

Where standard error goes to the journal (JOURNAL_STREAM says so), each record is sent to the
journal's own socket with its fields; where that cannot be reached, it is a line on standard error
with the priority in front (`<4>...`), which the journal understands as well.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "edge-runtime"
LONGEST_MESSAGE = 8_000
"""Bytes; longer ones are cut."""


def priority(level: int) -> int:
    """As syslog(3) counts: 3 error, 4 warning, 6 info, 7 debug."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((number for least, number in steps if level >= least), 7)


def goes_to_the_journal(environment: Mapping[str, str] = os.environ, file: int = 2) -> bool:
    """Whether this file (standard error) is the stream that systemd connected to the journal.

    The variable alone says little: a child whose output was redirected inherits it too.
    """
    try:
        status = os.fstat(file)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Fields: MESSAGE, PRIORITY, LOGGER, THREAD_NAME, CODE_FILE, CODE_LINE, CODE_FUNC."""

    def __init__(self, address: Path = SOCKET) -> None:
        super().__init__()
        self._address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # logging must not hold the loop up

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record).encode(errors="replace")[:LONGEST_MESSAGE]
            if not self._send(record, message):
                text = message.decode(errors="replace").replace("\n", " | ")
                sys.stderr.write(f"<{priority(record.levelno)}>{text}\n")
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _send(self, record: logging.LogRecord, message: bytes) -> bool:
        fields: dict[str, object] = {
            "PRIORITY": priority(record.levelno),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "LOGGER": record.name,
            "THREAD_NAME": record.threadName,
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName,
        }
        datagram = b"".join(_field(name, str(value).encode()) for name, value in fields.items())
        try:
            self._socket.sendto(datagram + _field("MESSAGE", message), self._address)
        except OSError:
            return False
        return True


def _field(name: str, value: bytes) -> bytes:
    """As systemd's "Native Journal Protocol" wants it: values with new lines tell their length."""
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
