"""The device and its loop in a thread of its own, for a node to start and stop. No ROS."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from edge_runtime import app
from edge_runtime.config import Config
from edge_runtime.interfaces import Sink
from edge_runtime.remote_control import RemoteControl
from edge_runtime.senses import Senses

log = logging.getLogger(__name__)


class Runtime:
    """`acquire`, then `start` and `stop` as often as wanted, then `release`."""

    def __init__(
        self,
        config: Config,
        senses: Senses,
        sinks: Sequence[Sink],
        control: RemoteControl,
    ) -> None:
        self._config, self._senses, self._sinks = config, senses, sinks
        self._control = control
        self._acquired = ExitStack()
        self._device: app.Device | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.error: Exception | None = None
        """What ended the loop, if it was not its time."""

    @property
    def device(self) -> app.Device:
        assert self._device is not None, "acquire() comes first"
        return self._device

    @property
    def over(self) -> bool:
        """It was started, and has ended by itself: the sound is over, or the loop has failed."""
        return self._thread is not None and not self._thread.is_alive()

    def acquire(self) -> None:
        """Model, voice, background model, sinks and senses. Raises EdgeRuntimeError; then nothing
        is held."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)
            ready = app.device(self._config, self._senses, self._sinks, control=self._control)
            self._device = stack.enter_context(ready)
            self._acquired = stack.pop_all()

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns after the micro-turn that is under way; the device is silent then."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.device.loop.silence()

    def release(self) -> None:
        self.stop()
        self._device = None
        self._acquired.close()

    def _run(self) -> None:
        try:
            self.device.loop.run(self._stop.is_set)
        except Exception as error:
            log.exception("the loop has failed")
            self.error = error
