"""The worker as a program: killed, stopped, and with a broker that comes and goes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from broker import PATIENCE_S, Broker, Device, needs_mosquitto, running_broker
from echo_worker import HOLD, Echo

from edge_runtime.background.worker import Worker
from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.micro_turn import Pcm
from edge_runtime.voice.espeak import EspeakSynthesizer

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)
Start = Callable[..., "subprocess.Popen[str]"]


def speech(text: str) -> Pcm:
    return np.concatenate(list(EspeakSynthesizer("en-us").synthesize(text)))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python programs; none outlives its test."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@contextmanager
def holding(broker: Broker, start: Start) -> Iterator[tuple[subprocess.Popen[str], Device]]:
    """A worker with one slot that works on `running` while `waiting` waits."""
    process = start(str(Path(__file__).with_name("echo_worker.py")), broker.url, "echo")
    with Device(broker) as device:
        device.await_status("echo", state="online", free_slots=1)
        device.ask("running", HOLD)
        device.await_reply("running", "progress")
        device.ask("waiting")
        device.await_reply("waiting", "accepted")
        yield process, device


@needs_mosquitto
def test_a_killed_worker_is_offline_by_its_will(broker: Broker, start: Start) -> None:
    with holding(broker, start) as (process, device):
        process.kill()
        device.await_status("echo", state="offline", free_slots=0)
        with Device(broker, "newcomer") as newcomer:
            newcomer.await_status("echo", state="offline")  # It is retained.


@needs_mosquitto
def test_a_stopped_worker_says_goodbye_and_what_it_leaves_undone(
    broker: Broker, start: Start
) -> None:
    with holding(broker, start) as (process, device):
        process.send_signal(signal.SIGTERM)
        for name in ("waiting", "running"):
            reply = device.await_reply(name, "failed")
            assert reply.json["text"] == "worker is stopping"
            assert reply.correlation == name.encode()
        device.await_status("echo", state="offline", free_slots=0)
        assert process.wait(PATIENCE_S) == 0
        assert "result" not in device.kinds("running") + device.kinds("waiting")


@needs_mosquitto
def test_a_stopping_worker_finishes_what_runs_and_leaves_the_rest_to_others(
    broker: Broker,
) -> None:
    settings, echo, other = BrokerSettings(broker.url), Echo(), Echo()
    worker = Worker(settings, "echo", echo, slots=1, grace_s=PATIENCE_S)
    with Device(broker) as device, Worker(settings, "other", other, slots=1), ExitStack() as stack:
        stack.enter_context(worker)
        for name in ("echo", "other"):
            device.await_status(name, state="online", free_slots=1)
        other.go.set()
        asked: list[str] = []
        while not asked or device.replies(asked[-1])[0].json["worker"] == "other":
            asked.append(f"q{len(asked)}")
            device.ask(asked[-1], HOLD)
            device.await_reply(asked[-1], "progress")
        stopping = threading.Thread(target=stack.close)
        stopping.start()
        device.await_status("echo", state="stopping")
        asked += [f"late{number}" for number in range(6)]
        for name in asked[-6:]:
            device.ask(name)
            assert device.await_reply(name, "result").json["worker"] == "other"
        echo.go.set()
        for name in asked:
            device.await_reply(name, "result")
        stopping.join(PATIENCE_S)
        assert len(echo.ids) == 1


@needs_mosquitto
def test_a_worker_comes_back_with_its_broker_and_still_knows_its_work(broker: Broker) -> None:
    echo = Echo()
    with Device(broker) as device, Worker(BrokerSettings(broker.url), "echo", echo, slots=2):
        device.await_status("echo", state="online", free_slots=2)
        device.ask("q1", HOLD)
        device.await_reply("q1", "progress")
        broker.kill()
        device.await_gone()
        device.messages.clear()
        broker.start()
        device.await_ready()
        device.await_status("echo", state="online", free_slots=1)
        echo.go.set()
        device.await_reply("q1", "result")
        device.ask("q1", HOLD)  # It is sent again, as nothing else had come.
        device.await_any(lambda: device.kinds("q1")[-3:] == ["accepted", "progress", "result"])
        device.ask("q2", "hello")
        assert device.await_reply("q2", "result").json["text"] == "kiosk said hello"
        assert echo.ids == ["q1", "q2"]


@needs_mosquitto
@needs_espeak
def test_the_command_starts_without_a_broker_and_answers_spoken_questions_once_there_is_one(
    tmp_path: Path, start: Start
) -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    broker = Broker(tmp_path)
    worker = start("-m", "edge_runtime.cli", "background", "--broker", broker.url, "--name", "w1")
    assert worker.stdout is not None
    lines = iter(worker.stdout.readline, "")  # it may warn of the missing broker before
    first = next((line for line in lines if "w1" in line), "")
    assert broker.url in first and "no language model" in first
    try:
        broker.start()
        sound = speech("what is twelve plus thirty")
        with Device(broker) as device:
            device.await_status("w1", state="online", free_slots=4, model="offline skills")
            device.ask("q1", "whatever the device made of it", audio=wire.pack_audio(sound))
            answer = device.await_reply("q1", "result").json["text"]
            assert answer == "Twelve plus thirty is forty-two."
            worker.send_signal(signal.SIGTERM)
            device.await_status("w1", state="offline")
        assert worker.wait(PATIENCE_S) == 0
    finally:
        broker.kill()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "A worker needs a broker: give --broker"),
        (["--broker", "localhost"], "is no broker: use mqtt://"),
        (["--broker", "mqtt://me:secret@localhost"], "must not hold a user or password"),
        (["--broker", "mqtt://localhost", "--name", "a/b"], "cannot be part of an MQTT topic"),
        (["--broker", "mqtt://localhost", "--slots", "0"], "greater than or equal to 1"),
    ],
)
def test_a_wrong_argument_is_one_message(start: Start, arguments: list[str], told: str) -> None:
    process = start("-m", "edge_runtime.cli", "background", *arguments)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert told in " ".join(output.split())
    assert "Traceback" not in output
    assert process.returncode == 2
