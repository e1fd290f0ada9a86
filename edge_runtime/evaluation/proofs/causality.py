"""Proof 5: no output knows the future, and the step graph computes what training computed.

Streaming against batch is the test of it: the runtime never gives an engine what comes later. That
two runs which begin alike are the same until they differ says that a reset leaves nothing behind.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.proofs import Bench, proof
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.scenarios.turns import turn
from edge_runtime.micro_turn import TURN_SAMPLES, EngineOutput

ALLOWED = 1e-4
CLAIM = (
    "the exported step graph, which is given one micro-turn after the other, equals the "
    f"training-time forward pass over the whole within {ALLOWED:g}, so that training knew no "
    "future either; two runs that begin alike are bit-identical until they differ"
)
Tensors = Mapping[str, NDArray[np.float32]]


def causality(bench: Bench) -> dict[str, Any]:
    compared = differing = 0
    for index in range(bench.count(8)):
        clip = _clip(bench.casts[0], index)
        cut = clip.turns // 2
        whole = bench.model.outputs(clip)
        changed = bench.model.outputs(_other_future(clip, cut, bench.casts[0], index))
        for before, after in zip(whole[:cut], changed[:cut], strict=True):
            compared += 1
            differing += not _identical(before, after)
    found: dict[str, Any] = {"turns_compared": compared, "turns_that_differ": differing}
    distance, reason = _streaming_against_batch(bench)
    found["streaming_minus_batch_max"] = distance
    causal = compared > 0 and differing == 0
    if distance is None:
        return proof(CLAIM, found, None if causal else False, reason)
    return proof(CLAIM, found, causal and distance <= ALLOWED)


def _clip(casting: Casting, index: int) -> Clip:
    clip = turn(casting, index)
    assert clip is not None
    return clip


def _other_future(clip: Clip, cut: int, casting: Casting, index: int) -> Clip:
    """The same up to turn `cut`, then noise and other pictures."""
    rng = casting.rng("another future", index)
    audio = clip.audio.copy()
    rest = audio[:, cut * TURN_SAMPLES :]
    rest[:] = 0.3 * rng.standard_normal(rest.shape)
    frames = clip.frames
    if frames is not None:
        noise = [rng.integers(0, 256, frame.shape).astype(np.uint8) for frame in frames[cut:]]
        frames = (*frames[:cut], *noise)
    return replace(clip, audio=np.clip(audio, -1, 1), frames=frames)


def _identical(one: EngineOutput, other: EngineOutput) -> bool:
    return all(np.array_equal(value, other.tensors[name]) for name, value in one.tensors.items())


def _streaming_against_batch(bench: Bench) -> tuple[float | None, str]:
    """The largest difference of an output, or why it could not be computed."""
    try:
        torch = importlib.import_module("torch")
        modules = [
            importlib.import_module(f"engines.reference.{name}") for name in ("model", "warm_start")
        ]
    except ImportError as error:
        return None, f"streaming against batch was not compared: {error} (make train brings torch)"
    network = modules[0].InteractionModel()
    try:
        modules[1].load_graph(network, bench.model.graph)
    except ValueError as error:
        return None, f"streaming against batch was not compared: {error}"
    network.eval()
    clip = _clip(bench.casts[0], 0)
    inputs = _batch(torch, clip, bench)
    with torch.no_grad():
        outputs = network(*inputs)
    steps = bench.model.outputs(clip)
    worst = 0.0
    for name in steps[0].tensors:  # what serves training only is not in the graph
        streamed = np.concatenate([step.tensors[name].reshape(1, -1) for step in steps])
        batch = getattr(outputs, name)[0].reshape(len(steps), -1).numpy()
        worst = max(worst, float(np.abs(streamed - batch).max()))
    return worst, ""


def _batch(torch: Any, clip: Clip, bench: Bench) -> tuple[Any, ...]:
    """The clip as the training-time forward pass takes it, through the runtime's own encoder."""
    encoded = bench.model.encoded(clip)
    pictures = np.concatenate([turn["frame"] for turn in encoded])

    def stacked(name: str) -> Any:
        return torch.from_numpy(np.concatenate([turn[name] for turn in encoded])[None])

    audio = np.concatenate([turn["audio"][0] for turn in encoded], axis=1)[None]
    return (
        torch.from_numpy(audio),
        torch.from_numpy(pictures),
        torch.arange(len(encoded))[None],
        stacked("frame_valid"),
        stacked("events"),
        stacked("status"),
    )
