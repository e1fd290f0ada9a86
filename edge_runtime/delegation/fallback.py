"""Remote where a worker can be reached, local otherwise; and local for what the remote lost.

The choice is made before a question is sent, so a dead link costs no timeout.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from edge_runtime.errors import BackgroundError
from edge_runtime.interfaces import Background
from edge_runtime.micro_turn import Event, EventKind, Request

log = logging.getLogger(__name__)


class Remote(Protocol):
    """A background model that may be out of reach."""

    @property
    def available(self) -> bool: ...

    def submit(self, request: Request) -> None: ...

    def keep(self, request: Request) -> None:
        """Keep it, and send nothing yet."""
        ...

    def promise(self, request_id: str) -> None:
        """It is answered by no one now: tell KEPT and send it when it can be, or tell FAILED."""
        ...

    def cancel(self, request_id: str) -> None: ...

    def heard(self, request_id: str) -> str | None:
        """Of a request that has just failed: what a worker heard and leaves to the local skills."""
        ...

    def poll(self) -> Sequence[Event]: ...


class FallbackBackground:
    """Implements `interfaces.Background`; `remote` and `local` are acquired by the caller.

    A question that is to be kept is asked here too while no worker can be reached: a timer needs
    none. What is not known here either waits for a worker. Of which words it is `known` that the
    local skills understand them is asked of no worker: a command takes no way round.
    """

    def __init__(
        self,
        remote: Remote,
        local: Background,
        known: Callable[[str], bool] = lambda transcript: False,
    ) -> None:
        self._remote, self._local, self._known = remote, local, known
        self._sent: dict[str, Request] = {}
        """Out at the remote, and not yet answered."""
        self._acted: set[str] = set()
        """Something was done for these, or said of them: they are not asked here from the start."""
        self._kept_here: set[str] = set()
        """To be kept, and with the local skills now."""

    def submit(self, request: Request) -> None:
        if self._known(request.transcript):
            log.debug("%s is answered here", request.id)
            self._ask_here(_as_heard(request, request.transcript))
            return
        if self._remote.available:
            try:
                self._remote.submit(request)
            except BackgroundError as error:
                log.warning("%s goes to the local skills: %s", request.id, error)
            else:
                self._sent[request.id] = request
                return
        if request.keep:
            self._remote.keep(request)
        self._ask_here(request)

    def cancel(self, request_id: str) -> None:
        self._forget(request_id)
        self._kept_here.discard(request_id)
        self._remote.cancel(request_id)
        self._local.cancel(request_id)

    def poll(self) -> Sequence[Event]:
        events = [event for event in self._remote.poll() if not self._failed_over(event)]
        return [*events, *(event for event in self._local.poll() if not self._to_be_kept(event))]

    def _ask_here(self, request: Request) -> None:
        if request.keep:
            self._kept_here.add(request.id)
        self._local.submit(request)

    def _failed_over(self, event: Event) -> bool:
        """A question that the remote could not answer, or leaves to the skills here, is asked
        locally, once."""
        if event.kind is EventKind.FAILED:
            return self._asked_here_instead(event)
        if event.id not in self._sent:
            return False
        if event.kind is EventKind.RESULT:
            self._forget(event.id)
        elif event.kind in (EventKind.PARTIAL, EventKind.ACTION):
            self._acted.add(event.id)
        return False

    def _asked_here_instead(self, event: Event) -> bool:
        request, heard = self._sent.get(event.id), self._remote.heard(event.id)
        may_ask = request is not None and event.id not in self._acted
        self._forget(event.id)
        if heard is not None:  # of one that was kept from before, that is all there is
            request = request or Request(event.id, np.zeros(0, np.float32))
            self._ask_here(_as_heard(request, heard))
            return True
        if request is not None and may_ask:
            log.warning("%s: %s; the local skills answer", event.id, event.text)
            self._ask_here(request)
        return may_ask

    def _forget(self, request_id: str) -> None:
        self._sent.pop(request_id, None)
        self._acted.discard(request_id)

    def _to_be_kept(self, event: Event) -> bool:
        """A kept question that is answered here needs no worker; one that is not waits for it."""
        if event.id not in self._kept_here:
            return False
        if event.kind is EventKind.FAILED:
            self._kept_here.remove(event.id)
            self._remote.promise(event.id)
            return True
        if event.kind is EventKind.RESULT:
            self._kept_here.remove(event.id)
            self._remote.cancel(event.id)
        return False

    def __enter__(self) -> FallbackBackground:
        return self

    def __exit__(self, *_: object) -> None:
        self._sent.clear()
        self._acted.clear()
        self._kept_here.clear()


def _as_heard(request: Request, text: str) -> Request:
    """With nothing to listen to again."""
    return replace(request, audio=np.zeros(0, np.float32), transcript=text, letters=None)
