"""Warnings that may come many times a second, and are worth a line a minute."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

PAUSE_S = 60.0
MAX_KINDS = 64
"""Told apart: whoever sends ever new ones fills neither the log nor the memory."""
OTHERS = "others"


@dataclass
class _Kind:
    told_s: float
    """When it was last in the log."""
    text: str = ""
    """The last that was held back since."""
    held: int = 0


class SparingLog:
    """Logs the first warning of a kind at once, then one a minute with how many there were.

    Any thread may call it. Whoever has one calls `tell` now and then, or the last that were held
    back are never told.
    """

    def __init__(self, log: logging.Logger, now_s: Callable[[], float] = time.monotonic) -> None:
        self._log, self._now_s = log, now_s
        self._lock = threading.Lock()
        self._kinds: dict[str, _Kind] = {}

    def warn(self, kind: str, text: str) -> None:
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
                kind = OTHERS
            known = self._kinds.setdefault(kind, _Kind(-math.inf))
            known.text, known.held = text, known.held + 1
        self.tell()

    def tell(self, at_end: bool = False) -> None:
        """What was held back for a minute, or `at_end` all that was."""
        now_s = self._now_s()
        with self._lock:
            due = [
                (kind, known)
                for kind, known in self._kinds.items()
                if at_end or now_s - known.told_s >= PAUSE_S
            ]
            for kind, known in due:
                del self._kinds[kind]
                if known.held:
                    self._kinds[kind] = _Kind(now_s)
        for _, known in due:
            if known.held:
                often = f" ({known.held} times since it was last told)" if known.held > 1 else ""
                self._log.warning("%s%s", known.text, often)
