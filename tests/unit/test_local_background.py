"""Every request ends exactly once: with a result, with a failure that has a cause, or cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pytest

from edge_runtime.background.commands import NONE, Command, Commands
from edge_runtime.background.local import QUEUE_SIZE, VIRTUAL_DELAY_NS, LocalBackground
from edge_runtime.background.timers import Timers
from edge_runtime.background.transcribe import Transcript
from edge_runtime.errors import BackgroundError
from edge_runtime.micro_turn import Event, EventKind, Letters, Pcm, Request
from edge_runtime.pacing import VirtualClock

SECOND_NS = 1_000_000_000
PATIENCE_S = 30
"""How long a test waits for something that comes at once."""
NOW = datetime(2026, 11, 24, 14, 45)
SUM = "what is twelve plus thirty"
SUM_ANSWER = "Twelve plus thirty is forty-two."


class Ears:
    """In place of a recogniser: hears `said`, each time as soon as the test lets it.

    It signals `listening` when a request has reached it.
    """

    def __init__(self, *said: str, held: bool = False) -> None:
        self._said = list(said)
        self._go = threading.Semaphore(0 if held else 1000)
        self.listening = threading.Semaphore(0)
        self.sounds: list[Pcm] = []

    def load(self) -> None: ...

    def transcribe(
        self, pcm: Pcm, rough: str = "", commands: Commands = NONE, letters: Letters | None = None
    ) -> Transcript:
        self.sounds.append(pcm)
        self.listening.release()
        assert self._go.acquire(timeout=PATIENCE_S)
        return Transcript(self._said.pop(0), True, 1.0)

    def let_go(self) -> None:
        self._go.release()

    def await_listening(self) -> None:
        assert self.listening.acquire(timeout=PATIENCE_S)


class BrokenEars:
    def __init__(self, error: Exception, in_load: bool = False) -> None:
        self._error, self._in_load = error, in_load

    def load(self) -> None:
        if self._in_load:
            raise self._error

    def transcribe(
        self, pcm: Pcm, rough: str = "", commands: Commands = NONE, letters: Letters | None = None
    ) -> Transcript:
        raise self._error


class Answers:
    """Collects what `poll` gives."""

    def __init__(self, background: LocalBackground) -> None:
        self._background = background
        self.events: list[Event] = []

    def poll(self) -> list[Event]:
        new = list(self._background.poll())
        self.events += new
        return new

    def until(self, done: Callable[[Event], bool]) -> list[Event]:
        """Everything that came, the event that was waited for being among the last."""
        pause = threading.Event()
        for _ in range(PATIENCE_S * 1000):
            if any(done(event) for event in self.poll()):
                return self.events
            pause.wait(0.001)
        raise AssertionError(f"did not come; only {self.events}")

    def until_end_of(self, request_id: str) -> list[Event]:
        ends = (EventKind.RESULT, EventKind.FAILED)
        return self.until(lambda event: event.id == request_id and event.kind in ends)

    def of(self, request_id: str) -> list[tuple[EventKind, str]]:
        return [(event.kind, event.text) for event in self.events if event.id == request_id]


@contextmanager
def running(ears: Ears | BrokenEars) -> Iterator[tuple[LocalBackground, Answers, VirtualClock]]:
    """A background with its thread, on a clock that the test moves."""
    clock = VirtualClock()
    with LocalBackground(ears, clock, now=lambda: NOW) as background:
        yield background, Answers(background), clock


def request(name: str, deadline_s: float = 20.0) -> Request:
    return Request(name, np.full(1600, 0.25, np.float32), deadline_s=deadline_s)


def test_a_request_makes_progress_and_then_has_a_result() -> None:
    ears = Ears(SUM)
    with running(ears) as (background, answers, _):
        asked = request("r1")
        background.submit(asked)
        assert answers.until_end_of("r1") == [
            Event(EventKind.PROGRESS, "r1", "listening again"),
            Event(EventKind.RESULT, "r1", SUM_ANSWER),
        ]
        assert ears.sounds[0] is asked.audio
        assert answers.poll() == []


def test_a_command_is_done_and_then_said_to_be() -> None:
    commands = Commands((Command("lamp_on", ("turn on the lamp",), "The lamp is on."),))
    ears = Ears("turn on the lamp", "turn on the lamp")
    clock = VirtualClock()
    with LocalBackground(ears, clock, now=lambda: NOW, commands=commands) as background:
        answers = Answers(background)
        background.submit(request("r1"))
        assert answers.until_end_of("r1")[1:] == [
            Event(EventKind.ACTION, "r1", "lamp_on"),
            Event(EventKind.RESULT, "r1", "The lamp is on."),
        ]


def test_a_command_that_was_taken_back_is_not_done() -> None:
    commands = Commands((Command("lamp_on", ("turn on the lamp",), "The lamp is on."),))
    ears = Ears("turn on the lamp", SUM, held=True)
    clock = VirtualClock()
    with LocalBackground(ears, clock, now=lambda: NOW, commands=commands) as background:
        answers = Answers(background)
        background.submit(request("r1"))
        ears.await_listening()
        background.cancel("r1")
        background.submit(request("r2"))
        ears.let_go()
        ears.let_go()
        answers.until_end_of("r2")
        assert EventKind.ACTION not in [event.kind for event in answers.events]


def test_while_it_works_there_is_progress_and_no_result_yet() -> None:
    ears = Ears(SUM, held=True)
    with running(ears) as (background, answers, _):
        background.submit(request("r1"))
        ears.await_listening()
        assert answers.poll() == [Event(EventKind.PROGRESS, "r1", "listening again")]
        assert answers.poll() == []
        ears.let_go()
        answers.until_end_of("r1")
        assert answers.of("r1")[1:] == [(EventKind.RESULT, SUM_ANSWER)]


def test_requests_are_answered_one_after_the_other_in_their_order() -> None:
    with running(Ears(SUM, "what time is it", "open the window")) as (background, answers, _):
        for name in ("r1", "r2", "r3"):
            background.submit(request(name))
        answers.until_end_of("r3")
        results = [event for event in answers.events if event.kind is EventKind.RESULT]
        assert [event.id for event in results] == ["r1", "r2", "r3"]
        assert [event.text for event in results[:2]] == [
            SUM_ANSWER,
            "It is a quarter to three in the afternoon.",
        ]
        assert "open the window" in results[2].text


def test_a_request_cancelled_before_its_turn_is_never_listened_to() -> None:
    ears = Ears("what time is it", SUM, held=True)
    with running(ears) as (background, answers, _):
        for name in ("r1", "r2", "r3"):
            background.submit(request(name))
        ears.await_listening()
        background.cancel("r2")
        ears.let_go()
        ears.let_go()
        answers.until_end_of("r3")
        assert answers.of("r2") == []
        assert answers.of("r3")[-1] == (EventKind.RESULT, SUM_ANSWER)
        assert len(ears.sounds) == 2


def test_a_request_cancelled_during_the_work_has_no_result_and_starts_no_timer() -> None:
    ears = Ears("set a timer for one minute", SUM, held=True)
    with running(ears) as (background, answers, clock):
        background.submit(request("r1"))
        ears.await_listening()
        background.cancel("r1")
        background.submit(request("r2"))
        ears.let_go()
        ears.let_go()
        answers.until_end_of("r2")
        clock.sleep_until(3600 * SECOND_NS)
        answers.poll()
        assert {event.id for event in answers.events} == {"r2"}


def test_a_result_that_was_not_fetched_yet_goes_with_the_cancelled_request() -> None:
    ears = Ears(SUM, SUM)
    with running(ears) as (background, answers, _):
        background.submit(request("r1"))
        background.submit(request("r2"))
        ears.await_listening()
        ears.await_listening()  # The second is in work: the first has its result.
        background.cancel("r1")
        answers.until_end_of("r2")
        assert answers.of("r1") == []


def test_cancelling_what_has_ended_or_never_was_changes_nothing() -> None:
    with running(Ears(SUM, SUM)) as (background, answers, _):
        background.submit(request("r1"))
        answers.until_end_of("r1")
        background.cancel("r1")
        background.cancel("never asked")
        background.submit(request("r2"))
        answers.until_end_of("r2")
        assert answers.of("r2")[-1] == (EventKind.RESULT, SUM_ANSWER)


def test_a_missed_deadline_fails_once_and_the_late_result_is_dropped() -> None:
    ears = Ears("set a timer for one minute", SUM, held=True)
    with running(ears) as (background, answers, clock):
        background.submit(request("late", deadline_s=2.0))
        ears.await_listening()
        answers.poll()
        clock.sleep_until(2 * SECOND_NS)
        assert answers.poll() == [], "at the deadline it is not late yet"
        clock.sleep_until(2 * SECOND_NS + 1)
        assert answers.poll() == [Event(EventKind.FAILED, "late", "no answer before the deadline")]
        background.submit(request("next"))
        ears.let_go()
        ears.let_go()
        answers.until_end_of("next")
        clock.sleep_until(3600 * SECOND_NS)
        answers.poll()
        assert [kind for kind, _ in answers.of("late")] == [EventKind.PROGRESS, EventKind.FAILED]
        assert {event.id for event in answers.events} == {"late", "next"}, "no timer was started"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (BackgroundError("the sound is damaged"), "the sound is damaged"),
        (ValueError(), "ValueError()"),
    ],
)
def test_a_recogniser_that_fails_makes_the_request_fail_with_the_cause(
    error: Exception, cause: str
) -> None:
    with running(BrokenEars(error)) as (background, answers, _):
        for name in ("r1", "r2"):
            background.submit(request(name))
            answers.until_end_of(name)
            assert answers.of(name) == [
                (EventKind.PROGRESS, "listening again"),
                (EventKind.FAILED, cause),
            ]


def test_a_recogniser_that_cannot_be_loaded_fails_each_request_and_not_the_device() -> None:
    missing = BrokenEars(BackgroundError("PocketSphinx is missing"), in_load=True)
    with running(missing) as (background, answers, _):
        assert answers.poll() == []
        background.submit(request("r1"))
        answers.until_end_of("r1")
        assert answers.of("r1")[-1] == (EventKind.FAILED, "PocketSphinx is missing")


def test_one_question_too_many_fails_at_once_and_the_others_are_answered() -> None:
    ears = Ears(*[SUM] * (QUEUE_SIZE + 1), held=True)
    with running(ears) as (background, answers, _):
        background.submit(request("in work"))
        ears.await_listening()
        for index in range(QUEUE_SIZE):
            background.submit(request(f"waits {index}"))
        background.submit(request("too many"))
        answers.poll()
        assert answers.of("too many") == [(EventKind.FAILED, "too many questions at once")]
        for _ in range(QUEUE_SIZE + 1):
            ears.let_go()
        answers.until_end_of(f"waits {QUEUE_SIZE - 1}")
        results = [event for event in answers.events if event.kind is EventKind.RESULT]
        assert len(results) == QUEUE_SIZE + 1
        assert len(answers.of("too many")) == 1


def test_a_timer_speaks_as_a_result_of_its_own_when_it_is_due() -> None:
    with running(Ears("remind me in ten minutes to call my mother")) as (
        background,
        answers,
        clock,
    ):
        background.submit(request("r1"))
        answers.until_end_of("r1")
        clock.sleep_until(600 * SECOND_NS - 1)
        assert answers.poll() == []
        clock.sleep_until(600 * SECOND_NS)
        due = answers.poll()
        assert due == [
            Event(EventKind.RESULT, "timer-1", "This is your reminder: call your mother.")
        ]
        assert answers.poll() == []


def test_a_timer_that_rang_is_waited_for_until_it_is_taken_back() -> None:
    clock = VirtualClock()
    timers = Timers(clock.now_ns)
    with LocalBackground(Ears(), clock, timers=timers) as background:
        timers.start(60, "call your mother")
        clock.sleep_until(60 * SECOND_NS)
        (due,) = background.poll()
        assert [timer.id for timer in timers.untold()] == [due.id]
        background.cancel("another")
        assert len(timers.untold()) == 1
        background.cancel(due.id)
        assert timers.untold() == ()


def test_leaving_while_it_works_drops_what_waits_and_ends_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ears = Ears(*[SUM] * QUEUE_SIZE, held=True)
    background = LocalBackground(ears, VirtualClock(), now=lambda: NOW)
    before = set(threading.enumerate())
    with background:
        (worker,) = set(threading.enumerate()) - before
        join = worker.join

        def join_as_the_work_ends(timeout: float) -> None:
            ears.let_go()
            join(timeout)

        monkeypatch.setattr(worker, "join", join_as_the_work_ends)
        for index in range(QUEUE_SIZE):
            background.submit(request(f"r{index}"))
        ears.await_listening()
    assert not worker.is_alive()
    assert len(ears.sounds) == 1
    assert {event.kind for event in background.poll()} == {EventKind.PROGRESS}


def test_leaving_while_it_loads_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears(held=True)
    begun = threading.Event()

    def load() -> None:
        begun.set()
        assert background._closing.wait(PATIENCE_S)
        raise BackgroundError("its process was ended")

    ears.load = load  # type: ignore[method-assign]
    background = LocalBackground(ears, VirtualClock())
    with background:
        assert begun.wait(PATIENCE_S)
    assert caplog.records == []


def test_leaving_while_it_listens_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears(held=True)

    def transcribe(
        pcm: Pcm, rough: str = "", commands: Commands = NONE, letters: Letters | None = None
    ) -> Transcript:
        ears.listening.release()
        assert background._closing.wait(PATIENCE_S)
        raise BackgroundError("its process was ended")

    ears.transcribe = transcribe  # type: ignore[method-assign]
    background = LocalBackground(ears, VirtualClock())
    with background:
        background.submit(request("request-1"))
        ears.await_listening()
    assert caplog.records == []


def test_leaving_again_and_again_amid_quick_work_never_fails() -> None:
    for _ in range(50):
        with LocalBackground(Ears(*[SUM] * QUEUE_SIZE), VirtualClock()) as background:
            for index in range(QUEUE_SIZE):
                background.submit(request(f"r{index}"))


def test_leaving_a_background_that_was_never_asked_anything_ends_its_thread() -> None:
    before = set(threading.enumerate())
    with LocalBackground(Ears(), VirtualClock()):
        (worker,) = set(threading.enumerate()) - before
    assert not worker.is_alive()


def conversation() -> list[tuple[int, Event]]:
    """A few requests in block mode, polled every 200 ms of virtual time."""
    clock = VirtualClock()
    said = ("what time is it", "set a timer for five seconds", SUM, "sing a song")
    events: list[tuple[int, Event]] = []
    with LocalBackground(Ears(*said), clock, now=lambda: NOW, block=True) as background:
        for turn in range(60):
            clock.sleep_until(turn * SECOND_NS // 5)
            if turn in (0, 7, 8, 20):
                background.submit(request(f"r{turn}"))
            if turn == 10:
                background.cancel("r8")
            events += [(clock.now_ns(), event) for event in background.poll()]
    return events


def test_in_block_mode_a_virtual_clock_gives_the_same_events_every_time() -> None:
    assert conversation() == conversation()


def test_in_block_mode_answers_come_a_fixed_time_after_their_questions() -> None:
    events = conversation()
    results = {e.id: (at_ns, e.text) for at_ns, e in events if e.kind is EventKind.RESULT}
    asked_ns = {"r0": 0, "r7": 7 * SECOND_NS // 5, "r20": 20 * SECOND_NS // 5}
    for name, at_ns in asked_ns.items():
        assert results[name][0] == at_ns + VIRTUAL_DELAY_NS
    assert results["r0"][1] == "It is a quarter to three in the afternoon."
    assert results["timer-1"] == (asked_ns["r7"] + 5 * SECOND_NS, "Your five second timer is done.")
    assert "r8" not in {event.id for _, event in events}, "it was cancelled before its answer"


def test_in_block_mode_no_thread_is_started() -> None:
    before = set(threading.enumerate())
    with LocalBackground(Ears(SUM), VirtualClock(), block=True) as background:
        background.submit(request("r1"))
        assert set(threading.enumerate()) == before


def test_in_block_mode_a_recogniser_that_cannot_be_loaded_is_an_error_at_once() -> None:
    missing = BrokenEars(BackgroundError("PocketSphinx is missing"), in_load=True)
    with (
        pytest.raises(BackgroundError, match="PocketSphinx is missing"),
        LocalBackground(missing, VirtualClock(), block=True),
    ):
        pass


def test_in_block_mode_a_failure_has_its_cause_too() -> None:
    clock = VirtualClock()
    broken = BrokenEars(BackgroundError("the sound is damaged"))
    with LocalBackground(broken, clock, block=True) as background:
        background.submit(request("r1"))
        assert list(background.poll()) == []
        clock.sleep_until(VIRTUAL_DELAY_NS)
        assert [(event.kind, event.text) for event in background.poll()] == [
            (EventKind.PROGRESS, "listening again"),
            (EventKind.FAILED, "the sound is damaged"),
        ]
