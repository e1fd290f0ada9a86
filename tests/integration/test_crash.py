"""What nobody expected ends up among what is wrong in the log, and not in lines beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import threading
from edge_runtime import cli

def fail():
    raise RuntimeError("rtsp://me:hunter2@cam is no camera")

@cli.app.command()
def crash():
    fail()

@cli.app.command()
def crash_beside():
    thread = threading.Thread(target=fail, name="ear")
    thread.start()
    thread.join()

cli.main()
"""


def run(command: str, stderr: Path, journal: bool) -> tuple[int, str]:
    """Exit code, and what is on standard error."""
    with stderr.open("w") as stream:
        status = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"} if journal else {}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, command],
            stderr=stream, env={**os.environ, **named}, timeout=120, check=False,
        )  # fmt: skip
    return done.returncode, stderr.read_text()


@pytest.mark.parametrize(
    ("command", "who", "code"),
    [("crash", "it has crashed", 1), ("crash-beside", "the thread ear has crashed", 0)],
)
def test_a_crash_is_logged_as_critical_with_its_traceback(
    tmp_path: Path, command: str, who: str, code: int
) -> None:
    returned, told = run(command, tmp_path / "stderr", journal=False)
    assert returned == code
    assert re.match(rf"\d{{4}}-\S+ \S+ CRITICAL {who}: RuntimeError: rtsp://\*\*\*@cam", told)
    assert told.count("Traceback") == 1 and "in fail" in told and "hunter2" not in told


@pytest.mark.skipif(
    Path("/run/systemd/journal/socket").exists(), reason="this machine's journal would have it"
)
@pytest.mark.parametrize("command", ["crash", "crash-beside"])
def test_in_the_journal_it_has_that_priority(tmp_path: Path, command: str) -> None:
    _, told = run(command, tmp_path / "stderr", journal=True)
    assert told.startswith("<2>") and "in fail" in told
