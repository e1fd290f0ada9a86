"""PortAudio's devices and streams. The only file with PyAudio."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge_runtime.errors import MissingDeviceError, SourceError
from edge_runtime.sources import alsa_log
from edge_runtime.sources.audio_device import AudioDevice, AudioKind, usb_identity

log = logging.getLogger(__name__)
START_S = 5.0
"""PortAudio waits for a second, and then for a lock that a thread of its own may never have left
(PortAudio's issue 535): where a device is lost between being opened and started."""
CLOSE_S = 3.0
"""A stream whose device is gone may never end; it is then left behind."""
OnBlock = Callable[["bytes | None", int, Any, int], "tuple[bytes | None, int]"]
"""PortAudio's callback: what was heard, how many samples to give, times, xrun flags."""
XRUNS_HEARD, XRUNS_PLAYED = 0x1 | 0x2, 0x4 | 0x8
"""Of the flags: input underflow and overflow, output underflow and overflow."""

_REMEDIES = {
    -9985: "Another program has it to itself: close that (fuser -v /dev/snd/*), or let both use "
    "PipeWire or PulseAudio. A service cannot use those of a desktop: docs/service.md tells how it "
    "gets a card of its own.",
    -9997: "It does not take this rate.",
    -9998: "It does not have so many channels.",
    -9996: "It is gone.",
    -9999: "The system refuses it: it is gone, or another program has it.",
}
"""By PortAudio's error code."""


@dataclass(frozen=True)
class StreamForm:
    """What a stream is opened with."""

    rate_hz: int
    block: int
    """Samples that the device gives or takes at a time."""
    heard: int = 0
    """Channels of the microphone; 0: it only plays."""
    played: int = 0
    """Channels of the loudspeaker; 0: it only captures."""


class Stream:
    """An open stream, not started yet."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._starter: threading.Thread | None = None
        self.input_s: float = stream.get_input_latency()
        self.output_s: float = stream.get_output_latency()
        """What the device's buffers delay, as PortAudio says."""

    def start(self) -> None:
        """Raises OSError, also when it does not start in `START_S`."""
        failed: list[OSError] = []

        def begin() -> None:
            try:
                self._stream.start_stream()
            except OSError as error:
                failed.append(error)

        self._starter = threading.Thread(target=begin, name="start-sound", daemon=True)
        self._starter.start()
        self._starter.join(START_S)
        if failed:
            raise failed[0]
        if self._starter.is_alive():
            raise OSError("its device was lost while it started")

    @property
    def alive(self) -> bool:
        """Whether its callback is still to be called."""
        try:
            return bool(self._stream.is_active())
        except OSError:
            return False

    def close(self) -> threading.Thread:
        """The thread that closes it. Never raises."""

        def end() -> None:
            if self._starter is not None:
                self._starter.join()  # PortAudio aborts the process that closes it before
            with suppress(OSError):
                self._stream.close()

        closer = threading.Thread(target=end, name="close-sound", daemon=True)
        closer.start()
        return closer


_LIBRARY = threading.RLock()
"""What PortAudio keeps of the process has no lock of its own; a process may have more than one of
these."""


class PortAudio:
    """The library, initialised; it sees the devices that were there then, until `renew`."""

    def __init__(self) -> None:
        self._begun: list[Any] = []
        """Once each time that it was initialised and could not be ended before."""
        self._closers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Raises SourceError without PyAudio or PortAudio, MissingDeviceError where it does not
        start."""
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def renew(self) -> None:
        """See the devices that are there now. Every stream must have been closed. Raises
        MissingDeviceError where the library does not start again; then there are none."""
        self._end()
        self._begin()

    def close(self, streams: Sequence[Stream]) -> None:
        """Wait for their end, but not for long: a stream whose device stands still may not end. It
        is left behind, and until it ends nothing new is seen."""
        closers = [stream.close() for stream in streams]
        for closer in closers:
            closer.join(CLOSE_S)
        if any(closer.is_alive() for closer in closers):
            log.error(
                "a sound stream does not end; what is plugged in meanwhile may stay unseen until "
                "it does, or until the program is started again"
            )
        self._closers = [one for one in (*self._closers, *closers) if one.is_alive()]

    def devices(self) -> list[AudioDevice]:
        """None where the library did not start again."""
        if not self._begun:
            return []
        kinds: tuple[tuple[AudioKind, str], ...] = (
            ("microphone", "Input"),
            ("loudspeaker", "Output"),
        )
        return [device for kind, way in kinds for device in self._of_kind(kind, way)]

    def open(
        self,
        form: StreamForm,
        microphone: AudioDevice | None,
        loudspeaker: AudioDevice | None,
        on_block: OnBlock,
    ) -> Stream:
        """Raises SourceError when the devices do not take this."""
        import pyaudio

        ends: dict[str, Any] = {"input": form.heard > 0, "output": form.played > 0}
        if microphone is not None:
            ends["input_device_index"] = microphone.index
        if loudspeaker is not None:
            ends["output_device_index"] = loudspeaker.index
        try:
            # PyAudio has one number of channels for both ways.
            with _LIBRARY, _quiet():
                stream = self._begun[-1].open(
                    rate=form.rate_hz,
                    channels=max(form.heard, form.played),
                    format=pyaudio.paFloat32,
                    frames_per_buffer=form.block,
                    stream_callback=on_block,
                    start=False,
                    **ends,
                )
        except (OSError, ValueError) as error:
            raise SourceError(explain(error)) from error
        return Stream(stream)

    def _of_kind(self, kind: AudioKind, way: str) -> Iterator[AudioDevice]:
        default = self._default_index(way)
        for index in range(self._begun[-1].get_device_count()):
            info = self._begun[-1].get_device_info_by_index(index)
            channels, rate_hz = int(info[f"max{way}Channels"]), int(info["defaultSampleRate"])
            if channels > 0:
                name = str(info["name"])
                serial, usb_path = usb_identity(name)
                at_default = index == default
                yield AudioDevice(
                    kind, index, name, channels, rate_hz, at_default, serial, usb_path
                )

    def _default_index(self, way: str) -> int | None:
        try:
            info = getattr(self._begun[-1], f"get_default_{way.lower()}_device_info")()
        except OSError:
            return None
        return int(info["index"])

    def _begin(self) -> None:
        try:
            import pyaudio
        except ImportError as error:
            raise SourceError(
                f"A microphone or loudspeaker needs PyAudio and PortAudio ({error}). Install them: "
                "sudo apt install portaudio19-dev; pip install 'edge-runtime[audio]'. "
                "Or run without one: --audio FILE."
            ) from error
        alsa_log.take_over()
        try:
            with _LIBRARY, _quiet():
                self._begun.append(pyaudio.PyAudio())
        except OSError as error:  # JACK and PulseAudio may fail to answer
            raise MissingDeviceError(f"PortAudio does not start: {explain(error)}") from error

    def _end(self) -> None:
        self._closers = [one for one in self._closers if one.is_alive()]
        with _LIBRARY:
            while self._begun and not self._closers:
                self._begun.pop().terminate()


def explain(error: Exception) -> str:
    """What PortAudio said, and what may help."""
    code = next((arg for arg in error.args if isinstance(arg, int)), 0)
    text = next((arg for arg in error.args if isinstance(arg, str)), str(error)).rstrip(".")
    return f"{text}. {_REMEDIES.get(code, '')}".strip()


def audio_devices() -> list[AudioDevice]:
    """All microphones and loudspeakers. Raises SourceError without PortAudio or PyAudio."""
    with PortAudio() as portaudio:
        return portaudio.devices()


@dataclass(frozen=True)
class _CStderr:
    """The C library's `stderr`: the variable, what it is, and the same with nothing behind it."""

    variable: ctypes.c_void_p
    shown: int
    nothing: int


@lru_cache(maxsize=1)
def _c_stderr() -> _CStderr | None:
    """None where it cannot be set; the manual of the GNU C Library allows it."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    library.fopen.restype = ctypes.c_void_p
    nothing = library.fopen(os.devnull.encode(), b"we")
    variable = ctypes.c_void_p.in_dll(library, "stderr")
    return _CStderr(variable, variable.value, nothing) if nothing and variable.value else None


@contextmanager
def _quiet() -> Iterator[None]:
    """JACK and PortAudio write lines to `stderr` for every device that they look for in vain. File
    2 stays as it is: the log goes there meanwhile, and what other programs say that are started."""
    stderr = _c_stderr()
    if stderr is None:
        yield
        return
    stderr.variable.value = stderr.nothing
    try:
        yield
    finally:
        stderr.variable.value = stderr.shown
