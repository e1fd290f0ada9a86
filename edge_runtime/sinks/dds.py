"""The ROS 2 topics without ROS: the same names, types, hashes and bytes. The only file with
cyclonedds.

Topics only: services, parameters and the lifecycle need the node in `ros2_ws`.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import ConfigError, UnavailableError
from edge_runtime.sinks import topics
from edge_runtime.sinks.message_types import Field, message_type, type_hash
from edge_runtime.sinks.messages import Message, Publication
from edge_runtime.sparing_log import SparingLog

log = logging.getLogger(__name__)
NODE_INFO = "rmw_dds_common/ParticipantEntitiesInfo"
_NODE_INFO_TOPIC = "ros_discovery_info"
_POLL_MS = 200
_BLOCKING_MS = 100
"""Within which a reliable writer gives up on a reader that does not keep up."""
_LOCALHOST = """<CycloneDDS><Domain>
<General><AllowMulticast>false</AllowMulticast></General>
<Discovery>
  <ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>
  <Peers><Peer address="localhost"/></Peers>
</Discovery>
</Domain></CycloneDDS>"""
"""What rmw_cyclonedds makes of LOCALHOST. Who takes the loopback interface instead is not heard by
ROS's nodes, which do not."""


class DdsWire:
    """A Wire over Cyclone DDS, compatible with ROS 2 from Jazzy on, and with Humble if
    `show_node` is off. Where it talks is CYCLONEDDS_URI's business, as with ROS itself; without it,
    ROS_LOCALHOST_ONLY and ROS_AUTOMATIC_DISCOVERY_RANGE may keep it on this machine."""

    def __init__(
        self,
        domain: int | None,
        namespace: str,
        node_name: str,
        more_topics: Sequence[topics.Topic] = (),
        show_node: bool = True,
        on_ack: Callable[[Any], None] = lambda ack: None,
    ) -> None:
        """`more_topics`: those of the configured actions. `on_ack` is given each ActionAck of the
        body, by a thread of ours."""
        self._domain, self._namespace, self._node_name = domain, namespace, node_name
        self._topics = [*topics.PUBLISHED, *more_topics]
        self._show_node, self._on_ack = show_node, on_ack
        self._entities: list[Any] = []
        """What DDS keeps as long as we hold it."""
        self._writers: Mapping[str, Any] = {}
        self._closing = threading.Event()
        self._acks: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Raises ConfigError where cyclonedds is missing or the environment cannot be meant, and
        UnavailableError where it cannot start, with a remedy."""
        try:
            from cyclonedds.core import DDSException
            from cyclonedds.domain import Domain, DomainParticipant
            from cyclonedds.qos import Policy, Qos
        except ImportError as error:
            raise ConfigError(
                f"ros.dds needs cyclonedds ({error}). Install it: pip install 'edge-runtime[dds]'; "
                "on arm64 after Cyclone DDS itself (ros2_ws/README.md, Without ROS)."
            ) from error
        domain = self._domain if self._domain is not None else _domain_of_environment()
        localhost = _localhost_of_environment()
        try:
            if localhost and not os.environ.get("CYCLONEDDS_URI"):
                self._entities.append(Domain(domain, _LOCALHOST))
            participant = DomainParticipant(domain, qos=Qos(Policy.Userdata(b"enclave=/;")))
            self._open(participant)
        except DDSException as error:
            self._entities = []
            raise UnavailableError(
                f"DDS does not start in domain {domain}: {error}. Look at CYCLONEDDS_URI and at "
                "the network interfaces."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._acks is not None:
            self._acks.join()
        self._writers, self._entities = {}, []

    def write(self, publication: Publication) -> None:
        """Returns at once, but for a reliable topic with a reader that does not keep up: then
        within 100 ms, which holds up no other topic."""
        writer = self._writers.get(publication.topic)
        if writer is not None:
            writer.write(to_sample(publication.type, publication.message))

    def _open(self, participant: Any) -> None:
        from cyclonedds.pub import DataWriter
        from cyclonedds.sub import DataReader

        writers = {
            topic.name: DataWriter(participant, self._topic(participant, topic), qos=qos_of(topic))
            for topic in self._topics
        }
        reader = DataReader(
            participant,
            self._topic(participant, topics.ACTION_ACK),
            qos=qos_of(topics.ACTION_ACK),
        )
        self._entities += [participant, reader]
        if self._show_node:
            self._entities.append(self._tell_node(participant, [reader], list(writers.values())))
        self._writers = writers
        self._acks = threading.Thread(
            target=self._read_acks, args=(reader,), name="dds-acks", daemon=True
        )
        self._acks.start()

    def _topic(self, participant: Any, topic: topics.Topic) -> Any:
        from cyclonedds.topic import Topic

        name = "rt" + topics.resolve(self._namespace, topic.name)
        return Topic(participant, name, idl_type(topic.type))

    def _tell_node(self, participant: Any, readers: Sequence[Any], writers: Sequence[Any]) -> Any:
        """What ROS 2 keeps about nodes: without it, the topics have no node behind them.

        Returns the writer: a latched sample lives as long as that.
        """
        from cyclonedds.pub import DataWriter
        from cyclonedds.topic import Topic

        qos = topics.Qos(reliable=True, depth=1, latched=True)
        info = topics.Topic(_NODE_INFO_TOPIC, NODE_INFO, qos)
        writer = DataWriter(
            participant, Topic(participant, info.name, idl_type(info.type)), qos=qos_of(info)
        )
        node = {
            "node_namespace": topics.resolve(self._namespace, ""),
            "node_name": self._node_name,
            "reader_gid_seq": [_gid(reader) for reader in readers],
            "writer_gid_seq": [_gid(writer) for writer in writers],
        }
        message = {"gid": _gid(participant), "node_entities_info_seq": [node]}
        writer.write(to_sample(NODE_INFO, message))
        return writer

    def _read_acks(self, reader: Any) -> None:
        """The thread of acknowledgements."""
        from cyclonedds.internal import InvalidSample
        from cyclonedds.util import duration

        warnings = SparingLog(log)
        while not self._closing.is_set():
            warnings.tell()
            try:
                for ack in reader.take_iter(timeout=duration(milliseconds=_POLL_MS)):
                    if not isinstance(ack, InvalidSample):
                        self._on_ack(ack)
            except Exception as error:  # Of DDS, or of what anybody may have written.
                warnings.warn("unread", f"an acknowledgement could not be read: {error}")
                self._closing.wait(_POLL_MS / 1e3)


def qos_of(topic: topics.Topic) -> Any:
    """The Qos of a writer or a reader, with the type's hash where ROS 2 looks for it."""
    from cyclonedds.qos import Policy, Qos
    from cyclonedds.util import duration

    wanted = topic.qos
    return Qos(
        Policy.Reliability.Reliable(duration(milliseconds=_BLOCKING_MS))
        if wanted.reliable
        else Policy.Reliability.BestEffort,
        Policy.History.KeepLast(wanted.depth),
        Policy.Durability.TransientLocal if wanted.latched else Policy.Durability.Volatile,
        Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=False),
        Policy.Userdata(f"typehash={type_hash(topic.type)};".encode()),
    )


@functools.cache
def idl_type(name: str) -> Any:
    """The cyclonedds class for the message `package/Name`."""
    from cyclonedds.idl import make_idl_struct
    from cyclonedds.idl.annotations import final

    message = message_type(name)
    fields = {field.name: _idl_field(field) for field in message.fields}
    class_name = message.dds_name.rpartition("::")[2]
    return final(make_idl_struct(class_name, message.dds_name, fields))


def _idl_field(field: Field) -> Any:
    from cyclonedds.idl import types

    if field.nested:
        element = idl_type(field.type)
    elif field.type == "string":
        element = types.bounded_str[field.longest] if field.longest else str
    elif field.type == "bool":
        element = bool
    elif field.type == "byte":
        element = types.uint8
    else:
        element = getattr(types, field.type)
    if not field.array:
        return element
    return types.array[element, field.size] if field.fixed else types.sequence[element]


def to_sample(name: str, message: Message) -> Any:
    """An instance of `idl_type(name)` with the values of a plain message."""
    kind = idl_type(name)
    return kind(*(_value(field, message[field.name]) for field in message_type(name).fields))


def _value(field: Field, value: Any) -> Any:
    if field.nested:
        if field.array:
            return [to_sample(field.type, one) for one in value]
        return to_sample(field.type, value)
    return value.tolist() if isinstance(value, np.ndarray) else value


def _gid(entity: Any) -> Message:
    return {"data": list(entity.get_guid().bytes)}


def _domain_of_environment() -> int:
    text = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not text.isdecimal() or int(text) > 232:
        raise ConfigError(f"ROS_DOMAIN_ID is {text!r}; a number from 0 to 232 is wanted.")
    return int(text)


def _localhost_of_environment() -> bool:
    """Whether nobody on other machines shall hear it. As in ROS, the older variable comes first."""
    if os.environ.get("ROS_LOCALHOST_ONLY") == "1":
        return True
    wanted = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    if wanted == "OFF":
        raise ConfigError(
            "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF, with which nobody finds the topics of ros.dds. "
            "Set it to LOCALHOST or SUBNET, or ros.dds to false."
        )
    if wanted not in ("LOCALHOST", "SUBNET", "SYSTEM_DEFAULT"):
        raise ConfigError(
            f"ROS_AUTOMATIC_DISCOVERY_RANGE is {wanted!r}; one of LOCALHOST, SUBNET and "
            "SYSTEM_DEFAULT is wanted."
        )
    return wanted == "LOCALHOST"
