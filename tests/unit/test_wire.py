"""What travels between a device and its workers: nothing that breaks the rules gets in."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.delegation import wire
from edge_runtime.errors import WireError
from edge_runtime.micro_turn import Letters

REQUEST = wire.RequestMessage(id="a-1", device="kiosk", deadline_s=20)


def test_a_request_survives_the_journey() -> None:
    assert wire.decode(wire.RequestMessage, wire.encode(REQUEST), 10_000) == REQUEST


def test_sound_survives_the_journey() -> None:
    time = np.arange(16_000) / 16_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    back = wire.unpack_audio(wire.pack_audio(tone))
    assert len(back) == len(tone)
    assert np.corrcoef(tone[800:-800], back[800:-800])[0, 1] > 0.98
    assert len(wire.pack_audio(tone)) < 12_000


def log_probabilities(steps: int, symbols: int) -> np.ndarray:
    logits = np.random.default_rng(0).normal(0, 4, (steps, symbols))
    return (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)


def test_letters_survive_the_journey() -> None:
    symbols = ("", " ", "a", "\u00e9", "'")
    sent = Letters(symbols, log_probabilities(400, 5))
    request = REQUEST.model_copy(update={"letters": wire.pack_letters(sent)})
    back = wire.decode(wire.RequestMessage, wire.encode(request), 10_000).letters
    assert back is not None
    letters = wire.unpack_letters(back)
    assert letters.symbols == symbols and letters.log_probabilities.dtype == np.float32
    told = np.maximum(sent.log_probabilities, -8)
    assert np.abs(letters.log_probabilities - told).max() <= 0.5 / wire.LETTER_UNITS + 1e-6


def test_of_very_many_letters_the_last_ones_are_sent() -> None:
    sent = Letters(("", "a"), log_probabilities(wire.MAX_STEPS + 50, 2))
    back = wire.unpack_letters(wire.pack_letters(sent)).log_probabilities
    assert back.shape == (wire.MAX_STEPS, 2)
    assert back[0] == pytest.approx(np.maximum(sent.log_probabilities[50], -8), abs=0.02)


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ("-", "not zlib in base64"),
        ("aGk=", "not zlib in base64"),
        (packed(bytes(8))[:-8], "not zlib in base64|whole steps"),
        (packed(bytes(7)), "whole steps of 2 symbols"),
        (packed(bytes(2 * wire.MAX_STEPS + 2)), "up to 6000 whole steps"),
        (packed(bytes(100_000_000)), "up to 6000 whole steps"),
    ],
)
def test_letters_that_are_none_are_refused(steps: str, why: str) -> None:
    with pytest.raises(WireError, match=why):
        wire.unpack_letters(wire.PackedLetters(symbols=("", "a"), steps=steps))


@pytest.mark.parametrize("pcm", [np.zeros(0, np.float32), np.full(3_200, np.nan, np.float32)])
def test_strange_sound_is_packed_as_silence(pcm: np.ndarray) -> None:
    back = wire.unpack_audio(wire.pack_audio(pcm))
    assert len(back) == len(pcm) and not np.abs(back).max(initial=0.0) > 1e-3


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "not a RequestMessage"),
        (b"\xff\xfe", "not a RequestMessage"),
        (b"[]", "not a RequestMessage"),
        (wire.encode(REQUEST)[:-3], "not a RequestMessage"),
        (b'{"id": "a"}', "device"),
        (wire.encode(REQUEST).replace(b'"format":1', b'"format":2'), "format"),
        (wire.encode(REQUEST).replace(b"20.0", b"1e99"), "deadline_s"),
        (b"[" * 5_000, "not a RequestMessage"),
        (b" " * 10_001, "at most 10000"),
    ],
)
def test_a_bad_payload_is_refused_and_named(payload: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        wire.decode(wire.RequestMessage, payload, 10_000)


@given(st.binary(max_size=200))
def test_noise_is_refused_and_never_crashes(payload: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(wire.RequestMessage, payload, 10_000)


def test_unknown_keys_of_a_newer_partner_are_ignored() -> None:
    newer = json.loads(wire.encode(REQUEST)) | {"mood": "curious"}
    assert wire.decode(wire.RequestMessage, json.dumps(newer).encode(), 10_000) == REQUEST


@pytest.mark.parametrize("text", ["%%%", base64.b64encode(b"not sound").decode()])
def test_what_is_no_sound_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="audio"):
        wire.unpack_audio(text)


def test_more_sound_than_a_question_has_is_refused() -> None:
    long = wire.pack_audio(np.zeros(61 * 16_000, np.float32))
    with pytest.raises(WireError, match="60 s"):
        wire.unpack_audio(long)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", "x" * 65, "$share"])
def test_a_name_that_would_change_the_topic_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="topic"):
        wire.Topics(name)


def test_the_document_names_all_that_travels(repository: Path) -> None:
    """For who writes a worker without reading this code."""
    told = (repository / "docs" / "delegation.md").read_text("utf-8")
    device = wire.Topics("DEVICE")
    topics = (device.status, device.replies, device.probe)
    wanted = [topic.replace("DEVICE", "<device>") for topic in topics]
    wanted += [wire.ALL_REQUESTS, wire.ALL_CANCELS, "background/<worker>/status"]
    fields = {*wire.RequestMessage.model_fields} - {"format", "reason"}
    wanted += [*fields, *(kind.value for kind in wire.ReplyKind)]
    assert not [name for name in wanted if f"`{name}`" not in told]
