"""The other side of the topics: a plain Cyclone DDS reader and writer on loopback, without ROS."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edge_runtime.sinks import topics
from edge_runtime.sinks.dds import idl_type, qos_of, to_sample
from edge_runtime.sinks.messages import Message

cyclonedds = pytest.importorskip("cyclonedds", reason="cyclonedds is not installed (extra `dds`)")

PATIENCE_S = 30.0
DOMAIN = 100 + os.getpid() % 100
"""Test runs beside each other on one machine do not hear each other."""
LOOPBACK = """<CycloneDDS><Domain>
<General>
  <Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
  <AllowMulticast>false</AllowMulticast>
</General>
<Discovery>
  <Peers><Peer address="localhost"/></Peers>
  <ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>50</MaxAutoParticipantIndex>
</Discovery>
</Domain></CycloneDDS>"""


class Peer:
    """Reads some topics, keeps every message, and can write."""

    def __init__(self, *wanted: topics.Topic, namespace: str = "/", keep: int = 1000) -> None:
        from cyclonedds.domain import DomainParticipant
        from cyclonedds.sub import DataReader

        self._namespace = namespace
        self.participant = DomainParticipant(DOMAIN)
        self.messages: dict[str, list[Any]] = {topic.name: [] for topic in wanted}
        self._arrived = threading.Condition()
        self._closing = False
        self._readers = {
            topic.name: DataReader(self.participant, self._topic(topic), qos=_keeping(topic, keep))
            for topic in wanted
        }
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._thread.join()

    def await_writers(self) -> None:
        """Every topic has somebody who publishes it."""
        for reader in self._readers.values():
            self.wait_until(lambda reader=reader: bool(reader.get_matched_publications()))

    def has_writers(self) -> bool:
        return any(reader.get_matched_publications() for reader in self._readers.values())

    def wait_until(self, true: Callable[[], bool]) -> None:
        with self._arrived:
            for _ in range(int(PATIENCE_S / 0.02)):
                if true():
                    return
                self._arrived.wait(0.02)
        raise AssertionError(f"it did not happen; there is {self.counts()}")

    def counts(self) -> dict[str, int]:
        return {name: len(found) for name, found in self.messages.items()}

    def user_data(self) -> dict[str, bytes]:
        """What the writer of each topic tells about itself."""
        from cyclonedds.qos import Policy

        found = {}
        for name, reader in self._readers.items():
            (writer,) = reader.get_matched_publications()
            qos = reader.get_matched_publication_data(writer).qos
            found[name] = qos[Policy.Userdata].data
        return found

    def writer(self, topic: topics.Topic) -> Callable[[Message], None]:
        """Returns once somebody reads the topic."""
        from cyclonedds.pub import DataWriter

        writer = DataWriter(self.participant, self._topic(topic), qos=qos_of(topic))
        self.wait_until(lambda: bool(writer.get_matched_subscriptions()))
        return lambda message: writer.write(to_sample(topic.type, message))

    def _topic(self, topic: topics.Topic) -> Any:
        from cyclonedds.topic import Topic

        name = (
            topic.name
            if topic.name.startswith("ros_")
            else "rt" + topics.resolve(self._namespace, topic.name)
        )
        return Topic(self.participant, name, idl_type(topic.type))

    def _read(self) -> None:
        from cyclonedds.internal import InvalidSample

        pause = threading.Event()
        while not self._closing:
            for name, reader in self._readers.items():
                taken = reader.take(N=100)
                found = [one for one in taken if not isinstance(one, InvalidSample)]
                if found:
                    with self._arrived:
                        self.messages[name] += found
                        self._arrived.notify_all()
            pause.wait(0.002)


@contextmanager
def listening(*wanted: topics.Topic, namespace: str = "/") -> Iterator[Peer]:
    peer = Peer(*wanted, namespace=namespace)
    try:
        yield peer
    finally:
        peer.close()


def _keeping(topic: topics.Topic, keep: int) -> Any:
    """The topic's QoS with room for all that a test publishes."""
    from cyclonedds.qos import Policy, Qos

    return Qos(Policy.History.KeepLast(keep), base=qos_of(topic))


def plain(sample: Any) -> Any:
    """A sample as the plain message it was made of."""
    if isinstance(sample, list):
        return [plain(one) for one in sample]
    if not hasattr(sample, "__dataclass_fields__"):
        return sample
    return {name: plain(getattr(sample, name)) for name in sample.__dataclass_fields__}
