"""The 5 Hz loop. It alone owns the order: wait, assemble, step, decide, speak, hand on, publish."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from edge_runtime.assemble import Assembler
from edge_runtime.dialogue import Dialogue, answers
from edge_runtime.interfaces import AudioSource, Clock, Decider, Engine, Sink, Voice
from edge_runtime.micro_turn import (
    STOP_MOTION,
    TURN_MS,
    TURN_SAMPLES,
    Action,
    Decision,
    EngineOutput,
    Event,
    MicroTurn,
    Pcm,
    Timings,
    TurnRecord,
    Utterance,
)
from edge_runtime.pacing import TURN_NS
from edge_runtime.remote_control import RemoteControl

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a loop is made of; every part is already acquired."""

    audio: AudioSource
    assembler: Assembler
    engine: Engine
    decider: Decider
    voice: Voice
    dialogue: Dialogue
    sinks: Sequence[Sink]
    compute_clock: Clock
    """Real monotonic time, also when the sound runs on a virtual clock."""
    fade_ms: float = 20.0
    realtime: bool = True
    control: RemoteControl = field(default_factory=RemoteControl)
    """What is asked from outside of the conversation."""


class _Deadlines:
    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None
        """When the micro-turn before was due, and how many it told as gone by."""

    def gone_by(self, due_ns: int, answered_ms: float) -> int:
        """Those before this micro-turn is answered, `answered_ms` after it was due; and those that
        went by unseen since the one before: in a sink, or while the machine stood still."""
        own = int(max(0.0, answered_ms) // TURN_MS)
        before_ns, told = self._before or (due_ns, 0)
        unseen = round((due_ns - before_ns) / TURN_NS) - 1 - told
        self._before = due_ns, own
        return own + max(0, unseen)


class Loop:
    """Runs micro-turns until the sound ends, `stop` says so, or a part fails."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turns = 0
        self._turn = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))
        """The last one; before the first, silence."""
        self._waiting: list[Event] = []
        """What the mouth has reported since the last micro-turn."""

    def run(self, stop: Callable[[], bool] = lambda: False, max_turns: int | None = None) -> int:
        """Returns how many micro-turns have run. Raises what a part raises (EngineError), after a
        safe stop.

        May be called again after it was stopped: it goes on where it was; `rest` in between.
        """
        try:
            return self._run(stop, max_turns)
        except Exception as error:
            self._safe_stop(error)
            raise

    def _run(self, stop: Callable[[], bool], max_turns: int | None) -> int:
        p, now = self._parts, self._parts.compute_clock.now_ns
        deadlines = _Deadlines()
        silenced = p.voice.events()
        p.dialogue.voiced(silenced)
        self._waiting += silenced
        for index in itertools.count(self._turns):
            self._turns = index
            if stop() or index == max_turns or (reading := p.audio.read_turn()) is None:
                return index
            begun_ns = now()
            events = [*self._waiting, *p.dialogue.poll()]
            turn = p.assembler.assemble(index, reading, events, p.voice.state(), p.dialogue.state())
            self._turn = turn
            output = p.engine.step(turn)
            computed_ns = now()
            decision = p.decider.decide(output, turn)
            orders = p.control.take(p.dialogue.unsaid_orders, p.dialogue.undelivered)
            told_to_stop = p.dialogue.obey(orders)
            p.dialogue.listen(turn, decision)
            said, played = self._speak(decision, turn, told_to_stop)
            self._waiting = list(p.voice.events())
            p.dialogue.voiced(self._waiting)
            request = p.dialogue.delegate(decision, turn)
            if answers(said):
                p.dialogue.answered()
            late_ms = (begun_ns - reading.captured_ns) / 1e6 if p.realtime else 0.0
            total_ms = (now() - begun_ns) / 1e6
            timings = Timings(
                late_ms=late_ms,
                compute_ms=(computed_ns - begun_ns) / 1e6,
                total_ms=total_ms,
                skipped=deadlines.gone_by(reading.captured_ns, late_ms + total_ms)
                if p.realtime
                else 0,
            )
            asked = p.dialogue.asked_actions()
            record = TurnRecord(turn, output, decision, timings, said, played, asked, request)
            for sink in p.sinks:
                sink.publish(record)
        raise AssertionError("unreachable")

    def _speak(
        self, decision: Decision, turn: MicroTurn, told_to_stop: bool
    ) -> tuple[Utterance | None, Pcm]:
        """Silence comes before anything else; then a new utterance; then the next 200 ms."""
        p = self._parts
        if decision.stop or told_to_stop:
            faded = p.voice.flush(p.fade_ms, p.audio.flush(p.fade_ms))
            p.audio.play(faded)
            return None, faded
        if decision.hesitate:
            paused = p.voice.pause(p.fade_ms, p.audio.flush(p.fade_ms))
            p.audio.play(paused)
            return None, paused
        said = p.dialogue.utterance(decision, turn)
        if said is not None:
            p.voice.say(said)
        played = p.voice.next_turn()
        p.audio.play(played)
        return said, played

    def rest(self) -> None:
        """For a loop that was stopped and may run again later: what is being said, asked and
        answered is of another time by then."""
        self._silence()
        self._parts.dialogue.rest()

    def _silence(self) -> None:
        p = self._parts
        p.voice.flush(p.fade_ms, p.audio.flush(p.fade_ms))

    def _safe_stop(self, error: Exception) -> None:
        """A part has failed: silence, and tell every sink to stop moving, whatever else fails."""
        p, turn = self._parts, self._turn
        halt = Decision(turn.index, "yield", stop=True, actions=(Action(STOP_MOTION),), heard="")
        record = TurnRecord(turn, EngineOutput(turn.index, {}), halt, Timings(), failed=True)
        stops: list[Callable[[], None]] = [self._silence]
        stops += [partial(sink.publish, record) for sink in p.sinks]
        for stop in stops:
            try:
                stop()
            except Exception:
                log.exception("a part could not be stopped")
        log.error("micro-turn %d failed (%s); the device has stopped", self._turns, error)
