"""A model folder small enough to check by hand, with one state; tests break one thing in it.

The graph adds up what it hears and says what it was given:

    next_sum = state_sum + max(audio)
    floor    = [next_sum, mean(frame), frame_valid, sum(events), sum(status)]
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

from edge_runtime.inference.manifest import Manifest

INITIAL_SUM = 10.0
MISSING: Any = object()
"""As the value of a change: the key is left out."""


def tiny_manifest(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of the manifest; `changes` by dotted path: `{"inputs.0.dtype": "int8"}`."""
    content: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "version": "1.2.3",
        "licence": "Apache-2.0",
        "model": {"file": "model.onnx", "sha256": "0" * 64, "opset": 20},
        "tick_ms": 200,
        "sample_rate_hz": 16000,
        "inputs": [
            _tensor("audio", (1, 2, 3200)),
            _tensor("frame", (1, 4, 6, 3), "uint8"),
            _tensor("frame_valid", (1, 1)),
            _tensor("events", (1, 3)),
            _tensor("status", (1, 5)),
        ],
        "outputs": [_tensor("floor", (1, 5))],
        "states": [
            {
                "input": "state_sum",
                "output": "next_sum",
                "shape": [1, 1],
                "dtype": "float32",
                "initial": INITIAL_SUM,
            }
        ],
        "vocabularies": {
            "floor": ["listen", "backchannel", "speak", "yield", "hold"],
            "events": ["utterance_started", "result", "link_up"],
            "status": ["speaking", "seconds_left", "pending", "result_ready", "link_up"],
        },
    }
    for path, value in (changes or {}).items():
        _change(content, path, value)
    return content


def _tensor(name: str, shape: tuple[int, ...], dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "role": name, "shape": list(shape), "dtype": dtype}


def _change(content: Any, path: str, value: Any) -> None:
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        content = content[part]
    if value is MISSING:
        del content[last]
    elif last == "+":
        content.append(value)
    else:
        content[last] = value


def tiny_graph() -> onnx.ModelProto:
    nodes = [
        *_reduced("ReduceMax", "audio", "loudest"),
        helper.make_node("Add", ["state_sum", "loudest"], ["next_sum"]),
        helper.make_node("Cast", ["frame"], ["frame_float"], to=TensorProto.FLOAT),
        *_reduced("ReduceMean", "frame_float", "picture"),
        *_reduced("ReduceSum", "events", "happened"),
        *_reduced("ReduceSum", "status", "stands"),
        helper.make_node(
            "Concat",
            ["next_sum", "picture", "frame_valid", "happened", "stands"],
            ["floor"],
            axis=1,
        ),
    ]
    manifest = tiny_manifest()
    inputs = [(t["name"], t["dtype"], t["shape"]) for t in manifest["inputs"]]
    types = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, types[dtype], shape)
            for name, dtype, shape in [*inputs, ("state_sum", "float32", [1, 1])]
        ],
        [
            helper.make_tensor_value_info("floor", TensorProto.FLOAT, [1, 5]),
            helper.make_tensor_value_info("next_sum", TensorProto.FLOAT, [1, 1]),
        ],
        [helper.make_tensor("one_by_one", TensorProto.INT64, [2], [1, 1])],
    )
    # IR 9 is what the oldest supported ONNX Runtime reads.
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])


def _reduced(operator: str, source: str, target: str) -> list[onnx.NodeProto]:
    """All of a tensor reduced to one number, in the shape (1, 1)."""
    return [
        helper.make_node(operator, [source], [f"{target}_any"], keepdims=0),
        helper.make_node("Reshape", [f"{target}_any", "one_by_one"], [target]),
    ]


def write_tiny_model(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    edit_graph: Callable[[onnx.GraphProto], None] | None = None,
    cut_to_bytes: int | None = None,
) -> Path:
    """Write the folder and return it. The hash is that of the file, unless `changes` gives one."""
    model = tiny_graph()
    if edit_graph is not None:
        edit_graph(model.graph)
    written = model.SerializeToString()[:cut_to_bytes]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(written)
    content = tiny_manifest(
        {"model.sha256": hashlib.sha256(written).hexdigest(), **(changes or {})}
    )
    (folder / "manifest.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def checked_manifest(changes: Mapping[str, Any] | None = None) -> Manifest:
    """The tiny manifest as the runtime sees it, without a folder."""
    return Manifest.model_validate(tiny_manifest(changes))
