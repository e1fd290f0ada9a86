"""What the language model is told about a request."""

from __future__ import annotations

import base64
import binascii
import io

from edge_runtime.background.transcribe import Transcript
from edge_runtime.delegation.wire import RequestMessage
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm

MAX_CONVERSATION_CHARS = 12_000
"""Older turns are left out."""


SURE = 0.5
"""Confidence of a recogniser from which its dictation is taken for what was said."""


def message(request: RequestMessage, heard: Transcript | None, hears: bool = False) -> str:
    """What the model is told: one line for each turn, so that no text can pose as another.

    `heard` is a recogniser's. With `hears`, the sound of the question goes with it.
    """
    lines = [f"Local time: {request.local_time or 'unknown'}", f"Language: {request.language}"]
    if request.waited_s >= 60:
        lines.append(
            f"The person asked this {request.waited_s / 60:.0f} minutes ago; until now the device "
            "had no connection. Say so if it matters."
        )
    turns: list[str] = []
    left = MAX_CONVERSATION_CHARS
    for turn in reversed(request.conversation):
        broken_off = ", interrupted" if turn.interrupted else ""
        turns.append(f"- {turn.speaker} ({turn.age_s:.0f} s ago{broken_off}): {_line(turn.text)}")
        left -= len(turns[-1])
        if left < 0:
            break
    if turns:
        lines += ["The conversation so far:", *reversed(turns)]
    if request.unsaid:
        lines.append(f"What the device did not get to say: {_line(request.unsaid)}")
    if request.reason:
        lines.append(f"Why the device asks: {_line(request.reason)}")
    rough = _line(request.transcript)
    text = _line(heard.text) if heard is not None and not hears else ""
    unsure = heard is not None and not heard.in_grammar and heard.confidence <= SURE
    best = "" if hears else text or rough
    if text and unsure:
        lines.append(f"Speech recognition, which is not sure: {text}")
    if rough and rough != best:
        lines.append(f"The device's own rough transcript: {rough}")
    if hears:
        lines.append("What the person says now is in the sound.")
    elif text and unsure:
        lines.append("The person says now what these have heard.")
    elif best:
        lines.append(f"The person says now: {best}")
    else:
        lines.append("What the person says now could not be made out.")
    return "\n".join(lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def sound(pcm: Pcm) -> bytes:
    """float32 (n,), 16 kHz, as a WAV file: what providers take."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def picture(request: RequestMessage) -> bytes:
    """The request's JPEG; empty if there is none."""
    try:
        data = base64.b64decode(request.frame or "", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if data.startswith(b"\xff\xd8") else b""
