"""Sound that is encoded while it comes is the same sound, and little is left to do at its end."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from edge_runtime.delegation import opus
from edge_runtime.delegation.opus import OpusStream
from edge_runtime.delegation.tasks import Tasks
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm

TIME = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
CHIRP = (0.3 * np.sin(2 * np.pi * (200 + 300 * TIME) * TIME)).astype(np.float32)
TURNS = CHIRP.reshape(-1, TURN_SAMPLES)


def decoded(ogg: bytes) -> Pcm:
    pcm, rate_hz = soundfile.read(io.BytesIO(ogg), dtype="float32")
    assert rate_hz == SAMPLE_RATE_HZ
    return np.asarray(pcm, np.float32)


class Writes:
    """A real file that notes on which thread each block is encoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        opened = opus._opened

        def watched(buffer: io.BytesIO) -> soundfile.SoundFile:
            file = opened(buffer)
            write = file.write

            def note(pcm: Pcm) -> None:
                self.threads.append(threading.current_thread().name)
                write(pcm)

            monkeypatch.setattr(file, "write", note)
            return file

        monkeypatch.setattr(opus, "_opened", watched)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


def await_all(tasks: Tasks) -> None:
    done = threading.Event()
    tasks.put(done.set)
    assert done.wait(60)


def test_pieces_give_the_same_sound_as_all_at_once() -> None:
    stream = OpusStream()
    for pcm in np.split(CHIRP, [1, 700, 3_900, 20_000]):
        stream.add(pcm)
    pieces, whole = decoded(stream.end()()), decoded(opus.encode(CHIRP))
    assert len(pieces) == len(CHIRP)
    np.testing.assert_array_equal(pieces, whole)


def test_what_was_encoded_meanwhile_is_not_left_for_the_end(writes: Writes) -> None:
    with Tasks("packing") as packing:
        stream = OpusStream(packing.put)
        for pcm in TURNS:
            stream.add(pcm)
        await_all(packing)
        assert writes.threads == ["packing"] * len(TURNS)
        whole = stream.end()
        assert len(decoded(whole())) == len(CHIRP)
    assert len(writes.threads) == len(TURNS)


def test_who_asks_for_the_whole_does_what_is_left(writes: Writes) -> None:
    steps: list[Callable[[], object]] = []
    stream = OpusStream(steps.append)
    for pcm in TURNS[:-1]:
        stream.add(pcm)
        steps.pop()()
    stream.add(TURNS[-1])
    assert len(writes.threads) == len(TURNS) - 1
    ogg = stream.end()()
    assert len(writes.threads) == len(TURNS)
    for step in steps:  # they come too late, and change nothing
        step()
    assert len(decoded(ogg)) == len(CHIRP)


def test_a_question_that_is_sent_twice_is_the_same() -> None:
    stream = OpusStream()
    stream.add(CHIRP)
    whole = stream.end()
    assert whole() == whole() != b""


def test_what_nobody_wants_is_not_encoded(writes: Writes) -> None:
    steps: list[Callable[[], object]] = []
    stream = OpusStream(steps.append)
    stream.add(TURNS[0])
    steps.pop()()
    stream.add(TURNS[1])
    stream.drop()
    for step in steps:
        step()
    assert len(writes.threads) == 1


def test_nothing_gives_nothing() -> None:
    assert opus.encode(np.zeros(0, np.float32)) == OpusStream().end()() == b""
