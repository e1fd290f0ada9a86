"""The graph of a model in the precision that is wanted: it decides, not flags of a builder.

TensorRT 11 has no builder flags for precisions any more; a strongly typed network runs in the types
of its graph on every version. So float16 is made here, by converting the float32 graph, and int8 is
a graph with quantization in it (`quantize.py`).
"""

from __future__ import annotations

from typing import Any

from edge_runtime.errors import ManifestError
from edge_runtime.inference.manifest import Manifest, Precision, read_graph


def graph_bytes(manifest: Manifest, precision: Precision) -> bytes:
    """The ONNX file's bytes, hash checked. Raises ManifestError, also for fp16 without `onnx`."""
    graph = read_graph(manifest, precision)
    return half(graph) if precision == "fp16" else graph


def half(graph: bytes) -> bytes:
    """The float32 graph in float16, but for its front end; inputs, outputs and states stay float32.

    A logarithm and all that leads to it stay in float32: there, powers of a raw signal stand beside
    the floor that is added to them, and float16 holds neither (65504 at most, 6e-5 at least).
    """
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ImportError as error:
        raise ManifestError(
            f"fp16 is made with the package onnx ({error}): pip install 'edge-runtime[engine]', or "
            "choose the precision fp32."
        ) from None
    model = named(onnx.load_from_string(graph))
    converted = convert_float_to_float16(
        model, keep_io_types=True, node_block_list=sorted(before_logarithms(model.graph))
    )
    OnnxModel.graph_topological_sort(converted.graph, is_deterministic=True)  # casts come last
    data: bytes = converted.SerializeToString()
    return data


def named(model: Any) -> Any:
    """Every node with a name of its own, since converters tell nodes apart by it."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def before_logarithms(graph: Any) -> set[str]:
    """Names of the Log nodes and of all that they depend on."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [node for node in graph.node if node.op_type == "Log"]
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found.add(node.name)
            waiting.extend(makers[name] for name in node.input if name in makers)
    return found
