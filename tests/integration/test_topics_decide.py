"""What comes by topics is decided as what comes from files is: turn by turn, on a virtual clock."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
from program import needs_espeak
from typing_extensions import Self

from edge_runtime.app import device
from edge_runtime.config import Config
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_SAMPLES,
    AudioReading,
    Decision,
    Pcm,
    TurnRecord,
)
from edge_runtime.pacing import TURN_NS, VirtualClock
from edge_runtime.senses import Senses
from edge_runtime.sinks.messages import pcm16
from edge_runtime.sources.recording import RecordingSource
from edge_runtime.sources.ros_topics import StampClock, TopicCamera, TopicMicrophone
from edge_runtime.voice.espeak import EspeakSynthesizer

WALL_NS = 1_700_000_000 * 10**9
TURNS = 40


class Keeper:
    def __init__(self) -> None:
        self.records: list[TurnRecord] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def publish(self, record: TurnRecord) -> None:
        self.records.append(record)


class Drivers(TopicMicrophone):
    """The driver nodes beside the microphone that they feed: they bring the file's next 200 ms,
    picture first, in messages of 20 ms."""

    def __init__(self, recording: RecordingSource, clock: VirtualClock) -> None:
        stamps = StampClock(lambda: WALL_NS + clock.now_ns(), clock.now_ns)
        super().__init__(stamps=stamps)
        self.camera = TopicCamera(stamps)
        self._recording, self._position = recording, 0

    def read_turn(self) -> AudioReading | None:  # type: ignore[override]
        reading = self._recording.read_turn()
        if reading is None:
            return None
        seen = self._recording.latest(reading.captured_ns)
        if seen is not None:
            self.camera.feed(_image(seen.frame, seen.captured_ns))
        samples = pcm16(reading.pcm[0])
        for start in range(0, TURN_SAMPLES, 320):
            ago_ns = (TURN_SAMPLES - start) * 10**9 // SAMPLE_RATE_HZ
            self.feed(self._block(samples[start : start + 320], reading.captured_ns - ago_ns))
        return super().read_turn()

    def _block(self, samples: Any, captured_ns: int) -> SimpleNamespace:
        position, self._position = self._position, self._position + samples.size
        return SimpleNamespace(
            header=_header(captured_ns),
            position=position,
            sample_rate_hz=SAMPLE_RATE_HZ,
            channels=1,
            direction_rad=math.nan,
            data=array.array("h", samples.tobytes()),
        )


def _header(captured_ns: int) -> SimpleNamespace:
    sec, nanosec = divmod(WALL_NS + captured_ns, 10**9)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec))


def _image(frame: Any, captured_ns: int) -> SimpleNamespace:
    height, width, _ = frame.shape
    return SimpleNamespace(
        header=_header(captured_ns),
        height=height,
        width=width,
        encoding="bgr8",
        step=3 * width,
        data=array.array("B", np.ascontiguousarray(frame[..., ::-1]).tobytes()),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Somebody asks something; colours change."""
    folder = tmp_path_factory.mktemp("recording")
    rng = np.random.default_rng(3)
    said: Pcm = np.concatenate(list(EspeakSynthesizer("en-gb+m3", 150).synthesize("hello there")))
    sound = 0.002 * rng.standard_normal(TURNS * TURN_SAMPLES)
    sound[TURN_SAMPLES * 5 :][: said.size] += 0.3 * said
    soundfile.write(folder / "talk.wav", sound, SAMPLE_RATE_HZ, subtype="PCM_16")
    frames = folder / "frames"
    frames.mkdir()
    for index in range(TURNS + 2):
        picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(frames / f"{index}.png"), picture)
    return folder / "talk.wav", frames


def decided(senses: Senses) -> tuple[list[TurnRecord], Sequence[Decision]]:
    keeper = Keeper()
    with device(Config(), senses, [keeper]) as ready:
        ready.loop.run()
    return keeper.records, [record.decision for record in keeper.records]


@needs_espeak
def test_senses_from_topics_give_the_same_decisions_as_from_files(
    files: tuple[Path, Path],
) -> None:
    clock = VirtualClock()
    recording = RecordingSource(*files, realtime=False, clock=clock)
    from_files, expected = decided(Senses(recording, recording, clock, realtime=False))
    clock = VirtualClock()
    with RecordingSource(*files, realtime=False, clock=clock) as recording:
        drivers = Drivers(recording, clock)
        from_topics, found = decided(Senses(drivers, drivers.camera, clock, realtime=False))
    assert len(found) == TURNS
    for one, other in zip(from_files, from_topics, strict=True):
        np.testing.assert_array_equal(one.turn.audio, other.turn.audio)
        assert one.turn.frame is not None and other.turn.frame is not None
        np.testing.assert_array_equal(one.turn.frame, other.turn.frame)
        assert one.turn.deadline_ns == other.turn.deadline_ns == (one.turn.index + 2) * TURN_NS
    assert found == expected
    assert any(decision.heard for decision in found), "there is something to hear"
    assert len({str(decision.probabilities) for decision in found}) == TURNS
