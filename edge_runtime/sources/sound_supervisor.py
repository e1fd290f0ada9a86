"""Keeps microphone and loudspeaker open: notices when one is lost, silent or stuck, and opens it
again, from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge_runtime.errors import MissingDeviceError
from edge_runtime.sound_status import DeviceState, End
from edge_runtime.sources.audio_device import AudioDevice, AudioKind
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.portaudio import PortAudio
from edge_runtime.sources.sound_opener import KINDS, Opened, SoundOpener
from edge_runtime.sources.sound_plan import Wanted
from edge_runtime.sources.sound_streams import Flow, SoundStreams

log = logging.getLogger(__name__)
LOOK_S = 0.1
STUCK_S = 1.0
"""Without a block: a device, or the program behind it, stands still."""
SILENT_S = 1.2
"""Of exact zeros. Some microphones with a noise gate give these in a quiet room: only a remark."""
REOPEN_SILENT_S, LONGEST_SILENT_S = 10.0, 300.0
"""Then opening it anew is tried, with growing pauses: many that came back from being unplugged
stay silent otherwise."""
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.25, 1.0
XRUNS, XRUNS_WITHIN_S = 5, 60.0
"""So many want larger blocks."""
LOOK_ANEW_S = 30.0
"""So often all devices are listed anew although one end works, which interrupts that."""
CARDS = Path("/proc/asound/cards")


@dataclass
class _Watch:
    """What is known of one end."""

    state: DeviceState = DeviceState.LOST
    device: AudioDevice | None = None
    reason: str = ""
    lost_s: float | None = None
    reopened: int = 0
    xruns_before: int = 0
    """Of streams that were closed."""


class SoundSupervisor:
    """Entering opens both ends and raises SourceError, with a remedy, when it cannot. An end that
    `may_be_late` is lost instead, and sought; a microphone that was switched off before is left
    alone.

    From then on nothing here raises: what is lost is sought with growing pauses, and the other end
    works alone meanwhile. Only its thread opens and closes streams; `switch` waits for nothing.
    """

    def __init__(
        self,
        wanted: Wanted,
        buffer: DuplexBuffer,
        on_open: Callable[[SoundStreams], None] = lambda streams: None,
        may_be_late: bool = False,
    ) -> None:
        """`on_open` is told of all streams before their first block."""
        self._buffer = buffer
        self._portaudio = PortAudio()
        self._on_open, self._may_be_late = on_open, may_be_late
        self._opener = SoundOpener(self._portaudio, wanted, buffer, self._announce)
        self._resources = ExitStack()
        self._changed = threading.Condition()
        """Notified when it is switched, or left."""
        self._on = True
        self._streams: SoundStreams | None = None
        self._watched = {kind: _Watch() for kind in KINDS}
        self._failures = self._silences = 0
        """Attempts in a row that did not help."""
        self._retry_s = self._listed_s = 0.0
        self._cards = ""
        """The kernel's sound cards when the devices were listed last."""
        self._xruns_since = (0, 0.0)
        """How many there were when the present minute began, and when that was."""

    def __enter__(self) -> Self:
        with ExitStack() as acquired:
            self._begin(acquired)
            self._opener.leaving.clear()
            self._note_listing()
            self._take(self._opener.first(self._may_be_late, deaf=not self._on))
            acquired.callback(self._close)
            if not self._on:
                self._set("microphone", DeviceState.OFF)
            keeper = threading.Thread(target=self._keep, name="sound-devices", daemon=True)
            keeper.start()
            acquired.callback(self._leave, keeper)
            self._resources = acquired.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    def _begin(self, acquired: ExitStack) -> None:
        """A library that does not start is tried again like a device that is lost."""
        try:
            acquired.enter_context(self._portaudio)
        except MissingDeviceError as error:
            if not self._may_be_late:
                raise
            acquired.push(self._portaudio)
            log.warning("%s", error)

    @property
    def streams(self) -> SoundStreams | None:
        """What is open now."""
        return self._streams

    def end(self, kind: AudioKind) -> End:
        """How this end is now."""
        watch, flow = self._watched[kind], _flow(self._streams, kind)
        xruns = watch.xruns_before + (0 if flow is None else flow.xruns)
        name = "" if watch.device is None else watch.device.name
        return End(watch.state, name, watch.reason, xruns, watch.reopened)

    def switch(self, on: bool) -> None:
        """Off: the microphone is closed, and a stream that only plays takes its place."""
        with self._changed:
            self._on = on
            self._changed.notify_all()

    def _keep(self) -> None:
        """The thread."""
        while True:
            with self._changed:
                self._changed.wait_for(self._has_orders, LOOK_S)
            if self._opener.leaving.is_set():
                return
            try:
                self._look()
            except Exception:  # whatever happens, the devices are looked after
                log.exception("the sound devices could not be looked after")
                self._opener.leaving.wait(LONGEST_BACKOFF_S)

    def _has_orders(self) -> bool:
        switched = self._on == self._is("microphone", DeviceState.OFF)
        return self._opener.leaving.is_set() or switched

    def _look(self) -> None:
        now_s, on = time.monotonic(), self._on
        if on == self._is("microphone", DeviceState.OFF):
            self._reopen(renew=False)
            log.info("the microphone is %s", "on" if on else "off, and closed")
            return
        for kind in KINDS:
            self._judge(kind, now_s)
        if any(self._is(kind, DeviceState.LOST, DeviceState.STUCK) for kind in KINDS):
            if now_s >= self._retry_s and self._worth_trying(now_s):
                self._reopen(renew=True)
            return
        if self._is("microphone", DeviceState.SILENT):
            self._consider_the_silence(now_s)
        else:
            self._silences = 0
        self._consider_the_xruns(now_s)

    def _judge(self, kind: AudioKind, now_s: float) -> None:
        flow = _flow(self._streams, kind)
        if flow is None or self._is(kind, DeviceState.OFF):
            return
        if not flow.alive:
            self._set(kind, DeviceState.LOST, "its stream has ended: unplugged, or taken away")
        elif now_s - flow.last_ns / 1e9 > STUCK_S:
            self._set(kind, DeviceState.STUCK, "nothing comes and goes any more")
        elif _zeros_s(flow, now_s) > (0.0 if self._is(kind, DeviceState.SILENT) else SILENT_S):
            reason = "it gives nothing but zeros: muted by a switch, or broken"
            self._set(kind, DeviceState.SILENT, reason)
        else:
            self._set(kind, DeviceState.PRESENT)

    def _worth_trying(self, now_s: float) -> bool:
        """While one end works, listing the devices anew would interrupt it: only if that may
        help, and best while nothing is being said."""
        streams = self._streams
        if streams is None or not streams.alive:
            return True
        if any(self._is(kind, DeviceState.STUCK) for kind in KINDS):
            return True

        def has_more_to_do() -> bool:
            return self._has_orders() or not streams.alive

        lost = [kind for kind in KINDS if self._is(kind, DeviceState.LOST)]
        if any(self._opener.works(kind, has_more_to_do) for kind in lost):
            return True
        listed_s = now_s - self._listed_s
        news = _cards() != self._cards or listed_s > LOOK_ANEW_S
        if news and (not self._buffer.speaking or listed_s > 2 * LOOK_ANEW_S):
            return True
        self._back_off()
        return False

    def _consider_the_silence(self, now_s: float) -> None:
        flow = _flow(self._streams, "microphone")
        pause_s = min(REOPEN_SILENT_S * 2**self._silences, LONGEST_SILENT_S)
        if flow is not None and _zeros_s(flow, now_s) > pause_s and not self._buffer.speaking:
            self._silences += 1
            self._reopen(renew=True)

    def _consider_the_xruns(self, now_s: float) -> None:
        xruns = self._xruns()
        before, since_s = self._xruns_since
        if now_s - since_s > XRUNS_WITHIN_S:
            self._xruns_since = xruns, now_s
        elif xruns - before >= XRUNS and not self._buffer.speaking:
            self._xruns_since = xruns, now_s
            if self._opener.larger_blocks():
                log.warning(
                    "%d gaps in the sound within a minute: the devices get blocks of %g ms",
                    xruns - before,
                    self._opener.block_ms,
                )
                self._reopen(renew=False)

    def _xruns(self) -> int:
        return sum(self.end(kind).xruns for kind in KINDS)

    def _reopen(self, renew: bool) -> None:
        on = self._on
        self._close()
        if renew:
            self._note_listing()
            self._opener.renew()
        self._take(self._opener.open(deaf=not on))
        if not on:
            self._set("microphone", DeviceState.OFF)

    def _announce(self, streams: SoundStreams) -> None:
        """They are open, and have not given anything yet."""
        for kind in KINDS:
            lost = self._is(kind, DeviceState.LOST, DeviceState.STUCK)
            if lost and _flow(streams, kind) is not None:
                self._set(kind, DeviceState.RECOVERING, "it is being opened again")
        self._on_open(streams)

    def _is(self, kind: AudioKind, *states: DeviceState) -> bool:
        return self._watched[kind].state in states

    def _take(self, opened: Opened) -> None:
        self._streams = opened.streams
        for kind in KINDS:
            self._watched[kind].device = opened.devices.get(kind, self._watched[kind].device)
            if _flow(opened.streams, kind) is not None:
                if not self._is(kind, DeviceState.SILENT):  # it has to give a sound first
                    self._set(kind, DeviceState.PRESENT)
            elif kind in opened.problems:
                self._set(kind, DeviceState.LOST, str(opened.problems[kind]))
        self._xruns_since = self._xruns(), time.monotonic()
        if opened.problems:
            self._back_off()
        else:
            self._failures, self._retry_s = 0, 0.0
        if opened.streams is not None:
            log.info("sound: %s", opened.streams.plan)

    def _set(self, kind: AudioKind, state: DeviceState, reason: str = "") -> None:
        """A change for the worse is a WARNING, once; what follows is for those who look closely."""
        watch, now_s = self._watched[kind], time.monotonic()
        was, watch.state, watch.reason = watch.state, state, reason
        name = "" if watch.device is None else f" {watch.device.name}"
        if state in (DeviceState.LOST, DeviceState.STUCK):
            level = logging.WARNING if watch.lost_s is None else logging.DEBUG
            watch.lost_s = watch.lost_s or now_s
            log.log(level, "the %s%s is %s: %s", kind, name, state.value, reason)
        elif state is DeviceState.SILENT and was is not state:
            log.warning("the %s%s is silent: %s", kind, name, reason)
        elif state is DeviceState.PRESENT and watch.lost_s is not None:
            log.info("the %s%s is back after %.1f s", kind, name, now_s - watch.lost_s)
            watch.reopened, watch.lost_s = watch.reopened + 1, None

    def _back_off(self) -> None:
        pause_s = min(FIRST_BACKOFF_S * 2**self._failures, LONGEST_BACKOFF_S)
        self._failures = min(self._failures + 1, 10)
        self._retry_s = time.monotonic() + pause_s

    def _note_listing(self) -> None:
        self._cards, self._listed_s = _cards(), time.monotonic()

    def _close(self) -> None:
        streams, self._streams = self._streams, None
        for kind in KINDS:
            flow = _flow(streams, kind)
            self._watched[kind].xruns_before += 0 if flow is None else flow.xruns
        self._opener.close(streams)

    def _leave(self, keeper: threading.Thread) -> None:
        with self._changed:
            self._opener.leaving.set()
            self._changed.notify_all()
        keeper.join()


def _flow(streams: SoundStreams | None, kind: AudioKind) -> Flow | None:
    if streams is None:
        return None
    return streams.capture if kind == "microphone" else streams.playback


def _zeros_s(flow: Flow, now_s: float) -> float:
    since_ns = flow.zeros_since_ns
    return 0.0 if since_ns is None else now_s - since_ns / 1e9


def _cards() -> str:
    try:
        return CARDS.read_text()
    except OSError:
        return ""
