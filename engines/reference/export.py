"""Export the averaged weights as one fixed-shape step graph with its manifest.

`python -m engines.reference.export --checkpoint training/checkpoint.pt --out engines/reference`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
import yaml
from torch import Tensor, nn

from edge_runtime.errors import InputError
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.whole_file import write_whole
from engines.reference.characters import FILE as CHARACTER_FILE
from engines.reference.characters import describe as describe_characters
from engines.reference.checkpoint import config_of, fill, read_checkpoint
from engines.reference.command import command
from engines.reference.model import TURN_SAMPLES, VISION, InteractionModel
from engines.reference.vocabulary import (
    ACTIONS,
    ACTS,
    DECODING,
    DELEGATE,
    EVENTS,
    FLOOR,
    STATUS,
    SYMBOLS,
)

OPSET = 20
FLOAT32_MANTISSA = 23


class StepGraph(nn.Module):
    """`InteractionModel.step` with its state as positional tensors."""

    def __init__(self, model: InteractionModel) -> None:
        super().__init__()
        self.model = model
        self.names = list(model.initial_state())

    def forward(
        self,
        audio: Tensor,
        frame: Tensor,
        frame_valid: Tensor,
        events: Tensor,
        status: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        given = dict(zip(self.names, state, strict=True))
        outputs, new = self.model.step(audio, frame, frame_valid, events, status, given)
        return (*outputs.values(), *(new[name] for name in self.names))


def example_inputs(model: InteractionModel) -> dict[str, Tensor]:
    side = model.config.frame_px
    return {
        "audio": torch.zeros(1, 2, TURN_SAMPLES),
        "frame": torch.zeros(1, side, side, 3, dtype=torch.uint8),
        "frame_valid": torch.zeros(1, 1),
        "events": torch.zeros(1, len(EVENTS)),
        "status": torch.zeros(1, len(STATUS)),
    }


def load(checkpoint: Path) -> tuple[InteractionModel, dict[str, float]]:
    """The averaged weights of a checkpoint, ready to run, and how long they were trained. Raises
    InputError."""
    saved = read_checkpoint(checkpoint)
    model = InteractionModel(config_of(saved, checkpoint))
    fill(model, saved["average"], checkpoint)
    trained = {"steps": saved["step"], "hours": round(saved["hours"], 1)}
    return model.eval(), trained | {"core_minutes": round(saved["seconds"] / 60, 1)}


def shorten(model: InteractionModel, bits: int) -> None:
    """Round the matrices to so many bits of mantissa (float32 has 23, bfloat16 has 7): the file is
    as long as before and packs to half its size, in a wheel or in git."""
    dropped = FLOAT32_MANTISSA - bits
    if dropped == 0:
        return
    for parameter in model.parameters():
        if parameter.ndim > 1:
            whole = parameter.detach().contiguous().view(torch.int32)
            rounded = ((whole + (1 << (dropped - 1))) >> dropped) << dropped
            parameter.data = rounded.view(torch.float32)


def export(
    model: InteractionModel,
    folder: Path,
    version: str,
    evaluation: object = None,
    decoding: Mapping[str, float] = DECODING,
) -> Path:
    """Write model.onnx and manifest.yaml into `folder`, each atomically; returns the graph."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs, state = example_inputs(model), model.initial_state()
    with torch.no_grad():
        outputs, _ = model.step(*inputs.values(), state)
    path, temporary = folder / "model.onnx", folder / "model.onnx.tmp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            StepGraph(model).eval(),
            (*inputs.values(), *state.values()),
            str(temporary),
            input_names=[*inputs, *(f"state_{name}" for name in state)],
            output_names=[*outputs, *(f"next_{name}" for name in state)],
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(temporary), full_check=True)
    os.replace(temporary, path)
    manifest = describe(inputs, outputs, state, version, path, evaluation, decoding)
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100)
    write_whole(folder / "manifest.yaml", text)
    return path


def describe(
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
    state: dict[str, Tensor],
    version: str,
    path: Path,
    evaluation: object,
    decoding: Mapping[str, float] = DECODING,
) -> dict[str, object]:
    """The manifest as plain data."""

    def tensor(name: str, value: Tensor) -> dict[str, object]:
        dtype = "uint8" if value.dtype == torch.uint8 else "float32"
        return {"name": name, "role": name, "shape": list(value.shape), "dtype": dtype}

    characters = describe_characters(path.parent)
    return {
        "format": 1,
        "name": "reference",
        "version": version,
        "licence": "Apache-2.0",
        "model": {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "opset": OPSET,
        },
        **({"language_model": characters} if characters else {}),
        "tick_ms": 200,
        "sample_rate_hz": 16_000,
        "inputs": [tensor(name, value) for name, value in inputs.items()],
        "outputs": [tensor(name, value) for name, value in outputs.items()],
        "states": [
            {
                "input": f"state_{name}",
                "output": f"next_{name}",
                "shape": list(value.shape),
                "dtype": "float32",
                "initial": 0.0,
            }
            for name, value in state.items()
        ],
        "vocabularies": {
            "floor": list(FLOOR),
            "act": list(ACTS),
            "action": list(ACTIONS),
            "delegate": list(DELEGATE),
            "events": list(EVENTS),
            "status": list(STATUS),
            "symbols": list(SYMBOLS),
            "seen": list(VISION),
        },
        "decoding": dict(decoding),
        "evaluation": evaluation or {},
    }


def _figures(path: Path) -> dict[str, object]:
    """Raises InputError."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"--evaluation {path} cannot be read as JSON: {error}. `edge-runtime evaluate --card` "
            "writes one."
        ) from error
    if not isinstance(figures, dict):
        raise InputError(f"--evaluation {path} must be figures by name, {{...}} in JSON.")
    return figures


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("training/checkpoint.pt"))
    parser.add_argument("--out", type=Path, default=Path("engines/reference"))
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument(
        "--mantissa-bits", type=int, choices=range(7, 24), default=FLOAT32_MANTISSA, metavar="7..23"
    )
    parser.add_argument("--blend", type=Path, help="a graph whose weights are averaged in")
    parser.add_argument("--blend-share", type=float, default=0.5, help="how much it counts, 0..1")
    parser.add_argument("--evaluation", type=Path, help="a JSON file of figures for the manifest")
    parser.add_argument("--decoding", type=Path, help="a model folder whose thresholds to take")
    arguments = parser.parse_args()
    decoding: Mapping[str, float] = DECODING
    if arguments.decoding is not None:
        kept = load_manifest(arguments.decoding).decoding
        decoding = kept.model_dump(by_alias=True, exclude_none=True)
    figures = _figures(arguments.evaluation) if arguments.evaluation is not None else {}
    model, trained = load(arguments.checkpoint)
    figures["training"] = trained
    if arguments.blend is not None:
        from engines.reference.warm_start import blend  # which needs `export` itself

        blend(model, arguments.blend, arguments.blend_share)
    shorten(model, arguments.mantissa_bits)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not (
        arguments.out / CHARACTER_FILE
    ).exists():  # how the transcript is read: the same letters
        shutil.copy(Path(__file__).with_name(CHARACTER_FILE), arguments.out)
    path = export(model, arguments.out, arguments.version, figures, decoding)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
