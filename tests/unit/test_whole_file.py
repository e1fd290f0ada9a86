"""A file is replaced as a whole, or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edge_runtime.whole_file import remove_parts, write_whole


def test_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("a longer text from before")
    write_whole(path, "21 °C")
    assert path.read_text(encoding="utf-8") == "21 °C"
    write_whole(path, b"\x00\x01", durably=True)
    assert path.read_bytes() == b"\x00\x01"
    assert list(tmp_path.iterdir()) == [path]


def test_its_permissions_are_those_asked_for_or_those_of_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "own", "")
        write_whole(tmp_path / "all", "", 0o644)
        (tmp_path / "all").chmod(0o600)
        write_whole(tmp_path / "all", "", 0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "all").stat().st_mode & 0o777 == 0o644


def test_a_reader_never_finds_half_of_it(tmp_path: Path) -> None:
    path, size = tmp_path / "big", 300_000
    write_whole(path, b"a" * size)
    done = threading.Event()
    found: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            found.add(content[:1] + content[-1:] + (b"" if len(content) == size else b"!"))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(100):
        write_whole(path, (b"a", b"b")[turn % 2] * size)
    done.set()
    reader.join()
    assert found <= {b"aa", b"bb"} and found


def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(folder, "text")
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no folder" / "file", "text")


def test_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_whole(path, "old")
    path.with_name(f".note.txt.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "x" * 100_000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = {tmp_path / name for name in ("a[1].json", ".a1.json.7.part", ".b.a[1].json.7.part")}
    for path in (*kept, tmp_path / ".a[1].json.7.part", tmp_path / ".a[1].json.123.part"):
        path.write_text("half of i")
    remove_parts(tmp_path / "a[1].json")
    assert set(tmp_path.iterdir()) == kept
    remove_parts(tmp_path / "no folder" / "a.json")
