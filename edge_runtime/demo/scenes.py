"""The demonstration's conversation, scene by scene: what the person does, and how it is judged.

A scene only tells what ought to happen; what did happen is read off the diary of sounds and the log
of decisions, and stands beside it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge_runtime.demo.person import Diary, Person, Script, Speech
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Delegation, TurnRecord

MS = SAMPLE_RATE_HZ // 1000
ANSWER_WITHIN_S = 3.0


@dataclass
class Log:
    """The device's side of a scene: what it decided, turn by turn."""

    records: list[TurnRecord] = field(default_factory=list)

    def said(self, start: int, end: int) -> list[tuple[int, str, str]]:
        """(sample at which it began, act, text) of utterances decided between two samples."""
        found = []
        for record in self.records:
            at = (record.turn.index + 1) * TURN_SAMPLES
            if record.said is not None and start <= at < end:
                found.append((at, record.said.act, record.said.text))
        return found

    def actions(self, start: int, end: int) -> list[str]:
        return [
            action.name
            for record in self.records
            if start <= (record.turn.index + 1) * TURN_SAMPLES < end
            for action in record.decision.actions
        ]

    def stops(self, start: int, end: int) -> list[int]:
        """Samples at which it decided to fall silent."""
        positions = [
            (record.turn.index + 1) * TURN_SAMPLES
            for record in self.records
            if record.decision.stop
        ]
        return [at for at in positions if start <= at < end]

    def delegated(self, start: int, end: int) -> bool:
        return any(
            record.decision.delegation is Delegation.DELEGATE
            for record in self.records
            if start <= (record.turn.index + 1) * TURN_SAMPLES < end
        )


@dataclass(frozen=True)
class Evidence:
    """What a judge may look at: both sides within the scene, in samples since the start."""

    start: int
    end: int
    diary: Diary
    log: Log

    def spoken(self, text: str) -> Speech | None:
        return next(
            (s for s in self.diary.speech if s.text == text and self.start <= s.start < self.end),
            None,
        )

    def device(self, start: int, end: int | None = None) -> list[tuple[int, int]]:
        return self.diary.device_spans(start, self.end if end is None else end)

    def said(self, start: int | None = None) -> list[tuple[int, str, str]]:
        return self.log.said(self.start if start is None else start, self.end)


@dataclass(frozen=True)
class Verdict:
    ok: bool
    happened: str
    response_latency_ms: float | None = None
    stop_latency_ms: float | None = None


@dataclass(frozen=True)
class Scene:
    name: str
    expected: str
    play: Callable[[Person], Script]
    judge: Callable[[Evidence], Verdict]
    texts: tuple[str, ...] = ()
    """What the person says in it, to be synthesized before the run."""


def _response(evidence: Evidence, after: int) -> tuple[float | None, str]:
    """From the person's last sample to the device's first one, and how to put it."""
    first = after - 100 * MS
    # Sound that was already going on is no answer.
    begun = [start for start, _ in evidence.device(first) if start > first]
    if not begun:
        return None, "it did not answer"
    latency_ms = max(0, begun[0] - after) / MS
    words = evidence.said(after - TURN_SAMPLES)
    quoted = f' ("{words[0][2]}")' if words else ""
    return latency_ms, f"it answered after {latency_ms / 1000:.1f} s{quoted}"


# -- the scenes ---------------------------------------------------------------------------------


def _arrives(person: Person) -> Script:
    person.pose = replace(person.pose, present=False, facing=True)
    yield from person.wait(3.0)
    person.pose = replace(person.pose, present=True)
    person.note("arrived")
    yield from person.until_device_speaks(ANSWER_WITHIN_S)
    yield from person.until_device_is_silent(3.0)


def _judge_arrival(evidence: Evidence) -> Verdict:
    arrived = evidence.diary.moments.get("arrived", evidence.end)
    early = evidence.device(evidence.start, arrived)
    said = evidence.said(arrived)
    if early:
        return Verdict(False, "it spoke to an empty room")
    if not said:
        return Verdict(False, "it did not greet")
    at, act, text = said[0]
    seconds = (at - arrived) / SAMPLE_RATE_HZ
    return Verdict(act == "greet", f'it said "{text}" {seconds:.1f} s after the person had come')


PAUSE_BEFORE, PAUSE_AFTER, PAUSE_S = "what is", "twelve times seven", 1.2


def _asks_with_pause(person: Person) -> Script:
    yield from person.say(PAUSE_BEFORE, PAUSE_S, PAUSE_AFTER)
    yield from person.until_device_speaks(ANSWER_WITHIN_S)
    yield from person.until_device_is_silent(4.0)


def _judge_pause(evidence: Evidence) -> Verdict:
    before, after = evidence.spoken(PAUSE_BEFORE), evidence.spoken(PAUSE_AFTER)
    if before is None or after is None:
        return Verdict(False, "the scene was cut short")
    if evidence.device(before.end + 80 * MS, after.end):
        return Verdict(False, "it cut in before the question was over")
    latency_ms, words = _response(evidence, after.end)
    return Verdict(latency_ms is not None, f"it waited through the pause; {words}", latency_ms)


def _waits_for_result(person: Person) -> Script:
    yield from person.until_device_speaks(5.0)
    yield from person.until_device_is_silent(5.0, quiet_s=1.0)


def _judge_result(evidence: Evidence) -> Verdict:
    # A quick answer may have come before the scene that waits for it.
    asked = [s.end for s in evidence.diary.speech if s.text == PAUSE_AFTER]
    since = asked[-1] if asked else evidence.start
    delivered = [text for _, act, text in evidence.said(since) if act == "deliver"]
    if not delivered:
        return Verdict(False, "no answer was delivered")
    right = "84" in delivered[0] or "eighty" in delivered[0].lower()
    return Verdict(right, f'it delivered "{delivered[0]}"')


ABOUT, STILL_THERE = "tell me about yourself", "mhm"


def _asks_about(person: Person) -> Script:
    yield from person.say(ABOUT)
    yield from person.until_device_speaks(ANSWER_WITHIN_S)
    yield from person.until_device_is_silent(3.0)


def _judge_delegation(evidence: Evidence) -> Verdict:
    asked = evidence.spoken(ABOUT)
    if asked is None:
        return Verdict(False, "the scene was cut short")
    delegated = evidence.log.delegated(asked.start, evidence.end)
    latency_ms, words = _response(evidence, asked.end)
    handed = "it handed the question on" if delegated else "it kept the question to itself"
    return Verdict(delegated and latency_ms is not None, f"{handed}; {words}", latency_ms)


def _hears_out(person: Person) -> Script:
    yield from person.until_device_speaks(6.0)
    if not person.hears_device:
        return
    yield from person.wait(2.0)
    yield from person.say(STILL_THERE)
    yield from person.until_device_is_silent(9.0, quiet_s=0.8)


def _judge_backchannel(evidence: Evidence) -> Verdict:
    spoken = evidence.spoken(STILL_THERE)
    if spoken is None:
        return Verdict(False, "it was not speaking, so there was nothing to nod to")
    around = [s for s in evidence.device(evidence.start) if s[0] <= spoken.start < s[1]]
    if not around:
        return Verdict(False, "it had fallen silent before")
    seconds = (around[0][1] - spoken.start) / SAMPLE_RATE_HZ
    went_on = around[0][1] > spoken.end + 800 * MS
    return Verdict(went_on, f"it spoke on for {seconds:.1f} s after the person's mhm")


STORY, STOP = "tell me a story", "stop"
MAY_ADD_S = 1.5
"""What the device may say after it has stopped: an "okay", no more."""


def _asks_story(person: Person) -> Script:
    yield from person.say(STORY)
    yield from person.until_device_speaks(ANSWER_WITHIN_S)
    yield from person.until_device_is_silent(3.0)
    yield from person.until_device_speaks(6.0)
    if not person.hears_device:
        return
    yield from person.wait(2.2)
    if person.hears_device:
        yield from person.say(STOP)
    yield from person.until_device_is_silent(5.0, quiet_s=0.8)


def _judge_stop(evidence: Evidence) -> Verdict:
    spoken = evidence.spoken(STOP)
    if spoken is None:
        return Verdict(False, "it was not speaking, so there was nothing to stop")
    around = [s for s in evidence.device(evidence.start) if s[0] <= spoken.start < s[1]]
    if not around:
        return Verdict(False, "it had fallen silent before")
    limit = spoken.start + 2 * SAMPLE_RATE_HZ
    yielded = evidence.log.stops(spoken.start, limit)
    if not yielded:
        seconds = (around[0][1] - spoken.start) / SAMPLE_RATE_HZ
        return Verdict(False, f"it went on for {seconds:.1f} s")
    faded = yielded[0] + 40 * MS
    if sum(end - start for start, end in evidence.device(faded, faded + 3 * SAMPLE_RATE_HZ)) > (
        MAY_ADD_S * SAMPLE_RATE_HZ
    ):
        return Verdict(False, "it fell silent and went on at once")
    latency_ms = (evidence.device(spoken.start, faded)[-1][1] - spoken.start) / MS
    return Verdict(
        True, f"it was silent {latency_ms:.0f} ms after the word began", None, latency_ms
    )


AWAY = ("did you see the game last night", "it was a very long evening")


def _talks_to_someone_else(person: Person) -> Script:
    person.pose = replace(person.pose, facing=False)
    yield from person.wait(1.0)
    yield from person.say(AWAY[0], 0.8, AWAY[1])
    yield from person.wait(2.0)
    person.pose = replace(person.pose, facing=True)
    yield from person.wait(0.8)


def _judge_side_talk(evidence: Evidence) -> Verdict:
    spoken = evidence.spoken(AWAY[0])
    if spoken is None:
        return Verdict(False, "the scene was cut short")
    said = evidence.said()
    if said:
        return Verdict(False, f'it answered "{said[0][2]}"')
    if evidence.device(spoken.start):
        return Verdict(False, "it spoke on")
    return Verdict(True, "it kept silent")


def _waves(person: Person) -> Script:
    person.note("waves")
    yield from person.wave(2.0)
    yield from person.wait(1.4)


def _judge_wave(evidence: Evidence) -> Verdict:
    actions = evidence.log.actions(evidence.start, evidence.end)
    what = ", ".join(actions) if actions else "nothing"
    return Verdict("wave" in actions, f"its actions: {what}")


GOODBYE = "goodbye"


def _leaves(person: Person) -> Script:
    yield from person.say(GOODBYE)
    yield from person.until_device_speaks(ANSWER_WITHIN_S)
    yield from person.until_device_is_silent(2.5)
    person.pose = replace(person.pose, present=False)
    yield from person.wait(1.0)


def _judge_goodbye(evidence: Evidence) -> Verdict:
    spoken = evidence.spoken(GOODBYE)
    if spoken is None:
        return Verdict(False, "the scene was cut short")
    latency_ms, words = _response(evidence, spoken.end)
    return Verdict(latency_ms is not None, words, latency_ms)


SCENES: tuple[Scene, ...] = (
    Scene("arrival", "greets who arrives", _arrives, _judge_arrival),
    Scene(
        "thinking pause",
        "lets the person think for 1.2 s in the middle of a question, then answers",
        _asks_with_pause,
        _judge_pause,
        (PAUSE_BEFORE, PAUSE_AFTER),
    ),
    Scene("answer", "comes back with the answer", _waits_for_result, _judge_result),
    Scene("question", "hands a question on and says so", _asks_about, _judge_delegation, (ABOUT,)),
    Scene(
        "backchannel",
        "speaks on when the person says mhm",
        _hears_out,
        _judge_backchannel,
        (STILL_THERE,),
    ),
    Scene("interruption", "falls silent on stop", _asks_story, _judge_stop, (STORY, STOP)),
    Scene(
        "side talk",
        "keeps silent when the person talks to someone else",
        _talks_to_someone_else,
        _judge_side_talk,
        AWAY,
    ),
    Scene("wave", "waves back", _waves, _judge_wave),
    Scene("goodbye", "answers the goodbye", _leaves, _judge_goodbye, (GOODBYE,)),
)


@dataclass
class Stage:
    """Runs the scenes one after the other and remembers where each began and ended."""

    person: Person
    scenes: Sequence[Scene] = SCENES
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @property
    def current(self) -> Scene | None:
        return self.scenes[len(self.starts) - 1] if self.starts else None

    def script(self) -> Iterator[None]:
        for scene in self.scenes:
            self.starts.append(self.person.position)
            yield from scene.play(self.person)
            yield from self.person.wait(0.6)
            self.ends.append(self.person.position)

    def results(self, log: Log) -> list[dict[str, Any]]:
        """Each scene with what was expected and what happened; scenes not finished say so."""
        rows: list[dict[str, Any]] = []
        for index, scene in enumerate(self.scenes):
            row: dict[str, Any] = {"name": scene.name, "expected": scene.expected}
            if index < len(self.ends):
                start, end = self.starts[index], self.ends[index]
                verdict = scene.judge(Evidence(start, end, self.person.diary, log))
                row |= {
                    "happened": verdict.happened,
                    "ok": verdict.ok,
                    "start_s": round(start / SAMPLE_RATE_HZ, 1),
                    "end_s": round(end / SAMPLE_RATE_HZ, 1),
                    "response_latency_ms": verdict.response_latency_ms,
                    "stop_latency_ms": verdict.stop_latency_ms,
                }
            else:
                row |= {"happened": "it was not finished", "ok": None}
            rows.append(row)
        return rows
