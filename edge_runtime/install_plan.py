"""What installing or removing a service does: plain values to be shown first; and doing it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import InputError
from edge_runtime.whole_file import write_whole

TIMEOUT_S = 120.0
STARTS = frozenset({"restart", "try-restart"})
"""Of systemctl: they end when the service is up, which may take minutes."""
MAY_FAIL = "reset-failed"
"""Of systemctl: a unit that is not loaded has nothing to be reset."""


@dataclass(frozen=True)
class FileStep:
    """One file to be as it should."""

    path: Path
    content: str
    kept: bool = False
    """Its owner's: never overwritten, never removed."""
    group: str | None = None
    """Who may read it beside root; None, and where there is no such group: everybody."""

    @property
    def what(self) -> str:
        """`write`, `update`, `unchanged` or `keep`."""
        if not self.path.exists():
            return "write"
        if self.kept:
            return "keep"
        return "unchanged" if self.path.read_text(encoding="utf-8") == self.content else "update"

    @property
    def open_to_all(self) -> bool:
        """Its owner's file is there already, and everybody can read what its group should."""
        there = self.group is not None and self.path.exists()
        return there and bool(self.path.stat().st_mode & stat.S_IROTH)


@dataclass(frozen=True)
class Plan:
    files: tuple[FileStep, ...]
    commands: tuple[tuple[str, ...], ...]
    only_instances: bool = False
    """Nothing but the instances that are there is installed anew."""
    root: Path = Path("/")
    """The folder that stands for it, whose groups count."""

    @property
    def changes(self) -> bool:
        return any(step.what in ("write", "update") for step in self.files)

    @property
    def starts(self) -> bool:
        """Something is started, which may take minutes."""
        return any(STARTS.intersection(command) for command in self.commands)


def apply_install(plan: Plan) -> None:
    """Raises InputError with the reason where a file or commands cannot be. Users and folders come
    before what belongs to them, and of systemctl's commands all are run, whatever fails."""
    due = [step for step in plan.files if step.what in ("write", "update")]
    first = [command for command in plan.commands if command[0] != "systemctl"]
    for step in due:
        if step.group is None:
            _write(step)
    _run_all(first)
    for step in due:
        if step.group is not None:
            _write(step, _group_id(plan.root, step.group))
    _run_all(command for command in plan.commands if command not in first)


def apply_removal(plan: Plan, root: Path) -> None:
    """Stops and disables first, so that nothing runs without its unit. Raises InputError."""
    _run_all(plan.commands)
    for step in plan.files:
        try:
            step.path.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(step.path, error) from error
    if root == Path("/") and plan.files:
        _run(("systemctl", "daemon-reload"))


def _write(step: FileStep, group_id: int | None = None) -> None:
    try:
        step.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(step.path, step.content, 0o644 if group_id is None else 0o640)
        if group_id is not None:
            os.chown(step.path, -1, group_id)
    except OSError as error:
        raise _refused(step.path, error) from error


def _group_id(root: Path, name: str) -> int | None:
    """As systemd-sysusers has made it there; None: there is none."""
    try:
        lines = (root / "etc/group").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    groups = (line.split(":") for line in lines)
    return next((int(group[2]) for group in groups if group[0] == name), None)


def _refused(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be changed: {error.strerror}. Run it as root: sudo.")


def _run_all(commands: Iterable[Sequence[str]]) -> None:
    failures = []
    for command in commands:
        try:
            _run(command)
        except InputError as error:
            failures.append(str(error))
    if failures:
        raise InputError("\n".join(dict.fromkeys(failures)))


def _run(command: Sequence[str]) -> None:
    if shutil.which(command[0]) is None:
        raise InputError(f"{command[0]} is not on this machine: services need systemd.")
    timeout_s = None if STARTS.intersection(command) else TIMEOUT_S
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"`{' '.join(command)}` did not end in {timeout_s:g} s.") from None
    if done.returncode != 0 and MAY_FAIL not in command:
        raise InputError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
