"""The loop: its order within a turn, what passes to the next, its times, and its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from typing_extensions import Self

from edge_runtime.assemble import Assembler
from edge_runtime.dialogue import Dialogue
from edge_runtime.errors import BackgroundError, EngineError, InputError
from edge_runtime.interfaces import NothingHeld, Sink
from edge_runtime.loop import Loop, Parts
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    AudioReading,
    BackgroundState,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    FrameReading,
    MicroTurn,
    Pcm,
    Request,
    TurnRecord,
    Utterance,
)
from edge_runtime.pacing import TURN_NS, VirtualClock
from edge_runtime.remote_control import MAX_WAITING, Mode, Moment, RemoteControl
from edge_runtime.sinks.queue import QueueSink
from edge_runtime.voice.mouth import Mouth

Script = Mapping[int, Mapping[str, Any]]
"""Fields of the decision by turn; every other turn listens."""
UTTERANCE = np.full(TURN_SAMPLES * 3 // 2, 0.5, np.float32)


class Scripted:
    """Enters and leaves; writes down what is done with it, in one list for all parts."""

    def __init__(self, log: list[str], clock: VirtualClock) -> None:
        self.log, self.clock = log, clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class Device(Scripted):
    """A microphone, a loudspeaker and a camera. A late reader gets the newest turn."""

    turns = 6

    def __init__(self, log: list[str], clock: VirtualClock) -> None:
        super().__init__(log, clock)
        self.next_due_ns = TURN_NS
        self.played: list[Pcm] = []

    def read_turn(self) -> AudioReading | None:
        self.log.append("read")
        if self.turns == 0:
            return None
        self.turns -= 1
        late_turns = max(0, self.clock.now_ns() - self.next_due_ns) // TURN_NS
        due_ns = self.next_due_ns + late_turns * TURN_NS
        self.clock.sleep_until(due_ns)
        self.next_due_ns = due_ns + TURN_NS
        return AudioReading(np.zeros((2, TURN_SAMPLES), np.float32), 0, due_ns)

    def play(self, pcm: Pcm) -> None:
        self.log.append("play")
        self.played.append(pcm)

    def flush(self, fade_ms: float) -> int:
        self.log.append(f"silence the loudspeaker in {fade_ms:g} ms")
        return 0

    def latest(self, now_ns: int) -> FrameReading | None:
        self.log.append("look")
        return FrameReading(np.zeros((4, 6, 3), np.uint8), now_ns)


class ScriptedEngine(Scripted):
    """Takes `work_ms` a turn, and fails where it is told to."""

    def __init__(self, log: list[str], clock: VirtualClock) -> None:
        super().__init__(log, clock)
        self.work_ms: Mapping[int, float] = {}
        self.fails_at: int | None = None

    def step(self, turn: MicroTurn) -> EngineOutput:
        self.log.append("step")
        self.clock.sleep_until(self.clock.now_ns() + int(self.work_ms.get(turn.index, 0) * 1e6))
        if turn.index == self.fails_at:
            raise EngineError("the model is gone")
        return EngineOutput(turn.index, {"floor": np.float32([[turn.index]])})

    def reset(self) -> None:
        self.log.append("reset")


class ScriptedDecider(Scripted):
    script: Script
    before: Mapping[int, Callable[[], None]]

    def decide(self, output: EngineOutput, turn: MicroTurn) -> Decision:
        self.log.append("decide")
        self.before.get(turn.index, lambda: None)()
        assert output.index == turn.index
        return replace(Decision(turn.index, "listen"), **self.script.get(turn.index, {}))

    def reset(self) -> None:
        self.log.append("reset")


class Tone:
    """A synthesizer with one sound for all texts."""

    def check(self) -> None:
        return None

    def synthesize(self, text: str) -> ToneSynthesis:
        return ToneSynthesis()


class ToneSynthesis:
    def __iter__(self) -> Iterator[Pcm]:
        yield UTTERANCE

    def close(self) -> None:
        return None


class LoggedMouth(Mouth):
    log: list[str]

    def say(self, utterance: Utterance) -> None:
        self.log.append(f"say {utterance.act}")
        super().say(utterance)

    def pause(self, fade_ms: float, unheard: int = 0) -> Pcm:
        self.log.append("pause the mouth")
        return super().pause(fade_ms, unheard)

    def flush(self, fade_ms: float, unheard: int = 0) -> Pcm:
        self.log.append("silence the mouth")
        return super().flush(fade_ms, unheard)


class Answers(Scripted):
    """A background model that answers at the turns it is told to."""

    def __init__(self, log: list[str], clock: VirtualClock) -> None:
        super().__init__(log, clock)
        self.tells: Mapping[int, Sequence[Event]] = {}
        self.submitted: list[Request] = []
        self.refuses = False
        self.polls = 0

    def submit(self, request: Request) -> None:
        self.log.append(f"submit {request.id}")
        if self.refuses:
            raise BackgroundError("too many questions")
        self.submitted.append(request)

    def cancel(self, request_id: str) -> None:
        self.log.append(f"cancel {request_id}")

    def poll(self) -> Sequence[Event]:
        self.log.append("poll")
        self.polls += 1
        return self.tells.get(self.polls - 1, ())


class Keeper(Scripted):
    """A sink that keeps the records."""

    def __init__(self, log: list[str], clock: VirtualClock) -> None:
        super().__init__(log, clock)
        self.records: list[TurnRecord] = []

    def publish(self, record: TurnRecord) -> None:
        self.log.append("publish")
        self.records.append(record)


@dataclass
class Stage:
    """All parts of one loop, on a clock that moves only when someone works or waits."""

    log: list[str] = field(default_factory=list)
    clock: VirtualClock = field(default_factory=VirtualClock)
    realtime: bool = True
    more_sinks: list[Sink] = field(default_factory=list)
    control: RemoteControl = field(default_factory=RemoteControl)
    asks: Mapping[int, Callable[[], None]] = field(default_factory=dict)
    """What somebody outside asks for, by the turn in which the model is deciding just then."""

    def __post_init__(self) -> None:
        self.device = Device(self.log, self.clock)
        self.engine = ScriptedEngine(self.log, self.clock)
        self.decider = ScriptedDecider(self.log, self.clock)
        self.answers = Answers(self.log, self.clock)
        self.sink = Keeper(self.log, self.clock)

    def run(self, script: Script | None = None, **options: Any) -> list[TurnRecord]:
        self.decider.script = script or {}
        self.decider.before = self.asks
        mouth = LoggedMouth(Tone(), block=True)
        mouth.log = self.log
        with mouth as voice:
            self.ran = Loop(self.parts(voice)).run(**options)
        return self.sink.records

    def parts(self, voice: Mouth) -> Parts:
        return Parts(
            audio=self.device,
            assembler=Assembler(self.device),
            engine=self.engine,
            decider=self.decider,
            voice=voice,
            dialogue=Dialogue(self.answers, lambda act: f"words for {act}"),
            sinks=[*self.more_sinks, self.sink],
            compute_clock=self.clock,
            realtime=self.realtime,
            control=self.control,
        )


@pytest.fixture
def stage() -> Stage:
    return Stage()


def kinds(record: TurnRecord) -> list[str]:
    return [event.kind.value for event in record.turn.events]


ASK: Mapping[str, Any] = {"delegation": Delegation.DELEGATE}


def test_the_parts_of_a_turn_work_in_their_order(stage: Stage) -> None:
    stage.run({0: ASK | {"floor": "speak", "say": "greet"}}, max_turns=1)
    assert stage.log == [
        "read",
        "poll",
        "look",
        "step",
        "decide",
        "say greet",
        "play",
        "submit request-1",
        "publish",
    ]


def test_stopping_silences_the_loudspeaker_first_and_starts_nothing(stage: Stage) -> None:
    records = stage.run({0: {"say": "greet"}, 1: {"stop": True, "say": "goodbye"}}, max_turns=3)
    second = stage.log[stage.log.index("publish") + 1 :]
    assert second[: second.index("publish")] == [
        "read",
        "poll",
        "look",
        "step",
        "decide",
        "silence the loudspeaker in 20 ms",
        "silence the mouth",
        "play",
    ]
    assert records[1].said is None
    assert kinds(records[2]) == ["utterance_interrupted"]
    assert not records[2].turn.voice.speaking
    faded = stage.device.played[1]
    assert abs(faded[320:]).max() == 0.0
    assert not stage.device.played[2].any()


def test_in_doubt_it_is_silent_and_then_goes_on_where_it_was(stage: Stage) -> None:
    doubt = {"hesitate": True, "floor": "hesitate"}
    script: Script = {0: {"say": "greet"}, 1: doubt, 2: doubt}
    records = stage.run(script, max_turns=8)
    assert [record.turn.voice.paused for record in records[:4]] == [False, False, True, True]
    assert all(record.turn.voice.speaking for record in records[1:4])
    second = stage.log[stage.log.index("publish") + 1 :]
    silenced = ["silence the loudspeaker in 20 ms", "pause the mouth", "play"]
    assert second[: second.index("publish")][-3:] == silenced
    assert not stage.device.played[1][320:].any() and not stage.device.played[2].any()
    told = [kind for record in records for kind in kinds(record)]
    assert told == ["utterance_started", "utterance_finished"]
    heard = np.concatenate([stage.device.played[0], *stage.device.played[3:]])
    assert np.count_nonzero(heard) >= UTTERANCE.size, "nothing of it was lost"


def test_what_is_said_is_played_from_the_same_turn_on(stage: Stage) -> None:
    records = stage.run({1: {"say": "greet"}}, max_turns=4)
    assert [record.said is not None for record in records] == [False, True, False, False]
    assert records[1].said == Utterance("utterance-1", "words for greet", "greet")
    played = np.concatenate(stage.device.played)
    assert_array_equal(
        played, np.concatenate([one.played for one in records if one.played is not None])
    )
    assert not played[:TURN_SAMPLES].any()
    assert played[TURN_SAMPLES : TURN_SAMPLES + UTTERANCE.size].all()
    assert not played[TURN_SAMPLES + UTTERANCE.size :].any()


def test_the_mouth_reports_in_the_next_turn(stage: Stage) -> None:
    records = stage.run({0: {"say": "greet"}}, max_turns=4)
    assert [kinds(record) for record in records[:2]] == [[], ["utterance_started"]]
    finished = [record.turn.index for record in records if "utterance_finished" in kinds(record)]
    assert finished == [2]
    assert [record.turn.voice.speaking for record in records[:2]] == [False, True]


def test_an_answer_is_an_event_of_the_next_turn_and_is_told_when_the_model_wants(
    stage: Stage,
) -> None:
    noon = Event(EventKind.RESULT, "request-1", "It is noon.")
    stage.answers.tells = {1: [Event(EventKind.PROGRESS, "request-1", "thinking")], 2: [noon]}
    records = stage.run({0: ASK, 3: {"say": "deliver"}, 5: {"say": "deliver"}})
    assert [kinds(record) for record in records[:3]] == [[], ["progress"], ["result"]]
    states = [record.turn.background for record in records]
    assert states == [
        BackgroundState(False, False, False),
        BackgroundState(True, False, False),
        BackgroundState(False, True, False),
        BackgroundState(False, True, False),
        BackgroundState(False, False, False),
        BackgroundState(False, False, False),
    ]
    said = [record.said for record in records if record.said is not None]
    assert said == [Utterance("utterance-1", "It is noon.", "deliver", "request-1")]


def test_events_of_the_mouth_come_before_those_of_the_background(stage: Stage) -> None:
    stage.answers.tells = {1: [Event(EventKind.LINK_UP)]}
    records = stage.run({0: {"say": "greet"}}, max_turns=2)
    assert kinds(records[1]) == ["utterance_started", "link_up"]


def test_a_cancelled_question_is_taken_back_and_its_answer_never_arrives(stage: Stage) -> None:
    stage.answers.tells = {3: [Event(EventKind.RESULT, "request-1", "too late")]}
    records = stage.run({0: ASK, 2: {"delegation": Delegation.CANCEL}, 4: {"say": "deliver"}})
    assert stage.log.count("cancel request-1") == 1
    assert [kinds(record) for record in records] == [[]] * 6
    assert all(record.said is None for record in records)
    assert records[3].turn.background == BackgroundState(False, False, False)


def test_a_background_that_takes_no_question_leaves_the_loop_running(stage: Stage) -> None:
    stage.answers.refuses = True
    records = stage.run({0: ASK})
    assert stage.ran == 6
    assert records[1].turn.events == (Event(EventKind.FAILED, "request-1", "too many questions"),)
    assert not records[1].turn.background.pending


@pytest.mark.parametrize(("act", "asked"), [("backchannel", "what time"), ("greet", "time")])
def test_only_an_answer_ends_what_the_person_was_saying(stage: Stage, act: str, asked: str) -> None:
    stage.run({0: {"heard": "what "}, 1: {"say": act}, 2: {"heard": "time"}, 3: ASK})
    assert stage.answers.submitted[0].transcript == asked


def test_times_are_measured_from_the_sound_and_around_the_engine(stage: Stage) -> None:
    stage.engine.work_ms = {0: 30.0, 1: 250.0}
    records = stage.run(max_turns=4)
    assert [record.timings.compute_ms for record in records] == [30.0, 250.0, 0.0, 0.0]
    assert [record.timings.late_ms for record in records] == [0.0, 0.0, 50.0, 0.0]
    assert [record.timings.total_ms for record in records] == [30.0, 250.0, 0.0, 0.0]
    assert [record.turn.deadline_ns for record in records] == [
        (turn + 2) * TURN_NS for turn in range(4)
    ]


def test_a_loop_that_was_stopped_goes_on_where_it_was(stage: Stage) -> None:
    stage.decider.script, stage.decider.before = {}, {}
    mouth = LoggedMouth(Tone(), block=True)
    mouth.log = stage.log
    with mouth as voice:
        loop = Loop(stage.parts(voice))
        assert loop.run(max_turns=2) == 2
        stage.decider.script = {2: {"say": "greet"}}
        assert loop.run(max_turns=3) == 3
        assert voice.state().speaking
        loop.rest()
        assert not voice.state().speaking
        assert loop.run(max_turns=5) == 5
    records = stage.sink.records
    assert [record.turn.index for record in records] == [0, 1, 2, 3, 4]
    assert [kinds(record) for record in records[2:]] == [
        [],
        ["utterance_started", "utterance_interrupted"],
        [],
    ]


def test_half_a_sentence_from_before_a_rest_is_no_part_of_the_next_question(stage: Stage) -> None:
    stage.decider.before = {}
    stage.decider.script = {0: {"heard": "turn off "}, 2: {"heard": "what time"}, 3: ASK}
    mouth = LoggedMouth(Tone(), block=True)
    mouth.log = stage.log
    with mouth as voice:
        loop = Loop(stage.parts(voice))
        loop.run(max_turns=2)
        loop.rest()
        loop.run(max_turns=4)
    (request,) = stage.answers.submitted
    assert request.transcript == "what time"
    assert request.audio.size == 2 * TURN_SAMPLES, "no sound of before either"


def test_a_question_that_goes_out_is_in_the_record(stage: Stage) -> None:
    records = stage.run({1: ASK})
    assert [record.request is None for record in records] == [True, False, True, True, True, True]
    assert records[1].request is stage.answers.submitted[0]


def test_turns_that_keep_their_deadline_skip_nothing(stage: Stage) -> None:
    stage.engine.work_ms = dict.fromkeys(range(6), 199.0)
    assert [record.timings.skipped for record in stage.run()] == [0] * 6


def test_an_overrun_is_counted_by_the_deadlines_it_went_past(stage: Stage) -> None:
    stage.engine.work_ms = {1: 450.0}
    records = stage.run(max_turns=4)
    assert [record.timings.skipped for record in records] == [0, 2, 0, 0]
    assert [record.turn.index for record in records] == [0, 1, 2, 3]
    captured_ns = [record.turn.deadline_ns - TURN_NS for record in records]
    assert captured_ns == [TURN_NS, 2 * TURN_NS, 4 * TURN_NS, 5 * TURN_NS]


@dataclass
class SlowSink(NothingHeld):
    clock: VirtualClock

    def publish(self, record: TurnRecord) -> None:
        if record.turn.index == 1:
            self.clock.sleep_until(self.clock.now_ns() + 5 * TURN_NS)


def test_what_goes_by_between_two_turns_is_counted_with_the_second(stage: Stage) -> None:
    stage.more_sinks = [SlowSink(stage.clock)]
    stage.engine.work_ms = {1: 250.0}
    records = stage.run(max_turns=4)
    due = [record.turn.deadline_ns // TURN_NS for record in records]
    assert due == [2, 3, 9, 10]
    assert [record.timings.skipped for record in records] == [0, 1, 4, 0]


def test_a_rest_between_two_runs_is_nothing_missed(stage: Stage) -> None:
    stage.decider.script, stage.decider.before = {}, {}
    with Mouth(Tone(), block=True) as voice:
        loop = Loop(stage.parts(voice))
        assert loop.run(max_turns=2) == 2
        stage.clock.sleep_until(stage.clock.now_ns() + 50 * TURN_NS)
        loop.rest()
        assert loop.run(max_turns=4) == 4
    due = [record.turn.deadline_ns // TURN_NS for record in stage.sink.records]
    assert due == [2, 3, 53, 54]
    assert not any(record.timings.skipped for record in stage.sink.records)


def test_as_fast_as_it_can_nothing_is_late(stage: Stage) -> None:
    stage.realtime = False
    stage.engine.work_ms = {1: 450.0}
    records = stage.run(max_turns=4)
    assert records[1].timings.compute_ms == 450.0
    assert [(one.timings.late_ms, one.timings.skipped) for one in records] == [(0.0, 0)] * 4


def test_it_ends_with_the_sound(stage: Stage) -> None:
    assert [record.turn.index for record in stage.run()] == [0, 1, 2, 3, 4, 5]
    assert stage.ran == 6


def test_it_ends_when_it_is_told_to_before_it_listens_again(stage: Stage) -> None:
    stage.run(stop=lambda: len(stage.sink.records) == 2)
    assert stage.ran == 2
    assert stage.log.count("read") == 2


def test_every_sink_gets_the_same_record_of_every_turn(stage: Stage) -> None:
    other = Keeper(stage.log, stage.clock)
    stage.more_sinks = [other]
    records = stage.run({2: {"actions": (Action("wave"),)}})
    assert len(records) == 6
    assert all(one is another for one, another in zip(records, other.records, strict=True))
    assert records[2].decision.actions == (Action("wave"),)
    assert records[2].output.tensors["floor"] == 2


def test_a_sink_that_raises_behind_its_queue_does_not_touch_the_loop(stage: Stage) -> None:
    class Broken(Keeper):
        def publish(self, record: TurnRecord) -> None:
            raise OSError("the robot is gone")

    with QueueSink(Broken([], stage.clock), "robot") as queue:
        stage.more_sinks = [queue]
        assert len(stage.run()) == 6
    assert queue.failures == 6


def test_a_sink_that_hangs_behind_its_queue_does_not_touch_the_loop(stage: Stage) -> None:
    gate = threading.Event()

    class Stuck(Keeper):
        def publish(self, record: TurnRecord) -> None:
            assert gate.wait(30)
            super().publish(record)

    stuck = Stuck([], stage.clock)
    with QueueSink(stuck, "robot", size=2) as queue:
        stage.more_sinks = [queue]
        assert len(stage.run()) == 6
        assert not stuck.records
        gate.set()
    assert [one.turn.index for one in stuck.records][-2:] == [4, 5]


def test_an_engine_that_fails_leaves_a_silent_and_still_device(stage: Stage) -> None:
    stage.engine.fails_at = 2
    with pytest.raises(EngineError, match="gone"):
        stage.run({1: {"say": "greet"}})
    last = stage.log[len(stage.log) - stage.log[::-1].index("step") :]
    assert last == ["silence the loudspeaker in 20 ms", "silence the mouth", "publish"]
    halt = stage.sink.records[-1]
    assert halt.turn.index == halt.decision.index == 2
    assert halt.decision.stop
    assert [action.name for action in halt.decision.actions] == ["stop_motion"]
    assert halt.output.tensors == {}
    assert [record.failed for record in stage.sink.records[-2:]] == [False, True]


@pytest.mark.parametrize("part", ["device", "answers", "decider", "sink"])
def test_whatever_fails_the_device_is_silent_and_still(
    stage: Stage, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others are stopped although one sink takes nothing any more."""
    method = {"device": "read_turn", "answers": "poll", "decider": "decide", "sink": "publish"}
    failing = Keeper(stage.log, stage.clock) if part == "sink" else getattr(stage, part)
    stage.more_sinks = [failing] if part == "sink" else []
    works, calls = getattr(failing, method[part]), iter(range(100))

    def fail(*given: Any) -> Any:
        if next(calls) >= 2:
            raise RuntimeError("broken")
        return works(*given)

    monkeypatch.setattr(failing, method[part], fail)
    with pytest.raises(RuntimeError, match="broken"):
        stage.run({1: {"say": "greet"}})
    silenced = ["silence the loudspeaker in 20 ms", "silence the mouth", "publish"]
    assert stage.log[-3:] == silenced
    halt = stage.sink.records[-1]
    assert (halt.decision.stop, halt.output.tensors) == (True, {})
    assert halt.decision.actions == (Action("stop_motion"),)


def said(records: Sequence[TurnRecord]) -> dict[int, str]:
    return {one.turn.index: one.said.text for one in records if one.said is not None}


def test_a_stop_from_outside_silences_in_the_same_turn_and_leaves_the_decision_alone(
    stage: Stage,
) -> None:
    stage.asks = {1: stage.control.stop}
    records = stage.run({0: {"say": "greet"}, 1: {"say": "goodbye"}}, max_turns=3)
    second = stage.log[stage.log.index("publish") + 1 :]
    assert second[4:7] == [
        "decide",
        "silence the loudspeaker in 20 ms",
        "silence the mouth",
    ]
    assert said(records) == {0: "words for greet"}
    assert records[1].decision == Decision(1, "listen", say="goodbye")
    assert [one.asked_actions for one in records] == [(), (Action("stop_motion"),), ()]
    assert kinds(records[2]) == ["utterance_interrupted"]
    assert not stage.device.played[2].any()


def test_a_text_from_outside_is_said_in_the_turn_in_which_the_model_begins_nothing(
    stage: Stage,
) -> None:
    stage.asks = {
        0: lambda: stage.control.say("Dinner is ready."),
        2: lambda: stage.control.say("Really."),
    }
    records = stage.run({0: {"say": "greet"}, 4: ASK})
    assert said(records) == {0: "words for greet", 1: "Dinner is ready.", 2: "Really."}
    assert records[1].said == Utterance("utterance-2", "Dinner is ready.", "announce")
    told = [one.text for one in stage.answers.submitted[0].conversation]
    assert told == ["words for greet", "Dinner is ready.", "Really."]


def test_only_so_much_waits_to_be_said_and_then_there_is_room_again(stage: Stage) -> None:
    """Two texts a micro-turn, and each takes two to say."""
    stage.device.turns = 60
    accepted: list[int] = []

    def ask(turn: int) -> None:
        for _ in range(2):
            with suppress(InputError):
                stage.control.say("Dinner is ready.")
                accepted.append(turn)

    stage.asks = {turn: partial(ask, turn) for turn in range(60)}
    records = stage.run()
    finished = sum(kinds(one).count("utterance_finished") for one in records)
    assert finished > 20
    assert len(accepted) - finished <= MAX_WAITING + 1, "what has finished is told a turn later"
    assert accepted[-1] > 50


def test_a_text_that_finds_no_fitting_moment_is_refused_in_time_and_none_gets_lost(
    stage: Stage,
) -> None:
    """Nobody is there for twenty micro-turns; what is urgent is said all the same."""
    accepted: list[str] = []

    def notify(turn: int) -> None:
        with suppress(InputError):
            stage.control.say(f"text {turn}", Moment.FITTING)
            accepted.append(f"text {turn}")

    stage.asks = {turn: partial(notify, turn) for turn in range(20)}
    stage.asks[12] = lambda: stage.control.say("Fire!")
    stage.device.turns = 60
    records = stage.run({turn: {"say": "deliver"} for turn in range(20, 60, 3)})
    told = [one.said.text for one in records if one.said is not None]
    assert len(accepted) == MAX_WAITING
    assert told == ["Fire!", *accepted]


def test_the_letters_of_the_turn_in_which_it_answers_belong_to_what_was_said(stage: Stage) -> None:
    script = {0: {"heard": "what is your na"}, 1: {"heard": "me", "say": "name"}, 4: ASK}
    stage.run(script)
    told = [one.text for one in stage.answers.submitted[0].conversation]
    assert told == ["what is your name", "words for name"]


def test_a_question_is_no_part_of_what_was_said_before_it(stage: Stage) -> None:
    stage.run({0: {"heard": "what time is it"}, 1: ASK | {"say": "working"}, 4: ASK})
    first, second = stage.answers.submitted
    assert first.transcript == "what time is it"
    assert [one.text for one in first.conversation] == ["words for working"]
    assert [one.text for one in second.conversation] == ["what time is it", "words for working"]


def test_what_was_silenced_between_two_runs_does_not_wait_any_more(stage: Stage) -> None:
    stage.decider.script, stage.decider.before = {}, {}
    mouth = LoggedMouth(Tone(), block=True)
    mouth.log = stage.log
    with mouth as voice:
        parts = stage.parts(voice)
        loop = Loop(parts)
        stage.control.say("Dinner is ready.")
        loop.run(max_turns=1)
        assert parts.dialogue.unsaid_orders == 1
        loop.rest()
        loop.run(max_turns=2)
        assert parts.dialogue.unsaid_orders == 0


def test_an_announcement_does_not_end_what_the_person_is_saying(stage: Stage) -> None:
    stage.asks = {1: lambda: stage.control.say("Dinner is ready.")}
    stage.run({0: {"heard": "what "}, 2: {"heard": "time"}, 3: ASK})
    assert stage.answers.submitted[0].transcript == "what time"


def test_a_text_for_a_fitting_moment_is_an_event_and_waits_for_the_model(stage: Stage) -> None:
    stage.asks = {0: lambda: stage.control.say("The washing is done.", Moment.FITTING)}
    records = stage.run({4: {"say": "deliver"}})
    assert [kinds(one) for one in records[:3]] == [[], ["result"], []]
    assert [one.turn.background.result_ready for one in records[:5]] == [False, *[True] * 4]
    assert said(records) == {4: "The washing is done."}


def test_a_cancel_from_outside_takes_the_question_back(stage: Stage) -> None:
    stage.asks = {1: stage.control.cancel}
    stage.answers.tells = {3: [Event(EventKind.RESULT, "request-1", "too late")]}
    records = stage.run({0: ASK, 4: {"say": "deliver"}})
    assert stage.log.count("cancel request-1") == 1
    assert said(records) == {}
    assert all(one.asked_actions == () for one in records)


def test_a_quiet_device_says_nothing_and_answers_when_it_may_again(stage: Stage) -> None:
    stage.asks = {
        0: lambda: stage.control.set_mode(Mode.QUIET),
        4: lambda: stage.control.set_mode(Mode.NORMAL),
    }
    stage.answers.tells = {1: [Event(EventKind.RESULT, "request-1", "It is noon.")]}
    records = stage.run({0: ASK, 2: {"say": "greet"}, 3: {"say": "deliver"}, 5: {"say": "deliver"}})
    assert said(records) == {5: "It is noon."}


def test_a_device_in_standby_hands_nothing_on_and_moves_nothing(stage: Stage) -> None:
    stage.asks = {0: lambda: stage.control.set_mode(Mode.STANDBY), 3: stage.control.stop}
    records = stage.run({1: ASK, 2: {"say": "greet"}})
    assert stage.answers.submitted == []
    assert said(records) == {}
    stops = [one.turn.index for one in records if one.asked_actions == (Action("stop_motion"),)]
    assert stops == [0, 3]
