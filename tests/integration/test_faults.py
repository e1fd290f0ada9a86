"""What goes wrong between a device and its workers, during a conversation.

Each time: nothing is lost, nothing is said twice, no micro-turn is missed (`talking` sees to that),
and within five micro-turns the person is told the truth.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asker import working
from broker import Broker, Device, needs_mosquitto, running_broker, wait_until
from cut_network import CuttableNetwork, why_no_networks
from echo_worker import HOLD, Echo
from talking_device import SECOND, TalkingDevice, talking

from edge_runtime.delegation.answers import ENOUGH
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.micro_turn import Decision, Delegation
from edge_runtime.sentences import LONGEST

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as broker:
        yield broker


def ready(device: TalkingDevice) -> None:
    wait_until(lambda: device.remote.available)


def holding(device: TalkingDevice, echo: Echo) -> None:
    """A worker has the question, and keeps it."""
    device.ask(HOLD)
    wait_until(lambda: bool(echo.asked))


def answers_now(device: TalkingDevice) -> None:
    device.ask("tea")
    device.await_said("kiosk said tea")


def the_own_answer(device: TalkingDevice) -> str:
    """What the device itself says to `hold`, which it does not know."""
    wait_until(lambda: any("hold" in text and "said hold" not in text for text in device.texts()))
    (own,) = (text for text in device.texts() if "hold" in text)
    return own


def test_a_broker_that_is_killed_and_comes_back(broker: Broker) -> None:
    with working(broker) as echo, talking(broker.url) as device:
        ready(device)
        holding(device, echo)
        fault = device.now
        broker.kill()
        assert device.await_said("offline", fault) <= fault + SECOND
        own = the_own_answer(device)
        broker.start()
        echo.go.set()
        ready(device)
        answers_now(device)
        assert device.texts() == [own, "kiosk said tea"]


def test_a_broker_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    with talking(broker.url) as device:
        asked = device.now
        device.ask("what is two plus two")
        assert device.await_said("Two plus two is four.") <= asked + SECOND
        try:
            broker.start()
            with working(broker):
                ready(device)
                answers_now(device)
        finally:
            broker.kill()
        assert device.texts() == ["Two plus two is four.", "kiosk said tea"]


@contextmanager
def worker_process(broker: Broker, name: str) -> Iterator[subprocess.Popen[bytes]]:
    program = Path(__file__).with_name("echo_worker.py")
    process = subprocess.Popen([sys.executable, str(program), broker.url, name])
    try:
        with Device(broker, "observer") as observer:
            observer.await_status(name, state="online")
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_worker_killed_in_the_middle_while_there_is_another(broker: Broker) -> None:
    with worker_process(broker, "first") as first, talking(broker.url) as device:
        ready(device)
        device.ask(HOLD)
        wait_until(lambda: ("progress", "request-1") in device.events())
        other = Echo()
        other.go.set()
        with working(broker, "other", other):
            wait_until(lambda: device.remote.workers == 2)
            fault = device.now
            first.kill()
            assert device.await_said("kiosk said hold") <= fault + SECOND
            device.await_turns(2)
        assert device.texts() == ["kiosk said hold"]
        assert other.ids and not any(kind == "failed" for kind, _ in device.events())


def test_the_only_worker_killed_in_the_middle(broker: Broker) -> None:
    with worker_process(broker, "only") as only, talking(broker.url) as device:
        ready(device)
        device.ask(HOLD)
        wait_until(lambda: ("progress", "request-1") in device.events())
        fault = device.now
        only.kill()
        assert device.await_said("offline", fault) <= fault + SECOND
        own = the_own_answer(device)
        device.await_turns(2)
        assert device.texts() == [own]


def test_a_worker_that_has_stopped_working_is_not_waited_for(broker: Broker) -> None:
    with worker_process(broker, "hung") as hung, talking(broker.url) as device:
        ready(device)
        hung.send_signal(signal.SIGSTOP)
        asked = device.now
        device.ask(HOLD)
        own = the_own_answer(device)
        assert device.await_said(own) <= asked + SECOND + 1
        hung.send_signal(signal.SIGCONT)
        device.await_turns(SECOND)
        assert device.texts() == [own]


def test_a_broker_that_has_stopped_working(broker: Broker) -> None:
    with working(broker) as echo, talking(broker.url) as device:
        ready(device)
        holding(device, echo)
        fault = device.now
        broker.send_signal(signal.SIGSTOP)
        assert device.await_said("offline", fault) <= fault + SECOND
        own = the_own_answer(device)
        broker.send_signal(signal.SIGCONT)
        echo.go.set()
        ready(device)
        answers_now(device)
        assert device.texts() == [own, "kiosk said tea"]


@pytest.mark.skipif(bool(why_no_networks()), reason=why_no_networks())
@pytest.mark.parametrize("asked_before", [True, False], ids=["while it is out", "before it"])
def test_a_network_that_swallows_packets(tmp_path: Path, asked_before: bool) -> None:
    with CuttableNetwork(tmp_path) as network:
        broker = network.broker
        with working(broker) as echo, talking(network.device_url) as device:
            ready(device)
            if asked_before:
                holding(device, echo)
                fault = device.now
                network.cut()
            else:
                network.cut()
                fault = device.now
                device.ask(HOLD)
            assert device.await_said("offline", fault) <= fault + SECOND
            own = the_own_answer(device)
            network.mend()
            echo.go.set()
            ready(device)
            answers_now(device)
            device.await_turns(SECOND)
            assert device.texts() == [own, "kiosk said tea"]


@contextmanager
def scripted_worker(broker: Broker, device: TalkingDevice) -> Iterator[Device]:
    """A worker that says what the test wants: `asked` is what it was sent last."""
    patterns = ("$share/background/edge/+/requests",)
    with Device(broker, "scripted", patterns) as worker:
        worker.send("background/scripted/status", b'{"state": "online"}', retain=True)
        ready(device)
        yield worker


def asked_of(worker: Device, count: int = 1) -> str:
    """The id on the wire of the newest of `count` requests."""
    found: str = worker.await_any(
        lambda: len(worker.messages) >= count and worker.messages[-1].json["id"]
    )
    return found


def reply(id: str, seq: int, kind: str, text: str = "", **more: Any) -> bytes:
    content = {"id": id, "seq": seq, "kind": kind, "text": text, "worker": "scripted", **more}
    return json.dumps(content).encode()


def test_duplicate_reordered_and_late_replies(broker: Broker) -> None:
    with talking(broker.url) as device, scripted_worker(broker, device) as worker:
        device.ask("a question")
        name = asked_of(worker)
        answer = [
            reply(name, 0, "accepted"),
            reply(name, 1, "partial", "One."),
            reply(name, 2, "partial", "Two."),
            reply(name, 3, "result", "Three."),
        ]
        for index in (0, 0, 2, 3, 3, 1, 2, 1, 3):
            worker.send("edge/kiosk/replies", answer[index])
        device.await_said("One. Two. Three.")
        for payload in answer:
            worker.send("edge/kiosk/replies", payload)
        device.model.commands.put(Decision(0, "listen", delegation=Delegation.CANCEL))
        device.ask("another")
        second = asked_of(worker, 2)
        worker.send("edge/kiosk/replies", reply(name, 4, "result", "late"))
        worker.send("edge/kiosk/replies", reply(second, 0, "accepted"))
        worker.send("edge/kiosk/replies", reply(second, 1, "result", "Four."))
        device.await_said("Four.")
        device.await_turns(2)
        assert device.texts() == ["One. Two. Three.", "Four."]


def test_superseded_and_cancelled_results_are_not_spoken(broker: Broker) -> None:
    with talking(broker.url) as device, scripted_worker(broker, device) as worker:
        names = []
        for count, question in enumerate(("first", "second", "third"), 1):
            device.ask(question)
            names.append(asked_of(worker, count))
            worker.send("edge/kiosk/replies", reply(names[-1], 0, "accepted"))
        for name in names:
            worker.send("edge/kiosk/replies", reply(name, 1, "result", f"answer to {name}"))
        device.await_said(f"answer to {names[2]}")
        device.ask("fourth")
        fourth = asked_of(worker, 4)
        worker.send("edge/kiosk/replies", reply(fourth, 0, "accepted"))
        device.model.commands.put(Decision(0, "listen", delegation=Delegation.CANCEL))
        wait_until(device.model.commands.empty)
        worker.send("edge/kiosk/replies", reply(fourth, 1, "result", "nobody wants it"))
        device.await_turns(SECOND)
        assert device.texts() == [f"answer to {names[2]}"]


BAD = {
    "truncated": reply("x", 0, "result", "y")[:-4],
    "not UTF-8": b'{"id": "\xff\xfe"}',
    "wrong schema": b'{"id": ["x"], "seq": -1, "kind": "shout"}',
    "a newer format": reply("x", 0, "result", "y", format=2),
    "deeply nested": b"[" * 100_000,
    "3 MB": reply("x", 0, "result", "y" * 3_000_000),
    "10 MB": reply("x", 0, "result", "y" * 10_000_000),
}


def test_payloads_that_are_wrong(broker: Broker) -> None:
    with talking(broker.url) as device, scripted_worker(broker, device) as worker:
        device.ask("a question")
        name = asked_of(worker)
        worker.send("edge/kiosk/replies", reply(name, 0, "accepted"))
        for topic in ("edge/kiosk/replies", "background/odd/status"):
            for payload in BAD.values():
                worker.send(topic, payload)
        worker.send("edge/kiosk/replies", reply(name, 1, "result", "All is well."))
        device.await_said("All is well.")
        assert device.texts() == ["All is well."]
        # What is larger than the device told the broker to send, the broker keeps to itself.
        assert device.remote.bad_payloads == 2 * (len(BAD) - 1)


def test_an_answer_of_a_megabyte(broker: Broker) -> None:
    """It is told in parts that the mouth can hold, and holds nothing up."""
    with talking(broker.url) as device, scripted_worker(broker, device) as worker:
        device.ask("a long story")
        name = asked_of(worker)
        worker.send("edge/kiosk/replies", reply(name, 0, "accepted"))
        story = " ".join(f"And so went day {day} of it." for day in range(40_000))[:1_000_000]
        worker.send("edge/kiosk/replies", reply(name, 1, "result", story))
        wait_until(lambda: len(device.texts()) >= 5)
        device.await_turns(SECOND)
        parts = device.texts()
        assert story.startswith(" ".join(parts))
        assert all(ENOUGH <= len(part) <= ENOUGH + LONGEST for part in parts)


def ends(device: Device) -> dict[str, list[str]]:
    """How each request has ended, and how often."""
    found: dict[str, list[str]] = {}
    for message in list(device.messages):
        if b'"kind":"result"' in message.payload or b'"kind":"failed"' in message.payload:
            found.setdefault(message.json["id"], []).append(message.json["kind"])
    return found


def test_a_thousand_requests_in_a_burst(broker: Broker) -> None:
    names = [f"q{number}" for number in range(1000)]
    with (
        worker_process(broker, "echo"),
        talking(broker.url) as device,
        Device(broker, "crowd") as crowd,
    ):
        ready(device)
        for name in names:
            payload = json.dumps({"id": name, "device": "crowd", "deadline_s": 60}).encode()
            crowd.send("edge/crowd/requests", payload, "edge/crowd/replies", wait=False)
        device.ask("tea")
        crowd.await_any(lambda: ends(crowd).keys() >= set(names))
        device.await_turns(SECOND)
        assert all(len(kinds) == 1 for kinds in ends(crowd).values())
        assert ["result"] in ends(crowd).values(), "the others were told that there is no room"
        wait_until(lambda: len(device.texts()) == 1)
        assert "tea" in device.texts()[0]


def test_a_kept_request_is_told_as_kept_then_answered_once(tmp_path: Path) -> None:
    broker, path = Broker(tmp_path), tmp_path / "outbox.db"
    with talking(broker.url, Outbox(path, 3600), keep=lambda text, _: "remind" in text) as device:
        asked = device.now
        device.ask("remind me when the moon is full")
        assert device.await_said("kept") <= asked + SECOND
        try:
            broker.start()
            with working(broker) as echo:
                device.await_said("kiosk said remind me when the moon is full")
                answers_now(device)
                assert len(echo.asked) == 2
        finally:
            broker.kill()
        with Outbox(path, 3600) as outbox:
            wait_until(lambda: outbox.rows() == [])
