"""The streams between sound devices and a DuplexBuffer: one each way, or one for both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Channels, Pcm
from edge_runtime.sources.audio_device import AudioDevice
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.portaudio import (
    XRUNS_HEARD,
    XRUNS_PLAYED,
    PortAudio,
    Stream,
    StreamForm,
)
from edge_runtime.sources.resampling import FromDevice, RateAdapter, ToDevice, one_way
from edge_runtime.sources.sample_clock import SampleClock, drift_ppm
from edge_runtime.sources.sound_plan import Plan

log = logging.getLogger(__name__)
PA_CONTINUE = 0
PRIMING_BLOCKS = 5
"""Xruns while a stream fills its buffers say nothing."""
SETTLED_S = 20.0
"""Of both clocks, before their drift is believed."""


@dataclass
class Flow:
    """How one end runs. The audio thread writes, the supervisor reads."""

    stream: Stream | None = None
    blocks: int = 0
    last_ns: int = 0
    xruns: int = 0
    zeros_since_ns: int | None = None
    """Of a microphone: since then it gave nothing but exact zeros."""

    @property
    def alive(self) -> bool:
        """Its stream has not ended by itself."""
        return self.stream is not None and self.stream.alive

    def passed(self, now_ns: int, xrun: bool) -> None:
        self.blocks += 1
        self.last_ns = now_ns
        if xrun and self.blocks > PRIMING_BLOCKS:
            self.xruns += 1

    def heard(self, block: Channels, now_ns: int) -> None:
        if block.any():
            self.zeros_since_ns = None
        elif self.zeros_since_ns is None:
            self.zeros_since_ns = now_ns


@dataclass
class SoundStreams:
    """What is open now. `keep` is how many channels the runtime wants of the microphone: where it
    was opened with more, they are averaged.

    Its callbacks never raise: an exception there would end a stream for good.
    """

    buffer: DuplexBuffer
    plan: Plan
    keep: int = 1
    now_ns: Callable[[], int] = time.monotonic_ns
    capture: Flow | None = None
    """None: no microphone is open. The same for `playback`."""
    playback: Flow | None = None
    latency_s: float = 0.0
    """What the devices say, there and back."""
    output_s: float = 0.0
    """Of that, from giving a sample to hearing it."""
    callback_errors: int = 0
    closed: bool = False
    """A stream that would not end may still call: it is given silence, and not listened to."""
    _streams: list[Stream] = field(default_factory=list)
    _clocks: tuple[SampleClock, SampleClock] | None = None
    """Of microphone and loudspeaker, where these have streams of their own."""

    def open(
        self, portaudio: PortAudio, ready: Callable[[SoundStreams], None] = lambda streams: None
    ) -> None:
        """Open and start; `ready` is called in between. Raises SourceError when the devices do not
        take it; then nothing is open."""
        plan = self.plan
        self.buffer.count_in_step()
        try:
            if plan.microphone is None or plan.loudspeaker is None or plan.together:
                self._open_as_one(portaudio)
            else:
                self._open_apart(portaudio)
            ready(self)
            self.buffer.drop_late()
            for stream in self._streams:
                stream.start()
        except OSError as error:
            self.close(portaudio)
            raise SourceError(f"it does not start: {error}") from error
        except SourceError:
            self.close(portaudio)
            raise

    def close(self, portaudio: PortAudio) -> None:
        self.closed = True
        streams, self._streams = self._streams, []
        portaudio.close(streams)

    @property
    def flows(self) -> list[Flow]:
        """Of the ends that are open."""
        return [flow for flow in (self.capture, self.playback) if flow is not None]

    @property
    def alive(self) -> bool:
        return bool(self._streams) and all(stream.alive for stream in self._streams)

    @property
    def drift_ppm(self) -> float | None:
        """By how much the loudspeaker's clock is the faster one; None where there is one clock, or
        where it is too early to tell."""
        if self._clocks is None or min(clock.age_s for clock in self._clocks) < SETTLED_S:
            return None
        microphone, loudspeaker = (clock.now for clock in self._clocks)
        if microphone is None or loudspeaker is None:
            return None
        return drift_ppm(microphone, loudspeaker)

    def _open_as_one(self, portaudio: PortAudio) -> None:
        plan = self.plan
        there = plan.microphone is not None, plan.loudspeaker is not None
        self.capture, self.playback = (Flow() if end else None for end in there)
        channels = plan.channels if there[0] else _sides(plan.loudspeaker)
        form = StreamForm(
            plan.rate_hz,
            block_samples(plan.rate_hz, plan.block_ms),
            channels if there[0] else 0,
            channels if there[1] else 0,
        )
        adapter = RateAdapter(plan.rate_hz, channels if there[0] else 1)

        def on_block(
            data: bytes | None, count: int, times: Any, flags: int
        ) -> tuple[bytes | None, int]:
            now_ns = self.now_ns()
            for flow, xruns in ((self.capture, XRUNS_HEARD), (self.playback, XRUNS_PLAYED)):
                if flow is not None:
                    flow.passed(now_ns, bool(flags & xruns))
            played = self._safely(count, lambda: self._exchange(data, count, adapter, now_ns))
            return (_all_sides(played, channels) if there[1] else None), PA_CONTINUE

        stream = portaudio.open(form, plan.microphone, plan.loudspeaker, on_block)
        for flow in self.flows:
            flow.stream = stream
        self._streams.append(stream)
        self._add_up([stream], adapter.latency_samples)

    def _open_apart(self, portaudio: PortAudio) -> None:
        """The loudspeaker's stream first: what the microphone hears then has been played."""
        plan = self.plan
        assert plan.microphone is not None and plan.loudspeaker is not None
        self.capture, self.playback = Flow(), Flow()
        clocks = self._clocks = SampleClock(), SampleClock()
        sides = _sides(plan.loudspeaker)
        rate_hz = plan.loudspeaker.rate_hz
        to_device = one_way(rate_hz)
        form = StreamForm(rate_hz, block_samples(rate_hz, plan.block_ms), played=sides)
        on_wanted = self._playing(to_device, rate_hz, clocks[1], sides)
        self.playback.stream = portaudio.open(form, None, plan.loudspeaker, on_wanted)
        self._streams.append(self.playback.stream)
        rate_hz = plan.rate_hz
        from_device = FromDevice(rate_hz, plan.channels)
        form = StreamForm(rate_hz, block_samples(rate_hz, plan.block_ms), heard=plan.channels)
        on_heard = self._hearing(from_device, rate_hz, clocks[0])
        self.capture.stream = portaudio.open(form, plan.microphone, None, on_heard)
        self._streams.append(self.capture.stream)
        self._add_up(self._streams, to_device.latency_samples)
        self._join(clocks[0], clocks[1])

    def _hearing(self, from_device: FromDevice, rate_hz: int, clock: SampleClock) -> Any:
        flow = self.capture
        assert flow is not None

        def on_heard(data: bytes, count: int, times: Any, flags: int) -> tuple[None, int]:
            now_ns = self.now_ns()
            flow.passed(now_ns, bool(flags & XRUNS_HEARD))
            clock.advance(count * SAMPLE_RATE_HZ / rate_hz, now_ns / 1e9)

            def take() -> None:
                block = np.frombuffer(data, np.float32).reshape(count, -1)
                flow.heard(block, now_ns)
                self.buffer.capture(self._kept(from_device.take(block)))

            self._safely(count, take)
            return None, PA_CONTINUE

        return on_heard

    def _playing(self, to_device: ToDevice, rate_hz: int, clock: SampleClock, sides: int) -> Any:
        flow = self.playback
        assert flow is not None

        def on_wanted(data: None, count: int, times: Any, flags: int) -> tuple[bytes, int]:
            now_ns = self.now_ns()
            flow.passed(now_ns, bool(flags & XRUNS_PLAYED))
            clock.advance(count * SAMPLE_RATE_HZ / rate_hz, now_ns / 1e9)
            pcm = self._safely(count, lambda: to_device.fill(count, self.buffer.next_to_play))
            return _all_sides(pcm, sides), PA_CONTINUE

        return on_wanted

    def _join(self, microphone: SampleClock, loudspeaker: SampleClock) -> None:
        """Let the buffer know, for every sample heard, which one was given to the loudspeaker at
        that time. Both clocks count from when they were opened."""
        heard_before, played_before = self.buffer.captured_count, self.buffer.played_count

        def played_at(heard: int) -> float:
            here, there = microphone.now, loudspeaker.now
            if here is None or there is None:
                return float(heard - heard_before + played_before)
            time_s = here.time_of(heard - heard_before)
            return there.sample_at(time_s) + played_before

        self.buffer.played_at = played_at

    def _add_up(self, streams: list[Stream], resampling: int) -> None:
        self.output_s = max(stream.output_s for stream in streams)
        self.latency_s = sum(stream.input_s + stream.output_s for stream in streams)
        self.latency_s += resampling / SAMPLE_RATE_HZ

    def _exchange(self, data: bytes | None, count: int, adapter: RateAdapter, now_ns: int) -> Pcm:
        if data is None or self.capture is None:
            deaf = np.zeros((count, 1), np.float32)
            return adapter.callback(deaf, self._unheard)
        block = np.frombuffer(data, np.float32).reshape(count, -1)
        self.capture.heard(block, now_ns)
        audible = self.playback is not None
        return adapter.callback(
            block, lambda heard: self.buffer.callback(self._kept(heard), audible=audible)
        )

    def _unheard(self, silence: Channels) -> Pcm:
        """There is no microphone: all its samples are missing."""
        missing = np.full((self.keep, silence.shape[1]), np.nan, np.float32)
        return self.buffer.callback(missing)

    def _kept(self, heard: Channels) -> Channels:
        return heard if heard.shape[0] == self.keep else heard.mean(axis=0, keepdims=True)

    def _safely(self, count: int, exchange: Callable[[], Pcm | None]) -> Pcm:
        """Float32 (count,): what was exchanged, or silence; a shorter block would end a stream."""
        try:
            pcm = None if self.closed else exchange()
        except Exception:
            self.callback_errors += 1
            level = logging.WARNING if self.callback_errors == 1 else logging.DEBUG
            with suppress(Exception):
                log.log(level, "a block of %d samples was lost", count, exc_info=True)
            pcm = None
        if pcm is not None and pcm.size == count:
            return pcm
        full: Pcm = np.zeros(count, np.float32)
        if pcm is not None:
            full[: pcm.size] = pcm[:count]
        return full


def block_samples(rate_hz: int, block_ms: float) -> int:
    return round(rate_hz * block_ms / 1000)


def _sides(loudspeaker: AudioDevice | None) -> int:
    """The channels that are played to: one where the device has one."""
    return 1 if loudspeaker is None or loudspeaker.channels < 2 else 2


def _all_sides(pcm: Pcm, sides: int) -> bytes:
    return np.repeat(pcm, sides).tobytes()
