"""Timers of a service, kept over restarts: a crash, an upgrade or a power cut takes back none.

A timer is on the disk before whoever set it is told so, and stays there until it has begun to be
told. One whose time came while the service was off rings when it is back, and says how late it is;
one that was about to be told may be told again.

While the service runs, its timers count on a clock that nobody sets. Only from one run to the next
the time of day counts, as that alone goes on while the machine is off. It may have been set, or
be wrong:

- Where it is before what the file says, the machine has no clock that goes on without power. Then
  how long it was off is unknown, and taken as no time.
- Where it is set soon after the start, as from the network, what an earlier run left is counted
  anew. Later that moves no timer.
- No timer waits for longer than it was set for. Of one that seems to be late by more than the
  longest can last, it is told that and no more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Self

from edge_runtime.background.skills import MAX_CHARS
from edge_runtime.background.timers import MAX_S, MAX_UNTOLD, Timer, Timers
from edge_runtime.every import PATIENCE_S, Every
from edge_runtime.health import HealthMonitor, State
from edge_runtime.whole_file import remove_parts, write_whole

log = logging.getLogger(__name__)
FILE = "timers.json"
TIMERS = "timers"
"""As a part of the device's health."""
MODE = 0o600
"""What somebody wants to be reminded of is nobody else's business."""
LOOK_EVERY_S = 1.0
RENEW_S = 3600.0
"""The file is written as often while a timer runs: it is how a wrong clock is noticed."""
CLOCK_SET_S = 2.0
"""A clock that is so far from where it would be was set."""
SETTLING_S = 600.0
"""A clock that is set so soon after the start is right only now."""
APART_S = 15.0
"""Between two that are late: time to tell the first, and for the person to say something."""


class KeptTimer(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    number: int = Field(ge=1)
    label: str = Field(max_length=2 * MAX_CHARS)
    """A little longer than what was said: `me` has become `you`."""
    duration_s: float = Field(gt=0, le=MAX_S)
    due_s: float
    """By the time of day."""
    minute: int | None = Field(None, ge=0, lt=24 * 60)
    """Of the day that it was set for."""
    title: str = Field("", max_length=MAX_CHARS)


class Kept(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    written_s: float
    timers: tuple[KeptTimer, ...] = Field(max_length=MAX_UNTOLD)


NOTHING = Kept(written_s=0.0, timers=())


class KeptTimers:
    """`timers` are as they were left while it is entered. `now_ns` is the clock that they run on,
    `wall_s` the time of day. What is wrong with the file is a part of the health, and no error."""

    def __init__(
        self,
        path: Path,
        now_ns: Callable[[], int],
        health: HealthMonitor,
        wall_s: Callable[[], float] = time.time,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.timers = Timers(now_ns, self._keep)
        self._path, self._now_ns, self._wall_s = path, now_ns, wall_s
        self._aside = path.with_name(f"{path.name}.damaged")
        self._in_the_way = False
        """The file can neither be read nor be moved aside."""
        self._health, self._trouble = health, ""
        self._found = NOTHING
        self._ahead_s = 0.0
        """How far the time of day is taken to be ahead of the clock that tells it."""
        self._entered_ns = self._written_ns = 0
        self._between_s = 0.0
        """From the clock that nobody sets to the time of day."""
        self._on_disk: tuple[Timer, ...] | None = ()
        """None: not what it should be."""
        self._writing = threading.Lock()
        """Held from reading the timers to their being on the disk: the last change is the last."""
        self._looking = Every(look_every_s, self.look, "timers", at_once=False)

    def __enter__(self) -> Self:
        self._entered_ns = self._written_ns = self._now_ns()
        self._between_s = self._between_clocks_s()
        remove_parts(self._path)
        self._found = self._read()
        self._report(self._lost)
        self.timers.restore(self._restored())
        self._on_disk = self.timers.untold()
        if self._on_disk:
            log.info("timers that go on from before the restart: %d", len(self._on_disk))
        self._looking.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Not held up for good by a disk that hangs."""
        self._looking.__exit__(kind, error, trace)
        last = threading.Thread(target=self.look, name="timers", daemon=True)
        last.start()
        last.join(PATIENCE_S)
        if last.is_alive():
            log.warning(
                "%s is not written, its disk hangs: what was told or cancelled last may ring again",
                self._path,
            )

    def look(self) -> None:
        """Write what was told meanwhile, and heed a clock that was set and a damaged file that is
        gone."""
        with self._writing:
            was_set = abs(self._between_clocks_s() - self._between_s) > CLOCK_SET_S
            if was_set:
                self._heed_the_set_clock()
            untold = self.timers.untold()
            renew = was_set or self._now_ns() - self._written_ns > RENEW_S * 1e9
            if untold != self._on_disk or (untold and renew):
                self._write(untold)
            else:
                self._report(self._lost)

    def _keep(self) -> None:
        with self._writing:
            self._write(self.timers.untold())

    def _read(self) -> Kept:
        try:
            return Kept.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return NOTHING
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        try:
            os.replace(self._path, self._aside)
        except OSError:
            self._in_the_way = True
        log.warning(
            "%s cannot be read (%s): its timers and reminders will not ring. Set them anew, and "
            "remove %s, which has what is left of them",
            *(self._path, reason, self._damaged),
        )
        return NOTHING

    @property
    def _damaged(self) -> Path:
        return self._path if self._in_the_way else self._aside

    @property
    def _lost(self) -> str:
        """What is to be done about timers that will not ring; empty when nothing is."""
        if not (self._in_the_way or os.path.exists(self._aside)):
            return ""
        return (
            "timers and reminders of an earlier run will not ring: set them anew, and remove "
            f"{self._damaged}, which has what is left of them"
        )

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._health.report(TIMERS, State.DEGRADED if trouble else State.OK, trouble)

    def _restored(self) -> list[Timer]:
        """Those of the file, on the clock of this run."""
        found, now_ns = self._found, self._now_ns()
        least_s = found.written_s + (now_ns - self._entered_ns) / 1e9
        self._ahead_s = max(0.0, least_s - self._wall_s()) if found.timers else 0.0
        now_s, timers, late = self._wall_s() + self._ahead_s, list[Timer](), 0
        for kept in sorted(found.timers, key=lambda kept: kept.due_s):
            left_s, late_s = min(kept.due_s - now_s, kept.duration_s), 0.0
            if left_s < 0:
                rings_s, late = late * APART_S, late + 1
                left_s, late_s = rings_s, rings_s - left_s
            due_ns = now_ns + round(left_s * 1e9)
            timers.append(
                Timer(
                    *(kept.number, kept.duration_s, due_ns, kept.label),
                    *(late_s, kept.minute, kept.title),
                )
            )
        return timers

    def _heed_the_set_clock(self) -> None:
        self._between_s, self._ahead_s = self._between_clocks_s(), 0.0
        if self._now_ns() - self._entered_ns < SETTLING_S * 1e9:
            self.timers.correct(self._restored())

    def _between_clocks_s(self) -> float:
        return self._wall_s() - self._now_ns() / 1e9

    def _write(self, untold: tuple[Timer, ...]) -> None:
        now_ns, now_s = self._now_ns(), self._wall_s() + self._ahead_s
        kept = tuple(
            KeptTimer(
                number=timer.number,
                label=timer.label,
                duration_s=timer.duration_s,
                due_s=now_s + (timer.due_ns - now_ns) / 1e9 - timer.late_s,
                minute=timer.minute,
                title=timer.title,
            )
            for timer in untold
        )
        content = Kept(written_s=now_s, timers=kept).model_dump_json()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, content, MODE, durably=True)
        except OSError as error:
            first, self._on_disk = self._on_disk is not None, None
            why = (
                f"{self._path} cannot be written ({error.strerror}): a restart forgets timers. "
                "Make room, and let this user write there"
            )
            log.log(logging.WARNING if first else logging.DEBUG, "%s", why)
            self._report(why)
            return
        self._on_disk, self._written_ns, self._in_the_way = untold, now_ns, False
        self._report(self._lost)
