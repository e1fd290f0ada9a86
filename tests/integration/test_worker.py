"""The worker on a real broker: what a device gets for what it sends, good and bad."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from string import ascii_lowercase

import numpy as np
import pytest
from broker import Broker, Device, needs_mosquitto, running_broker, wait_until
from echo_worker import HOLD, PATIENCE_S, Echo

from edge_runtime.background.answerer import Ears, SkillsAnswerer
from edge_runtime.background.transcribe import PocketSphinxTranscriber
from edge_runtime.background.worker import Worker
from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.micro_turn import Letters

pytestmark = needs_mosquitto


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def device(broker: Broker) -> Iterator[Device]:
    with Device(broker) as device:
        yield device


@contextmanager
def working(
    broker: Broker, device: Device, name: str = "echo", slots: int = 2, waiting: int = 8
) -> Iterator[tuple[Worker, Echo]]:
    """An echo worker that is online, as the device sees it."""
    echo = Echo()
    settings = BrokerSettings(broker.url)
    try:
        with Worker(settings, name, echo, "echo", slots, waiting, grace_s=0.1) as worker:
            device.await_status(name, state="online", free_slots=slots)
            yield worker, echo
    finally:
        echo.go.set()


def test_a_question_is_accepted_worked_on_and_answered(broker: Broker, device: Device) -> None:
    with working(broker, device):
        device.ask("q1", "good morning", deadline_s=40)
        device.await_reply("q1", "result")
    replies = device.replies("q1")
    assert [(reply.json["seq"], reply.json["kind"], reply.json["text"]) for reply in replies] == [
        (0, "accepted", ""),
        (1, "progress", "thinking"),
        (2, "result", "kiosk said good morning"),
    ]
    assert {reply.correlation for reply in replies} == {b"q1"}
    assert {reply.json["worker"] for reply in replies} == {"echo"}
    assert all(reply.expiry_s is not None and 0 < reply.expiry_s <= 40 for reply in replies)


def test_who_asks_is_the_topic_and_not_the_payload(broker: Broker, device: Device) -> None:
    with working(broker, device):
        request = {"id": "q1", "device": "neighbour", "deadline_s": 9, "transcript": "hello"}
        device.ask_raw(json.dumps(request).encode())
        assert device.await_reply("q1", "result").json["text"] == "kiosk said hello"


def test_as_many_run_as_there_are_slots_and_the_next_one_waits(
    broker: Broker, device: Device
) -> None:
    with working(broker, device, slots=2) as (_, echo):
        for name in ("a", "b"):
            device.ask(name, HOLD)
            device.await_reply(name, "progress")
        device.ask("c")
        device.await_reply("c", "accepted")
        device.await_status("echo", free_slots=0)
        assert sorted(echo.ids) == ["a", "b"]
        echo.go.set()
        for name in ("a", "b", "c"):
            device.await_reply(name, "result")
        device.await_status("echo", free_slots=2)


def test_what_is_too_much_is_refused_and_may_come_again(broker: Broker, device: Device) -> None:
    with working(broker, device, slots=1, waiting=1) as (_, echo):
        device.ask("a", HOLD)
        device.ask("b")
        device.await_reply("b", "accepted")
        device.ask("c")
        assert device.await_reply("c", "failed").json["text"] == "busy"
        assert device.kinds("c") == ["failed"]
        echo.go.set()
        device.await_reply("b", "result")
        device.ask("c", "again")
        assert device.await_reply("c", "result").json["text"] == "kiosk said again"


def test_two_workers_share_the_questions(broker: Broker, device: Device) -> None:
    names = [f"q{number}" for number in range(10)]
    with working(broker, device, "l") as (_, left), working(broker, device, "r") as (_, right):
        for name in names:
            device.ask(name)
        for name in names:
            device.await_reply(name, "result")
        assert all(device.kinds(name) == ["accepted", "progress", "result"] for name in names)
        assert sorted(left.ids + right.ids) == names
        assert left.ids and right.ids


def test_a_cancelled_question_stops_and_is_not_answered(broker: Broker, device: Device) -> None:
    with working(broker, device, slots=1) as (_, echo):
        device.ask("running", HOLD)
        device.ask("waiting")
        device.await_reply("running", "progress")
        device.await_reply("waiting", "accepted")
        device.cancel("waiting")
        device.cancel("running")
        assert echo.stopped.acquire(timeout=PATIENCE_S)
        device.ask("later")
        device.await_reply("later", "result")
        assert device.kinds("running") == ["accepted", "progress"]
        assert device.kinds("waiting") == ["accepted"]
        assert echo.ids == ["running", "later"]


def test_one_device_cannot_cancel_what_another_asked(broker: Broker, device: Device) -> None:
    with working(broker, device) as (_, echo), Device(broker, "neighbour") as neighbour:
        device.ask("q1", HOLD)
        device.await_reply("q1", "progress")
        neighbour.cancel("q1")
        neighbour.ask("q1", "mine")  # After the cancel; the same id is another question.
        assert neighbour.await_reply("q1", "result").json["text"] == "neighbour said mine"
        echo.go.set()
        assert device.await_reply("q1", "result").json["text"] == "kiosk said hold"


def test_a_second_copy_is_told_the_same_and_not_worked_on_again(
    broker: Broker, device: Device
) -> None:
    with working(broker, device) as (_, echo):
        device.ask("q1", HOLD)
        device.await_reply("q1", "progress")
        device.ask("q1", HOLD)
        device.await_any(lambda: device.kinds("q1") == ["accepted", "progress"] * 2)
        echo.go.set()
        device.await_reply("q1", "result")
        device.ask("q1", HOLD)
        expected = ["accepted", "progress"] * 2 + ["result", "accepted", "progress", "result"]
        device.await_any(lambda: device.kinds("q1") == expected)
        assert len({reply.payload for reply in device.replies("q1")}) == 3
        assert echo.ids == ["q1"]


GOOD = {"id": "bad", "device": "kiosk", "deadline_s": 5}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(json.dumps(GOOD).encode()[:-3], id="truncated"),
        pytest.param(b"\xff\xfe\x00" * 20, id="not UTF-8"),
        pytest.param(b"", id="empty"),
        pytest.param(b"[" * 50_000, id="deeply nested"),
        pytest.param(json.dumps({**GOOD, "deadline_s": "soon"}).encode(), id="wrong schema"),
        pytest.param(json.dumps({**GOOD, "format": 2}).encode(), id="newer format"),
        pytest.param(json.dumps({**GOOD, "reason": "x" * 3_000_000}).encode(), id="too large"),
        pytest.param(json.dumps({**GOOD, "audio": "?"}).encode(), id="no base64"),
        pytest.param(json.dumps({**GOOD, "audio": "AAAA"}).encode(), id="no sound"),
    ],
)
def test_a_bad_payload_is_refused_and_the_worker_goes_on(
    broker: Broker, device: Device, payload: bytes
) -> None:
    with working(broker, device) as (worker, echo):
        device.ask_raw(payload, b"bad")
        reply = device.await_reply("bad", "failed")
        assert "not understood" in reply.json["text"]
        assert reply.correlation == b"bad"
        device.ask("good", "hello")
        device.await_reply("good", "result")
        assert worker.bad_payloads == 1
        assert echo.ids == ["good"]


def test_bad_payloads_are_one_warning_however_many_come(
    broker: Broker, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    with working(broker, device) as (worker, _), caplog.at_level(logging.WARNING):
        for _ in range(5):
            device.ask_raw(b"nonsense")  # Without an id there is no one to tell.
        device.send("edge/kiosk/cancel", b"nonsense")
        wait_until(lambda: worker.bad_payloads == 6)
    told = [entry for entry in caplog.records if "was ignored" in entry.getMessage()]
    assert len(told) == 1
    assert not [one for one in device.messages if "/replies" in one.topic]


def test_ten_megabytes_do_not_reach_the_worker_or_stop_it(broker: Broker, device: Device) -> None:
    with working(broker, device) as (worker, echo):
        device.ask_raw(b"x" * 10_000_000, b"huge")
        device.ask("good", "hello")
        device.await_reply("good", "result")
        assert echo.ids == ["good"]
        assert worker.bad_payloads == 0


@pytest.mark.parametrize(
    "elsewhere",
    ["edge/neighbour/replies", "edge/kiosk/requests", "background/echo/status", "edge", None],
)
def test_a_request_cannot_have_the_worker_publish_elsewhere(
    broker: Broker, elsewhere: str | None
) -> None:
    with Device(broker, patterns=("#",)) as device, working(broker, device) as (worker, echo):
        request = json.dumps({**GOOD, "id": "spoof"}).encode()
        for payload in (request, b"nonsense"):
            device.send("edge/kiosk/requests", payload, elsewhere, b"spoof")
        device.ask("good", "hello")
        device.await_reply("good", "result")
        assert echo.ids == ["good"]
        assert worker.bad_payloads == 2
        by_worker = [one for one in device.messages if b'"worker":"echo"' in one.payload]
        assert {one.json["id"] for one in by_worker} == {"good"}


def test_what_waited_beyond_its_deadline_is_not_worked_on(broker: Broker, device: Device) -> None:
    with working(broker, device, slots=1, waiting=1) as (_, echo):
        device.ask("a", HOLD)
        device.await_reply("a", "progress")
        device.ask("late", deadline_s=2)
        device.await_reply("late", "accepted")

        def there_is_room() -> bool:
            device.ask("next")
            device.await_any(lambda: device.kinds("next"))
            return device.kinds("next")[-1] == "accepted"

        wait_until(there_is_room)  # Only once the late one has left the queue.
        echo.go.set()
        device.await_reply("next", "result")
        assert echo.ids == ["a", "next"]
        assert device.kinds("late") == ["accepted"]


def test_work_that_takes_longer_than_its_deadline_is_stopped(
    broker: Broker, device: Device
) -> None:
    with working(broker, device, slots=1) as (_, echo):
        device.ask("slow", HOLD, deadline_s=2)
        assert echo.stopped.acquire(timeout=PATIENCE_S)
        device.ask("spent", deadline_s=0)
        device.ask("next")
        device.await_reply("next", "result")
        assert "result" not in device.kinds("slow")
        assert echo.ids == ["slow", "next"]
        assert 0 < echo.asked[0].deadline_s <= 2


@pytest.mark.parametrize(
    ("asked", "told"), [("raise", "the kettle is broken"), ("silence", "there was no answer")]
)
def test_an_answerer_that_fails_is_told_to_the_device(
    broker: Broker, device: Device, asked: str, told: str
) -> None:
    with working(broker, device, slots=1):
        device.ask("q1", asked)
        assert device.await_reply("q1", "failed").json["text"] == told
        device.ask("q2", "hello")
        device.await_reply("q2", "result")


def test_a_timer_is_left_to_the_device_with_what_was_heard(broker: Broker, device: Device) -> None:
    skills = SkillsAnswerer(Ears(PocketSphinxTranscriber))
    with Worker(BrokerSettings(broker.url), "skills", skills):
        device.await_status("skills", state="online")
        for name, said in (("q1", "set a timer for five minutes"), ("q2", "how much time is left")):
            device.ask(name, said)
            assert device.await_reply(name, "yours").json["text"] == said
            assert "result" not in device.kinds(name)


def test_a_passing_name_leaves_nothing_behind(broker: Broker, device: Device) -> None:
    skills = SkillsAnswerer(Ears(PocketSphinxTranscriber))
    for name, passing in (("stays", False), ("passes", True)):
        with Worker(BrokerSettings(broker.url), name, skills, passing_name=passing):
            device.await_status(name, state="online")
    with Device(broker, "after", patterns=("background/#",)) as after:
        after.send("background/end/status", b"{}")
        after.await_any(lambda: after.messages[-1:] and "end" in after.messages[-1].topic)
        left = {one.topic.split("/")[1] for one in after.messages}
        assert "stays" in left and "passes" not in left


def test_what_the_device_heard_letter_by_letter_is_understood(
    broker: Broker, device: Device
) -> None:
    """The sound alone would tell nobody; the transcript of it is wrong."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000, np.float32)
    symbols = ("", " ", *ascii_lowercase)
    spelled = [step for letter in "what is twelve plus thirty" for step in (letter, "")]
    chances = np.full((len(spelled), len(symbols)), -9.0, np.float32)
    chances[np.arange(len(spelled)), [symbols.index(letter) for letter in spelled]] = -0.01
    letters = wire.pack_letters(Letters(symbols, chances)).model_dump()
    skills = SkillsAnswerer(Ears(PocketSphinxTranscriber))
    with Worker(BrokerSettings(broker.url), "letters", skills):
        device.await_status("letters", state="online")
        sound = wire.pack_audio(noise)
        device.ask("q1", "wat s telf", audio=sound, letters=letters)
        assert "forty-two" in device.await_reply("q1", "result").json["text"]
        device.ask("q2", "wat s telf", audio=sound, letters={**letters, "steps": "aGk="})
        assert "zlib" in device.await_reply("q2", "failed").json["text"]
