"""What the worker knows of a request: where its replies go, and what it was told so far."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from pydantic import ValidationError

from edge_runtime.delegation import wire
from edge_runtime.delegation.mqtt import Arrival
from edge_runtime.errors import BackgroundError, WireError


@dataclass(frozen=True)
class Address:
    """Where the replies to a message go."""

    device: str
    topic: str
    correlation: bytes | None


@dataclass(eq=False)
class Job:
    """A request and what it was told. Without a request: it has ended."""

    id: str
    address: Address
    request: wire.RequestMessage | None
    due_s: float | None
    """Monotonic; None: worth answering however late."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    replies: list[bytes] = field(default_factory=list)
    sent: int = 0
    failed: bool = False

    def left_s(self) -> float | None:
        return None if self.due_s is None else self.due_s - time.monotonic()

    def allow(self, more_s: float) -> None:
        """Time until the next words, from now on."""
        if self.due_s is not None:
            self.due_s = max(self.due_s, time.monotonic() + more_s)

    @property
    def late(self) -> bool:
        left_s = self.left_s()
        return left_s is not None and left_s <= 0


def reply_address(arrival: Arrival) -> Address:
    """Raises WireError unless the replies go to the device that the request came from.

    A request must not be able to make the worker, which may publish to all devices, publish
    anywhere else.
    """
    device = arrival.topic.split("/")[1]
    replies = wire.Topics(device).replies
    if arrival.response_topic != replies:
        raise WireError(f"its response topic is {arrival.response_topic!r}, and not {replies!r}")
    return Address(device, replies, arrival.correlation)


def encode_reply(
    name: str,
    seq: int,
    kind: wire.ReplyKind,
    text: str,
    worker: str,
    action: str | None = None,
    again: bool = False,
    unknown: bool = False,
    heard: str = "",
) -> bytes:
    """Raises BackgroundError: too long, or not what the wire format allows."""
    try:
        message = wire.ReplyMessage(
            id=name,
            seq=seq,
            kind=kind,
            text=text,
            action=action,
            worker=worker,
            again=again,
            unknown=unknown,
            heard=heard,
        )
    except ValidationError as error:
        raise BackgroundError(f"not a reply: {error.errors()[0]['msg']}") from None
    payload = wire.encode(message)
    if len(payload) > wire.MAX_REPLY_BYTES:
        raise BackgroundError("the answer is too long to be sent")
    return payload
