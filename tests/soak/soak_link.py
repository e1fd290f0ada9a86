"""The link in the soak: a real Mosquitto, a worker on it, and the device's real connection to them.

They run in real time, and the soak on a virtual clock. So the clock stands still while they work:
before the device looks at what has come, all that was sent has arrived, and a broker or worker that
went or came is noticed. What is played: the worker's answers, and that reconnecting takes no while.
"""

from __future__ import annotations

import itertools
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))
from broker import PATIENCE_S, Broker, needs_mosquitto, wait_until

from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.local import LocalBackground
from edge_runtime.background.transcribe import Transcript
from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.fallback import FallbackBackground
from edge_runtime.delegation.kept import Spoken
from edge_runtime.delegation.mqtt import Arrival, MqttConnection, Outgoing
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.delegation.tasks import Tasks
from edge_runtime.delegation.wire import Ability, ReplyKind
from edge_runtime.interfaces import Background, Clock
from edge_runtime.micro_turn import Event, EventKind, Letters, Pcm, Request, TurnRecord

__all__ = ["BROKER_GONE", "LINK_FAULTS", "WORKER_GONE", "Ledger", "Network", "needs_mosquitto"]
BROKER_GONE, WORKER_GONE = "broker gone", "worker gone"
WORKER_DEAF, WORKER_FAILS = "worker deaf", "worker fails"
LINK_FAULTS = (BROKER_GONE, WORKER_GONE, WORKER_DEAF, WORKER_FAILS)
PING, PONG = "soak/ping", "soak/pong"
STATUS = wire.worker_status_topic("soak")
KEEP_FOR_S = 10 * 86_400.0
LONGEST_TURNS = 130
"""A question: 20 s at the workers, then the device's own skills."""


class Time(Protocol):
    """What of the world matters here."""

    rng: random.Random
    turn: int

    @property
    def clock(self) -> Clock: ...

    def has(self, name: str) -> bool: ...

    def wall_s(self) -> float: ...


class Written:
    """A recogniser that believes what the model spelled."""

    def load(self) -> None:
        return None

    def transcribe(
        self, pcm: Pcm, rough: str = "", commands: Commands = NONE, letters: Letters | None = None
    ) -> Transcript:
        return Transcript(rough, True, 1.0)


class Steps(Tasks):
    """Those of the device, which can be waited for."""

    def rest(self) -> None:
        done = threading.Event()
        self.put(done.set)
        assert done.wait(PATIENCE_S), "the delegation's thread hangs"


class PlayedWorker:
    """Answers in two pieces after up to ten seconds. Some replies come twice, some after a cancel:
    the network and the worker may do so. Its handlers run only while the soak waits for them."""

    def __init__(self, broker: Broker, world: Time) -> None:
        self._broker, self._world = broker, world
        self._rng = random.Random(world.rng.random())
        self._due: dict[str, int] = {}
        self._ready = threading.Event()
        self._client: Any = None
        self.present = False

    def come(self) -> None:
        client = self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id="soak-worker",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.will_set(STATUS, self._status("offline"), qos=1, retain=True)
        client.on_connect = lambda *_: client.subscribe(
            [(wire.ALL_REQUESTS, _qos()), (wire.ALL_CANCELS, _qos()), (PING, _qos())]
        )
        client.on_subscribe = lambda *_: self._ready.set()
        client.on_message = self._on_message
        self._ready.clear()
        client.connect(self._broker.host, self._broker.port)
        client.loop_start()
        assert self._ready.wait(PATIENCE_S), "the broker does not take the worker"
        client.publish(STATUS, self._status("online"), qos=1, retain=True)
        self.present = True

    def leave(self) -> None:
        """For a while; what it had to do is lost. Sometimes it says so."""
        if self._rng.random() < 0.5:
            self._client.publish(STATUS, self._status("offline"), qos=1, retain=True)
            self._client.disconnect()
        else:
            self._client.socket().shutdown(2)
        self._due.clear()
        self.cut_off()

    def cut_off(self) -> None:
        """The broker is gone, or it is itself."""
        if self._client is not None:
            self._client.loop_stop()
        self.present = False

    def answer(self) -> bool:
        """What is due; whether there was something."""
        due = [id for id, turn in self._due.items() if turn <= self._world.turn]
        for id in due:
            del self._due[id]
            if self._world.has(WORKER_FAILS):
                self._reply(id, 1, ReplyKind.FAILED, "the kettle is broken")
            else:
                self._reply(id, 1, ReplyKind.PARTIAL, f"{id} part 0")
                self._reply(id, 2, ReplyKind.RESULT, f"{id} part 1")
        return bool(due)

    def _reply(self, id: str, seq: int, kind: ReplyKind, text: str = "") -> None:
        message = wire.ReplyMessage(id=id, seq=seq, kind=kind, text=text, worker="soak")
        for _ in range(2 if self._rng.random() < 0.2 else 1):
            self._client.publish(wire.Topics("kiosk").replies, wire.encode(message), qos=1)

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        if message.topic == PING:
            client.publish(PONG, message.payload, qos=1)
        elif message.topic.endswith("/cancel"):
            id = wire.decode(wire.CancelMessage, message.payload, 10_000).id
            if self._rng.random() < 0.5:
                self._due.pop(id, None)
        elif not self._world.has(WORKER_DEAF):
            id = wire.decode(wire.RequestMessage, message.payload, wire.MAX_REQUEST_BYTES).id
            self._due[id] = self._world.turn + self._rng.randint(1, 50)
            self._reply(id, 0, ReplyKind.ACCEPTED)

    def _status(self, state: Any) -> bytes:
        return wire.encode(wire.WorkerStatus(state=state))


def _qos() -> Any:
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return SubscribeOptions(qos=1)


@dataclass
class Books:
    """What has been asked, promised and said, over all lives of the device."""

    held: dict[str, bool] = field(default_factory=dict)
    """To be kept, neither told nor cancelled; whether the person may rely on it."""
    said: set[tuple[object, ...]] = field(default_factory=set)
    sources: dict[tuple[int, str], str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


class Network:
    """Outlives the device, like the world."""

    def __init__(self, folder: Path, world: Time) -> None:
        self.world, self.books = world, Books()
        self.broker = Broker(folder)
        self.worker = PlayedWorker(self.broker, world)
        self.broker_up = False
        self.busy = False
        """Something was sent since all was at rest."""
        self.lives = 0
        self._outbox = folder / "outbox.db"
        self._numbers = itertools.count()
        self._heard = b""
        self._link: MqttConnection | None = None
        self._steps: Steps | None = None
        self._remote: MqttBackground | None = None

    def connection(self, *args: Any, **more: Any) -> MqttConnection:
        """In place of the class: the device's connection, which is also heard here."""
        self._link = MqttConnection(*args, **more)
        self._link.subscribe(PONG, self._on_pong)
        return self._link

    def steps(self, name: str) -> Steps:
        """In place of `Tasks`."""
        self._steps = Steps(name)
        return self._steps

    @property
    def up(self) -> bool:
        """The truth: a question would reach a worker."""
        return self.broker_up and self.worker.present

    @contextmanager
    def device(self) -> Iterator[Ledger]:
        """The device's side, as `app` puts it together."""
        self.lives += 1
        world = self.world
        outbox = Outbox(self._outbox, KEEP_FOR_S, world.wall_s, lambda: world.clock.now_ns() / 1e9)
        # Half a second may pass while a busy machine does something else.
        self._remote = remote = MqttBackground(
            BrokerSettings(self.broker.url),
            Abilities("kiosk", (Ability(name="wave"),)),
            world.clock,
            patience_s=5.0,
            outbox=outbox,
        )
        local = LocalBackground(Written(), world.clock, "kiosk", block=True)
        with local, remote:
            background = FallbackBackground(remote, local)
            yield Ledger(background, self, Spoken(remote.spoken))
            self.follow()
            self.settle()
        self._check_outbox()

    def follow(self) -> None:
        """What the world says of broker and worker is made so, and the device knows."""
        broker_up = not self.world.has(BROKER_GONE)
        if self.broker_up and not broker_up:
            self.broker.kill()
            self.worker.cut_off()
        elif broker_up and not self.broker_up:
            self.broker.start()
        self.broker_up = broker_up
        there = broker_up and not self.world.has(WORKER_GONE)
        if there and not self.worker.present:
            self.worker.come()
        elif self.worker.present and not there:
            self.worker.leave()
        link, remote = self._link, self._remote
        assert link is not None and remote is not None
        if link.connected != self.broker_up or remote.available != self.up:
            wait_until(lambda: link.connected == self.broker_up and remote.available == self.up)
            self.busy = True

    def settle(self) -> None:
        """Wait until all that was sent has arrived, and what it led to as well."""
        assert self._steps is not None and self._link is not None
        self._steps.rest()
        self.busy = False
        if self.up:
            token = str(next(self._numbers)).encode()
            assert self._link.publish(Outgoing(PING, token))
            end = threading.Event()
            for _ in range(PATIENCE_S * 2000):
                if self._heard == token:
                    return
                end.wait(0.0005)
            raise AssertionError("the link is up and carries nothing")

    def close(self) -> None:
        if self.worker.present:
            self.worker.leave()
        self.broker.kill()

    def _on_pong(self, arrival: Arrival) -> None:
        self._heard = arrival.payload

    def _check_outbox(self) -> None:
        """Nothing that was promised is lost, and nothing that was told is kept."""
        with Outbox(self._outbox, KEEP_FOR_S, self.world.wall_s) as outbox:
            rows = {row.id for row in outbox.rows()}
        promised = {id for id, sure in self.books.held.items() if sure}
        assert promised <= rows, f"lost: {promised - rows}"
        assert rows <= set(self.books.held), f"still kept: {rows - set(self.books.held)}"
        self.books.held = dict.fromkeys(rows, True)


@dataclass
class Asked:
    turn: int
    ns: int
    link_up: bool
    calm: bool = True
    """Link and worker have been well all the while."""


class Ledger:
    """Stands between dialogue and background, and hears as a sink what is said: each question has
    one answer, from whom it should be, which is told once and said once."""

    def __init__(self, inner: Background, network: Network, spoken: Spoken) -> None:
        self._inner, self._network, self._world = inner, network, network.world
        self.spoken, self._books = spoken, network.books
        self._open: dict[str, Asked] = {}
        self._known: set[str] = set(self._books.held)
        self._ended: set[str] = set()
        self._told_up = False

    def submit(self, request: Request) -> None:
        up = self._network.up
        # It may arrive at once, so what is wrong now counts too.
        now_ns = self._world.clock.now_ns()
        self._open[request.id] = Asked(self._world.turn, now_ns, up, self._calm())
        self._known.add(request.id)
        if request.keep:
            self._books.held[request.id] = False
        self._books.counts["asked, link up" if up else "asked, link down"] += 1
        self._network.busy = True
        self._inner.submit(request)

    def cancel(self, request_id: str) -> None:
        self._open.pop(request_id, None)
        self._ended.add(request_id)
        if self._books.held.pop(request_id, None):
            self._books.counts["kept and cancelled"] += 1
        self._network.busy = True
        self._inner.cancel(request_id)

    def poll(self) -> Sequence[Event]:
        network = self._network
        network.follow()
        if network.busy:
            network.settle()
        if network.up and network.worker.answer():
            network.settle()
        events = self._inner.poll()
        for event in events:
            self._note(event)
        assert self._told_up == network.up, "the device does not know how its link is"
        self._watch()
        return events

    def _calm(self) -> bool:
        return self._network.up and not any(self._world.has(fault) for fault in LINK_FAULTS)

    def _watch(self) -> None:
        calm = self._calm()
        for id, asked in self._open.items():
            asked.calm &= calm and self._world.clock.now_ns() - asked.ns < 15e9
            age = self._world.turn - asked.turn
            self._network.busy |= age > LONGEST_TURNS - 20  # threads may need more real time
            assert age < LONGEST_TURNS, f"{id} has no answer"

    def _note(self, event: Event) -> None:
        kind, id = event.kind, event.id
        if kind in (EventKind.LINK_UP, EventKind.LINK_DOWN):
            self._told_up = kind is EventKind.LINK_UP
            self._network.busy = True  # what was kept is on its way
        elif kind is EventKind.KEPT:
            self._open.pop(id)
            self._books.held[id] = True
            self._books.counts["kept"] += 1
        elif kind in (EventKind.PARTIAL, EventKind.RESULT):
            assert id in self._known and id not in self._ended, f"nobody waits for {event}"
            self._answered(event)
        else:
            assert kind is not EventKind.FAILED, event

    def _answered(self, event: Event) -> None:
        if event.kind is EventKind.PARTIAL:
            return
        id, source = event.id, "worker" if " part " in event.text else "skills"
        self._ended.add(id)
        asked = self._open.pop(id, None)
        if id in self._books.held:
            if source == "worker":
                self._books.held[id] = True
            elif event.text:
                del self._books.held[id]
        if asked is None or not event.text:  # the rest of an answer whose worker has gone
            return
        self._books.counts[f"answered by {source}"] += 1
        if asked.calm:
            assert source == "worker", f"{id} was answered by the skills: {event.text}"
        if not asked.link_up and id not in self._books.held:
            assert source == "skills", f"{id} went to a worker over a dead link"

    # -- as a sink ---------------------------------------------------------------

    def publish(self, record: TurnRecord) -> None:
        self.spoken.publish(record)
        assert record.turn.background.link_up == self._network.up or not record.output.tensors
        said = record.said
        if said is None or said.request_id is None:
            return
        if self._books.held.pop(said.request_id, None):
            self._books.counts["kept and told"] += 1
        parts = re.findall(r"\S+ part \d", said.text)
        life = self._network.lives
        source = "worker" if parts else "skills"
        before = self._books.sources.setdefault((life, said.request_id), source)
        assert before == source, f"{said.request_id} is answered twice"
        for part in parts or [f"{life} {said.request_id} {said.text}"]:
            assert (part,) not in self._books.said, f"said twice: {part}"
            self._books.said.add((part,))

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        return None
