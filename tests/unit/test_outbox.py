"""The outbox: what was written is there again, whoever ended the program and how."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from full_disk import full_disk

from edge_runtime.delegation.outbox import MAX_KEPT, Outbox, Row
from edge_runtime.errors import ConfigError

HOUR_S = 3600.0
WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from edge_runtime.delegation.outbox import Outbox

outbox = Outbox(Path(sys.argv[1]), 3600).__enter__()
outbox.add("a", "remind me", b"message a")
outbox.add("b", "remind him", b"message b")
outbox.answered("b", "Done.")
os.kill(os.getpid(), signal.SIGKILL)
"""


class Wall:
    """The time, of the day or of the run, set by the test."""

    s = 1_000_000.0

    def __call__(self) -> float:
        return self.s


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    died = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path)], timeout=60)
    assert died.returncode == -signal.SIGKILL
    with Outbox(path, HOUR_S) as outbox:
        assert outbox.rows() == [Row("a", "remind me", None), Row("b", "remind him", "Done.")]
        message = outbox.message("a")
        assert message is not None and message[0] == b"message a"


def test_every_change_is_synced_to_the_disk(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", HOUR_S) as outbox:
        ask = outbox._opened().execute
        assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ask("PRAGMA synchronous").fetchone() == (2,), "2 is FULL: a sync with each change"


def test_only_its_user_may_read_what_people_said(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", HOUR_S) as outbox:
        outbox.add("a", "", b"message")
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", HOUR_S) as outbox:
        outbox.add("a", "", b"message")
        outbox.remove("a")
        outbox.answered("a", "too late")
        assert outbox.rows() == [] and outbox.message("a") is None


def test_what_no_longer_matters_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wall = Wall()
    with Outbox(tmp_path / "outbox.db", HOUR_S, wall, wall) as outbox:
        outbox.add("old", "", b"message")
        wall.s += 600
        outbox.add("new", "", b"message")
        assert outbox.message("old") == (b"message", 600.0)
        wall.s += HOUR_S - 300
        assert outbox.message("old") is None
        assert "old has waited for 1.1 h and is dropped" in caplog.text
        assert [row.id for row in outbox.rows()] == ["new"]


def test_a_clock_that_was_set_back_loses_nothing(tmp_path: Path) -> None:
    wall = Wall()
    with Outbox(tmp_path / "outbox.db", HOUR_S, wall, lambda: 0.0) as outbox:
        outbox.add("a", "", b"message")
        wall.s = 0.0
        assert outbox.message("a") == (b"message", 0.0)
        assert len(outbox.rows()) == 1


def test_a_clock_that_is_put_right_makes_nothing_of_this_run_old(tmp_path: Path) -> None:
    wall, run = Wall(), Wall()
    with Outbox(tmp_path / "outbox.db", HOUR_S, wall, run) as outbox:
        outbox.add("a", "", b"message")
        wall.s += 300 * 24 * HOUR_S
        run.s += 600
        assert outbox.message("a") == (b"message", 600.0)
        assert outbox.drop_old() == []
    with Outbox(tmp_path / "outbox.db", HOUR_S, wall) as outbox:
        assert outbox.message("a") == (b"message", 600.0)
        wall.s += HOUR_S
        assert outbox.drop_old() == ["a"]
        assert outbox.rows() == []


def test_it_does_not_grow_without_end(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", HOUR_S) as outbox:
        for number in range(MAX_KEPT):
            outbox.add(str(number), "", b"message")
        with pytest.raises(sqlite3.Error, match="waiting already"):
            outbox.add("more", "", b"message")
        outbox.add("0", "", b"again")
        assert len(outbox.rows()) == MAX_KEPT


@pytest.mark.parametrize(
    "content", [b"no database at all" * 300, b"SQLite format 3\0" + b"\7" * 9000]
)
def test_a_damaged_file_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    with Outbox(path, HOUR_S) as outbox:
        outbox.add("a", "", b"message")
        assert [row.id for row in outbox.rows()] == ["a"]
    (aside,) = tmp_path.glob("outbox.db.damaged-*")
    assert aside.read_bytes() == content


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(ConfigError, match="newer version"), Outbox(path, HOUR_S):
        pass
    assert [one.name for one in tmp_path.glob("*damaged*")] == []


@pytest.mark.parametrize("name", ["missing/outbox.db", "file/outbox.db", "folder"])
def test_a_place_that_cannot_be_used_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=r"leave out delegation\.outbox"):
        Outbox(tmp_path / name, HOUR_S).__enter__()


def test_on_a_full_disk_nothing_is_kept_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path, HOUR_S) as outbox:
        outbox.add("a", "remind me", b"message")
    with full_disk():
        outbox = Outbox(path, HOUR_S).__enter__()
        assert "tried again every minute" in outbox.trouble and outbox.trouble in caplog.text
        with pytest.raises(sqlite3.Error, match="nothing is kept"):
            outbox.add("b", "remind him", b"message")
        outbox.remove("b")
        assert not outbox.open_again()
        assert outbox.rows() == [] and outbox.drop_old() == []
    assert outbox.open_again() and outbox.trouble == ""
    assert not outbox.open_again(), "it is"
    outbox.add("b", "remind him", b"message")
    assert [row.id for row in outbox.rows()] == ["a", "b"]
    outbox.__exit__(None, None, None)


def test_a_disk_that_fills_meanwhile_is_told_until_it_takes_more(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", HOUR_S) as outbox:
        outbox.add("a", "remind me", b"message")
        with full_disk():
            with pytest.raises(sqlite3.Error):
                outbox.add("b", "remind him", b"message")
            assert outbox.trouble.startswith("nothing can be kept in ")
            assert outbox.drop_old() == [] and outbox.trouble, "though there was nothing to remove"
        assert outbox.drop_old() == [] and not outbox.trouble
        outbox.add("b", "remind him", b"message")


def test_a_request_ages_while_the_machine_sleeps() -> None:
    run_s = Outbox(Path("outbox.db"), HOUR_S)._run_s
    assert abs(run_s() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
