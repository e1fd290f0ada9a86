"""The whole path, as a user runs it: a recorded question, the shipped model, MQTT, a worker, words.

The programs are real, and so are the broker, the recogniser and the MCP server; only the language
model is a script behind a real HTTP server.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from broker import Device, needs_mosquitto, running_broker
from chat_server import Call, ChatServer
from mcap.reader import make_reader
from mcp_house import HOUSE
from program import needs_espeak
from talking_device import assert_hardly_missed

from edge_runtime.micro_turn import EventKind
from edge_runtime.recording_format import SPOKEN
from edge_runtime.replay import read
from edge_runtime.voice.espeak import EspeakSynthesizer

pytestmark = [needs_mosquitto, needs_espeak]
QUESTION = "what is twelve times seven"
SAMPLE_RATE_HZ = 16_000


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person asks in a room that is not quite silent."""
    speech = np.concatenate(list(EspeakSynthesizer("en-gb+m3", 155).synthesize(QUESTION)))
    pause = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    sound = np.concatenate([pause, 0.3 * speech, pause])
    sound += 0.002 * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    path = tmp_path_factory.mktemp("question") / "question.wav"
    soundfile.write(path, sound, SAMPLE_RATE_HZ)
    return path


@contextmanager
def worker(observer: Device, folder: Path, text: str) -> Iterator[None]:
    config = folder / "worker.yaml"
    config.write_text(text)
    command = [sys.executable, "-m", "edge_runtime.cli", "background", "--name", "w"]
    process = subprocess.Popen([*command, "--config", str(config)], stdout=subprocess.DEVNULL)
    try:
        observer.await_status("w", state="online")
        yield
    finally:
        process.terminate()
        process.wait(30)


def held(url: str, question: Path, folder: Path, last_words: str) -> Path:
    """The recorded conversation of a device on this broker, until it has said the last words."""
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    config = folder / "device.yaml"
    # Nobody is given up: a busy machine may be slow.
    config.write_text(
        f'delegation: {{broker: "{url}", patience_s: 30}}\nbackground: {{deadline_s: 120}}\n'
    )
    command = [sys.executable, "-u", "-m", "edge_runtime.cli", "run", "--config", str(config)]
    command += ["--audio", str(question), "--tail", "120", "--out", str(folder / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdout is not None
        try:
            told = [device.stdout.readline()]
            while told[-1] and not ("deliver" in told[-1] and last_words in told[-1]):
                told.append(device.stdout.readline())
            assert told[-1], "".join(told)
            device.send_signal(signal.SIGINT)
            summary, _ = device.communicate(timeout=60)
        finally:
            device.kill()
    assert device.returncode == 0
    told_last = json.loads(summary[summary.index("{") :])
    assert_hardly_missed(told_last["missed"], told_last["micro_turns"])
    return folder / "out" / "recording.mcap"


def delivered(recording: Path) -> str:
    """Everything that was said as an answer."""
    with recording.open("rb") as file:
        said = [json.loads(one.data) for _, _, one in make_reader(file).iter_messages([SPOKEN])]
    return " ".join(one["text"] for one in said if one["act"] == "deliver")


def replies(observer: Device) -> list[tuple[str, str]]:
    found = [one for one in observer.messages if one.topic == "edge/edge/replies"]
    return [(one.json["kind"], one.json["text"]) for one in found]


def test_a_question_is_answered_by_the_skills_of_a_worker(question: Path, tmp_path: Path) -> None:
    with (
        running_broker(tmp_path) as broker,
        Device(broker, "observer", ("#",)) as observer,
        worker(observer, tmp_path, f'delegation: {{broker: "{broker.url}"}}'),
    ):
        recording = held(broker.url, question, tmp_path, " times seven is ")
    # What the recogniser made of the number is another matter.
    (answer,) = (text for kind, text in replies(observer) if kind == "result")
    assert "times seven is" in answer and delivered(recording) == answer
    events = [event.kind for one in read(recording) for event in one.turn.events]
    assert EventKind.LINK_UP in events and EventKind.FAILED not in events


AGENT = """
delegation: {{broker: "{broker}"}}
agent:
  model: scripted
  base_url: {server}
  mcp_servers:
    house: {{command: {python}, args: [{program}], start_timeout_s: 60.0}}
"""


def test_a_question_is_answered_by_a_language_model_with_tools(
    question: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pydantic_ai", reason="the agent is an extra: edge-runtime[agent]")
    pytest.importorskip("mcp", reason="the agent is an extra: edge-runtime[agent]")
    program = tmp_path / "house.py"
    program.write_text(HOUSE)
    turns_of_the_model = (
        [Call("calculate", json.dumps({"question": "12 * 7"}))],
        [Call("house_warmest_room", json.dumps({"floor": 2}))],
        ["It is eighty-four. ", "And the kitchen ", "is warm."],
    )
    with (
        running_broker(tmp_path) as broker,
        Device(broker, "observer", ("#",)) as observer,
        ChatServer(*turns_of_the_model) as server,
    ):
        text = AGENT.format(
            broker=broker.url, server=server.url, python=sys.executable, program=program
        )
        with worker(observer, tmp_path, text):
            recording = held(broker.url, question, tmp_path, "kitchen is warm.")
        assert "times seven" in server.said_by("user", 0)[0]
        tools = server.said_by("tool", 2)
    assert tools[1] == "the kitchen on floor 2" and "eighty-four" in tools[0]
    kinds = [kind for kind, _ in replies(observer)]
    assert kinds == ["accepted", "progress", "progress", "partial", "result"]
    assert delivered(recording) == "It is eighty-four. And the kitchen is warm."
