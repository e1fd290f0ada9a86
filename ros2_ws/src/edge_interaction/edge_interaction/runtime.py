"""The device and its loop in a thread of its own, for a node to start and stop. No ROS."""

from __future__ import annotations

import faulthandler
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from edge_runtime import app
from edge_runtime.config import Config
from edge_runtime.health import LOOP, HealthMonitor, State
from edge_runtime.interfaces import NothingHeld, Sink
from edge_runtime.micro_turn import TurnRecord
from edge_runtime.remote_control import RemoteControl
from edge_runtime.senses import Senses

log = logging.getLogger(__name__)
SILENT_S = 5.0
"""A loop that has completed no micro-turn for so long hangs: a GPU call, or a device, is stuck."""
STOP_S = 2.0
"""For the micro-turn that is under way when the loop is to end."""


class Runtime:
    """`acquire`, then `start` and `stop` as often as wanted, then `release`."""

    def __init__(
        self,
        config: Config,
        senses: Senses,
        sinks: Sequence[Sink],
        control: RemoteControl,
        health: HealthMonitor,
    ) -> None:
        self._config, self._senses, self._sinks = config, senses, sinks
        self._control, self._health = control, health
        self._acquired = ExitStack()
        self._parts = ExitStack()
        """What the loop uses; within `_acquired`."""
        self._device: app.Device | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._pulse = _Pulse()
        self.error: Exception | None = None
        """What ended the loop, if it was not its time."""
        self.hung = False
        """The loop was told to end and did not: what it uses is not released any more."""

    @property
    def device(self) -> app.Device:
        assert self._device is not None, "acquire() comes first"
        return self._device

    @property
    def over(self) -> bool:
        """It was started, and has ended by itself: the sound is over, or the loop has failed."""
        if self._thread is None:
            return False
        return self.error is not None or not self._thread.is_alive()

    def acquire(self) -> None:
        """Model, voice, background model, sinks and senses. Raises EdgeRuntimeError; then nothing
        is held."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)
            self._parts = stack.enter_context(ExitStack())
            sinks = [*self._sinks, self._pulse]
            ready = app.device(
                self._config, self._senses, sinks, control=self._control, health=self._health
            )
            self._device = self._parts.enter_context(ready)
            self.device.loop.rest()  # what an earlier node kept was asked for before, too
            self._acquired = stack.pop_all()

    def start(self) -> None:
        self._stop.clear()
        self._pulse.beat()
        # What it said when it ran before is long past.
        self._health.report(LOOP, State.DEGRADED, "no micro-turn yet")
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def watch(self) -> None:
        """Notice a loop that hangs: it is over then, and `error` says so. For now and then."""
        if self._thread is not None and not self.over and self._pulse.silent_s > SILENT_S:
            self.error = TimeoutError(f"the loop has given no sign for {SILENT_S:.0f} s")
            log.error("%s; where every thread is:", self.error)
            faulthandler.dump_traceback()

    def stop(self) -> None:
        """Returns after the micro-turn that is under way; the device is silent then. One that does
        not end in two seconds is an error, and left behind."""
        self._stop.set()
        if self._thread is None or self.hung:
            return
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            self.hung = True
            self.error = self.error or TimeoutError(f"the loop did not end within {STOP_S:.0f} s")
            return
        self._thread = None
        self.device.loop.rest()

    def release(self) -> None:
        """A loop that hangs keeps what it uses: a model that runs must not be freed."""
        self.stop()
        self._device = None
        if self.hung:
            log.error("the loop hangs; what it holds is released when the process ends")
            self._parts = self._parts.pop_all()  # kept: garbage is released, too
        self._acquired.close()

    def _run(self) -> None:
        try:
            self.device.loop.run(self._stop.is_set)
        except Exception as error:
            log.exception("the loop has failed")
            self.error = error


class _Pulse(NothingHeld):
    """A sink that knows how long ago the last micro-turn was."""

    def __init__(self) -> None:
        self._beat_s = 0.0

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self._beat_s

    def beat(self) -> None:
        self._beat_s = time.monotonic()

    def publish(self, record: TurnRecord) -> None:
        self.beat()
