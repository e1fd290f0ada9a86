"""Fuzzing what comes from outside: valid samples, bent and broken. FUZZ_S seconds for each."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
from fuzz_targets import TARGETS, try_it
from tiny_model import tiny_manifest

from edge_runtime.delegation import wire
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.sinks.recorder import Recorder

pytestmark = pytest.mark.soak
FUZZ_S = float(os.environ.get("FUZZ_S", "60"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
WORDS = [
    *(b"null", b"true", b"-1", b"1e999", b".nan", b"&a [*a]", b"!!python/object:os.system x"),
    *(b"{", b"}", b"[[[[[[", b'"', b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"2024-13-45"),
    *(b"!!timestamp x", b"!!bool x", b"!!int ''", b"!!map [a]", b"!!set [a]", b"[" * 2000),
    *(b"? [a]\n: b\n", b"&a ", b"*a", b'"\\U99999999"', b"0x", b": ", b"\n", b"!!binary "),
    *(b"9" * 5000, b"a: " * 50, b"<<: *x", b"\xe2\x80\xae", b"? ", b"---\n---\n"),
]


def samples(tmp_path: Path) -> dict[str, list[bytes]]:
    """Something valid for each target."""
    path = tmp_path / "sample.mcap"
    with Recorder(path, {"engine": {"sha256": "0"}}) as recorder:
        for index in range(3):
            turn = MicroTurn(
                index,
                0,
                np.zeros((2, TURN_SAMPLES), np.float32),
                frame=np.zeros((4, 6, 3), np.uint8),
            )
            output = EngineOutput(index, {"floor": np.zeros(5, np.float32)})
            recorder.publish(TurnRecord(turn, output, Decision(index, "listen"), Timings()))
    request = {
        "id": "r",
        "device": "d",
        "deadline_s": 5,
        "transcript": "hm",
        "audio": wire.pack_audio(np.zeros(1600, np.float32)),
        "conversation": [{"speaker": "person", "text": "hi", "age_s": 1}],
    }
    return {
        "config": [
            b"device: {name: kiosk}\nvideo: {source: 0}\nrecording: {path: /x/y.mcap}\n",
            b"delegation: {broker: 'mqtt://h', user: u, password_file: x}\nhttp: {port: 1}\n",
        ],
        "message": [
            json.dumps(request).encode(),
            json.dumps({"id": "r", "seq": 0, "kind": "result", "text": "x"}).encode(),
            json.dumps({"state": "online", "free_slots": 2}).encode(),
        ],
        "command": [bytes([n]) + text for n in range(7) for text in (b"ON", b"PRESS", b"hello")],
        "manifest": [yaml.safe_dump(tiny_manifest()).encode()],
        "recording": [path.read_bytes()],
    }


def bent(data: bytes, rng: random.Random) -> bytes:
    """The same with a few bytes flipped, cut, doubled or replaced by something nasty."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(changed) + 1)
        until = min(len(changed), at + rng.choice([1, 2, 8, 64]))
        kind = rng.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at:until]
        elif kind == 2:
            changed[at:at] = changed[at:until]
        elif kind == 3:
            changed[at:until] = rng.choice(WORDS)
        else:
            changed[at:until] = rng.randbytes(until - at)
    return bytes(changed)


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """pytest would keep the millions of warnings about what is refused."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_only_clear_errors_come_out(name: str, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    valid = samples(tmp_path)[name]
    end = time.monotonic() + FUZZ_S
    tried = 0
    for data in valid:
        try_it(TARGETS[name], data)
    while time.monotonic() < end:
        data = bent(rng.choice(valid), rng)
        try:
            try_it(TARGETS[name], data)
        except Exception as error:
            found = tmp_path / "found"
            found.write_bytes(data)
            raise AssertionError(
                f"after {tried} inputs: {error!r}; the input is {found}"
            ) from error
        tried += 1
    print(f"\n{name}: {tried} inputs in {FUZZ_S:g} s")
    assert tried > FUZZ_S / 2
