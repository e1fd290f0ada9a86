"""Whatever comes over the wire, neither side breaks: it is counted, and nothing is told of it."""

from __future__ import annotations

import json
import threading
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.background.answerer import Reply
from edge_runtime.background.worker import Worker
from edge_runtime.delegation import wire
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import Arrival
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.errors import WireError
from edge_runtime.micro_turn import Pcm
from edge_runtime.pacing import VirtualClock

NOWHERE = BrokerSettings("mqtt://127.0.0.1:9")
KINDS = {
    wire.RequestMessage: {"id": "a", "device": "kiosk", "deadline_s": 5, "audio": ""},
    wire.ReplyMessage: {"id": "a", "seq": 0, "kind": "result", "text": "yes", "worker": "w"},
    wire.CancelMessage: {"id": "a"},
    wire.WorkerStatus: {"state": "online", "free_slots": 1},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """A message with one key that is something else, and perhaps cut short."""
    good = draw(st.sampled_from(list(KINDS.values())))
    changed = dict(good)
    changed[draw(st.sampled_from([*good, "format", "worker", "again", "conversation", "more"]))] = (
        draw(JSON)
    )
    payload = json.dumps(changed).encode(errors="surrogatepass")
    return payload[: draw(st.integers(0, len(payload)))] if draw(st.booleans()) else payload


PAYLOADS = st.binary(max_size=300) | nearly_right() | JSON.map(lambda v: json.dumps(v).encode())


@pytest.mark.parametrize("name", ["conversation", "actions"])
def test_a_million_mistakes_are_one(name: str) -> None:
    wrong = {**KINDS[wire.RequestMessage], name: [0] * 600_000}
    payload = json.dumps(wrong).encode()
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match=name):
            wire.decode(wire.RequestMessage, payload, wire.MAX_REQUEST_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", list(KINDS))
@given(payload=PAYLOADS)
def test_what_is_taken_follows_the_schema_and_the_rest_is_refused(
    kind: type[wire._Payload], payload: bytes
) -> None:
    try:
        message = wire.decode(kind, payload, 10_000)
    except WireError:
        return
    assert wire.decode(kind, wire.encode(message), 100_000) == message


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (wire.RequestMessage, wire.MAX_REQUEST_BYTES),
        (wire.ReplyMessage, wire.MAX_REPLY_BYTES),
        (wire.CancelMessage, wire.MAX_CANCEL_BYTES),
        (wire.WorkerStatus, wire.MAX_STATUS_BYTES),
    ],
)
def test_one_byte_too_many_is_refused_before_it_is_read(
    kind: type[wire._Payload], limit: int
) -> None:
    payload = json.dumps(KINDS[kind]).encode()
    assert wire.decode(kind, payload.ljust(limit), limit)
    with pytest.raises(WireError, match="bytes"):
        wire.decode(kind, payload.ljust(limit + 1), limit)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["reply", "status"]), PAYLOADS), max_size=8))
def test_a_device_takes_anything_and_tells_nothing_of_it(
    arrivals: list[tuple[str, bytes]],
) -> None:
    device = MqttBackground(NOWHERE, Abilities("kiosk"), VirtualClock())
    for what, payload in arrivals:
        if what == "reply":
            device._on_reply(Arrival("edge/kiosk/replies", payload))
        else:
            device._on_worker(Arrival("background/w/status", payload))
    told = [event for event in device.poll() if not event.id.startswith("timer-")]
    assert told == []
    assert not device.available, "there is no connection, whatever was said about workers"


class Nobody:
    """Answers nothing: no request gets as far as that, without a thread that works."""

    def answer(
        self, request: wire.RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None: ...


RESPONSE = st.none() | st.text(max_size=20) | st.just("edge/kiosk/replies")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.booleans(), PAYLOADS, RESPONSE, st.none() | st.binary(max_size=9))))
def test_a_worker_takes_anything_and_works_on_what_is_right(
    arrivals: list[tuple[bool, bytes, str | None, bytes | None]],
) -> None:
    worker = Worker(NOWHERE, "w", Nobody())
    for asks, payload, response, correlation in arrivals:
        if asks:
            worker._on_request(Arrival("edge/kiosk/requests", payload, response, correlation))
        else:
            worker._on_cancel(Arrival("edge/kiosk/cancel", payload))
    assert all(job.address.topic == "edge/kiosk/replies" for job in worker._waiting)
    taken = sum(asks for asks, *_ in arrivals)
    assert len(worker._jobs) <= taken
