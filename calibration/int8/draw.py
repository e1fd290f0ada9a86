"""Draw conversations from the training corpus as recordings, for `edge-runtime calibrate`.

`python -m calibration.int8.draw --out build/calibration`. Conversations are composed as in
training, from a seed, and become recordings like those of a real device: the float32 model heard
them and decided. `check.mcap` is of voices that were not trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.decide import FloorDecider
from edge_runtime.inference.encode import SECONDS_LEFT_SCALE
from edge_runtime.inference.manifest import Vocabularies
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    BackgroundState,
    Event,
    EventKind,
    MicroTurn,
    Timings,
    TurnRecord,
    VoiceState,
)
from edge_runtime.sinks.recorder import Recorder
from engines.reference.command import command
from engines.reference.corpus.conversation import Conversation
from engines.reference.corpus.factory import build_composers
from engines.reference.corpus.human import check_trains
from engines.reference.train import Settings

TENSORS = ("audio", "frames", "frame_valid", "events", "status")
FIRST_SEED = 77_000_000
"""Away from the seeds of training and of the measurements."""


def micro_turns(
    audio: NDArray[np.float32],
    frames: NDArray[np.uint8],
    frame_valid: NDArray[np.float32],
    events: NDArray[np.float32],
    status: NDArray[np.float32],
    words: Vocabularies,
) -> Iterator[MicroTurn]:
    """A conversation of the corpus, shapes as in `Conversation`, as the runtime would meet it."""
    for index, frame in enumerate(frames):
        known = dict(zip(words.status, status[index].tolist(), strict=True))
        sound = audio[:, index * TURN_SAMPLES : (index + 1) * TURN_SAMPLES]
        left_s = known.get("seconds_left", 0.0) * SECONDS_LEFT_SCALE
        speaking = known.get("speaking", 0.0) > 0
        yield MicroTurn(
            index,
            deadline_ns=(index + 1) * 200_000_000,
            audio=np.ascontiguousarray(sound, np.float32),
            frame=frame if frame_valid[index, 0] else None,
            events=tuple(Event(EventKind(words.events[i])) for i in np.flatnonzero(events[index])),
            voice=VoiceState("device", left_s) if speaking else VoiceState(),
            background=BackgroundState(
                known.get("pending", 0.0) > 0,
                known.get("result_ready", 0.0) > 0,
                known.get("link_up", 0.0) > 0,
            ),
        )


def record(conversations: list[Conversation], engine: OnnxEngine, path: Path) -> int:
    """One recording of them all, one after the other; returns its micro-turns."""
    decider = FloorDecider(engine.manifest)
    engine.reset()
    count = 0
    with Recorder(path, {"engine": engine.identity, "material": "corpus"}) as recorder:
        for conversation in conversations:
            tensors = (getattr(conversation, name) for name in TENSORS)
            for turn in micro_turns(*tensors, engine.manifest.vocabularies):
                output = engine.step(turn)
                decision = decider.decide(output, turn)
                recorder.publish(TurnRecord(turn, output, decision, Timings()))
                count += 1
    return count


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, default=Path("engines/reference"))
    parser.add_argument("--data", type=Path, help="a folder of human speech (see CARD.md)")
    parser.add_argument("--count", type=int, default=8, help="conversations of 30 s to draw")
    parser.add_argument("--checks", type=int, default=4, help="conversations to check with")
    parser.add_argument("--scale", type=float, default=0.05, help="of the banks of utterances")
    parser.add_argument("--out", type=Path, default=Path("build/calibration"))
    chosen = parser.parse_args()
    if chosen.data is not None:
        check_trains(chosen.data)  # before minutes of synthesis
    settings = Settings(
        folder=chosen.out, data=chosen.data, scale=chosen.scale, moved=0.0, seed=2
    )  # eight conversations need no voices that nobody has
    parts = (("draw", "train", chosen.count), ("check", "test_unseen", chosen.checks))
    with OnnxEngine(chosen.engine) as engine:
        for name, split, count in parts:
            composer = build_composers(settings, print, split)["duplex"]
            seeds = range(FIRST_SEED, FIRST_SEED + count)
            path = chosen.out / f"{name}.mcap"
            turns = record([composer.compose(seed) for seed in seeds], engine, path)
            print(f"{path}: {turns} micro-turns")


if __name__ == "__main__":
    main()
