"""How the device is, in one place: its parts report here, and whoever shows it takes a snapshot.

    health = HealthMonitor()
    health.report(CAMERA, State.DEGRADED, "no picture for 4 s")
    health.snapshot().state        # the worst of the parts
    health.snapshot().line         # "degraded: camera: no picture for 4 s"

Any thread may report and look. A report may be given a time for which it holds: a part that then
gives no sign has failed, whatever it said last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

log = logging.getLogger(__name__)

LOOP, COMPUTE, ENGINE = "loop", "compute", "engine"
MICROPHONE, LOUDSPEAKER, CAMERA = "microphone", "loudspeaker", "camera"
LINK, DISK, TEMPERATURE = "link", "disk", "temperature"
RECORDING, OUTBOX, HTTP, VOICE = "recording", "outbox", "http", "voice"

Value = float | int | str


class State(str, Enum):
    """From good to bad."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works, and less well than it should."""
    FAILED = "failed"
    """It does not do what it is there for."""

    @property
    def severity(self) -> int:
        """0, 1, 2: also the levels of diagnostic_msgs/DiagnosticStatus."""
        return list(State).index(self)


class CameraState(str, Enum):
    """What a camera is worth, as its pictures show it."""

    PRESENT = "present"
    LOST = "lost"
    """It gives no pictures: unplugged, unreachable, or silent."""
    FROZEN = "frozen"
    """It gives the same picture again and again; what it shows may be long gone."""
    BLACK = "black"
    """Its pictures are black: covered, or in the dark."""
    RECOVERING = "recovering"
    """It gives pictures again, and has to go on for a moment before it is trusted."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of the device last said of itself."""

    name: str
    state: State
    reason: str = ""
    """Why it is not ok, or what is to be known while it is; for people."""
    values: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    """Figures behind it, with the unit in the name."""


@dataclass(frozen=True, slots=True)
class Health:
    """All parts at one moment, in the order in which they first reported."""

    parts: tuple[Part, ...] = ()

    @property
    def state(self) -> State:
        """The worst of the parts."""
        return max((part.state for part in self.parts), key=lambda s: s.severity, default=State.OK)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Of the parts that are not ok, the worst first: `camera: no picture for 4 s`."""
        ill = [part for part in self.parts if part.state is not State.OK]
        ill.sort(key=lambda part: -part.state.severity)
        return tuple(f"{part.name}: {part.reason or part.state.value}" for part in ill)

    @property
    def line(self) -> str:
        """In one line: the state, and why."""
        return ": ".join([self.state.value, "; ".join(self.reasons)]).removesuffix(": ")

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: state, reasons, and the parts by name."""
        return {
            "state": self.state.value,
            "reasons": list(self.reasons),
            "parts": {
                part.name: {
                    "state": part.state.value,
                    "reason": part.reason,
                    "values": dict(part.values),
                }
                for part in self.parts
            },
        }


@dataclass(frozen=True, slots=True)
class _Report:
    part: Part
    holds_until_ns: int | None
    reported_ns: int


class HealthMonitor:
    """Keeps the last report of every part. A change of a part's state is logged, once."""

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._reports: dict[str, _Report] = {}

    def report(
        self,
        name: str,
        state: State,
        reason: str = "",
        values: Mapping[str, Value] | None = None,
        holds_s: float | None = None,
    ) -> None:
        """Replaces what the part said before. After `holds_s` without a new report it has failed;
        None: it holds until the next one."""
        now_ns = self._now_ns()
        until_ns = None if holds_s is None else now_ns + round(holds_s * 1e9)
        part = Part(name, state, reason, MappingProxyType(dict(values or {})))
        with self._lock:
            before = self._reports.get(name)
            self._reports[name] = _Report(part, until_ns, now_ns)
        was = State.OK if before is None else before.part.state
        if was is not state:
            # How things are at the start is no news, unless it is bad: the network takes a moment.
            news = before is not None or state is State.FAILED
            level = logging.WARNING if news and state.severity > was.severity else logging.INFO
            log.log(level, "health: %s is %s%s", name, state.value, f": {reason}" if reason else "")

    def snapshot(self) -> Health:
        """How everything is now; a plain value that never changes."""
        now_ns = self._now_ns()
        with self._lock:
            reports = list(self._reports.values())
        return Health(tuple(_now(report, now_ns) for report in reports))


def _now(report: _Report, now_ns: int) -> Part:
    if report.holds_until_ns is None or now_ns <= report.holds_until_ns:
        return report.part
    silent_s = (now_ns - report.reported_ns) / 1e9
    part = report.part
    return Part(part.name, State.FAILED, f"no sign of it for {silent_s:.0f} s", part.values)
