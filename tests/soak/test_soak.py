"""24 hours of service on a virtual clock, with faults at random from a seed.

What is real: the loop, assembling, the ONNX engine (a tiny model), dialogue, mouth, health,
metrics, recorder with rotation, remote control; delegation with its outbox, over a real broker
(`soak_link.py`). What is played: hardware, people, a worker's answers, the model's mind.

    make soak                                   # seed 1, 24 hours
    SOAK_SEED=7 SOAK_HOURS=100 make soak
"""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from typing_extensions import Self

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
from soak_link import BROKER_GONE, LINK_FAULTS, WORKER_GONE, Network, needs_mosquitto
from tiny_model import write_tiny_model

from edge_runtime.assemble import Assembler
from edge_runtime.delegation import mqtt, remote
from edge_runtime.dialogue import Dialogue
from edge_runtime.errors import EngineError, InputError, RecordingError
from edge_runtime.health import CAMERA, ENGINE, LINK, LOOP, MICROPHONE, HealthMonitor, State
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.interfaces import Sink
from edge_runtime.loop import Loop, Parts
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    AudioReading,
    Decision,
    Delegation,
    EngineOutput,
    FrameReading,
    MicroTurn,
    Pcm,
    TurnRecord,
)
from edge_runtime.pacing import TURN_NS, VirtualClock
from edge_runtime.remote_control import Mode, Moment, RemoteControl
from edge_runtime.sinks.metrics import Metrics
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sinks.rotation import Limits, Rotation
from edge_runtime.sinks.statistics import resident_mb
from edge_runtime.sinks.turn_health import TurnHealth, Watched
from edge_runtime.voice.mouth import Mouth

pytestmark = pytest.mark.soak
SEED = int(os.environ.get("SOAK_SEED", "1"))
HOURS = float(os.environ.get("SOAK_HOURS", "24"))
TURNS_PER_S, TURNS_PER_HOUR = 5, 18_000
PCM = (0.01 * np.random.default_rng(0).standard_normal((2, TURN_SAMPLES))).astype(np.float32)
SILENCE = np.zeros((2, TURN_SAMPLES), np.float32)
FRAME = np.zeros((4, 6, 3), np.uint8)
LASTING = ("microphone gone", "microphone dead", "camera gone", "engine slow", *LINK_FAULTS)
SUDDEN = ("engine error", "SIGTERM", "loop stalls", "clock jumps", "disk full", "order")


class Held:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


@dataclass
class World(Held):
    """Time, and what is wrong in it. Outlives the service, which is started again and again."""

    rng: random.Random
    clock: VirtualClock = field(default_factory=VirtualClock)
    turn: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    """By lasting fault: the turn at which it ends."""
    since: dict[str, int] = field(default_factory=dict)
    """By lasting fault: the turn since which it is as it is, present or absent."""
    sudden: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    wall_offset_s: float = 0.0

    def step(self) -> None:
        """The next turn; faults come every few minutes and last up to two."""
        self.turn += 1
        for name in LASTING:
            if self.ends.get(name, -1) == self.turn:
                self.since[name] = self.turn
            if not self.has(name) and self.rng.random() < 1 / (600 * TURNS_PER_S):
                self.ends[name] = self.turn + self.rng.randint(1, 120 * TURNS_PER_S)
                self.since[name] = self.turn
                self.count(name)
        for name in SUDDEN:
            if self.rng.random() < 1 / (900 * TURNS_PER_S):
                self.sudden.add(name)

    def has(self, name: str) -> bool:
        return self.turn < self.ends.get(name, -1)

    def happens(self, name: str) -> bool:
        if name in self.sudden:
            self.sudden.discard(name)
            self.count(name)
            return True
        return False

    def count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def lasted_s(self, name: str) -> float:
        """For how long it has been as it is, present or absent."""
        return (self.turn - self.since.get(name, -(10**9))) / TURNS_PER_S

    def wall_s(self) -> float:
        return 1.7e9 + self.clock.now_ns() / 1e9 + self.wall_offset_s

    # -- a microphone, a loudspeaker and a camera ------------------------------

    def read_turn(self) -> AudioReading | None:
        self.step()
        self.clock.sleep_until(self.clock.now_ns() + TURN_NS)
        if self.has("microphone gone"):
            return AudioReading(SILENCE, TURN_SAMPLES, self.clock.now_ns())
        pcm = SILENCE if self.has("microphone dead") else PCM
        return AudioReading(pcm, 0, self.clock.now_ns())

    def play(self, pcm: Pcm) -> None:
        assert pcm.shape == (TURN_SAMPLES,)

    def flush(self, fade_ms: float) -> int:
        return 0

    def latest(self, now_ns: int) -> FrameReading | None:
        return None if self.has("camera gone") else FrameReading(FRAME, now_ns)


class Engine(OnnxEngine):
    """The real one, which now and then is slow or fails."""

    world: World

    def step(self, turn: MicroTurn) -> EngineOutput:
        if self.world.happens("engine error"):
            raise EngineError("injected")
        ms = 450 if self.world.has("engine slow") else 4
        self.world.clock.sleep_until(self.world.clock.now_ns() + ms * 1_000_000)
        return super().step(turn)


class Mind(Held):
    """Decides at random, as often as a talkative model would."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def decide(self, output: EngineOutput, turn: MicroTurn) -> Decision:
        draw = self._rng.random()
        delegation, heard = Delegation.NONE, ""
        if draw < 0.005:
            delegation, heard = Delegation.DELEGATE, self._question()
        elif draw < 0.0055:
            delegation = Delegation.CANCEL
        say = self._rng.choice(["greet", "backchannel"]) if draw > 0.98 else None
        if turn.background.result_ready and 0.9 < draw < 0.95:
            say = "deliver"
        stop = turn.voice.speaking and draw < 0.05
        floor = "yield" if stop else "speak" if turn.voice.speaking else "listen"
        return Decision(turn.index, floor, say, stop, delegation=delegation, heard=heard)

    def _question(self) -> str:
        """No two are the same: the second would take the place of the first."""
        asked = self._rng.choice(["what is two plus two", "who is that", "remind me of it"])
        return f"{asked} {self._rng.getrandbits(40)} "

    def reset(self) -> None:
        return None


class Tone:
    def check(self) -> None:
        return None

    def synthesize(self, text: str) -> Any:
        class Sound:
            def __iter__(self) -> Any:
                yield np.full(3 * TURN_SAMPLES, 0.1, np.float32)

            def close(self) -> None:
                return None

        return Sound()


class Judge(Held):
    """Compares the health with what is really wrong, at every micro-turn."""

    def __init__(self, world: World, health: HealthMonitor) -> None:
        self._world, self._health = world, health
        self.late: list[int] = []
        self.checked = self.turns = 0

    def publish(self, record: TurnRecord) -> None:
        self.turns += 1
        states = {part.name: part.state for part in self._health.snapshot().parts}
        if not record.output.tensors:
            assert states[ENGINE] is State.FAILED
            return
        self._judge(states, "microphone gone", MICROPHONE, State.FAILED, 4)
        self._judge(states, "camera gone", CAMERA, State.DEGRADED, 4)
        self._judge(states, "engine slow", LOOP, State.DEGRADED, 8)
        ears = [one for one in LASTING if one.startswith("microphone")]
        if not any(self._world.has(one) for one in ears) and all(
            self._world.lasted_s(one) > 13 for one in ears
        ):
            assert states[MICROPHONE] is State.OK
        if not self._world.has("engine slow") and self._world.lasted_s("engine slow") > 62:
            assert states[LOOP] is State.OK
        if not self._world.has("camera gone") and self._world.lasted_s("camera gone") > 4:
            assert states[CAMERA] is State.OK
        self._judge_link(states[LINK])

    def _judge_link(self, state: State) -> None:
        """Once a second: it never says anything else for longer."""
        gone = [fault for fault in (BROKER_GONE, WORKER_GONE) if self._world.has(fault)]
        if self.turns > 6 and all(
            self._world.lasted_s(fault) > 1.2 for fault in (BROKER_GONE, WORKER_GONE)
        ):
            assert state is (State.DEGRADED if gone else State.OK), gone
            self.checked += bool(gone)

    def _judge(
        self, states: dict[str, State], fault: str, part: str, state: State, after_s: float
    ) -> None:
        # After a start the judge of the turns has seen too little yet.
        if self._world.has(fault) and self._world.lasted_s(fault) > after_s and self.turns > 60:
            assert states[part].severity >= state.severity, (fault, states)
            self.checked += 1


class Service:
    """One life: from start to a designed end."""

    def __init__(self, network: Network, world: World, model: Path, folder: Path) -> None:
        self.world, self.model, self.folder = world, model, folder
        self.network, self.number = network, network.lives
        self.health = HealthMonitor(world.clock.now_ns)
        self.control = RemoteControl()
        self.control.connect(microphone=lambda on: None, camera=lambda on: None)
        self.judge = Judge(world, self.health)
        self.ended = ""

    def stop(self) -> bool:
        """Between two turns: orders from outside, and the end."""
        world = self.world
        if world.happens("order"):
            self.order()
        if world.happens("clock jumps"):
            world.wall_offset_s = world.rng.uniform(-100_000, 100_000)
        if world.happens("loop stalls"):
            world.clock.sleep_until(world.clock.now_ns() + 30 * 1_000_000_000)
            part = self.health.snapshot().part(LOOP)
            assert part is None or self.judge.turns == 0 or part.state is State.FAILED
        return world.turn >= HOURS * TURNS_PER_HOUR or world.happens("SIGTERM")

    def order(self) -> None:
        orders: list[Callable[[], None]] = [
            self.control.stop,
            self.control.cancel,
            lambda: self.control.say("Dinner is ready."),
            lambda: self.control.say("The washing is done.", Moment.FITTING),
            lambda: self.control.set_mode(self.world.rng.choice(list(Mode))),
        ]
        try:
            self.world.rng.choice(orders)()
        except InputError as refused:
            assert "mode" in str(refused) or "waits" in str(refused)

    def recorder(self, path: Path) -> Sink:
        if self.world.happens("disk full"):
            raise RecordingError("no space left on the device")
        return Recorder(path, {}, frames=False)

    def run(self) -> None:
        world = self.world
        engine = Engine(self.model)
        engine.world = world
        limits = Limits(max_bytes=5e6, max_s=1800, keep_bytes=20e6, keep_s=86_400)
        watched = Watched(camera=True, workers=True)
        sinks: list[Any] = [
            TurnHealth(self.health, self.control, watched, world.clock.now_ns),
            Metrics(self.health, self.control),
            self.judge,
        ]
        if self.number % 8 == 0:
            path = self.folder / "last.mcap"
            sinks.append(Rotation(self.recorder, path, limits, world.wall_s))
        with engine, Mouth(Tone(), block=True) as voice, self.network.device() as ledger:
            sinks.append(ledger)
            entered: list[Sink] = []
            try:
                for sink in sinks:
                    entered.append(sink.__enter__())
                words = Dialogue(
                    ledger,
                    lambda act: f"words for {act}",
                    actions=["wave"],
                    keep=lambda transcript, _: "remind" in transcript,
                )
                parts = Parts(
                    audio=world,
                    assembler=Assembler(world),
                    engine=engine,
                    decider=Mind(world.rng),
                    voice=voice,
                    dialogue=words,
                    sinks=entered,
                    compute_clock=world.clock,
                    control=self.control,
                )
                Loop(parts).run(self.stop)
                self.ended = "stopped"
            except EngineError:
                self.ended = "engine error"
            except RecordingError:
                self.ended = "no recording"
            finally:
                for sink in reversed(entered):
                    sink.__exit__(None, None, None)


class Counted(logging.Handler):
    """Bytes that the journal would get."""

    bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.bytes += len(record.getMessage()) + 60


@contextmanager
def counted_log() -> Iterator[Counted]:
    counted = Counted(logging.INFO)
    logger = logging.getLogger("edge_runtime")
    before = logger.level
    logger.addHandler(counted)
    logger.setLevel(logging.INFO)
    # pytest would keep a day of records, and with an error in one all that it was raised in.
    logger.propagate = False
    try:
        yield counted
    finally:
        logger.propagate = True
        logger.removeHandler(counted)
        logger.setLevel(before)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    network = Network(tmp_path, World(random.Random(SEED)))
    monkeypatch.setattr(remote, "MqttConnection", network.connection)
    monkeypatch.setattr(remote, "Tasks", network.steps)
    monkeypatch.setattr(mqtt, "backoff_s", lambda failures: 0.02)
    yield network
    network.close()


@needs_mosquitto
def test_a_day_of_service_with_faults(network: Network, tmp_path: Path) -> None:
    world = network.world
    assert isinstance(world, World)
    model = write_tiny_model(tmp_path / "model")
    memory: list[tuple[float, float]] = []
    open_now: list[tuple[int, int]] = []
    ends: Counter[str] = Counter()
    checked = 0
    with counted_log() as counted:
        while world.turn < HOURS * TURNS_PER_HOUR:
            service = Service(network, world, model, tmp_path)
            begun = world.turn
            service.run()
            ends[service.ended] += 1
            checked += service.judge.checked
            memory.append((world.turn / TURNS_PER_HOUR, resident_mb()))
            if network.up:
                gc.collect()
                open_now.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
            assert service.ended == "no recording" or world.turn > begun, "it is stuck"
            # systemd waits three seconds
            world.clock.sleep_until(world.clock.now_ns() + 3_000_000_000)
    warm = [row for row in memory if row[0] > HOURS / 6]
    slope = float(np.polyfit(*zip(*warm, strict=True), 1)[0]) if len(warm) > 2 else 0.0
    log_mb_a_day = counted.bytes / 1e6 * 24 / HOURS
    books = network.books
    print(
        f"\nseed {SEED}: {world.turn} micro-turns, {network.lives} lives {dict(ends)}, "
        f"faults {world.counts}, {checked} judgements of a fault; questions {dict(books.counts)}, "
        f"{len(books.held)} still kept; memory {memory[0][1]:.0f} -> {memory[-1][1]:.0f} MB, "
        f"{slope:+.3f} MB an hour; threads, handles {open_now[0]} -> {open_now[-1]}; "
        f"log {log_mb_a_day:.3f} MB a day"
    )
    assert set(ends) <= {"stopped", "engine error", "no recording"}
    assert checked > 100 * HOURS
    for outcome in ("answered by worker", "answered by skills", "kept", "kept and told"):
        assert books.counts[outcome] > HOURS, outcome
    assert len(set(open_now)) == 1, "threads or handles are left behind"
    if HOURS >= 12:  # the first hours fill what is bounded
        assert slope < 1.0
    assert log_mb_a_day < 1.0
    kept = sum(path.stat().st_size for path in tmp_path.glob("last*.mcap*"))
    assert kept < 40e6
