"""What must not get lost is kept through dead links, failing workers and power cuts; told once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from asker import SOUND, Asker, asking, working
from broker import PATIENCE_S, Broker, needs_mosquitto, wait_until
from broker import Device as House
from echo_worker import HOLD, Echo
from full_disk import full_disk
from talking_device import Written

from edge_runtime.background.answerer import Ears, SkillsAnswerer
from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.local import LocalBackground
from edge_runtime.background.timers import WHEN
from edge_runtime.background.transcribe import Transcript
from edge_runtime.background.worker import Worker
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.outbox import Outbox, Row
from edge_runtime.delegation.remote import EXPIRED_WORDS, MAX_UNSENT
from edge_runtime.health import HealthMonitor, State
from edge_runtime.micro_turn import EventKind, Letters, Pcm, Request, Said
from edge_runtime.pacing import MonotonicClock, VirtualClock

pytestmark = needs_mosquitto
HOUR_S = 3600.0
KEPT, RESULT = EventKind.KEPT, EventKind.RESULT
DEVICE = """
import sys, time
from pathlib import Path
import numpy as np
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.micro_turn import Request
from edge_runtime.pacing import MonotonicClock

url, path, until = sys.argv[1:]
settings, abilities = BrokerSettings(url), Abilities("kiosk")
outbox = Outbox(Path(path), 3600)
with MqttBackground(settings, abilities, MonotonicClock(), 30, outbox) as remote:
    request = Request("kept-1", np.zeros(3200, np.float32), "remind me", keep=True)
    if until == "result":
        while not remote.available:
            time.sleep(0.01)
        remote.submit(request)
    else:
        remote.keep(request)
        remote.promise("kept-1")
    told = []
    while until not in told:
        told += [event.kind.value for event in remote.poll()]
        time.sleep(0.01)
    print(until, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """It does not run yet."""
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@contextmanager
def keeping(broker: Broker, path: Path, clock: VirtualClock | None = None) -> Iterator[Asker]:
    with asking(broker, Outbox(path, HOUR_S), clock) as device:
        yield device


def rows(path: Path) -> list[Row]:
    """What another program finds in the outbox at this moment."""
    with Outbox(path, HOUR_S) as outbox:
        return outbox.rows()


def test_what_a_worker_leaves_to_the_device_is_not_kept_for_another(
    broker: Broker, path: Path
) -> None:
    with keeping(broker, path) as device:
        device.ask("kept-1", "timer", keep=True)
        device.await_kind("kept-1", KEPT)
        broker.start()
        with working(broker) as echo:
            assert device.await_kind("kept-1", RESULT).text == "from the device itself"
            assert echo.ids == ["kept-1"]
    assert rows(path) == []


def test_a_request_without_a_link_is_kept_sent_later_and_told_once(
    broker: Broker, path: Path
) -> None:
    with keeping(broker, path) as device:
        device.ask("kept-1", "remind me", keep=True)
        device.await_kind("kept-1", KEPT)
        assert rows(path) == [Row("kept-1", "remind me", None)]
        broker.start()
        with working(broker) as echo:
            assert device.await_kind("kept-1", RESULT).text == "kiosk said remind me"
            device.ask("request-1")
            device.await_kind("request-1", RESULT)
        assert device.kinds("kept-1") == ["kept", "result"]
        assert echo.asked[0].keep and echo.asked[0].id == "kept-1"
        wait_until(lambda: rows(path) == [Row("kept-1", "remind me", "kiosk said remind me")])
        device.remote.spoken("kept-1")
        wait_until(lambda: rows(path) == [])


def test_a_request_with_a_link_is_answered_at_once_and_kept_until_it_is_spoken(
    broker: Broker, path: Path
) -> None:
    broker.start()
    with working(broker) as echo, keeping(broker, path) as device:
        wait_until(lambda: device.remote.available)
        device.ask("kept-1", HOLD, keep=True)
        wait_until(lambda: bool(echo.asked))
        assert [row.id for row in rows(path)] == ["kept-1"], "it is written before it is sent"
        echo.go.set()
        device.await_kind("kept-1", RESULT)
        assert device.kinds("kept-1") == ["progress", "progress", "result"]
        device.remote.spoken("kept-1")
        wait_until(lambda: rows(path) == [])


@contextmanager
def killed_device(broker: Broker, path: Path, until: str) -> Iterator[None]:
    """A device that has a kept request, and is killed once it was told `until`."""
    command = [sys.executable, "-c", DEVICE, broker.url, str(path), until]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == until
        yield
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL


def test_a_power_cut_loses_no_kept_request_and_its_answer_is_told_once(
    broker: Broker, path: Path
) -> None:
    with killed_device(broker, path, "kept"):
        pass
    broker.start()
    with working(broker) as echo, keeping(broker, path) as device:
        assert device.await_kind("kept-1", RESULT).text == "kiosk said remind me"
        assert device.kinds("kept-1") == ["result"]
        assert echo.ids == ["kept-1"]
        device.remote.spoken("kept-1")
        wait_until(lambda: rows(path) == [])
    with working(broker) as echo, keeping(broker, path) as device:
        wait_until(lambda: device.remote.available)
        device.ask("request-1")
        device.await_kind("request-1", RESULT)
        assert device.kinds("kept-1") == [] and len(echo.asked) == 1


def test_an_answer_that_was_not_spoken_before_a_power_cut_is_told_after_it(
    broker: Broker, path: Path
) -> None:
    broker.start()
    with working(broker) as echo:
        with killed_device(broker, path, "result"):
            wait_until(lambda: [row.answer for row in rows(path)] == ["kiosk said remind me"])
        with keeping(broker, path) as device:
            assert device.kinds("kept-1") == ["result"], "it need not be asked again"
            wait_until(lambda: device.remote.available)
            device.ask("request-1")
            device.await_kind("request-1", RESULT)
            assert device.kinds("kept-1") == ["result"]
        assert echo.ids[0] == "kept-1" and len(echo.ids) == 2


def test_a_link_lost_in_the_middle_costs_nothing_and_the_work_is_done_once(
    broker: Broker, path: Path
) -> None:
    broker.start()
    with working(broker) as echo, keeping(broker, path) as device:
        wait_until(lambda: device.remote.available)
        device.ask("kept-1", HOLD, keep=True)
        wait_until(lambda: bool(echo.asked))
        broker.kill()
        device.await_kind("kept-1", KEPT)
        broker.start()
        wait_until(lambda: device.remote.available)
        echo.go.set()
        device.await_kind("kept-1", RESULT)
        device.ask("request-1")
        device.await_kind("request-1", RESULT)
        assert device.kinds("kept-1").count("result") == 1
        assert echo.ids[0] == "kept-1" and len(echo.ids) == 2


def test_what_the_device_can_do_itself_needs_no_worker(broker: Broker, path: Path) -> None:
    clock = MonotonicClock()
    with LocalBackground(Written(), clock) as local, keeping(broker, path) as device:
        here = Asker(device.remote, local)
        here.ask("kept-1", "remind me in five minutes to call anna", keep=True)
        assert "remind you in five minutes" in here.await_kind("kept-1", RESULT).text
        here.ask("kept-2", "remind me when the moon is full", keep=True)
        here.await_kind("kept-2", KEPT)
        wait_until(lambda: [row.id for row in rows(path)] == ["kept-2"])
        broker.start()
        with working(broker) as echo:
            here.await_kind("kept-2", RESULT)
            assert echo.ids == ["kept-2"]


def test_a_cancelled_request_is_kept_no_longer(broker: Broker, path: Path) -> None:
    with keeping(broker, path) as device:
        for name in ("kept-1", "kept-2"):
            device.ask(name, f"remind me of {name}", keep=True)
            device.await_kind(name, KEPT)
        device.background.cancel("kept-1")
        wait_until(lambda: [row.id for row in rows(path)] == ["kept-2"])
        broker.start()
        with working(broker) as echo:
            device.await_kind("kept-2", RESULT)
            assert echo.ids == ["kept-2"]


def test_the_same_asked_again_takes_the_place_of_the_first(broker: Broker, path: Path) -> None:
    with keeping(broker, path) as device:
        for name in ("kept-1", "kept-2"):
            device.ask(name, "remind me", keep=True)
            device.await_kind(name, KEPT)
        wait_until(lambda: [row.id for row in rows(path)] == ["kept-2"])
        broker.start()
        with working(broker) as echo:
            device.await_kind("kept-2", RESULT)
            assert echo.ids == ["kept-2"]
        assert device.kinds("kept-1") == ["kept"]


def test_what_has_waited_too_long_is_not_asked(broker: Broker, path: Path) -> None:
    with Outbox(path, HOUR_S, wall_s=lambda: 1_000_000.0) as outbox:
        outbox.add("kept-1", "remind me", b"long ago")
        outbox.add("kept-2", "remind me of tea", b"long ago")
    with keeping(broker, path) as device:
        broker.start()
        with working(broker) as echo:
            wait_until(lambda: device.remote.available)
            device.ask("request-1")
            device.await_kind("request-1", RESULT)
            assert len(echo.asked) == 1 and device.kinds("kept-1") == ["undone"]
        assert device.await_kind("kept-2", RESULT).text == EXPIRED_WORDS
        assert device.kinds("kept-2") == ["undone", "result"]
    assert rows(path) == []


def test_what_becomes_too_old_is_forgotten_without_a_worker_too(
    broker: Broker, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, later_s = VirtualClock(), 0.0
    outbox = Outbox(path, HOUR_S, lambda: time.time() + later_s, lambda: later_s)
    with asking(broker, outbox, clock) as device:
        device.ask("kept-1", "remind me", keep=True)
        device.await_kind("kept-1", KEPT)
        later_s = 2 * HOUR_S
        clock.sleep_until(2 * 3600 * 10**9)
        assert device.await_kind("kept-1", RESULT).text == EXPIRED_WORDS
        assert device.kinds("kept-1") == ["kept", "undone", "result"] and rows(path) == []
        device.ask("kept-2", "remind me of tea", keep=True)
        device.await_kind("kept-2", KEPT)
        broker.start()
        with working(broker) as echo:
            device.await_kind("kept-2", RESULT)
            assert echo.ids == ["kept-2"]
    assert caplog.text.count("1 kept requests have become too old") == 1


def test_a_worker_that_fails_is_asked_again_after_a_while(broker: Broker, path: Path) -> None:
    broker.start()
    clock, echo = VirtualClock(), Echo()
    with working(broker, echo=echo), keeping(broker, path, clock) as device:
        wait_until(lambda: device.remote.available)
        device.ask("kept-1", "raise", keep=True)
        device.await_kind("kept-1", KEPT)  # It was asked again at once, and failed again.
        wait_until(lambda: bool(device.kinds("kept-1")) and len(echo.asked) == 2)
        echo.broken = False
        clock.sleep_until(29_000_000_000)
        device.ask("request-1")
        device.await_kind("request-1", RESULT)
        assert len(echo.asked) == 3 and "result" not in device.kinds("kept-1")
        clock.sleep_until(62_000_000_000)
        assert device.await_kind("kept-1", RESULT).text == "kiosk said raise"
    assert device.kinds("kept-1").count("result") == 1


EMMA = "remind me to call emma in six"
NOT_KNOWN = b'"unknown":true'


@contextmanager
def unlearned(broker: Broker) -> Iterator[None]:
    """A worker without a language model."""
    with Worker(BrokerSettings(broker.url), "skills", SkillsAnswerer(Ears(Written)), grace_s=0.1):
        yield


def not_known(house: House) -> int:
    """How often a worker has said that it does not know."""
    return sum(NOT_KNOWN in one.payload for one in house.messages)


def test_what_a_worker_does_not_know_is_kept_for_one_that_does(broker: Broker, path: Path) -> None:
    clock = VirtualClock()
    with keeping(broker, path, clock) as device:
        device.ask("kept-1", EMMA, keep=True)
        device.await_kind("kept-1", KEPT)

        def out() -> bool:
            """It is at a worker."""
            assert device.remote._kept is not None
            return device.remote._kept._entries["kept-1"].out

        broker.start()
        with House(broker) as house, unlearned(broker):
            wait_until(lambda: device.kinds("kept-1") == ["kept"] and not_known(house) == 1)
            wait_until(lambda: not out())
            for minutes in range(1, 4):
                clock.sleep_until(minutes * 60_000_000_000)
                device.ask(f"request-{minutes}", "what is two plus two")
                device.await_kind(f"request-{minutes}", RESULT)
            assert not_known(house) == 1, "it need not be asked again"
            assert rows(path) == [Row("kept-1", EMMA, None)]
            with working(broker):

                def answered() -> bool:
                    if not out():  # the other one was asked again
                        clock.sleep_until(clock.now_ns() + 31_000_000_000)
                    return "result" in device.kinds("kept-1")

                wait_until(answered)
                assert device.kinds("kept-1") == ["kept", "result"]
                assert device.await_kind("kept-1", RESULT).text == f"kiosk said {EMMA}"


@pytest.mark.parametrize("said", [EMMA, "remind me tomorrow to call emma"])
def test_what_a_worker_that_is_there_does_not_know_is_kept(
    broker: Broker, path: Path, said: str
) -> None:
    broker.start()
    with (
        LocalBackground(Written(), MonotonicClock()) as here,
        asking(broker, Outbox(path, HOUR_S), local=here) as device,
        House(broker) as house,
    ):
        with unlearned(broker):
            wait_until(lambda: device.remote.available)
            device.ask("kept-1", said, keep=True)
            device.await_kind("kept-1", KEPT)
            assert "result" not in device.kinds("kept-1") and not_known(house) == 1
        wait_until(lambda: not device.remote.available)
        with working(broker, "skills"):  # the same name, and another head
            assert device.await_kind("kept-1", RESULT).text == f"kiosk said {said}"


def test_of_two_workers_the_one_that_knows_answers(broker: Broker, path: Path) -> None:
    broker.start()
    with keeping(broker, path) as device, unlearned(broker), working(broker):
        wait_until(lambda: device.remote.workers == 2)
        for number in range(4):
            for name, keep in ((f"kept-{number}", True), (f"request-{number}", False)):
                device.ask(name, f"{EMMA} {number}", keep=keep)
                assert device.await_kind(name, RESULT).text == f"kiosk said {EMMA} {number}"


class Unasked(Written):
    def transcribe(
        self, pcm: Pcm, rough: str = "", commands: Commands = NONE, letters: Letters | None = None
    ) -> Transcript:
        raise AssertionError("it was listened to again")


def test_what_need_not_be_kept_is_told_not_to_be_known(broker: Broker, path: Path) -> None:
    """By the device itself, which listens to nothing again."""
    broker.start()
    with (
        LocalBackground(Unasked(), MonotonicClock()) as here,
        asking(broker, Outbox(path, HOUR_S), local=here) as device,
        unlearned(broker),
    ):
        wait_until(lambda: device.remote.available)
        device.ask("request-1", EMMA)
        assert "I do not know" in device.await_kind("request-1", RESULT).text
        device.ask("request-2", "remind me tomorrow to call emma")
        assert device.await_kind("request-2", RESULT).text == WHEN


def test_a_full_disk_is_no_reason_to_stay_silent(broker: Broker, path: Path) -> None:
    with keeping(broker, path) as device:
        full = device.remote._outbox
        assert full is not None
        full._opened().execute("PRAGMA max_page_count = 3")
        device.ask("kept-1", "remind me", keep=True)
        device.await_kind("kept-1", EventKind.FAILED)
        assert device.kinds("kept-1") == ["failed"], "nothing is promised that is not kept"
        broker.start()
        with working(broker):
            wait_until(lambda: device.remote.available)
            device.ask("kept-2", "remind me", keep=True)
            device.await_kind("kept-2", RESULT)


def test_a_disk_that_is_full_at_the_start_is_tried_again(broker: Broker, path: Path) -> None:
    with Outbox(path, HOUR_S) as outbox:
        outbox.add("kept-1", "remind me", b"")
        outbox.answered("kept-1", "It is time.")
    health, clock = HealthMonitor(), VirtualClock()

    def state() -> tuple[State, str]:
        part = health.snapshot().part("outbox")
        assert part is not None
        return part.state, part.reason

    with ExitStack() as stack:
        with full_disk():
            outbox = Outbox(path, HOUR_S)
            device = stack.enter_context(asking(broker, outbox, clock, health=health))
            assert state()[0] is State.DEGRADED and "nothing is kept" in state()[1]
            device.ask("kept-2", "remind me of tea", keep=True)
            device.await_kind("kept-2", EventKind.FAILED)
            assert device.kinds("kept-2") == ["failed"]
        clock.sleep_until(61_000_000_000)
        assert device.await_kind("kept-1", RESULT).text == "It is time."
        wait_until(lambda: state() == (State.OK, ""))
        device.ask("kept-3", "remind me of tea", keep=True)
        device.await_kind("kept-3", KEPT)
        assert [row.id for row in rows(path)] == ["kept-1", "kept-3"]


@pytest.mark.parametrize("online", [False, True])
def test_what_cannot_be_packed_is_not_promised(broker: Broker, path: Path, online: bool) -> None:
    said = (Said("person", "good night", 31 * 24 * HOUR_S),)
    if online:
        broker.start()
    with working(broker), keeping(broker, path) as device:
        wait_until(lambda: device.remote.available is online)
        request = Request("kept-1", SOUND, "remind me", conversation=said, keep=True)
        device.background.submit(request)
        device.await_kind("kept-1", EventKind.FAILED)
        assert device.kinds("kept-1") == ["failed"]
    assert rows(path) == []


@contextmanager
def busy(device: Asker, steps: int = 1) -> Iterator[None]:
    """Its thread hangs, for example in a disk that sleeps."""
    awake = threading.Event()
    device.remote._tasks.put(awake.wait)
    for _ in range(steps - 1):
        device.remote._tasks.put(lambda: None)
    try:
        yield
    finally:
        awake.set()


def test_nothing_is_told_of_what_is_cancelled_while_it_is_being_kept(
    broker: Broker, path: Path
) -> None:
    with keeping(broker, path) as device:
        with busy(device):
            device.ask("kept-1", "remind me", keep=True)
            assert device.kinds("kept-1") == [], "its failure is to be followed by a promise"
            device.background.cancel("kept-1")
        device.ask("kept-2", "remind me of tea", keep=True)
        device.await_kind("kept-2", KEPT)
        assert device.kinds("kept-1") == []
        assert [row.id for row in rows(path)] == ["kept-2"]


def test_a_question_too_many_for_the_link_is_kept_all_the_same(broker: Broker, path: Path) -> None:
    broker.start()
    with working(broker), keeping(broker, path) as device:
        wait_until(lambda: device.remote.available)
        with busy(device, MAX_UNSENT + 2):
            device.ask("kept-1", "remind me", keep=True)
            assert device.kinds("kept-1") == []
        device.await_kind("kept-1", RESULT)
        assert device.kinds("kept-1")[0] == "kept"


def test_one_that_expires_before_it_could_be_sent_is_kept(broker: Broker, path: Path) -> None:
    broker.start()
    clock = VirtualClock()
    with working(broker) as echo, keeping(broker, path, clock) as device:
        wait_until(lambda: device.remote.available)
        with busy(device):
            device.ask("kept-1", HOLD, keep=True)
            clock.sleep_until(clock.now_ns() + 21_000_000_000)
            assert device.kinds("kept-1") == []
        device.await_kind("kept-1", KEPT)
        assert [row.id for row in rows(path)] == ["kept-1"]
        echo.go.set()
        device.await_kind("kept-1", RESULT)
