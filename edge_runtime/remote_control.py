"""What is asked of the device from outside of the conversation: by a button, a smart home, a robot.

Whoever stands outside (an MQTT command, a ROS service) calls the methods of one `RemoteControl`
from a thread of its own; none of them waits for the device. The loop takes what has come once a
micro-turn, right after the model has decided:

    control = RemoteControl()
    with device(config, senses, control=control) as ready: ...      # the loop heeds it
    control.stop()                      # silence within a micro-turn, and `stop_motion` to the body
    control.cancel()                    # silence, and the question that is out is taken back
    control.say("Dinner is ready.")     # now, after what is being said; a person can interrupt it
    control.say("The washing is done.", Moment.FITTING)   # when the model finds it fitting
    control.set_mode(Mode.QUIET)        # falls silent and says nothing until NORMAL
    control.switch_microphone(False)    # nothing is captured any more; `microphone_on` tells
    control.set_volume(0.5)             # of the loudspeaker, from the next block on

A stop is a flag and no entry of a queue: it is never dropped and never waits for anything else.
Mode, switches and volume hold until they are set anew; who keeps them over restarts is told of each
change.
What the model decided stays as it decided it: a recording replays the same, whoever pressed what.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edge_runtime.errors import InputError
from edge_runtime.sentences import spoken

MAX_TEXT = 1000
MAX_WAITING = 8
"""Texts that may wait for each moment, here, in the dialogue and in the mouth."""


class Mode(str, Enum):
    """How much the device may do of its own accord. It hears and sees in every mode, and
    `stop_motion` goes out in every mode."""

    NORMAL = "normal"
    QUIET = "quiet"
    """Says nothing."""
    STANDBY = "standby"
    """Says nothing, does nothing, hands nothing on. Who publishes the model's actions leaves them
    out: see `RemoteControl.mode`."""


class Moment(str, Enum):
    """When a text shall be said."""

    NOW = "now"
    FITTING = "fitting"


@dataclass(frozen=True, slots=True)
class Orders:
    """What has been asked for since the last micro-turn."""

    stop: bool = False
    cancel: bool = False
    say: tuple[str, ...] = ()
    """To be said now, in this order."""
    deliver: tuple[str, ...] = ()
    """To be said when the model finds it fitting."""
    mode: Mode = Mode.NORMAL


Switch = Callable[[bool], None]
"""Starts or stops capturing, for good; returns at once and raises nothing."""
SetVolume = Callable[[float], None]
"""Of all that is played from now on, 0..1; returns at once and raises nothing."""


class RemoteControl:
    """An inbox that any thread may fill and the loop empties. It may outlive a device: mode,
    switches and volume then hold for the next one."""

    def __init__(
        self,
        mode: Mode = Mode.NORMAL,
        microphone_on: bool = True,
        camera_on: bool = True,
        on_change: Callable[[RemoteControl], None] = lambda control: None,
        volume: float | None = None,
    ) -> None:
        """How it begins; without a `volume` as the device is configured. `on_change` is told of
        every new mode, switch and volume, in the caller's thread."""
        self._lock = threading.Lock()
        self._stop = self._cancel = False
        self._texts: dict[Moment, list[str]] = {moment: [] for moment in Moment}
        self._held = {Moment.NOW: 0, Moment.FITTING: 0}
        """Texts that the loop has taken and the device has not said yet."""
        self._mode = mode
        self._on = {"microphone": microphone_on, "camera": camera_on}
        self._volume, self._configured = volume, 1.0
        self._loudspeakers: list[SetVolume] = []
        self._on_change = on_change
        self._switches: dict[str, list[Switch]] = {"microphone": [], "camera": []}
        self._switching = threading.RLock()
        """Two that switch, or set the volume, at the same time leave the device as the later one
        wants it."""

    # -- from outside ----------------------------------------------------------

    def stop(self) -> None:
        """Silence, `stop_motion`, and what waits here to be said is forgotten."""
        with self._lock:
            self._stop = True
            self._forget(Moment.NOW)

    def cancel(self) -> None:
        """Silence; the question that is out is taken back, and answers that wait are forgotten."""
        with self._lock:
            self._cancel = True
            self._forget(*Moment)

    def say(self, text: str, moment: Moment = Moment.NOW) -> None:
        """Have the device say 1 to 1,000 characters; of markup only the words are said.

        Raises InputError: no text, nothing but markup and symbols, or too long; the device is not
        in `Mode.NORMAL`, or eight texts wait for that moment already.
        """
        length = len(" ".join(text.split()))
        if not 0 < length <= MAX_TEXT:
            raise InputError(
                f"A text to say has 1 to {MAX_TEXT} characters, not {length}: shorten it."
            )
        text = " ".join(spoken(text))
        if not text:
            raise InputError("The text is only markup and symbols: write what to say in words.")
        with self._lock:
            if self._mode is not Mode.NORMAL:
                raise InputError(
                    f"The device is in mode {self._mode.value} and says nothing: set the mode to "
                    f"{Mode.NORMAL.value} first."
                )
            waiting = self._texts[moment]
            if self._held[moment] + len(waiting) >= MAX_WAITING:
                raise InputError("Too much waits to be said already: try again later.")
            waiting.append(text)

    def set_mode(self, mode: Mode) -> None:
        """In any other than NORMAL the device falls silent at once, and `stop_motion` goes out."""
        with self._lock:
            self._mode = mode
            if mode is not Mode.NORMAL:
                self._stop = True
                self._forget(*Moment)
        self._on_change(self)

    def switch_microphone(self, on: bool) -> None:
        """Off: nothing is captured any more; the device still speaks. Raises InputError where no
        microphone is connected that could be switched."""
        self._switch("microphone", on)

    def switch_camera(self, on: bool) -> None:
        """Off: nothing is captured any more. Raises InputError as `switch_microphone`."""
        self._switch("camera", on)

    def set_volume(self, volume: float) -> None:
        """0..1, of the loudspeaker. Raises InputError: it is none of these, or no loudspeaker is
        connected that the configuration leaves a sound."""
        if not 0.0 <= volume <= 1.0:
            raise InputError(f"A volume is 0 to 1, not {volume:g}.")
        with self._switching:
            if not self._loudspeakers:
                raise InputError("This device has no loudspeaker whose volume could be set.")
            self._volume = volume
            for set_volume in self._loudspeakers:
                set_volume(volume)
        self._on_change(self)

    @property
    def mode(self) -> Mode:
        return self._mode

    @property
    def volume(self) -> float:
        """0..1, of the loudspeaker."""
        return self._configured if self._volume is None else self._volume

    @property
    def set_to(self) -> float | None:
        """The volume, if it was ever set."""
        return self._volume

    @property
    def has_volume(self) -> bool:
        return bool(self._loudspeakers)

    @property
    def microphone_on(self) -> bool:
        return self._on["microphone"]

    @property
    def camera_on(self) -> bool:
        return self._on["camera"]

    @property
    def capture(self) -> dict[str, bool]:
        """Of what captures and can be switched, by name: whether it is on."""
        return {name: self._on[name] for name, switches in self._switches.items() if switches}

    # -- from inside -----------------------------------------------------------

    def connect(self, microphone: Switch | None = None, camera: Switch | None = None) -> None:
        """Whoever captures is told at once how things are, and of every change."""
        with self._switching:
            for name, switch in (("microphone", microphone), ("camera", camera)):
                if switch is not None:
                    self._switches[name].append(switch)
                    switch(self._on[name])

    def connect_loudspeaker(self, set_volume: SetVolume, configured: float) -> None:
        """It is told the volume at once, and of every change."""
        with self._switching:
            self._configured = configured
            self._loudspeakers.append(set_volume)
            set_volume(self.volume)

    def disconnect(self) -> None:
        """The device is released: nobody captures any more, and what waits is forgotten."""
        with self._switching:
            for switches in self._switches.values():
                switches.clear()
            self._loudspeakers.clear()
        self.cancel()
        self.take()

    def take(self, held: int = 0, undelivered: int = 0) -> Orders:
        """What has come since the last call. For the loop, which says how many texts it had taken
        before that are not said: to be said now, and when it is fitting."""
        with self._lock:
            now, later = self._texts[Moment.NOW], self._texts[Moment.FITTING]
            orders = Orders(self._stop, self._cancel, tuple(now), tuple(later), self._mode)
            self._held = {
                Moment.NOW: len(now) + (0 if self._stop or self._cancel else held),
                Moment.FITTING: len(later) + (0 if self._cancel else undelivered),
            }
            self._stop = self._cancel = False
            self._texts = {moment: [] for moment in Moment}
        return orders

    def _forget(self, *moments: Moment) -> None:
        """With the lock held."""
        for moment in moments:
            self._held[moment] = 0
            self._texts[moment].clear()

    def _switch(self, name: str, on: bool) -> None:
        with self._switching:
            if not self._switches[name]:
                raise InputError(f"This device has no {name} that can be switched.")
            self._on[name] = on
            for switch in self._switches[name]:
                switch(on)
        self._on_change(self)
