"""The whole path: a device's question over MQTT to a worker with a language model, and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from broker import needs_mosquitto, running_broker, wait_until
from chat_server import ChatServer

from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.micro_turn import Event, EventKind, Request
from edge_runtime.pacing import MonotonicClock

pytest.importorskip("pydantic_ai", reason="the agent needs its extra")
pytestmark = needs_mosquitto
CONFIG = """
delegation: {{broker: "{broker}"}}
agent: {{model: tiny, base_url: "{server}"}}
"""


def test_an_answer_of_a_language_model_comes_sentence_by_sentence(tmp_path: Path) -> None:
    sentences = ["The museum closes at six. ", "The last entry is at half past five."]
    with running_broker(tmp_path) as broker, ChatServer(sentences) as server:
        config = tmp_path / "worker.yaml"
        config.write_text(CONFIG.format(broker=broker.url, server=server.url))
        command = [sys.executable, "-m", "edge_runtime.cli", "background", "--name", "w"]
        with (
            subprocess.Popen([*command, "--config", str(config)], env=os.environ) as worker,
            MqttBackground(
                BrokerSettings(broker.url), Abilities("kiosk"), MonotonicClock()
            ) as remote,
        ):
            wait_until(lambda: remote.available)
            silence = np.zeros(3_200, np.float32)
            remote.submit(Request("request-1", silence, "when does the museum close"))
            told: list[Event] = []

            def ended() -> bool:
                told.extend(remote.poll())
                return any(one.kind in (EventKind.RESULT, EventKind.FAILED) for one in told)

            wait_until(ended)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
    answer = [one for one in told if one.kind in (EventKind.PARTIAL, EventKind.RESULT)]
    assert answer[0].kind is EventKind.PARTIAL
    assert " ".join(one.text for one in answer if one.text) == "".join(sentences)
