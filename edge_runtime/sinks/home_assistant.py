"""The device in Home Assistant: it appears by itself, shows its state, and takes commands.

Everything goes over the broker: a discovery payload, one state topic in JSON, a topic a command.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import Arrival, ConnectionState, MqttConnection, Outgoing
from edge_runtime.errors import ConfigError, InputError, WireError
from edge_runtime.health import HealthMonitor
from edge_runtime.micro_turn import TURN_MS, TurnRecord
from edge_runtime.remote_control import Mode, Moment, RemoteControl
from edge_runtime.sinks import home_assistant_discovery as home
from edge_runtime.sinks.acts import acts
from edge_runtime.sinks.company import Company
from edge_runtime.sparing_log import SparingLog

log = logging.getLogger(__name__)
LONGEST_COMMAND = 4_000
"""Bytes: a thousand characters, whatever they are."""
EVERY_S = 0.5
"""At most so often is a new state published; a stop and a switch are shown at once."""
STEP_DEG = 15
"""A bearing is rounded to this, or it would never rest."""
DIRECTION_TURNS = 10_000 // TURN_MS
"""A bearing is shown so long after the last sound that had one."""
_SWITCH = (home.ON, home.OFF)
PAYLOADS: Mapping[str, tuple[str, ...]] = {
    home.STOP: (home.PRESS,),
    home.CANCEL: (home.PRESS,),
    home.TEXT: (),
    home.NOTIFY: (),
    home.QUIET: _SWITCH,
    home.MICROPHONE: _SWITCH,
    home.CAMERA: _SWITCH,
    home.VOLUME: (),
}
"""By command: what it may be given; nothing stands for any text."""
_WORD = re.compile(r"[\w-]{1,16}", re.ASCII)
_FIGURES = re.compile(r"'[^']*'|\d+")
"""Differs from one warning to the next of the same reason."""
PATIENCE_S = 10.0
EVENT_EXPIRY_S = 5.0


@dataclass(frozen=True)
class HomeSettings:
    """What Home Assistant is shown."""

    device: str
    prefix: str = "homeassistant"
    floors: tuple[str, ...] = ()
    tell_heard: bool = False
    tell_said: bool = True
    has_microphone: bool = True
    has_camera: bool = True
    has_volume: bool = False
    sees: bool = False
    """The model tells whether somebody is there."""
    actions: tuple[str, ...] = ()
    """What the device can do: each is an event when it does it."""
    asks_workers: bool = True
    name: str | None = None
    """Of the device there; None: `device`."""
    area: str | None = None


class HomeAssistant:
    """A Sink: put it behind a QueueSink. Raises ConfigError for a name that no topic can bear."""

    def __init__(
        self,
        broker: BrokerSettings,
        settings: HomeSettings,
        control: RemoteControl,
        health: HealthMonitor,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._control, self._health = settings, control, health
        self._now_s = now_s
        self._topics = topics = _topics(settings.device, settings.prefix)
        self._connection = MqttConnection(
            replace(broker, session_expiry_s=0),  # a command that is late is not wanted any more
            f"edge-{settings.device}-home",
            Outgoing(topics.availability, b"online", retain=True),
            death=b"offline",
            farewell=b"offline",
            on_state=self._on_connection,
        )
        self._connection.subscribe(topics.commands, self._on_command)
        self._connection.subscribe(topics.birth, self._on_birth)
        self._lock = threading.Lock()
        """Guards what was seen."""
        self._showing = threading.Lock()
        """Held while a state is made and published: an older one never follows a newer one."""
        self._seen: dict[str, Any] = {
            "floor": settings.floors[0] if settings.floors else "listen",
            "direction": None,
            "link": home.OFF,
            "said": "",
        }
        self._directed = 0
        """The last micro-turn in which sound had a direction."""
        self._decided: dict[str, str] = {}
        """Words by utterance that wait in the mouth until what is being said is over."""
        self._company = Company(home.LONGEST_TEXT if settings.tell_heard else 0)
        self._published: dict[str, Any] = {}
        self._published_s = -math.inf
        self._warnings = SparingLog(log)
        self.bad_commands = 0

    @property
    def trouble(self) -> str:
        """Of the connection to the broker; empty where there is one."""
        return self._connection.trouble

    def __enter__(self) -> Self:
        self._connection.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.__exit__(kind, error, trace)
        self._warnings.tell(at_end=True)

    def publish(self, record: TurnRecord) -> None:
        self._tell_actions(record)
        with self._lock:
            self._note(record)
        self._show(at_once=record.decision.stop)
        self._warnings.tell()

    def _tell_actions(self, record: TurnRecord) -> None:
        """Events are for those who listen when they happen: not retained, and not kept."""
        for action, source in acts(record, self._control.mode):
            if action.name in self._settings.actions:
                event = {"event_type": action.name, "source": source.lower()}
                payload = json.dumps(event).encode()
                self._connection.publish(
                    Outgoing(self._topics.action, payload, expiry_s=EVENT_EXPIRY_S)
                )

    def _note(self, record: TurnRecord) -> None:
        turn, decision = record.turn, record.decision
        self._seen["floor"] = decision.floor
        self._seen["link"] = home.ON if turn.background.link_up else home.OFF
        if turn.direction_rad is not None:
            self._directed = turn.index
            bearing = math.degrees(turn.direction_rad)
            self._seen["direction"] = STEP_DEG * round(bearing / STEP_DEG)
        silent_turns = turn.index - self._directed
        if silent_turns >= DIRECTION_TURNS or not self._control.microphone_on:
            self._seen["direction"] = None
        if self._settings.tell_said:
            self._note_said(record)
        self._company.note(record)

    def _note_said(self, record: TurnRecord) -> None:
        """What it says counts as said once it begins: at once, or after what is being said."""
        said, voice = record.said, record.turn.voice
        if not voice.speaking:
            self._decided.clear()
        if said is not None:
            self._decided[said.id] = said.text[: home.LONGEST_TEXT]
        begun = voice.utterance_id or (said.id if said is not None else None)
        if begun in self._decided:
            self._seen["said"] = self._decided.pop(begun)

    def _state(self) -> dict[str, Any]:
        health = self._health.snapshot()
        with self._lock:
            seen = dict(self._seen)
            engaged, present = self._company.engaged, self._company.present
            heard = self._company.heard
        if self._settings.tell_heard:
            seen["heard"] = heard
        if not self._settings.tell_said:
            del seen["said"]
        if self._settings.sees:
            seen["presence"] = None if present is None else home.ON if present else home.OFF
        if self._settings.has_volume:
            seen[home.VOLUME] = round(100 * self._control.volume)
        return seen | {
            "engaged": home.ON if engaged else home.OFF,
            "health": health.state.value,
            "reasons": list(health.reasons),
            home.QUIET: home.quiet(self._control.mode),
            home.MICROPHONE: home.ON if self._control.microphone_on else home.OFF,
            home.CAMERA: home.ON if self._control.camera_on else home.OFF,
        }

    def _show(self, at_once: bool = False) -> None:
        """Publish the state where it has changed, and not too often."""
        with self._showing:
            now_s = self._now_s()
            if not at_once and now_s - self._published_s < EVERY_S:
                return
            state = self._state()
            if state == self._published or not self._connection.connected:
                return
            payload = json.dumps(state, ensure_ascii=False).encode()
            if self._connection.publish(Outgoing(self._topics.state, payload, retain=True)):
                self._published, self._published_s = state, now_s

    # -- on the network thread -------------------------------------------------

    def _on_connection(self, state: ConnectionState) -> None:
        if state is ConnectionState.CONNECTED:
            self._introduce()

    def _on_birth(self, arrival: Arrival) -> None:
        """Home Assistant has started and may have forgotten everything."""
        if arrival.payload == b"online" and not arrival.retained:
            self._introduce()

    def _introduce(self) -> None:
        chosen = self._settings
        payload = home.discovery(
            self._topics,
            chosen.floors,
            chosen.tell_heard,
            chosen.tell_said,
            chosen.has_microphone,
            chosen.has_camera,
            chosen.sees,
            chosen.actions,
            chosen.asks_workers,
            chosen.name,
            chosen.area,
            chosen.has_volume,
        )
        message = json.dumps(payload, ensure_ascii=False).encode()
        self._connection.publish(Outgoing(self._topics.discovery, message, retain=True))
        with self._showing:
            self._published = {}
        self._show(at_once=True)

    def _on_command(self, arrival: Arrival) -> None:
        if arrival.retained:
            return  # It would be obeyed again at every start.
        name = arrival.topic.split("/")[-2]
        try:
            self._obey(name, _text(arrival.payload))
        except (InputError, WireError) as error:
            self.bad_commands += 1
            reason = str(error)
            kind = f"{name if name in PAYLOADS else ''} {_FIGURES.sub('', reason)}"
            self._warnings.warn(kind, f"the command {_shown(name)} was not obeyed: {reason}")
        self._show(at_once=True)

    def _obey(self, name: str, text: str) -> None:
        """Raises InputError or WireError, and then nothing was done."""
        if name not in PAYLOADS:
            known = ", ".join(sorted(PAYLOADS))
            raise WireError(f"there is no such command, but there are {known}")
        if PAYLOADS[name] and text not in PAYLOADS[name]:
            wanted = " or ".join(PAYLOADS[name])
            raise WireError(f"its payload must be {wanted}; it is {_shown(text)}")
        control, on = self._control, text == home.ON
        if name == home.STOP:
            control.stop()
        elif name == home.CANCEL:
            control.cancel()
        elif name == home.TEXT:
            control.say(text)
        elif name == home.NOTIFY:
            control.say(text, Moment.FITTING)
        elif name == home.QUIET:
            control.set_mode(Mode.QUIET if on else Mode.NORMAL)
        elif name == home.MICROPHONE:
            control.switch_microphone(on)
        elif name == home.CAMERA:
            control.switch_camera(on)
        elif name == home.VOLUME:
            control.set_volume(_percent(text) / 100)


def forget(broker: BrokerSettings, device: str, prefix: str) -> None:
    """Remove the device from Home Assistant, and its retained messages from the broker.

    Raises ConfigError where the broker cannot be reached within ten seconds.
    """
    topics = _topics(device, prefix)
    connected, gone = threading.Event(), threading.Event()
    left = {topics.discovery, topics.state}

    def see(arrival: Arrival) -> None:
        """What was cleared comes back empty: only then may the connection end."""
        if not arrival.payload:
            left.discard(arrival.topic)
        if not left:
            gone.set()

    connection = MqttConnection(
        replace(broker, session_expiry_s=0),
        f"edge-{device}-home",
        Outgoing(topics.availability, b"offline", retain=True),
        death=b"",
        farewell=b"",
        on_state=lambda state: connected.set() if state is ConnectionState.CONNECTED else None,
    )
    wanted = tuple(left)
    for topic in wanted:
        connection.subscribe(topic, see)
    with connection:
        if connected.wait(PATIENCE_S):
            for topic in wanted:
                connection.publish(Outgoing(topic, b"", retain=True))
        if not gone.wait(PATIENCE_S if connected.is_set() else 0):
            raise ConfigError(
                f"The broker {broker.url} cannot be reached, or does not let the device clear "
                f"{topics.discovery}: it stays in Home Assistant. Remove it there, or try again."
            )


def _topics(device: str, prefix: str) -> home.HomeTopics:
    try:
        return home.HomeTopics(device, prefix)
    except WireError as error:
        raise ConfigError(f"device.name: {error}") from None


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise WireError(f"its payload must be a number from 0 to 100; it is {_shown(text)}")
    return percent


def _text(payload: bytes) -> str:
    if len(payload) > LONGEST_COMMAND:
        raise WireError(
            f"its payload has {len(payload)} bytes, and at most {LONGEST_COMMAND} are taken"
        )
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise WireError(f"its payload of {len(payload)} bytes is not UTF-8") from None


def _shown(text: str) -> str:
    """For the log, which must not hold what was to be said: no more than a word."""
    return repr(text) if _WORD.fullmatch(text) else f"of {len(text)} characters"
