"""The demo's judges judge: silent, talkative and well-behaved devices meet the same person."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from edge_runtime.demo.person import Person
from edge_runtime.demo.run import summarise
from edge_runtime.demo.scenes import (
    ABOUT,
    GOODBYE,
    PAUSE_AFTER,
    SCENES,
    STOP,
    STORY,
    Log,
    Scene,
    Stage,
)
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_SAMPLES,
    Action,
    Decision,
    Delegation,
    EngineOutput,
    MicroTurn,
    Pcm,
    Timings,
    TurnRecord,
    Utterance,
)
from edge_runtime.pacing import VirtualClock

pytestmark = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the person speaks with espeak-ng"
)
ALL = {scene.name for scene in SCENES}
MUST_SPEAK = ALL - {"side talk", "wave"}


class Device:
    """What every device here has: a mouth that hums, and a log of what it decided."""

    def __init__(self) -> None:
        self.log = Log()
        self.left = 0
        """Samples of the hum still to play."""
        self._decision = Decision(0, "listen")
        self._said: Utterance | None = None

    def act(self, person: Person) -> None:
        """Decide, once a micro-turn."""

    def say(self, act: str, seconds: float, text: str = "hm") -> None:
        self.left = int(seconds * SAMPLE_RATE_HZ)
        self._said = Utterance("u", text, act)

    def stop(self) -> None:
        self.left = 0
        self._decision = replace(self._decision, stop=True)

    def delegate(self) -> None:
        self._decision = replace(self._decision, delegation=Delegation.DELEGATE)

    def do(self, action: str) -> None:
        self._decision = replace(self._decision, actions=(Action(action),))

    def turn(self, index: int, person: Person) -> Pcm:
        self._decision, self._said = Decision(index, "listen"), None
        self.act(person)
        audio = np.zeros((2, TURN_SAMPLES), np.float32)
        turn = MicroTurn(index, 0, audio)
        output = EngineOutput(index, {})
        self.log.records.append(TurnRecord(turn, output, self._decision, Timings(), self._said))
        length = min(self.left, TURN_SAMPLES)
        self.left -= length
        hum = np.zeros(TURN_SAMPLES, np.float32)
        hum[:length] = 0.1 * np.sin(np.arange(length) * 0.2)
        return hum


class Chatterbox(Device):
    """Talks, sentence after sentence, whatever happens."""

    def act(self, person: Person) -> None:
        if self.left == 0:
            self.say("acknowledge", 2.0, "let me tell you something")


class Impatient(Device):
    """Answers after 400 ms of silence, as an assistant with a silence detector does."""

    def act(self, person: Person) -> None:
        ended = [speech.end for speech in person.diary.speech if speech.end <= person.position]
        quiet = person.position - max(ended, default=person.position)
        if self.left == 0 and 0.4 <= quiet / SAMPLE_RATE_HZ < 0.6:
            self.say("acknowledge", 1.0, "yes")


class Ideal(Device):
    """Knows the script: each thing it reacts to, and what it does how many turns later."""

    def __init__(self, late_turns: int = 0, extra_after_stop_s: float = 0.0) -> None:
        super().__init__()
        self._late, self._extra_s = late_turns, extra_after_stop_s
        self._plan: list[tuple[int, Callable[[], None]]] = []
        self._known: set[str] = set()

    def act(self, person: Person) -> None:
        for name in [name for name in self._happened(person) if name not in self._known]:
            self._known.add(name)
            for after, what in self._reactions().get(name, []):
                self._plan.append((person.turn + after + self._late, what))
        for at, what in self._plan:
            if at == person.turn:
                what()

    @staticmethod
    def _happened(person: Person) -> list[str]:
        said = [s for s in person.diary.speech if s.end <= person.position]
        begun = [s for s in person.diary.speech if s.start < person.position and s.text == STOP]
        return [*person.diary.moments, *(s.text for s in said), *(f"{s.text}!" for s in begun)]

    def _reactions(self) -> Mapping[str, Sequence[tuple[int, Callable[[], None]]]]:
        return {
            "arrived": [(0, lambda: self.say("greet", 0.8, "hello"))],
            PAUSE_AFTER: [
                (1, lambda: self.say("working", 1.0)),
                (12, lambda: self.say("deliver", 2.0, "twelve times seven is 84")),
            ],
            ABOUT: [
                (0, self.delegate),
                (1, lambda: self.say("working", 1.0)),
                (14, lambda: self.say("deliver", 8.0)),
            ],
            STORY: [
                (1, lambda: self.say("working", 1.0)),
                (14, lambda: self.say("deliver", 20.0)),
            ],
            f"{STOP}!": [
                (1, self.stop),
                (2, lambda: self.say("acknowledge", self._extra_s)),
            ],
            "waves": [(2, lambda: self.do("wave"))],
            GOODBYE: [(1, lambda: self.say("goodbye", 0.8))],
        }


class RunsOn(Device):
    """Began to speak before the scene."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 5 * SAMPLE_RATE_HZ


def called(*names: str) -> tuple[Scene, ...]:
    return tuple(scene for scene in SCENES if scene.name in names)


def performed(
    device: Device, scenes: Sequence[Scene] = SCENES, max_turns: int = 600
) -> dict[str, dict[str, Any]]:
    """What the judges say, by scene."""
    with Person(3, VirtualClock(), False, max_turns, 24, 32) as person:
        stage = Stage(person, scenes)
        person.script = stage.script()
        while person.read_turn() is not None:
            person.play(device.turn(person.turn - 1, person))
        return {row["name"]: row for row in stage.results(device.log)}


def passed(rows: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {name for name, row in rows.items() if row["ok"]}


@pytest.fixture(scope="module")
def ideal() -> dict[str, dict[str, Any]]:
    return performed(Ideal())


class TestJudges:
    def test_a_device_that_does_everything_right_passes_every_scene(
        self, ideal: dict[str, dict[str, Any]]
    ) -> None:
        assert passed(ideal) == ALL, {name: ideal[name]["happened"] for name in ALL - passed(ideal)}

    def test_a_mute_device_passes_only_where_silence_is_asked_for(self) -> None:
        rows = performed(Device())
        assert passed(rows) == {"side talk"}
        assert rows["arrival"]["happened"] == "it did not greet"
        assert rows["goodbye"]["happened"] == "it did not answer"
        assert not any(rows[name]["response_latency_ms"] for name in MUST_SPEAK)

    def test_a_chatterbox_fails_wherever_it_had_to_listen(self) -> None:
        rows = performed(Chatterbox())
        assert passed(rows) == {"backchannel"}
        assert rows["arrival"]["happened"] == "it spoke to an empty room"
        assert rows["thinking pause"]["happened"] == "it cut in before the question was over"
        assert rows["interruption"]["happened"].startswith("it went on for")

    def test_a_device_that_waits_for_silence_cuts_in_and_answers_side_talk(self) -> None:
        rows = performed(Impatient(), called("thinking pause", "side talk", "goodbye"))
        assert rows["thinking pause"]["happened"] == "it cut in before the question was over"
        assert rows["side talk"]["happened"] == 'it answered "yes"'
        assert rows["goodbye"]["ok"]

    def test_speech_that_runs_on_into_side_talk_is_not_silence(self) -> None:
        rows = performed(RunsOn(), called("side talk"))
        assert (rows["side talk"]["ok"], rows["side talk"]["happened"]) == (False, "it spoke on")

    def test_a_wrong_sum_is_not_an_answer(self) -> None:
        class Wrong(Ideal):
            def say(self, act: str, seconds: float, text: str = "hm") -> None:
                super().say(act, seconds, text.replace("84", "74"))

        row = performed(Wrong(), called("thinking pause", "answer"))["answer"]
        assert (row["ok"], row["happened"]) == (False, 'it delivered "twelve times seven is 74"')

    def test_an_answer_that_comes_before_its_scene_counts(self) -> None:
        class Quick(Device):
            def act(self, person: Person) -> None:
                asked = [s.end for s in person.diary.speech if s.text == PAUSE_AFTER]
                if asked and 0 <= person.position - asked[0] < TURN_SAMPLES:
                    self.say("deliver", 1.0, "eighty four")

        rows = performed(Quick(), called("thinking pause", "answer"))
        assert passed(rows) == {"thinking pause", "answer"}

    def test_keeping_the_question_to_itself_fails_though_it_answers(self) -> None:
        class Keeps(Ideal):
            def delegate(self) -> None:
                pass

        row = performed(Keeps(), called("question"))["question"]
        assert not row["ok"]
        assert row["happened"].startswith("it kept the question to itself; it answered")

    def test_an_okay_after_stopping_is_fine_and_a_speech_is_not(self) -> None:
        scene = called("interruption")
        assert performed(Ideal(extra_after_stop_s=0.6), scene)["interruption"]["ok"]
        row = performed(Ideal(extra_after_stop_s=4.0), scene)["interruption"]
        assert (row["ok"], row["happened"]) == (False, "it fell silent and went on at once")


class TestLatencies:
    @pytest.mark.parametrize("late_turns", [0, 3])
    @pytest.mark.parametrize("name", ["thinking pause", "goodbye"])
    def test_a_response_is_timed_from_the_last_sample_of_the_person(
        self, name: str, late_turns: int
    ) -> None:
        row = performed(Ideal(late_turns), called(name))[name]
        # One turn to notice the end, one to play: the end lies anywhere within its turn.
        assert 200 <= row["response_latency_ms"] - 200 * late_turns <= 420

    def test_falling_silent_is_timed_from_the_first_sample_of_the_word(self) -> None:
        for device in (Ideal(), Ideal(extra_after_stop_s=0.6)):
            rows = performed(device, called("interruption"))
            # The word begins with a turn; one turn to hear it, one to react.
            assert rows["interruption"]["stop_latency_ms"] == 400

    def test_the_summary_lists_what_was_measured_and_only_that(self) -> None:
        rows = [
            {"name": "a", "response_latency_ms": 312.349, "stop_latency_ms": None},
            {"name": "b", "response_latency_ms": None, "stop_latency_ms": 400.0},
            {"name": "c"},
        ]
        summary = summarise({"micro_turns": 7}, rows, 5, {"name": "tiny"})
        assert summary["response_latency_ms"] == [312.3]
        assert summary["stop_latency_ms"] == [400.0]
        assert (summary["micro_turns"], summary["seed"]) == (7, 5)
        assert summary["scenes"] == rows
        assert summary["engine"] == {"name": "tiny"}


def test_scenes_that_were_not_finished_are_not_judged() -> None:
    rows = performed(Ideal(), max_turns=40)
    assert rows["arrival"]["ok"] is True
    for name in ALL - {"arrival"}:
        assert (rows[name]["ok"], rows[name]["happened"]) == (None, "it was not finished"), name


def test_scenes_follow_each_other_without_a_gap_in_the_order_of_the_script(
    ideal: dict[str, dict[str, Any]],
) -> None:
    rows = list(ideal.values())
    assert [row["name"] for row in rows] == [scene.name for scene in SCENES]
    assert rows[0]["start_s"] == 0.0
    for before, after in pairwise(rows):
        assert before["end_s"] == after["start_s"]
