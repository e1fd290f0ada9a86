"""PortAudio's hardware, played: devices that come and go; a test passes their blocks."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edge_runtime.micro_turn import TURN_SAMPLES
from edge_runtime.sources import sound_supervisor

BLOCK = TURN_SAMPLES // 10
FIRST = 3
"""Blocks that pass as soon as a stream is started, so that it counts as running."""
OUTPUT_UNDERFLOW = 4


@dataclass
class Card:
    """One that both hears and plays, or one of these."""

    name: str = "headset"
    inputs: int = 1
    outputs: int = 1
    heard: float = 0.25
    """What its microphone gives."""
    hangs: bool = False
    """It opens, and no block ever passes."""


class Stream:
    def __init__(
        self, hardware: Hardware, ears: Card | None, mouth: Card | None, options: dict[str, Any]
    ) -> None:
        self.hardware, self.ears, self.mouth, self.options = hardware, ears, mouth, options
        self.open = True
        self.input = ears is not None

    def start_stream(self) -> None:
        with self.hardware.changed:
            self.hardware.streams.append(self)
        hangs = any(card.hangs for card in (self.ears, self.mouth) if card is not None)
        for _ in range(0 if hangs else FIRST):
            self.pass_block()
        with self.hardware.changed:
            self.hardware.changed.notify_all()

    def is_active(self) -> bool:
        cards = [card for card in (self.ears, self.mouth) if card is not None]
        return self.open and all(card in self.hardware.cards for card in cards)

    def close(self) -> None:
        with self.hardware.changed:
            self.open = False
            self.hardware.changed.notify_all()

    def get_input_latency(self) -> float:
        return 0.0

    def get_output_latency(self) -> float:
        return 0.0

    def pass_block(self, flags: int = 0) -> bytes:
        heard = None
        if self.ears is not None:
            channels = self.options["channels"]
            heard = np.full(BLOCK * channels, self.ears.heard, np.float32).tobytes()
        given, going_on = self.options["stream_callback"](heard, BLOCK, None, flags)
        assert going_on == 0
        return given or b""

    def pass_a_turn(self) -> bytes:
        """200 ms of sound go by; returns what was played."""
        return b"".join(self.pass_block() for _ in range(TURN_SAMPLES // BLOCK))


class Hardware:
    """Stands in for the module `pyaudio` and its library."""

    def __init__(self, *cards: Card) -> None:
        self.changed = threading.Condition()
        self.cards = list(cards)
        self.streams: list[Stream] = []
        self.refuses = 0
        """Attempts to open that fail as a busy device does."""
        self.fails_to_start = 0
        """Attempts to start the library that fail, as without the server that it asks."""
        self._listed: list[Card] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        module = types.SimpleNamespace(PyAudio=self._initialise, paFloat32=1)
        monkeypatch.setitem(sys.modules, "pyaudio", module)
        for name, value in (("FIRST_BACKOFF_S", 0.001), ("LONGEST_BACKOFF_S", 0.01)):
            monkeypatch.setattr(sound_supervisor, name, value)
        # A test passes blocks when it likes; only tests of a clock may call that stuck.
        monkeypatch.setattr(sound_supervisor, "STUCK_S", 1e9)
        monkeypatch.setattr(sound_supervisor, "LOOK_S", 0.005)
        monkeypatch.setattr(sound_supervisor, "_cards", lambda: str(self.cards))

    def _initialise(self) -> Hardware:
        """As PortAudio: what is there now is all that is seen until the next time."""
        if self.fails_to_start > 0:
            self.fails_to_start -= 1
            raise OSError(-9999, "Unanticipated host error")
        self._listed = list(self.cards)
        return self

    def terminate(self) -> None:
        assert not any(stream.open for stream in self.streams), "a stream was left open"

    def get_device_count(self) -> int:
        return len(self._listed)

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        card = self._listed[index]
        return {
            "name": card.name,
            "index": index,
            "maxInputChannels": card.inputs,
            "maxOutputChannels": card.outputs,
            "defaultSampleRate": 16_000.0,
        }

    def get_default_input_device_info(self) -> dict[str, Any]:
        return {"index": 0}

    get_default_output_device_info = get_default_input_device_info

    def open(
        self,
        input: bool,
        output: bool,
        input_device_index: int | None = None,
        output_device_index: int | None = None,
        **options: Any,
    ) -> Stream:
        assert (input_device_index is not None) == input
        assert (output_device_index is not None) == output
        if self.refuses:
            self.refuses -= 1
            raise OSError(-9985, "Device unavailable")
        ends = [
            None if index is None else self._listed[index]
            for index in (input_device_index, output_device_index)
        ]
        if any(card is not None and card not in self.cards for card in ends):
            raise OSError(-9996, "Invalid device")
        return Stream(self, ends[0], ends[1], options)

    def await_streams(self, fits: Callable[[list[Stream]], bool]) -> list[Stream]:
        """Those that are open, once these fit."""

        def found() -> list[Stream]:
            return [stream for stream in self.streams if stream.open]

        with self.changed:
            assert self.changed.wait_for(lambda: fits(found()), timeout=30)
            return found()

    def await_stream(self, input: bool, after: int = 0) -> Stream:
        """The one that is open, once it is of this kind, the only one, and not of the first
        `after` that were started."""

        def fits(those: list[Stream]) -> bool:
            kinds = [one.input for one in those]
            return kinds == [input] and those[0] in self.streams[after:]

        return self.await_streams(fits)[0]
