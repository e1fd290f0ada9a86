"""Something that is done now and then, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self

log = logging.getLogger(__name__)
PATIENCE_S = 5.0
"""For the step that is being done at the end."""


class Every:
    """Calls `step` every `period_s` seconds while it is entered, the first time at once or, not
    `at_once`, after a period. A step that raises is logged, its repeats at DEBUG, and goes on."""

    def __init__(
        self, period_s: float, step: Callable[[], object], name: str, at_once: bool = True
    ) -> None:
        self._period_s, self._step, self._name = period_s, step, name
        self._at_once, self._failed = at_once, False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._go_on, name=self._name, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """No step is begun after it, but the one at once is always done."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)

    def _go_on(self) -> None:
        if self._at_once:
            self._try()
        while not self._stopping.wait(self._period_s):
            self._try()

    def _try(self) -> None:
        try:
            self._step()
        except Exception as error:
            level = logging.DEBUG if self._failed else logging.WARNING
            log.log(level, "%s: %s", self._name, error)
            self._failed = True
        else:
            self._failed = False
