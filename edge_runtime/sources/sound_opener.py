"""Opens microphone and loudspeaker: finds them, tries what they take, and measures how small their
blocks may be."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_runtime.errors import MissingDeviceError, SourceError
from edge_runtime.sources.audio_device import AudioDevice, AudioKind
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.portaudio import PortAudio
from edge_runtime.sources.sound_plan import BLOCKS_MS, Wanted, find, plans
from edge_runtime.sources.sound_streams import SoundStreams

log = logging.getLogger(__name__)
START_S = 3.0
"""A device that has given nothing for so long after it was opened does not work like that."""
FIRST_BLOCKS = 3
MEASURE_S = 0.5
"""How long a block size is tried when the devices are opened first."""
POLL_S = 0.005
PASSES_NOTHING = "It opens, but no sound passes."
KINDS: tuple[AudioKind, ...] = ("microphone", "loudspeaker")


@dataclass(frozen=True)
class Opened:
    """What could be opened, and why the rest could not."""

    streams: SoundStreams | None
    devices: dict[AudioKind, AudioDevice]
    """That are there, open or not."""
    problems: dict[AudioKind, SourceError]


@dataclass
class SoundOpener:
    """Only one thread at a time may use it."""

    portaudio: PortAudio
    wanted: Wanted
    buffer: DuplexBuffer
    on_open: Callable[[SoundStreams], None] = lambda streams: None
    """Told of all streams before their first block."""
    leaving: threading.Event = field(default_factory=threading.Event)
    """Set: do not wait any longer, and try nothing more."""
    block_ms: float = BLOCKS_MS[0]
    may_share: bool = True
    """One stream for both ends, where they are one device."""
    _hung: str | None = None
    """The loudspeaker that took nothing: until it `works`, a microphone is opened without it."""

    def first(self, may_be_late: bool = False, deaf: bool = False) -> Opened:
        """Both ends, with blocks as small as they run without a gap; `deaf`: the loudspeaker only.
        Raises SourceError; with `may_be_late` not for what is missing, but the rest is opened."""
        fixed = self.wanted.block_ms
        sizes = BLOCKS_MS if fixed is None else (fixed,)
        for block_ms in sizes:
            self.block_ms = block_ms
            opened = self.open(deaf)
            streams = opened.streams
            for problem in opened.problems.values():
                if not (may_be_late and isinstance(problem, MissingDeviceError)):
                    self.close(streams)
                    raise problem
            if streams is None or block_ms == sizes[-1] or self._runs_clean(streams):
                break
            log.info("%g ms blocks are too small for these devices", block_ms)
            self.close(streams)
        return opened

    def open(self, deaf: bool) -> Opened:
        """As much as there is; `deaf`: the loudspeaker only. Never raises."""
        devices: dict[AudioKind, AudioDevice] = {}
        problems: dict[AudioKind, SourceError] = {}
        listed = self.portaudio.devices()
        wanted = KINDS[1:] if deaf else KINDS
        for kind in wanted:
            try:
                devices[kind] = find(listed, kind, self.wanted)
            except SourceError as error:
                problems[kind] = error
        microphone, loudspeaker = (devices.get(kind) for kind in KINDS)
        if microphone and loudspeaker and loudspeaker.name == self._hung:
            streams, _ = self._try(microphone, None)
            if streams is not None:
                hangs = self._cannot(loudspeaker, PASSES_NOTHING)
                return Opened(streams, devices, {"loudspeaker": hangs})
        streams, problem = self._try(microphone, loudspeaker)
        if streams is None and len(devices) == len(KINDS):
            return self._one_of(devices, problem)
        if streams is None:
            problems |= {kind: MissingDeviceError(problem) for kind in devices}
        return Opened(streams, devices, problems)

    def renew(self) -> None:
        """See the devices that are there now; all streams are closed."""
        try:
            self.portaudio.renew()
        except MissingDeviceError as error:
            log.debug("%s", error)

    def close(self, streams: SoundStreams | None) -> None:
        if streams is not None:
            streams.close(self.portaudio)

    def works(self, kind: AudioKind, enough: Callable[[], bool]) -> bool:
        """Whether a device that was lost runs again, tried beside what is open, and no longer once
        there is something else to do; one that was not there when the devices were listed does
        not."""
        try:
            device = find(self.portaudio.devices(), kind, self.wanted)
        except SourceError:
            return False
        microphone, loudspeaker = (device if kind == end else None for end in KINDS)
        probe = DuplexBuffer()
        for plan in plans(microphone, loudspeaker, self.wanted, self.block_ms):
            if enough():
                break
            streams = SoundStreams(probe, plan, self.wanted.channels)
            try:
                streams.open(self.portaudio)
            except SourceError:
                continue
            starts = self._starts(streams, enough)
            self.close(streams)
            if starts:
                self._runs(loudspeaker)
                return True
        return False

    def larger_blocks(self) -> bool:
        """For devices that the present ones are too small for; False: there are none, or the size
        was given."""
        larger = [size for size in BLOCKS_MS if size > self.block_ms]
        if self.wanted.block_ms is not None or not larger:
            return False
        self.block_ms = larger[0]
        return True

    def _one_of(self, devices: dict[AudioKind, AudioDevice], both: str) -> Opened:
        """The loudspeaker alone, so that the device can say so; or the microphone."""
        microphone, loudspeaker = (devices[kind] for kind in KINDS)
        problems: dict[AudioKind, SourceError] = {"microphone": self._cannot(microphone, both)}
        streams, problem = self._try(None, loudspeaker)
        if streams is None:
            problems["loudspeaker"] = self._cannot(loudspeaker, problem)
            streams, problem = self._try(microphone, None)
            if streams is not None:
                del problems["microphone"]
        return Opened(streams, devices, problems)

    def _cannot(self, device: AudioDevice, problem: str) -> MissingDeviceError:
        return MissingDeviceError(
            f"The {device.kind} {device.name!r} cannot be opened: {problem} Choose another in "
            "the config (audio.input_device, audio.output_device); `edge-runtime devices` lists "
            "what there is."
        )

    def _try(
        self, microphone: AudioDevice | None, loudspeaker: AudioDevice | None
    ) -> tuple[SoundStreams | None, str]:
        """The best plan that runs, or what was wrong with the first."""
        problem = ""
        for plan in plans(microphone, loudspeaker, self.wanted, self.block_ms):
            if self.leaving.is_set():
                break
            if plan.together and not self.may_share:
                continue
            streams = SoundStreams(self.buffer, plan, self.wanted.channels)
            try:
                streams.open(self.portaudio, self.on_open)
            except SourceError as error:
                problem = problem or str(error)
                continue
            if self._starts(streams):
                self._runs(loudspeaker)
                return streams, ""
            hangs = self._hangs(streams)
            self.close(streams)
            problem = problem or PASSES_NOTHING
            # ALSA's PulseAudio device ends streams that both capture and play, at many rates.
            if plan.together and self.wanted.streams == "auto":
                self.may_share = False
            if hangs and loudspeaker is not None:
                self._hung = loudspeaker.name
                if microphone is not None:
                    break  # all that is left opens it in the same way
        return None, problem or "It takes nothing that the runtime could use."

    def _starts(self, streams: SoundStreams, enough: Callable[[], bool] = lambda: False) -> bool:
        def begun() -> bool:
            return all(flow.blocks >= FIRST_BLOCKS for flow in streams.flows)

        self._wait_while(lambda: streams.alive and not begun() and not enough(), START_S)
        return streams.alive and begun()

    def _runs(self, loudspeaker: AudioDevice | None) -> None:
        if loudspeaker is not None:
            self._hung = None

    def _hangs(self, streams: SoundStreams) -> bool:
        """All of it lives, and its loudspeaker, with a stream of its own, took nothing."""
        flow = streams.playback
        if flow is None or streams.plan.together or self.leaving.is_set():
            return False
        return streams.alive and flow.blocks < FIRST_BLOCKS

    def _runs_clean(self, streams: SoundStreams) -> bool:
        self._wait_while(lambda: streams.alive, MEASURE_S)
        return streams.alive and not any(flow.xruns for flow in streams.flows)

    def _wait_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        until_s = time.monotonic() + timeout_s
        while condition() and time.monotonic() < until_s and not self.leaving.wait(POLL_S):
            pass
