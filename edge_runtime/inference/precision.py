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
    the floor that is added to them, and float16 holds neither (65504 at most, 6e-5 at least). Equal
    graphs give equal bytes, since plans are found again by their hash.
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
    front_end = before_logarithms(model.graph)
    _with_constants_of_its_own(model.graph, front_end)
    converted = convert_float_to_float16(
        model, keep_io_types=True, node_block_list=sorted(front_end)
    )
    _without_round_trips(converted.graph)
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


def _with_constants_of_its_own(graph: Any, front_end: set[str]) -> None:
    """What it shares with other nodes would become float16 for both."""
    from onnx import TensorProto

    inside = [node for node in graph.node if node.name in front_end]
    used = {name for node in inside for name in node.input}
    elsewhere = {n for node in graph.node if node.name not in front_end for n in node.input}
    for tensor in list(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and tensor.name in used & elsewhere:
            copy = graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = f"{tensor.name}_of_the_front_end"
            for node in inside:
                node.input[:] = [copy.name if n == tensor.name else n for n in node.input]


def _without_round_trips(graph: Any) -> None:
    """Connect what stays in float32: the converter casts it to float16 and back between two nodes,
    and in front of the first."""
    from onnx import TensorProto

    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    to = {name: next(a.i for a in node.attribute if a.name == "to") for name, node in casts.items()}
    values = (*graph.input, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    sources: dict[str, str] = {}
    for name, node in casts.items():
        halved = node.input[0]
        if to[name] == TensorProto.FLOAT and to.get(halved) == TensorProto.FLOAT16:
            source = casts[halved].input[0]
            if types.get(source) == TensorProto.FLOAT:
                sources[name] = node.input[0] = source
    for node in graph.node:
        node.input[:] = [sources.get(name, name) for name in node.input]
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    nodes = [node for node in graph.node if node.op_type != "Cast" or node.output[0] in used]
    known = [value for value in graph.value_info if value.name not in casts or value.name in used]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.value_info.extend(known)
