"""What a check is given, and what it finds: plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edge_runtime.config import Config
from edge_runtime.masking import masked

Value = float | int | str | bool | None


class Verdict(str, Enum):
    OK = "ok"
    WARNING = "warning"
    """It works, and less well than it could."""
    FAILED = "failed"
    """It is needed and does not work, or it is there and broken."""
    ABSENT = "not here"
    """It is not there, and need not be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    verdict: Verdict
    text: str = ""
    """What was found; no secret and no recorded word is in it."""
    remedy: str = ""
    """What to do, where something is wrong and `text` does not say it."""
    values: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    """Figures behind it, with the unit in the name."""

    def masked(self) -> Finding:
        """Without the user and password that an address may hold."""
        values = {
            name: masked(value) if isinstance(value, str) else value
            for name, value in self.values.items()
        }
        return replace(self, text=masked(self.text), remedy=masked(self.remedy), values=values)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "text": self.text,
            "remedy": self.remedy,
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True)
class Case:
    """What is examined, and how."""

    config: Config = field(default_factory=Config)
    configured: bool = False
    """The configuration was given: what it names must be there."""
    service: str | None = None
    """The unit whose configuration it is, without its ending: edge-runtime, edge-runtime@left."""
    root: Path = Path("/")
    """A folder that stands for /: of the kernel's files, of units and devices."""
    out: Path | None = None
    """Pictures of the cameras are written there."""
    tone: bool = False
    """Play a tone."""
    on_level: Callable[[float], None] = lambda dbfs: None
    """Told five times a second what the microphone hears, while it is tested."""

    def at(self, path: str) -> Path:
        """Where `path`, which begins at /, is."""
        return self.root / path.lstrip("/")

    @property
    def here(self) -> bool:
        """It is this machine, and no folder that stands for another."""
        return self.root == Path("/")

    @property
    def state(self) -> Path:
        """StateDirectory and WorkingDirectory of the service."""
        return Path("/var/lib") / str(self.service).replace("@", "/")

    @property
    def cache(self) -> Path:
        """CacheDirectory of the service."""
        return Path("/var/cache") / str(self.service).replace("@", "/")

    @property
    def working(self) -> Path:
        """The folder that names of files to be written are relative to."""
        return self.state if self.service else Path.cwd()

    @property
    def recording(self) -> Path | None:
        """Where recordings go, as a whole path."""
        path = self.config.recording.path
        return None if path is None else self.working / path

    @property
    def on_gpu(self) -> bool:
        """The configuration wants the model on a GPU."""
        chosen = self.config.engine
        return chosen.backend == "tensorrt" or chosen.provider != "cpu"

    def missing(self, name: str, text: str, remedy: str, needed: bool = True) -> Finding:
        """Of something that is not there: worse where the given configuration needs it."""
        verdict = Verdict.FAILED if needed and self.configured else Verdict.ABSENT
        return Finding(name, verdict, text, remedy)


Check = Callable[[Case], "list[Finding]"]


def ok(name: str, text: str, /, **values: Value) -> Finding:
    return Finding(name, Verdict.OK, text, values=values)


def warning(name: str, text: str, remedy: str = "", /, **values: Value) -> Finding:
    return Finding(name, Verdict.WARNING, text, remedy, values)


def failed(name: str, text: str, remedy: str = "", /, **values: Value) -> Finding:
    return Finding(name, Verdict.FAILED, text, remedy, values)


def absent(name: str, text: str, remedy: str = "", /, **values: Value) -> Finding:
    return Finding(name, Verdict.ABSENT, text, remedy, values)


def may_open(path: Path, mode: int = os.R_OK | os.W_OK) -> bool:
    """Whether this process may, as who it acts now."""
    return os.access(path, mode, effective_ids=True)


def read(path: Path) -> str:
    """A file of the kernel's, which may be missing: then empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
