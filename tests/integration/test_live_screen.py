"""A screen beside the program: a recorded question, the shipped model, what is told over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from broker import free_port, wait_until
from program import needs_espeak, written

from edge_runtime.voice.espeak import EspeakSynthesizer

QUESTION = "what is twelve times seven"
SAMPLE_RATE_HZ = 16_000


def asked(path: Path) -> Path:
    """In a room that is not quite silent."""
    speech = np.concatenate(list(EspeakSynthesizer("en-gb+m3", 155).synthesize(QUESTION)))
    pause = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    sound = np.concatenate([pause, 0.3 * speech, pause])
    sound += 0.002 * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    soundfile.write(path, sound, SAMPLE_RATE_HZ)
    return path


def events(port: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Until the program ends."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/events")
    kind = ""
    for line in connection.getresponse():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
    connection.close()


def listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    return False


@needs_espeak
def test_a_screen_follows_a_question_to_its_answer(tmp_path: Path) -> None:
    port = free_port()
    config = written(
        tmp_path / "edge.yaml",
        f"device: {{name: kiosk}}\nbackground: {{recogniser: none}}\n"
        f"http: {{port: {port}, live: true, tell_heard: true}}\n",
    )
    command = [sys.executable, "-m", "edge_runtime.cli", "run", "--config", str(config)]
    command += ["--audio", str(asked(tmp_path / "question.wav")), "--tail", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as device:
        try:
            wait_until(lambda: listens(port))
            told: list[tuple[str, dict[str, Any]]] = []
            for kind, data in events(port):
                told.append((kind, data))
                if kind == "said" and (data["act"], data["state"]) == ("deliver", "finished"):
                    device.send_signal(signal.SIGINT)
            device.communicate(timeout=30)
        finally:
            device.kill()
    assert device.returncode == 0

    answer = next(data for kind, data in told if kind == "said" and data["act"] == "deliver")
    assert answer["state"] == "started" and answer["text"]
    assert [
        data["state"] for kind, data in told if kind == "question" and data["state"] != "progress"
    ][:2] == ["requested", "result"]
    states = [data["state"] for kind, data in told if kind == "state"]
    assert states[0] in ("idle", "listening") and "speaking" in states
    heard = [data["text"] for kind, data in told if kind == "heard"]
    assert heard and len(max(heard, key=len)) > len(QUESTION) / 2
    assert ("health", "kiosk") in [(kind, data.get("device")) for kind, data in told]
