"""What the ROS node hosts, without ROS: the device and its loop, fed as subscriptions do."""

from __future__ import annotations

import array
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
import pytest
from asker import working
from broker import needs_mosquitto, running_broker, wait_until
from echo_worker import Echo
from program import needs_espeak
from typing_extensions import Self

from edge_interaction.runtime import Runtime
from edge_runtime.background.answerer import Reply
from edge_runtime.config import load_config
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities, pack
from edge_runtime.delegation.wire import Ability, ReplyKind, RequestMessage
from edge_runtime.errors import EngineError, ManifestError, SourceError
from edge_runtime.health import HealthMonitor
from edge_runtime.micro_turn import TURN_SAMPLES, Event, EventKind, Pcm, Request, TurnRecord
from edge_runtime.remote_control import RemoteControl
from edge_runtime.senses import senses_for, topic_senses_for
from edge_runtime.sources.ros_topics import StampClock, TopicCamera, TopicMicrophone

TOPICS = {"audio.source": "ros", "video.source": "ros"}


class Keeper:
    """A sink that keeps the records, and tells what it was asked."""

    def __init__(self) -> None:
        self.records: list[TurnRecord] = []
        self.log: list[str] = []

    def __enter__(self) -> Self:
        self.log.append("enter")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.log.append("exit")

    def publish(self, record: TurnRecord) -> None:
        self.records.append(record)


def block(position: int) -> SimpleNamespace:
    ns = time.time_ns() - 200_000_000
    stamp = SimpleNamespace(sec=ns // 10**9, nanosec=ns % 10**9)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp),
        position=position,
        sample_rate_hz=16_000,
        channels=1,
        direction_rad=math.nan,
        data=array.array("h", np.full(TURN_SAMPLES, position // TURN_SAMPLES, np.int16).tobytes()),
    )


class Hosted:
    """A runtime with topics as its senses."""

    def __init__(self, **overrides: Any) -> None:
        config = load_config(None, {**TOPICS, **overrides})
        senses = topic_senses_for(config, StampClock(), str)
        assert isinstance(senses.audio, TopicMicrophone)
        assert isinstance(senses.frames, TopicCamera)
        self.microphone = senses.audio
        self.keeper, self.control = Keeper(), RemoteControl()
        self.health = HealthMonitor()
        self.runtime = Runtime(config, senses, [self.keeper], self.control, self.health)
        self._position = 0

    def hear(self, turns: int) -> None:
        """Feed so many micro-turns, each when the one before has been decided."""
        for _ in range(turns):
            done = len(self.keeper.records)
            self.microphone.feed(block(self._position))
            self._position += TURN_SAMPLES
            wait_until(lambda done=done: len(self.keeper.records) > done)


@needs_espeak
def test_it_runs_stops_and_runs_again() -> None:
    hosted = Hosted(**{"audio.echo": "none"})  # so that samples are heard as they are
    hosted.runtime.acquire()
    assert hosted.keeper.records == [] and not hosted.runtime.over
    hosted.runtime.start()
    hosted.hear(3)
    hosted.runtime.stop()
    seen = len(hosted.keeper.records)
    hosted.runtime.start()
    hosted.hear(2)
    hosted.runtime.release()
    indexes = [record.turn.index for record in hosted.keeper.records]
    assert indexes == list(range(len(indexes))) and len(indexes) >= seen + 2
    assert hosted.keeper.log == ["enter", "exit"]
    heard = {round(float(one.turn.audio[0, 0]) * 32768) for one in hosted.keeper.records}
    assert {0, 1, 2} <= heard


@needs_espeak
def test_what_it_is_told_is_said() -> None:
    hosted = Hosted()
    hosted.runtime.acquire()
    hosted.runtime.start()
    hosted.control.say("The door is open.")
    hosted.hear(2)
    hosted.runtime.release()
    said = [record.said.text for record in hosted.keeper.records if record.said is not None]
    assert "The door is open." in said


class Waver(Echo):
    """Waves whenever it is asked something."""

    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        reply(ReplyKind.ACTION, action="wave")
        reply(ReplyKind.RESULT, "I am waving.")


@needs_espeak
@needs_mosquitto
def test_an_action_that_an_earlier_node_was_asked_for_is_not_done_by_the_next(
    tmp_path: Path,
) -> None:
    outbox = tmp_path / "outbox.db"
    asked = Request("kept-1", np.zeros(0, np.float32), "remind me to wave", keep=True)
    with Outbox(outbox, 3600.0) as kept:
        message = pack(asked.id, asked, Abilities("edge", (Ability(name="wave"),)), "")
        kept.add(asked.id, asked.transcript, message)
    with running_broker(tmp_path) as broker, working(broker, echo=Waver()):
        hosted = Hosted(**{"delegation.broker": broker.url, "delegation.outbox": outbox})
        hosted.runtime.acquire()
        hosted.runtime.start()
        told: list[Event] = []
        while not told:
            hosted.hear(1)
            last = hosted.keeper.records[-1]
            told = [event for event in last.turn.events if event.id == "kept-1"]
        hosted.runtime.release()
    assert [event.kind for event in told] == [EventKind.UNDONE, EventKind.RESULT]
    assert "I have not done it" in told[1].text
    assert all(record.asked_actions == () for record in hosted.keeper.records)
    with Outbox(outbox, 3600.0) as kept:
        assert kept.rows() == []


def test_what_cannot_be_acquired_holds_nothing() -> None:
    hosted = Hosted(**{"engine.folder": "/nowhere"})
    with pytest.raises(ManifestError, match="/nowhere"):
        hosted.runtime.acquire()
    assert hosted.keeper.log == ["enter", "exit"]


@needs_espeak
def test_a_loop_that_fails_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    hosted = Hosted()
    hosted.runtime.acquire()

    def fail(stop: Callable[[], bool]) -> int:
        raise EngineError("the model is gone")

    monkeypatch.setattr(hosted.runtime.device.loop, "run", fail)
    hosted.runtime.start()
    wait_until(lambda: hosted.runtime.over)
    assert isinstance(hosted.runtime.error, EngineError)
    hosted.runtime.release()


@pytest.mark.parametrize(
    ("audio", "video", "words"),
    [
        ("talk.wav", "ros", "sound from topics, not with 'talk.wav'"),
        ("ros", "FOLDER", "pictures from topics, not with"),
    ],
)
def test_recordings_and_topics_do_not_mix(
    audio: str, video: str, words: str, tmp_path: Path
) -> None:
    video = str(tmp_path) if video == "FOLDER" else video
    config = load_config(None, {"audio.source": audio, "video.source": video})
    with pytest.raises(SourceError, match=words):
        topic_senses_for(config, StampClock(), str)


def test_without_the_node_there_are_no_topics_to_hear() -> None:
    with pytest.raises(SourceError, match="in the ROS node only"):
        senses_for(load_config(None, TOPICS), realtime=True)


def test_a_node_may_run_on_recordings(tmp_path: Path) -> None:
    config = load_config(None, {"audio.source": str(tmp_path / "talk.wav")})
    senses = topic_senses_for(config, StampClock(), str)
    assert senses.frames is None and senses.realtime
