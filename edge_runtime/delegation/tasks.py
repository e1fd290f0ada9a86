"""Steps that may take their time, one after the other on a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self

log = logging.getLogger(__name__)
END_S = 2.0


class Tasks:
    """A step that raises is logged, and the next one follows."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What waits is still done, within a while."""
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(timeout=END_S)

    def __len__(self) -> int:
        """Those that wait."""
        return self._waiting.qsize()

    def put(self, step: Callable[[], object]) -> None:
        self._waiting.put(step)

    def _work(self) -> None:
        while (step := self._waiting.get()) is not None:
            try:
                step()
            except Exception:
                log.warning("a step of a delegation failed", exc_info=True)
