"""A device's side of delegation against a real broker, real workers, and their absence."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from asker import SOUND, Asker, asking, working
from broker import Broker, Device, needs_mosquitto, running_broker, wait_until
from echo_worker import HOLD, Echo
from program import needs_espeak
from talking_device import Room, Written, ask_configured

from edge_runtime import app
from edge_runtime.background.answerer import Ears, Reply, SkillsAnswerer
from edge_runtime.background.local import LocalBackground
from edge_runtime.background.worker import Worker
from edge_runtime.config import Config
from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.context import Heard
from edge_runtime.delegation.opus import OpusStream
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import BROKEN_OFF_WORDS, MqttBackground
from edge_runtime.delegation.tasks import Tasks
from edge_runtime.delegation.wire import ReplyKind, RequestMessage
from edge_runtime.dialogue import DELIVER
from edge_runtime.errors import NotNowError
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EventKind,
    MicroTurn,
    Pcm,
    Request,
    Said,
)
from edge_runtime.pacing import MonotonicClock
from edge_runtime.senses import Senses

pytestmark = needs_mosquitto
DEAD = "worker-5b1e"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as broker:
        yield broker


def test_a_question_goes_to_a_worker_with_all_it_needs_and_comes_back(broker: Broker) -> None:
    with working(broker) as echo, asking(broker) as device:
        wait_until(lambda: device.remote.available)
        device.ask("request-1")
        answer = device.await_kind("request-1", EventKind.RESULT)
        assert answer.text == "kiosk said tea"
        assert "progress" in device.kinds("request-1")
        (asked,) = echo.asked
    assert [one.text for one in asked.conversation] == ["Hello!"]
    assert [one.name for one in asked.actions] == ["wave"]
    assert asked.audio and asked.local_time and asked.frame is None


def test_a_worker_hears_what_was_encoded_while_the_person_spoke(broker: Broker) -> None:
    with working(broker) as echo, asking(broker) as device, Tasks("packing") as packing:
        wait_until(lambda: device.remote.available)
        heard = Heard(lambda: OpusStream(packing.put))
        for index, pcm in enumerate(SOUND.reshape(-1, TURN_SAMPLES)):
            turn = MicroTurn(index, 0, np.stack([pcm, np.zeros_like(pcm)]))
            heard.add(turn, Decision(index, "listen", heard="tea"[index : index + 1]))
            device.ask_what_was(heard, f"request-{index}")  # and it goes on all the same
            device.await_kind(f"request-{index}", EventKind.RESULT)
    assert len(echo.asked) == SOUND.size // TURN_SAMPLES
    for asked in echo.asked:
        length = TURN_SAMPLES * (1 + int(asked.id.rsplit("-", 1)[1]))
        expected = wire.unpack_audio(wire.pack_audio(SOUND[:length]))
        np.testing.assert_array_equal(wire.unpack_audio(asked.audio), expected)


def test_without_a_worker_the_device_answers_itself_at_once(broker: Broker) -> None:
    with asking(broker) as device:
        wait_until(lambda: device.remote._connection.connected)
        device.ask("request-1")
        assert device.kinds("request-1") == ["result"]
        assert device.told[-1].text == "from the device itself"


def test_the_link_is_told_as_it_comes_and_goes(broker: Broker) -> None:
    with asking(broker) as device:
        with working(broker):
            wait_until(lambda: "link_up" in device.kinds(""))
        wait_until(lambda: device.kinds("") == ["link_up", "link_down"])


def test_a_broker_killed_in_the_middle_costs_no_question_and_comes_back(broker: Broker) -> None:
    with working(broker) as echo, asking(broker) as device:
        wait_until(lambda: device.remote.available)
        device.ask("request-1", HOLD)
        wait_until(lambda: bool(echo.asked))
        broker.kill()
        assert device.await_kind("request-1", EventKind.RESULT).text == "from the device itself"
        broker.start()
        echo.go.set()
        wait_until(lambda: device.remote.available)
        device.ask("request-2")
        assert device.await_kind("request-2", EventKind.RESULT).text == "kiosk said tea"
        assert device.kinds("request-1").count("result") == 1


def test_a_worker_that_stops_in_the_middle_leaves_the_question_to_the_device(
    broker: Broker,
) -> None:
    with asking(broker) as device:
        with working(broker) as echo:
            wait_until(lambda: device.remote.available)
            device.ask("request-1", HOLD)
            wait_until(lambda: bool(echo.asked))
        assert device.await_kind("request-1", EventKind.RESULT).text == "from the device itself"
        assert device.kinds("request-1").count("result") == 1


def test_a_worker_without_room_leaves_the_question_to_another(broker: Broker) -> None:
    settings, full, free = BrokerSettings(broker.url), Echo(), Echo()
    with (
        Worker(settings, "full", full, slots=1, waiting=0, grace_s=0.1),
        asking(broker) as device,
    ):
        wait_until(lambda: device.remote.available)
        device.ask("request-1", HOLD)
        wait_until(lambda: bool(full.asked))
        with working(broker, "free", free):
            wait_until(lambda: device.remote.workers == 2)
            names = [f"request-{number}" for number in range(2, 8)]
            for name in names:
                device.ask(name)
                assert device.await_kind(name, EventKind.RESULT).text == "kiosk said tea"
            asked_again = [event for event in device.told if "another worker" in event.text]
            assert asked_again and len(free.asked) == len(names)
        full.go.set()


class Away(Echo):
    """Its model cannot be reached."""

    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        self.asked.append(request)
        raise NotNowError("the model cannot be reached")


def test_a_worker_whose_model_is_away_leaves_the_question_to_another(broker: Broker) -> None:
    away = Away()
    with working(broker, "away", away), asking(broker) as device:
        wait_until(lambda: device.remote.available)
        device.ask("request-1")
        assert device.await_kind("request-1", EventKind.RESULT).text == "from the device itself"
        assert len(away.asked) == 1
        with working(broker, "free"):
            wait_until(lambda: device.remote.workers == 2)
            names = [f"request-{number}" for number in range(2, 8)]
            for name in names:
                device.ask(name)
                assert device.await_kind(name, EventKind.RESULT).text == "kiosk said tea"
            assert len(away.asked) > 1


class Slow(Echo):
    """It says a sentence, and the next one when it is told to."""

    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        self.asked.append(request)
        reply(ReplyKind.PARTIAL, "First.")
        self.go.wait(60)
        reply(ReplyKind.PARTIAL, "Second.")
        cancelled.wait(60)


def test_an_answer_may_take_long_and_says_when_its_rest_does_not_come(broker: Broker) -> None:
    slow = Slow()
    with working(broker, echo=slow), asking(broker) as device:
        wait_until(lambda: device.remote.available)
        threading.Timer(2.0, slow.go.set).start()
        device.ask("request-1", deadline_s=3.0)
        asked_s = time.monotonic()
        assert device.await_kind("request-1", EventKind.RESULT).text == BROKEN_OFF_WORDS
        assert time.monotonic() - asked_s >= 5.0
        assert [e.text for e in device.told if e.kind is EventKind.PARTIAL] == ["First.", "Second."]


def test_an_answer_that_takes_too_long_is_left(broker: Broker) -> None:
    with working(broker) as echo, asking(broker) as device:
        wait_until(lambda: device.remote.available)
        device.ask("request-1", HOLD, deadline_s=0.5)
        assert device.await_kind("request-1", EventKind.RESULT).text == "from the device itself"
        echo.go.set()


def test_a_cancelled_question_is_stopped_at_the_worker_and_never_answered(broker: Broker) -> None:
    with working(broker) as echo, asking(broker) as device:
        wait_until(lambda: device.remote.available)
        device.ask("request-1", HOLD)
        wait_until(lambda: bool(echo.asked))
        device.background.cancel("request-1")
        assert echo.stopped.acquire(timeout=20)
        device.ask("request-2")
        device.await_kind("request-2", EventKind.RESULT)
        assert "result" not in device.kinds("request-1")


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\x00", b"{", b"[]", b'{"id": 3}', b"x" * 3_000_000],
    ids=["empty", "not UTF-8", "truncated", "a list", "wrong schema", "3 MB"],
)
def test_a_bad_reply_is_counted_and_ignored(broker: Broker, payload: bytes) -> None:
    with asking(broker) as device, Device(broker, "rogue") as rogue, working(broker):
        wait_until(lambda: device.remote.available)
        rogue.send("edge/kiosk/replies", payload)
        wait_until(lambda: device.remote.bad_payloads == 1)
        device.ask("request-1")
        assert device.await_kind("request-1", EventKind.RESULT).text == "kiosk said tea"


def test_a_reply_from_before_a_restart_answers_nothing(broker: Broker) -> None:
    with asking(broker) as device, Device(broker, "rogue") as rogue:
        wait_until(lambda: device.remote._connection.connected)
        old = {"id": "00000000-request-1", "seq": 0, "kind": "result", "text": "too late"}
        rogue.send("edge/kiosk/replies", json.dumps(old).encode())
        rogue.send("edge/kiosk/replies", b"bad")
        wait_until(lambda: device.remote.bad_payloads == 1)
        assert device.kinds("00000000-request-1") == []


def test_a_timer_is_the_devices_whichever_worker_is_asked(broker: Broker) -> None:
    skills, settings = SkillsAnswerer(Ears(Written)), BrokerSettings(broker.url)
    here = LocalBackground(Written(), MonotonicClock())
    with here, asking(broker, local=here) as device:
        with Worker(settings, "one", skills, grace_s=0.1):
            wait_until(lambda: device.remote.available)
            device.ask("request-1", "set a timer for ten minutes")
            said = device.await_kind("request-1", EventKind.RESULT).text
            assert said == "Your timer for ten minutes is set."
        with Worker(settings, "two", skills, grace_s=0.1):
            wait_until(lambda: device.remote.available)
            device.ask("request-2", "how much time is left")
            assert "ten minute timer" in device.await_kind("request-2", EventKind.RESULT).text
        wait_until(lambda: not device.remote.available)
        device.ask("request-3", "cancel the timer")
        device.await_kind("request-3", EventKind.RESULT)


def test_what_was_done_already_is_asked_of_nobody_else(broker: Broker) -> None:
    with asking(broker) as device, Device(broker, "rogue", patterns=("edge/+/requests",)) as rogue:
        online = wire.encode(wire.WorkerStatus(state="online"))
        rogue.send("background/w/status", online, retain=True)
        wait_until(lambda: device.remote.available)
        device.ask("request-1", "open the garage")
        rogue.await_any(lambda: bool(rogue.messages))
        name = rogue.messages[0].json["id"]
        for seq, step in enumerate(
            ({"kind": "accepted"}, {"kind": "action", "action": "wave"}, {"kind": "failed"})
        ):
            reply = {"id": name, "seq": seq, "worker": "w", **step}
            rogue.send("edge/kiosk/replies", json.dumps(reply).encode())
        device.await_kind("request-1", EventKind.FAILED)
        assert device.kinds("request-1").count("action") == 1
        assert "result" not in device.kinds("request-1"), "the device's skills were not asked"


def test_a_late_refusal_does_not_end_what_another_worker_answers(broker: Broker) -> None:
    with asking(broker) as device, Device(broker, "rogue", patterns=("edge/+/requests",)) as rogue:
        online = wire.encode(wire.WorkerStatus(state="online"))
        for worker in ("a", "b"):
            rogue.send(f"background/{worker}/status", online, retain=True)
        wait_until(lambda: device.remote.workers == 2)
        device.ask("request-1")
        rogue.await_any(lambda: bool(rogue.messages))
        for reply in (
            {"worker": "b", "seq": 0, "kind": "accepted"},
            {"worker": "b", "seq": 1, "kind": "partial", "text": "Put the kettle on"},
            {"worker": "a", "seq": 0, "kind": "failed", "text": "busy", "again": True},
            {"worker": "b", "seq": 2, "kind": "result", "text": "and wait."},
        ):
            content = {"id": rogue.messages[0].json["id"], **reply}
            rogue.send("edge/kiosk/replies", json.dumps(content).encode())
        assert device.await_kind("request-1", EventKind.RESULT).text == "and wait."
        assert device.kinds("request-1") == ["progress", "partial", "result"]


class PersistentBroker(Broker):
    """What it has retained outlives it."""

    def settings_text(self) -> str:
        kept = f"persistence true\npersistence_location {self._folder}/\nuser root\n"
        return super().settings_text() + kept

    def save(self, word: bytes) -> None:
        """Returns once that is on the disk."""
        self.send_signal(signal.SIGUSR1)
        path = self._folder / "mosquitto.db"
        wait_until(lambda: path.exists() and word in path.read_bytes())


@pytest.fixture
def haunted(tmp_path: Path) -> Iterator[Broker]:
    """Its machine and a worker lost their power at once: there is nobody who could say so."""
    broker = PersistentBroker(tmp_path)
    broker.start()
    program = Path(__file__).with_name("echo_worker.py")
    worker = subprocess.Popen([sys.executable, str(program), broker.url, DEAD])
    try:
        with Device(broker) as witness:
            witness.await_status(DEAD, state="online")
        broker.save(DEAD.encode())
    finally:
        broker.kill()
        worker.kill()
        worker.wait()
    broker.start()
    yield broker
    broker.kill()


def test_a_worker_that_died_with_its_broker_costs_one_question_no_time(haunted: Broker) -> None:
    with asking(haunted) as device:
        wait_until(lambda: device.remote.available)
        device.ask("request-1")
        assert device.await_kind("request-1", EventKind.RESULT).text == "from the device itself"
        assert device.kinds("") == ["link_up", "link_down"] and not device.remote.available
        device.ask("request-2")
        assert device.kinds("request-2") == ["result"], "it was not even sent"
        with working(haunted):
            wait_until(lambda: device.remote.available)
            device.ask("request-3")
            assert device.await_kind("request-3", EventKind.RESULT).text == "kiosk said tea"
            assert device.remote.workers == 1
        wait_until(lambda: not device.remote.available)


def test_a_dead_worker_is_believed_once_more_over_a_new_link_and_alive_by_its_word(
    haunted: Broker,
) -> None:
    """While there was no link it may have come back, and then nothing but its retained status says
    so."""
    with asking(haunted) as device:
        for time in ("first", "second"):
            wait_until(lambda: device.remote.available)
            device.ask(time)
            assert device.await_kind(time, EventKind.RESULT).text == "from the device itself"
            assert not device.remote.available
            if time == "first":
                haunted.restart()
        with working(haunted, DEAD):
            wait_until(lambda: device.remote.available)
            device.ask("third")
            assert device.await_kind("third", EventKind.RESULT).text == "kiosk said tea"


def test_what_is_to_be_kept_waits_for_a_worker_that_is_alive(
    haunted: Broker, tmp_path: Path
) -> None:
    with asking(haunted, Outbox(tmp_path / "outbox.db", 3600.0)) as device:
        wait_until(lambda: device.remote.available)
        device.ask("kept-1", "remind me", keep=True)
        device.await_kind("kept-1", EventKind.KEPT)
        with working(haunted) as echo:
            answer = device.await_kind("kept-1", EventKind.RESULT)
            assert answer.text == "kiosk said remind me"
        assert echo.ids == ["kept-1"]


def test_a_broker_that_is_not_there_delays_nothing() -> None:
    settings = BrokerSettings("mqtt://127.0.0.1:9")
    with MqttBackground(settings, Abilities("kiosk"), MonotonicClock()) as remote:
        device = Asker(remote)
        device.ask("request-1")
        assert device.kinds("request-1") == ["result"]


@needs_espeak
@pytest.mark.parametrize("local_first", ["none", "commands", "skills"])
def test_what_the_device_knows_word_for_word_goes_to_no_worker(
    broker: Broker, local_first: str
) -> None:
    """As it is put together: but for the loop."""
    known = {"Could you turn on the lamp, please?": "commands", "what time is it": "skills"}
    here = {"none": [], "commands": ["commands"], "skills": ["commands", "skills"]}[local_first]
    lamp = {"phrases": ["turn on the lamp"], "ros_topic": "lamp"}
    config = Config.model_validate(
        {
            "delegation": {"broker": broker.url, "local_first": local_first, "patience_s": 30.0},
            "background": {"recogniser": "none"},
            "actions": {"lamp_on": lamp},
        }
    )
    senses = Senses(Room(), None, MonotonicClock(), realtime=True)
    with working(broker) as echo, app.device(config, senses) as ready:
        dialogue = ready.loop._parts.dialogue
        wait_until(lambda: bool(dialogue.poll()))  # a link
        for words in (*known, "turn on the damp", "what time is dinner", "tell me a joke"):
            events = ask_configured(ready, words)
            asked = [one.transcript for one in echo.asked]
            assert (words in asked) is (known.get(words) not in here)
            answer = next(one.text for one in events if one.kind is EventKind.RESULT)
            assert answer.startswith("edge said") is (words in asked)
            silence = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))
            dialogue.utterance(Decision(0, "speak", say=DELIVER), silence)
            dialogue._heard.clear()


class Loudspeaker(Room):
    volume = math.nan

    def set_volume(self, volume: float) -> None:
        self.volume = volume


@needs_espeak
@pytest.mark.parametrize("with_worker", [False, True])
def test_the_volume_is_the_devices_own_whoever_is_asked(broker: Broker, with_worker: bool) -> None:
    config = Config.model_validate(
        {
            "audio": {"volume": 0.5},
            "delegation": {"broker": broker.url, "patience_s": 30.0},
            "background": {"recogniser": "none"},
        }
    )
    room = Loudspeaker()
    senses = Senses(room, None, MonotonicClock(), realtime=True)
    skills = SkillsAnswerer(Ears(Written))
    worker = Worker(BrokerSettings(broker.url), "w", skills) if with_worker else nullcontext()
    with worker, app.device(config, senses) as ready:
        dialogue = ready.loop._parts.dialogue
        if with_worker:
            wait_until(lambda: any(one.kind is EventKind.LINK_UP for one in dialogue.poll()))
        assert room.volume == 0.5
        told = ask_configured(ready, "could you speak louder")
        said = [one.text for one in told if one.kind is EventKind.RESULT]
    assert (said, room.volume) == (["I am louder now."], 0.8)


class Narrow(Broker):
    """One that takes small packets only, and ends a connection with a larger one."""

    def settings_text(self) -> str:
        return f"{super().settings_text()}max_packet_size 20000\n"


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_more_than_the_broker_takes_goes_without_its_sound(
    tmp_path: Path, keep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Narrow(tmp_path)
    broker.start()
    sound = (0.3 * np.random.default_rng(0).standard_normal(30 * 16_000)).astype(np.float32)
    said = (Said("device", "Hello!", 3.0),)
    outbox = Outbox(tmp_path / "outbox.db", 3600.0)
    try:
        with working(broker) as echo, asking(broker, outbox) as device:
            wait_until(lambda: device.remote.available)
            picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
            for name, pcm in (("request-1", sound), ("request-2", SOUND)):
                device.background.submit(
                    Request(name, pcm, "tea", conversation=said, keep=keep, frame=picture)
                )
                device.await_kind(name, EventKind.RESULT)
            long, short = echo.asked
            assert (long.audio, long.frame, len(long.conversation)) == ("", None, 1)
            assert short.audio and short.frame is None
            assert device.remote._connection.connects == 1
    finally:
        broker.kill()
    assert "goes without frame and audio" in caplog.text


def test_what_is_too_much_all_the_same_blocks_nobody(tmp_path: Path) -> None:
    broker = Narrow(tmp_path)
    broker.start()
    try:
        with working(broker), asking(broker) as device:
            wait_until(lambda: device.remote.available)
            long = Request("request-1", SOUND, "x" * 15_000, unsaid="y" * 15_000)
            device.background.submit(long)
            answer = device.await_kind("request-1", EventKind.RESULT).text
            assert answer == "from the device itself"
            device.ask("request-2")
            assert device.await_kind("request-2", EventKind.RESULT).text == "kiosk said tea"
            assert device.remote._connection.connects == 1
    finally:
        broker.kill()
