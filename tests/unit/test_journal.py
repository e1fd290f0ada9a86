"""Logging to the journal: its own protocol, priorities, and what happens without its socket."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.journal import LONGEST_MESSAGE, JournalHandler, goes_to_the_journal, priority


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[socket.socket, JournalHandler]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.settimeout(30)
        inbox.bind(str(tmp_path / "socket"))
        handler = JournalHandler(tmp_path / "socket")
        yield inbox, handler
        handler.close()


def fields(datagram: bytes) -> dict[str, str]:
    """As journald reads it."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = struct.unpack("<Q", rest[:8])[0]
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


def record(text: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("edge_runtime.loop", level, "/x/loop.py", 7, text, (), None, "run")


@pytest.mark.parametrize("text", ["the engine failed", "two\nlines", "ä = ö\n\n"])
def test_a_record_arrives_with_its_fields(
    journal: tuple[socket.socket, JournalHandler], text: str
) -> None:
    inbox, handler = journal
    handler.handle(record(text))
    assert fields(inbox.recv(65536)) == {
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "edge-runtime",
        "LOGGER": "edge_runtime.loop",
        "THREAD_NAME": "MainThread",
        "CODE_FILE": "/x/loop.py",
        "CODE_LINE": "7",
        "CODE_FUNC": "run",
        "MESSAGE": text,
    }


def test_an_exception_is_part_of_the_message(
    journal: tuple[socket.socket, JournalHandler],
) -> None:
    inbox, handler = journal
    try:
        raise OSError("the disk is full")
    except OSError:
        one = record("it failed", logging.ERROR)
        one.exc_info = sys.exc_info()
    handler.handle(one)
    message = fields(inbox.recv(65536))["MESSAGE"]
    assert message.startswith("it failed\nTraceback")
    assert message.endswith("OSError: the disk is full")


def test_a_message_has_an_end(journal: tuple[socket.socket, JournalHandler]) -> None:
    inbox, handler = journal
    handler.handle(record("x" * 10 * LONGEST_MESSAGE))
    assert len(fields(inbox.recv(65536))["MESSAGE"]) == LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("level", "number"),
    [(logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (5, 7)],
)
def test_priorities_are_those_of_syslog(level: int, number: int) -> None:
    assert priority(level) == number


def test_without_the_socket_it_is_a_line_with_its_priority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = JournalHandler(tmp_path / "none")
    handler.handle(record("two\nlines", logging.ERROR))
    handler.close()
    assert capsys.readouterr().err == "<3>two | lines\n"


def test_only_the_stream_that_is_connected_to_the_journal_counts(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert goes_to_the_journal(named, stream.fileno())
        assert not goes_to_the_journal({}, stream.fileno())
        with (tmp_path / "other").open("w") as other:
            assert not goes_to_the_journal(named, other.fileno())


def test_a_command_whose_errors_go_to_the_journal_logs_them_there(tmp_path: Path) -> None:
    """The journal's socket is not here, so the line with its priority is what can be seen."""
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        done = subprocess.run(
            [sys.executable, "-m", "edge_runtime.cli", "serve", "--config", "none.yaml"],
            cwd=tmp_path, env=environment, stderr=stream, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 78
    if Path("/run/systemd/journal/socket").exists():
        pytest.skip("this machine's journal has it")
    assert (tmp_path / "stream").read_text().startswith("<3>There is no configuration file")
