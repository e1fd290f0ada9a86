"""A request as the message that a worker gets."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass

from edge_runtime.delegation import wire
from edge_runtime.errors import BackgroundError, WireError
from edge_runtime.micro_turn import Frame, Request

log = logging.getLogger(__name__)
MAX_SAID_TEXT = 4_000
"""Characters of one turn of the conversation; an answer may be far longer, and its end matters."""


@dataclass(frozen=True)
class Abilities:
    """What a device tells the workers about itself."""

    device: str
    actions: tuple[wire.Ability, ...] = ()


def pack(name: str, request: Request, abilities: Abilities, local_time: str) -> bytes:
    """`local_time` is ISO 8601. Raises BackgroundError: more than a worker takes."""
    message = wire.RequestMessage(
        id=name,
        device=abilities.device,
        deadline_s=request.deadline_s,
        transcript=request.transcript,
        letters=None if request.letters is None else wire.pack_letters(request.letters),
        conversation=tuple(
            wire.Said(
                speaker=one.speaker,
                text=one.text[-MAX_SAID_TEXT:],
                age_s=max(0.0, one.age_s),
                interrupted=one.interrupted,
            )
            for one in request.conversation
        ),
        unsaid=request.unsaid[: wire.MAX_TEXT],
        audio=_sound(request),
        frame=None if request.frame is None else _jpeg(request.frame),
        actions=abilities.actions,
        language=request.language,
        local_time=local_time,
        keep=request.keep,
    )
    return checked(wire.encode(message))


def repack(payload: bytes, waited_s: float, local_time: str) -> bytes:
    """A kept message as it is sent later. Raises BackgroundError: it is not what was kept."""
    try:
        message = wire.decode(wire.RequestMessage, payload, wire.MAX_REQUEST_BYTES)
    except WireError as error:
        raise BackgroundError(f"a kept request cannot be read: {error}") from None
    return checked(
        wire.encode(
            message.model_copy(update={"waited_s": round(waited_s, 1), "local_time": local_time})
        )
    )


def fitted(payload: bytes, most: float) -> bytes:
    """A message in at most so many bytes: without its picture, and else without its sound, of which
    the transcript and the letters are left. Raises BackgroundError: they are too much as well."""
    if len(payload) <= most:
        return payload
    message = wire.decode(wire.RequestMessage, payload, wire.MAX_REQUEST_BYTES)
    without: dict[str, object] = {}
    for name, empty in (("frame", None), ("audio", ""), ("conversation", ())):
        without[name] = empty
        smaller = wire.encode(message.model_copy(update=without))
        if len(smaller) <= most:
            log.warning(
                "%s goes without %s: it has %d bytes, and the broker takes %d. Raise its limit "
                "(Mosquitto: max_packet_size)",
                *(message.id, " and ".join(without), len(payload), most),
            )
            return smaller
    raise BackgroundError(f"it has {len(payload)} bytes, and the broker takes {most:.0f}")


def checked(payload: bytes) -> bytes:
    if len(payload) > wire.MAX_REQUEST_BYTES:
        raise BackgroundError(f"{len(payload)} bytes are more than a worker takes")
    return payload


def _sound(request: Request) -> str:
    if request.opus is None:
        return wire.pack_audio(request.audio)
    return wire.pack_ogg(request.opus())


def _jpeg(frame: Frame) -> str:
    import cv2

    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    if not done:
        raise BackgroundError("the picture could not be packed")
    return base64.b64encode(data.tobytes()).decode()
