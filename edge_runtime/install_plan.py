"""What installing or removing a service does: plain values to be shown first; and doing it."""

from __future__ import annotations

import shutil
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

    @property
    def what(self) -> str:
        """`write`, `update`, `unchanged` or `keep`."""
        if not self.path.exists():
            return "write"
        if self.kept:
            return "keep"
        return "unchanged" if self.path.read_text(encoding="utf-8") == self.content else "update"


@dataclass(frozen=True)
class Plan:
    files: tuple[FileStep, ...]
    commands: tuple[tuple[str, ...], ...]
    only_instances: bool = False
    """Nothing but the instances that are there is installed anew."""

    @property
    def changes(self) -> bool:
        return any(step.what in ("write", "update") for step in self.files)

    @property
    def starts(self) -> bool:
        """Something is started, which may take minutes."""
        return any(STARTS.intersection(command) for command in self.commands)


def apply_install(plan: Plan) -> None:
    """Raises InputError with the reason where a file or commands cannot be: of these all are run,
    whatever fails."""
    for step in plan.files:
        if step.what in ("write", "update"):
            _write(step)
    _run_all(plan.commands)


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


def _write(step: FileStep) -> None:
    try:
        step.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(step.path, step.content, 0o644)
    except OSError as error:
        raise _refused(step.path, error) from error


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
