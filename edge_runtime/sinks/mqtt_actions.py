"""Actions for a house: each on the MQTT topic that the configuration gives it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType

from typing_extensions import Self

from edge_runtime.config import ActionConfig
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import MqttConnection, Outgoing
from edge_runtime.micro_turn import TurnRecord
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.acts import acts

log = logging.getLogger(__name__)


class MqttActions:
    """A Sink: put it behind a QueueSink. In STANDBY only `stop_motion` goes out."""

    def __init__(
        self,
        broker: BrokerSettings,
        device: str,
        actions: Mapping[str, ActionConfig],
        mode: Callable[[], Mode] = lambda: Mode.NORMAL,
    ) -> None:
        self._mode = mode
        self._messages = {
            name: Outgoing(
                chosen.mqtt_topic,
                (name if chosen.text is None else chosen.text).encode(),
                expiry_s=chosen.valid_ms / 1e3,
            )
            for name, chosen in actions.items()
            if chosen.mqtt_topic is not None
        }
        self._connection = MqttConnection(
            replace(broker, session_expiry_s=0),  # an action that is late is not wanted any more
            f"edge-{device}-actions",
        )
        self.unsent = 0
        """Actions that came while there was no connection."""

    @property
    def connected(self) -> bool:
        return self._connection.connected

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

    def publish(self, record: TurnRecord) -> None:
        for action, _ in acts(record, self._mode()):
            self._send(action.name)

    def _send(self, name: str) -> None:
        message = self._messages.get(name)
        if message is None or self._connection.publish(message):
            return
        self.unsent += 1
        level = logging.WARNING if self.unsent == 1 else logging.DEBUG
        log.log(level, "%s was not published on %s: no connection", name, message.topic)
