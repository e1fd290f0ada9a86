"""What a micro-turn costs at least on a board, from the graph alone: the roofline model.

A micro-turn runs with batch 1, so every weight is read once and used once. Its time cannot be less
than what memory and arithmetic take:

    memory_s  = (bytes of weights + 2 * bytes of states + inputs + outputs) / bandwidth
    compute_s = 2 * multiply-adds / rate
    at_least  = max(memory_s, compute_s)         (Williams, Waterman, Patterson 2009)

Activations are left out: at this size they stay in the caches. What comes on top, and dominates in
small graphs, is the start of each kernel, some microseconds; TensorRT fuses many of the graph's
nodes into one kernel, so their number is an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.errors import ManifestError
from edge_runtime.inference.manifest import Manifest, Precision
from edge_runtime.inference.precision import graph_bytes

LAUNCH_US = 5.0
"""Of one kernel on an Orin, about; measure with `nsys`."""


@dataclass(frozen=True)
class Board:
    """A board's memory and arithmetic, dense, as in NVIDIA's data sheets; its GPU alone."""

    name: str
    bandwidth_gb_s: float
    tera_operations: Mapping[Precision, float]
    """A second; a multiply-add counts as two."""


BOARDS = (
    Board("Orin Nano 8 GB", 68.0, {"fp32": 1.3, "fp16": 10.0, "int8": 20.0}),
    Board("Orin Nano 8 GB, Super", 102.0, {"fp32": 2.1, "fp16": 17.0, "int8": 33.0}),
    Board("Orin NX 16 GB", 102.4, {"fp32": 1.9, "fp16": 15.0, "int8": 30.0}),
    Board("AGX Orin 64 GB", 204.8, {"fp32": 5.3, "fp16": 42.0, "int8": 85.0}),
    Board("Thor T5000", 273.0, {"fp32": 8.1, "fp16": 258.0, "int8": 517.0}),
)
"""fp32 by the CUDA cores (cores * 2 * clock), the others by the tensor cores without sparsity."""


@dataclass(frozen=True)
class Cost:
    """Of one micro-turn in one precision."""

    precision: Precision
    weight_bytes: int
    state_bytes: int
    """Read and written."""
    interface_bytes: int
    """Inputs and outputs."""
    operations: int
    """Two for each multiply-add of Conv, MatMul and Gemm."""
    kernels: int
    """At most: nodes that compute something."""

    def memory_us(self, board: Board) -> float:
        moved = self.weight_bytes + self.state_bytes + self.interface_bytes
        return moved / (board.bandwidth_gb_s * 1e9) * 1e6

    def compute_us(self, board: Board) -> float:
        return self.operations / (board.tera_operations[self.precision] * 1e12) * 1e6

    def at_least_us(self, board: Board) -> float:
        return max(self.memory_us(board), self.compute_us(board))


def cost(manifest: Manifest, precision: Precision) -> Cost:
    """From the graph of this precision. Raises ManifestError, also without the package `onnx`."""
    try:
        import onnx
    except ImportError:
        raise ManifestError(
            "Counting what a graph computes needs the package onnx: pip install "
            "'edge-runtime[engine]'."
        ) from None
    model = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(graph_bytes(manifest, precision))
    )
    states = sum(int(np.prod(state.shape)) * 4 for state in manifest.states)
    tensors = [(t.shape, t.dtype) for t in manifest.inputs]
    tensors += [(t.shape, t.dtype) for t in manifest.outputs]
    free = {"Constant", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
    return Cost(
        precision,
        weight_bytes=_weight_bytes(model.graph),
        state_bytes=2 * states,
        interface_bytes=sum(int(np.prod(s)) * np.dtype(d).itemsize for s, d in tensors),
        operations=2 * _multiply_adds(model.graph),
        kernels=sum(node.op_type not in free for node in model.graph.node),
    )


def _weight_bytes(graph: Any) -> int:
    from onnx import numpy_helper

    return sum(int(numpy_helper.to_array(tensor).nbytes) for tensor in graph.initializer)


def _multiply_adds(graph: Any) -> int:
    shapes = {
        v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.output, *graph.value_info)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm"):
            continue
        given, weights, made = (shapes[n] for n in (*node.input[:2], node.output[0]))
        if node.op_type == "Conv":
            each = int(np.prod(weights[1:]))
        elif node.op_type == "MatMul":
            each = given[-1]
        else:
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            each = given[0] if turned else given[-1]
        total += each * int(np.prod(made))
    return total
