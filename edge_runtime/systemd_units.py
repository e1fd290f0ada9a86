"""Units of this machine, as systemd shows them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from edge_runtime.errors import InputError

PROPERTIES = "Id,ActiveState,SubState,Result,NRestarts,UnitFileState"
TIMEOUT_S = 20.0


def show_units(patterns: Sequence[str]) -> list[dict[str, str]]:
    """The properties of each unit; a pattern stands for those that are loaded. Raises InputError
    where there is no systemd, or it does not answer."""
    if shutil.which("systemctl") is None:
        raise InputError("There is no systemd on this machine.")
    try:
        asked = subprocess.run(
            ["systemctl", "show", f"--property={PROPERTIES}", *patterns],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"systemd does not answer within {TIMEOUT_S:.0f} s.") from None
    if asked.returncode:
        raise InputError(f"systemd does not answer: {asked.stderr.strip()}")
    return parsed(asked.stdout)


def parsed(shown: str) -> list[dict[str, str]]:
    """From what `systemctl show` prints: blocks of KEY=VALUE, one a unit."""
    blocks = (block.splitlines() for block in shown.strip().split("\n\n"))
    units = [dict(line.split("=", 1) for line in lines if "=" in line) for lines in blocks]
    return [unit for unit in units if unit.get("Id")]
