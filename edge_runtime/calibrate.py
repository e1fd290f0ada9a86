"""From recordings to the int8 graph of a model folder, and what it costs.

Ranges are measured on some of the recorded micro-turns; the cost is measured on others. A layer
that costs too much stays in float16: first those that do so alone, then, while the graph as a whole
is beyond its limits, more and more of the most sensitive ones.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime.errors import EngineError, ManifestError
from edge_runtime.inference.encode import Encoder
from edge_runtime.inference.manifest import (
    MANIFEST_FILE,
    load_manifest,
    read_graph,
    redescribe,
)
from edge_runtime.inference.onnx import OnnxEngine, OnnxOptions
from edge_runtime.inference.precision import half
from edge_runtime.inference.quantize import Feed, Quantizer, Sensitivity, quantizable
from edge_runtime.inference.verify import LIMITS, MINIMUM_TURNS, Report, verify
from edge_runtime.micro_turn import TURN_MS, MicroTurn
from edge_runtime.whole_file import write_whole

INT8_FILE = "model.int8.onnx"
KEEP_ABOVE = 0.05
"""Relative error of the outputs that one layer alone may cost."""
Stream = Sequence[MicroTurn]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Calibration:
    """What was done, for the report."""

    turns: int
    """Ranges were measured on so many."""
    checked_turns: int
    layers: int
    kept: tuple[str, ...]
    """Layers that are not quantized."""
    sensitivities: tuple[Sensitivity, ...]
    check: Report
    """The int8 graph against float32, on turns that were not calibrated on."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "check": self.check.as_dict()}


def calibrate(
    folder: Path,
    out: Path,
    streams: Sequence[Stream],
    turns: int,
    keep: Sequence[str],
    progress: Progress,
) -> Calibration:
    """Write `model.int8.onnx` and the manifest that names it into `out`, which may be `folder`.

    `turns` at most are calibrated on; `keep` are names of layers to leave alone. Raises
    ManifestError before any work when nothing can be quantized, a name is unknown, the material is
    too little or `out` cannot be written; EngineError when even a graph with half of its layers in
    float16 is beyond the limits.
    """
    graph = read_graph(load_manifest(folder))
    layers = quantizable(graph)
    if unknown := sorted(set(keep) - set(layers)):
        raise ManifestError(
            f"No layer that could be quantized is called {', '.join(unknown)}. There are: "
            f"{', '.join(layers)}."
        )
    calibrated, checked = split(streams)
    _check_enough(streams, checked)
    _check_writable(out)
    progress("collecting micro-turns", 0, 1)
    feeds = collect(folder, calibrated, turns)
    outputs = [tensor.name for tensor in load_manifest(folder).outputs]
    progress("measuring ranges", 0, 1)
    with Quantizer(graph, feeds) as quantizer:
        costs = quantizer.sensitivities(
            outputs, lambda done, total: progress("one layer at a time", done, total)
        )
        always = {*keep, *(one.layer for one in costs if one.error > KEEP_ABOVE)}
        for more in _attempts(len(costs)):
            kept = always | {one.layer for one in costs[:more]}
            progress(f"checking, {len(kept)} layers in float16", 0, 1)
            made = half(quantizer.graph(name for name in layers if name not in kept))
            report = _check(folder, made, checked)
            if report.passed:
                write(folder, out, made)
                count = sum(len(stream) for stream in checked)
                names = tuple(sorted(kept))
                return Calibration(len(feeds), count, len(costs), names, tuple(costs), report)
    raise EngineError(
        f"With {len(kept)} of {len(costs)} layers in float16 the int8 graph is still beyond its "
        f"limits: {'; '.join(report.violations)}. Use fp16, or calibrate on more recordings."
    )


def _attempts(layers: int) -> list[int]:
    """How many of the most sensitive layers to keep: none, then more and more, up to half."""
    doubled = [0, *(2**power for power in range(1, 16))]
    return [count for count in doubled if count <= layers // 2]


def split(streams: Sequence[Stream]) -> tuple[list[Stream], list[Stream]]:
    """To calibrate on, and to check on: the last recording, or the second half of a single one."""
    if len(streams) > 1:
        return list(streams[:-1]), [streams[-1]]
    (only,) = streams
    return [only[: len(only) // 2]], [only[len(only) // 2 :]]


def _check_enough(streams: Sequence[Stream], checked: Sequence[Stream]) -> None:
    """Raises ManifestError where the graph could not be checked in the end."""
    count = sum(len(stream) for stream in checked)
    if count >= MINIMUM_TURNS:
        return
    what, lacking = "The last recording", MINIMUM_TURNS - count
    if len(streams) == 1:
        what, lacking = "The second half of the recording", 2 * MINIMUM_TURNS - len(streams[0])
    lacking_s = math.ceil(lacking * TURN_MS / 1000)
    raise ManifestError(
        f"{what} is what the int8 graph is checked with, and has {count} micro-turns: "
        f"{MINIMUM_TURNS} are needed. Give one that is {lacking_s} s longer."
    )


def _check_writable(out: Path) -> None:
    """Raises ManifestError where the graph could not be written in the end."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise _not_written(out, error) from error


def _not_written(out: Path, error: OSError) -> ManifestError:
    return ManifestError(
        f"The int8 graph cannot be written into {out}: {error.strerror}. Give --out."
    )


def collect(folder: Path, streams: Sequence[Stream], turns: int) -> list[Feed]:
    """At most `turns` micro-turns as tensors, evenly drawn, each with the state it met."""
    every = max(1, -(-sum(len(stream) for stream in streams) // turns))
    feeds: list[Feed] = []
    with OnnxEngine(folder) as engine:
        encoder = Encoder(engine.manifest)
        for stream in streams:
            engine.reset()
            for index, turn in enumerate(stream):
                if index % every == every // 2:
                    arrays = encoder.arrays()
                    encoder.encode(turn, arrays)
                    feeds.append({**arrays, **engine.state()})
                engine.step(turn)
    return feeds


def write(folder: Path, out: Path, graph: bytes) -> None:
    """The graph, then the manifest that describes it, each atomically. Raises ManifestError."""
    manifest = load_manifest(folder)
    int8 = {
        "file": INT8_FILE,
        "sha256": hashlib.sha256(graph).hexdigest(),
        "opset": manifest.model.opset,
    }
    text = redescribe(folder, "variants", {"int8": int8})
    try:
        out.mkdir(parents=True, exist_ok=True)
        if out.resolve() != folder.resolve():
            for described in (manifest.model, manifest.language_model):
                if described is not None:
                    (out / described.file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(folder / described.file, out / described.file)
        write_whole(out / INT8_FILE, graph)
        write_whole(out / MANIFEST_FILE, text)
    except OSError as error:
        raise _not_written(out, error) from error


def _check(folder: Path, graph: bytes, streams: Sequence[Stream]) -> Report:
    """The graph against float32, in a folder that is gone afterwards."""
    int8 = OnnxOptions(precision="int8")
    with tempfile.TemporaryDirectory() as temporary:
        write(folder, Path(temporary), graph)
        with OnnxEngine(folder) as reference, OnnxEngine(Path(temporary), int8) as candidate:
            return verify(reference, candidate, streams, LIMITS["fp32", "int8"])
