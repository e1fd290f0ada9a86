"""Actions for a house: each on the MQTT topic that the configuration gives it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType

from typing_extensions import Self

from edge_runtime.config import ActionConfig
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import MqttConnection, Outgoing
from edge_runtime.micro_turn import STOP_MOTION, TurnRecord
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.acts import acts
from edge_runtime.sparing_log import SparingLog

log = logging.getLogger(__name__)


class MqttActions:
    """A Sink: put it behind a QueueSink. In STANDBY only `stop_motion` goes out, and it is the last
    that goes out: of ours, or of the broker's when we are suddenly gone.

    A broker that owes its acknowledgement for more than `patience_s` counts as gone.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        device: str,
        actions: Mapping[str, ActionConfig],
        mode: Callable[[], Mode] = lambda: Mode.NORMAL,
        patience_s: float = 0.5,
    ) -> None:
        self._mode, self._patience_s = mode, patience_s
        self._messages = {
            name: Outgoing(
                chosen.mqtt_topic,
                (name if chosen.text is None else chosen.text).encode(),
                expiry_s=chosen.valid_ms / 1e3,
            )
            for name, chosen in actions.items()
            if chosen.mqtt_topic is not None
        }
        self.only_here = frozenset(
            name for name in self._messages if actions[name].ros_topic is None
        )
        """Actions that have no other way out."""
        self._connection = MqttConnection(
            replace(broker, session_expiry_s=0),  # an action that is late is not wanted any more
            f"edge-{device}-actions",
            parting=self._messages.get(STOP_MOTION),
        )
        self._warnings = SparingLog(log)
        self._lock = threading.Lock()
        self._tries: Counter[str] = Counter()
        self._outcomes: dict[str, tuple[int, str]] = {}
        """By action: of the last try that ended, its number, and why it failed."""
        self.unsent = 0
        """Actions that reached nobody, as far as the broker has told."""

    @property
    def connected(self) -> bool:
        return self._connection.connected

    @property
    def trouble(self) -> str:
        """Of the connection to the broker; empty where there is one."""
        return self._connection.trouble

    def tries(self, name: str) -> int:
        """How often it was to go out so far."""
        return self._tries[name]

    def outcome(self, name: str, tries: int) -> str | None:
        """Of one after the first `tries`: empty once the broker has handed it on, or why it has
        not; None while that is not known."""
        with self._lock:
            number, why_not = self._outcomes.get(name, (0, ""))
        return why_not if number > tries else None

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

    def halt(self) -> None:
        """Tell the body to stop, outside of any micro-turn."""
        if STOP_MOTION in self._messages:
            self._send(STOP_MOTION)

    def publish(self, record: TurnRecord) -> None:
        self._connection.watch(self._patience_s, None)
        for action, _ in acts(record, self._mode()):
            if action.name in self._messages:
                self._send(action.name)
        self._warnings.tell()

    def _send(self, name: str) -> None:
        with self._lock:
            self._tries[name] += 1
            number = self._tries[name]
        ended = partial(self._ended, name, number)
        if not self._connection.publish(replace(self._messages[name], told=ended)):
            ended("no connection")

    def _ended(self, name: str, number: int, why_not: str) -> None:
        with self._lock:
            newest, _ = self._outcomes.get(name, (0, ""))
            if number > newest:
                self._outcomes[name] = number, why_not
            self.unsent += bool(why_not)
        if why_not:
            topic = self._messages[name].topic
            self._warnings.warn(name, f"{name} was not published on {topic}: {why_not}")
