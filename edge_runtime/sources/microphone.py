"""Microphone and loudspeaker as one full-duplex stream. The only file with PyAudio."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, AudioReading, Pcm
from edge_runtime.sources.duplex_buffer import DuplexBuffer, RateAdapter

log = logging.getLogger(__name__)
BLOCK_MS = 20
"""What the device gives and takes at a time."""
RETRY_S = 1.0
"""Between attempts to open the devices again after a switch."""
AudioKind = Literal["microphone", "loudspeaker"]
_WITHOUT = "or run without one: --audio FILE."


@dataclass(frozen=True)
class AudioDevice:
    """A microphone or a loudspeaker, as PortAudio sees it."""

    kind: AudioKind
    index: int
    name: str
    channels: int
    rate_hz: int
    default: bool


@dataclass(frozen=True)
class StreamFormat:
    rate_hz: int
    channels: int


class MicrophoneSource:
    """An AudioSource: captures and plays at 16 kHz, on the audio device's own clock.

    Devices are chosen by a part of their names, as card numbers change; None is the system's
    default. Entering opens both and starts the stream; it raises SourceError, with a remedy, when
    PortAudio or a device is missing or busy, or a name fits none or several.

    Switched off, the stream is closed, and one that only plays takes its place: the microphone is
    not open any more, and the device still speaks.
    """

    def __init__(
        self, input_device: str | None = None, output_device: str | None = None, volume: float = 1.0
    ) -> None:
        self._wanted_microphone, self._wanted_loudspeaker = input_device, output_device
        self._volume = volume
        self._resources = ExitStack()
        self._buffer = DuplexBuffer()
        self._adapter: RateAdapter | None = None
        self._channels = 1
        self._on = True
        self._deaf = False
        """The stream that is open has no microphone in it."""
        self._switched = threading.Condition()
        """Notified when it is switched, or left; the streams are opened and closed without it."""
        self._closing = False
        self._stream: Any = None
        self.description = ""
        """What was opened, and how; known once entered."""
        self.callback_errors = 0
        """Blocks that were lost to an exception in our own callback."""

    def __enter__(self) -> Self:
        with ExitStack() as acquired:
            portaudio = acquired.enter_context(_portaudio())
            devices = _devices(portaudio)
            microphone = choose(devices, "microphone", self._wanted_microphone)
            loudspeaker = choose(devices, "loudspeaker", self._wanted_loudspeaker)
            stream, form = self._open(portaudio, microphone, loudspeaker)
            acquired.callback(self._close_stream)
            self._prepare(form, stream.get_input_latency() + stream.get_output_latency())
            self.description = (
                f"microphone {microphone.name}, loudspeaker {loudspeaker.name}: {form.rate_hz} Hz"
                + ("" if self._adapter is None else f" -> {SAMPLE_RATE_HZ} Hz")
            )
            self._stream, self._deaf, self._closing = stream, False, False
            stream.start_stream()
            switcher = threading.Thread(
                target=self._follow_the_switch,
                args=(portaudio, microphone, loudspeaker, form),
                name="microphone-switch",
                daemon=True,
            )
            switcher.start()
            acquired.callback(self._leave, switcher)
            self._resources = acquired.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def lost_samples(self) -> int:
        """Samples dropped because nobody read them, and samples that never came."""
        return self._buffer.lost_samples

    @property
    def underrun_samples(self) -> int:
        """Samples of silence played because the next block was late."""
        return self._buffer.underrun_samples

    def read_turn(self) -> AudioReading:
        """Wait until 3,200 new samples have arrived; zero-filled when the device has stalled, and
        while it is switched off."""
        reading = self._buffer.read_turn()
        if self._on and not self._deaf:
            return reading
        reading.pcm[0] = 0.0
        return replace(reading, lost_samples=TURN_SAMPLES)

    def switch(self, on: bool) -> None:
        """Off: nothing heard is handed out from now on, and the microphone is closed at once."""
        with self._switched:
            self._on = on
            self._switched.notify_all()

    def play(self, pcm: Pcm) -> None:
        """Queue float32 (n,), -1..1; never blocks."""
        self._buffer.play(pcm)

    def flush(self, fade_ms: float) -> int:
        """Silence within `fade_ms`; returns how many samples were queued."""
        return self._buffer.flush(fade_ms)

    def _follow_the_switch(
        self, portaudio: Any, microphone: AudioDevice, loudspeaker: AudioDevice, form: StreamFormat
    ) -> None:
        """The switch's thread: opening a device may take a second, which nobody shall wait for."""
        failures = 0
        while True:
            with self._switched:
                self._switched.wait_for(
                    lambda: self._closing or self._stream is None or self._deaf == self._on
                )
                if self._closing:
                    return
                on = self._on
            self._close_stream()
            try:
                ears = microphone if on else None
                self._stream = self._stream_of(portaudio, ears, loudspeaker, form)
                self._stream.start_stream()
                self._deaf, failures = not on, 0
                log.info("the microphone is %s", "on" if on else "off, and closed")
            except (OSError, ValueError) as error:
                level = logging.DEBUG if failures else logging.WARNING
                failures += 1
                log.log(level, "the sound devices cannot be opened again: %s", error)
                self._close_stream()
                with self._switched:
                    self._switched.wait_for(lambda: self._closing, RETRY_S)

    def _close_stream(self) -> None:
        stream, self._stream, self._deaf = self._stream, None, True
        if stream is not None:
            stream.close()

    def _leave(self, switcher: threading.Thread) -> None:
        with self._switched:
            self._closing = True
            self._switched.notify_all()
        switcher.join()

    def _open(
        self, portaudio: Any, microphone: AudioDevice, loudspeaker: AudioDevice
    ) -> tuple[Any, StreamFormat]:
        reason: Exception | None = None
        for form in formats(microphone, loudspeaker):
            try:
                return self._stream_of(portaudio, microphone, loudspeaker, form), form
            except (OSError, ValueError) as error:
                reason = reason or error
        raise SourceError(
            f"The microphone {microphone.name!r} and the loudspeaker {loudspeaker.name!r} cannot "
            f"be opened together: {reason}. Close other programs that use them, or choose others "
            "in the config (audio.input_device, audio.output_device); `edge-runtime devices` "
            "lists what there is."
        ) from reason

    def _stream_of(
        self,
        portaudio: Any,
        microphone: AudioDevice | None,
        loudspeaker: AudioDevice,
        form: StreamFormat,
    ) -> Any:
        """A stream that is not started yet; without a microphone it only plays."""
        import pyaudio

        ears = {} if microphone is None else {"input_device_index": microphone.index}
        with _quiet():
            return portaudio.open(
                rate=form.rate_hz,
                channels=form.channels,
                format=pyaudio.paFloat32,
                input=microphone is not None,
                output=True,
                output_device_index=loudspeaker.index,
                frames_per_buffer=form.rate_hz * BLOCK_MS // 1000,
                stream_callback=self._on_block,
                start=False,
                **ears,
            )

    def _prepare(self, form: StreamFormat, device_latency_s: float) -> None:
        self._channels = form.channels
        latency = round(device_latency_s * SAMPLE_RATE_HZ)
        if form.rate_hz != SAMPLE_RATE_HZ:
            self._adapter = RateAdapter(form.rate_hz)
            latency += self._adapter.latency_samples
        self._buffer = DuplexBuffer(latency, volume=self._volume)

    def _on_block(
        self, data: bytes | None, count: int, times: Any, status: int
    ) -> tuple[bytes, int]:
        """PortAudio's callback; `data` is None where the stream only plays. An exception here would
        end the stream for good."""
        pa_continue = 0
        try:
            return self._exchange(data or bytes(4 * self._channels * count)), pa_continue
        except Exception:
            self.callback_errors += 1
            level = logging.WARNING if self.callback_errors == 1 else logging.DEBUG
            log.log(level, "a block of %d samples was lost", count, exc_info=True)
            return bytes(4 * self._channels * count), pa_continue

    def _exchange(self, data: bytes) -> bytes:
        heard = np.frombuffer(data, np.float32).reshape(-1, self._channels).mean(axis=1)
        if self._adapter is None:
            played = self._buffer.callback(heard)
        else:
            played = self._adapter.callback(heard, self._buffer.callback)
        return np.repeat(played, self._channels).tobytes()


def formats(microphone: AudioDevice, loudspeaker: AudioDevice) -> Iterator[StreamFormat]:
    """What to try, best first: what the runtime works in, then what the devices prefer."""
    stereo = min(microphone.channels, loudspeaker.channels) >= 2
    rates_hz = dict.fromkeys((SAMPLE_RATE_HZ, microphone.rate_hz, loudspeaker.rate_hz))
    for rate_hz in rates_hz:
        for channels in (1, 2) if stereo else (1,):
            yield StreamFormat(rate_hz, channels)


def choose(devices: Sequence[AudioDevice], kind: AudioKind, wanted: str | None) -> AudioDevice:
    """The device whose name contains `wanted`, in any case; None: the default one.

    Raises SourceError when there is none, or when several fit and none is named exactly so.
    """
    there = [device for device in devices if device.kind == kind]
    if not there:
        sought = "" if wanted is None else f" (looked for {wanted!r})"
        raise SourceError(f"There is no {kind} on this machine{sought}. Connect one, {_WITHOUT}")
    if wanted is None:
        return next((device for device in there if device.default), there[0])
    fitting = [device for device in there if wanted.lower() in device.name.lower()]
    exact = [device for device in fitting if wanted.lower() == device.name.lower()]
    if len(fitting) == 1 or exact:
        return (exact or fitting)[0]
    names = ", ".join(repr(device.name) for device in fitting or there)
    if fitting:
        raise SourceError(f"{wanted!r} fits several {kind}s: {names}. Give more of the name.")
    raise SourceError(f"No {kind} is called {wanted!r}. There are: {names}.")


def audio_devices() -> list[AudioDevice]:
    """All microphones and loudspeakers. Raises SourceError without PortAudio or PyAudio."""
    with _portaudio() as portaudio:
        return _devices(portaudio)


def _devices(portaudio: Any) -> list[AudioDevice]:
    kinds: tuple[tuple[AudioKind, str], ...] = (("microphone", "Input"), ("loudspeaker", "Output"))
    found = []
    for kind, way in kinds:
        default = _default_index(portaudio, way)
        for index in range(portaudio.get_device_count()):
            info = portaudio.get_device_info_by_index(index)
            channels, rate_hz = int(info[f"max{way}Channels"]), int(info["defaultSampleRate"])
            if channels > 0:
                name = str(info["name"])
                found.append(AudioDevice(kind, index, name, channels, rate_hz, index == default))
    return found


def _default_index(portaudio: Any, way: str) -> int | None:
    try:
        info = getattr(portaudio, f"get_default_{way.lower()}_device_info")()
    except OSError:
        return None
    return int(info["index"])


@contextmanager
def _portaudio() -> Iterator[Any]:
    try:
        import pyaudio
    except ImportError as error:
        raise SourceError(
            f"A microphone needs PyAudio and PortAudio ({error}). Install them: "
            "sudo apt install portaudio19-dev; pip install 'edge-runtime[audio]'. "
            "Or run without one: --audio FILE."
        ) from error
    with _quiet():
        portaudio = pyaudio.PyAudio()
    try:
        yield portaudio
    finally:
        portaudio.terminate()


@contextmanager
def _quiet() -> Iterator[None]:
    """ALSA and JACK write lines to file 2 for every device that they look for in vain."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
