"""What TensorRT 10.3 would not take of a graph, found before anything is built.

10.3 is the oldest version that a supported JetPack brings (6.1); what it takes, later ones take
too. The tables hold what NVIDIA's parser documents, and what is known to go wrong although the
parser accepts it; each entry names its source. A clean graph can still be refused on the device,
since only a build knows the kernels: `edge-runtime engine build` is the proof, this is the warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_runtime.errors import ManifestError
from edge_runtime.inference.onnx_file import external_weights
from edge_runtime.inference.precision import half, named

MATRIX = "onnx-tensorrt, docs/operators.md (10.1-GA)"
"""The operator table of NVIDIA's parser, of the last release before 10.3 whose table is public."""
GUIDE = "TensorRT 10.3 developer guide, quantized types"
CONTRACT = "engine contract: one fixed-shape graph a micro-turn"
ONE_FILE = "engine contract: a manifest and one ONNX file"
KNOWN = "known trap"
OPSETS = range(9, 21)
"""What the parser takes. The engine contract asks for 19 or 20: LayerNormalization, Gelu, and
quantization with float16 scales are single operators there."""
WANTED_OPSETS = (19, 20)

_FLOATS = frozenset({"float32", "float16", "bfloat16"})
_NUMBERS = _FLOATS | {"int32", "int64"}
_ANY = _NUMBERS | {"bool"}
_TAKES: tuple[tuple[frozenset[str], str], ...] = (
    (
        _FLOATS,
        "Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv "
        "ConvTranspose Cos Cosh CumSum DeformConv Dropout Einsum Elu Erf Exp Floor Gelu Gemm "
        "GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample GroupNormalization GRU "
        "HardSigmoid HardSwish InstanceNormalization IsInf LayerNormalization LeakyRelu Log "
        "LogSoftmax LpNormalization LpPool LRN LSTM MatMul MaxPool MeanVarianceNormalization Mish "
        "Pow PRelu QuantizeLinear Reciprocal Resize RNN RoiAlign Round Selu Sigmoid Sin Sinh "
        "Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample",
    ),
    (
        _NUMBERS,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less "
        "LessOrEqual Max Mean Min Mod Mul Neg Pad Range ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu "
        "ScatterElements Shrink Sign SpaceToDepth Sub Sum TopK",
    ),
    (
        _ANY,
        "CastLike Concat ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND "
        "Hardmax Identity OneHot Reshape ReverseSequence Shape Size Slice Split Squeeze Tile "
        "Transpose Trilu Unsqueeze Where",
    ),
    (_ANY | {"uint8"}, "Cast"),
    (frozenset({"bool"}), "And Not Or Xor"),
    (frozenset({"int8"}), "DequantizeLinear"),
)
OPERATORS: Mapping[str, frozenset[str]] = {
    operator: types for types, names in _TAKES for operator in names.split()
} | {"Constant": _ANY | {"int8"}}
"""Every operator that may be used, with the types of its first input. Source: MATRIX."""

AVOID: Mapping[str, tuple[str, str]] = {
    "If": ("control flow costs a fused graph, and its branches are not covered here", CONTRACT),
    "Loop": ("control flow: unroll it, a micro-turn has a fixed length", CONTRACT),
    "Scan": ("control flow: unroll it, a micro-turn has a fixed length", CONTRACT),
    "NonZero": ("the shape of its result depends on the data", CONTRACT),
    "NonMaxSuppression": ("the shape of its result depends on the data", CONTRACT),
    "Unique": ("the shape of its result depends on the data", CONTRACT),
    "Compress": ("the shape of its result depends on the data", CONTRACT),
    "ScatterND": ("wrong results are reported; write a ring buffer as Concat and Slice", KNOWN),
    "RMSNormalization": ("needs TensorRT 10.14; write it with ReduceMean in float32", KNOWN),
    "RotaryEmbedding": ("needs TensorRT 10.14; write it with Mul, Add and Concat", KNOWN),
    "Attention": ("needs TensorRT 10.14; write it with MatMul and Softmax", KNOWN),
}
"""Operators that are refused although some version's parser may take them, and what to do."""

CONSTANT_INPUTS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys([name for name in OPERATORS if name.startswith("Reduce")], (1,)),
    "Slice": (3,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "CumSum": (1,),
    "Pad": (3,),
    "OneHot": (1,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
}
"""Inputs that must be known when the plan is built. Source: MATRIX."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a graph. An error means that it would be refused or go wrong."""

    severity: Literal["error", "warning"]
    where: str
    """A node's or tensor's name."""
    problem: str
    source: str


def lint(path: Path, opset: int | None = None) -> list[Finding]:
    """Everything found in the ONNX file at `path`, of which the manifest says this opset, errors
    first. Raises ManifestError when it is not an ONNX graph or the package `onnx` is missing."""
    if path.is_file() and (problem := external_weights(path.read_bytes())) is not None:
        return [Finding("error", "graph", problem, ONE_FILE)]
    model = load_graph(path)
    has = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if opset is None or has == [opset]:
        return lint_model(model)
    versions = ", ".join(map(str, has)) or "none"
    what = f"says opset {opset}, the graph has {versions}: correct it, or export the model again"
    return [Finding("error", "manifest", what, ONE_FILE), *lint_model(model)]


def lint_as_fp16(path: Path) -> list[Finding] | None:
    """What is found in float16 only, of the graph that `half` makes of the one at `path`, which
    TensorRT gets by default. None where no other graph is made of it: it holds quantization, or
    lacks its weights. Raises as `lint`."""
    if external_weights(path.read_bytes()) is not None:
        return None
    model = named(load_graph(path))
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return None
    import onnx

    def told(finding: Finding) -> tuple[str, str]:
        return finding.where, finding.problem.replace("float32", "float16")

    known = {told(finding) for finding in lint_model(model)}
    halved = onnx.load_from_string(half(path.read_bytes()))
    return [finding for finding in lint_model(halved) if told(finding) not in known]


def load_graph(path: Path) -> Any:
    """An ONNX file as `onnx.ModelProto`. Raises ManifestError."""
    try:
        import onnx
    except ImportError:
        raise ManifestError(
            "Looking into a graph needs the package onnx: pip install 'edge-runtime[engine]'."
        ) from None
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, the checker and the file system raise types of their own
        raise ManifestError(
            f"{path} is not an ONNX graph that can be read: {error}. Export the model again."
        ) from error
    return model


def lint_model(model: Any) -> list[Finding]:
    """The same on an `onnx.ModelProto`."""
    graph = _Graph(model)
    found = [finding for check in _CHECKS for finding in check(graph)]
    return sorted(found, key=lambda finding: finding.severity)


class _Graph:
    """A graph with what the checks ask of it: types, constants, who makes and who uses a tensor."""

    def __init__(self, model: Any) -> None:
        import onnx
        from onnx import numpy_helper

        self.model, self.graph = model, model.graph
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.input, *inferred.output, *inferred.value_info)
        self._types = {v.name: v.type.tensor_type.elem_type for v in values}
        self._types |= {t.name: t.data_type for t in self.graph.initializer}
        self.constants = {t.name: t for t in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output if name}
        self.users: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
            if node.op_type == "Constant":
                value = next((a.t for a in node.attribute if a.name == "value"), None)
                self.constants[node.output[0]] = value
                if value is not None:
                    self._types[node.output[0]] = value.data_type
        self._names: dict[int, str] = {
            code: name.lower().replace("float", "float32") if name == "FLOAT" else name.lower()
            for name, code in onnx.TensorProto.DataType.items()
        }
        self._to_array = numpy_helper.to_array

    def dtype(self, name: str) -> str:
        """`float32`, `int8`, ...; `undefined` where inference does not tell."""
        return self._names.get(self._types.get(name, 0), "undefined")

    def array(self, name: str) -> Any:
        """A constant as a numpy array, or None."""
        tensor = self.constants.get(name)
        return None if tensor is None else self._to_array(tensor)

    def label(self, node: Any) -> str:
        return f"{node.name or node.output[0]} ({node.op_type})"

    def before(self, node: Any, operators: set[str]) -> list[Any]:
        """The nodes of these operators that make the inputs of `node`."""
        makers = (self.makers.get(name) for name in node.input)
        return [maker for maker in makers if maker is not None and maker.op_type in operators]


def _opsets(graph: _Graph) -> Iterator[Finding]:
    used = {node.domain for node in graph.graph.node}
    for entry in graph.model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            if entry.version not in OPSETS:
                what = f"opset {entry.version}; 10.3 takes {OPSETS[0]} to {OPSETS[-1]}"
                yield Finding("error", "graph", what, MATRIX)
            elif entry.version not in WANTED_OPSETS:
                what = f"opset {entry.version}; the engine contract asks for 19 or 20"
                yield Finding("warning", "graph", what, CONTRACT)
        elif entry.domain not in used:
            what = f"imports the operator set {entry.domain!r} and does not use it; strip it"
            yield Finding("warning", "graph", what, KNOWN)


def _operators(graph: _Graph) -> Iterator[Finding]:
    for node in graph.graph.node:
        where, operator = graph.label(node), node.op_type
        if node.domain not in ("", "ai.onnx"):
            what = f"an operator of {node.domain!r}, which needs a plugin"
            yield Finding("error", where, what, MATRIX)
        elif operator in AVOID:
            what, source = AVOID[operator]
            yield Finding("error", where, what, source)
        elif operator not in OPERATORS:
            yield Finding("error", where, "the parser has no such operator", MATRIX)
        elif node.input:
            given = graph.dtype(node.input[0])
            if given not in (*OPERATORS[operator], "undefined"):
                takes = ", ".join(sorted(OPERATORS[operator]))
                yield Finding("error", where, f"does not take {given}, only {takes}", MATRIX)


def _constants(graph: _Graph) -> Iterator[Finding]:
    for node in graph.graph.node:
        for index in CONSTANT_INPUTS.get(node.op_type, ()):
            given = node.input[index] if index < len(node.input) else ""
            if given and given not in graph.constants:
                what = f"its input {index} ({given}) must be a constant"
                yield Finding("error", graph.label(node), what, MATRIX)


def _interface(graph: _Graph) -> Iterator[Finding]:
    inputs = [v for v in graph.graph.input if v.name not in graph.constants]
    for value in (*inputs, *graph.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims):
            what = "its shape is not fixed; export with batch 1 and no dynamic axes"
            yield Finding("error", value.name, what, CONTRACT)
        dtype = graph.dtype(value.name)
        if dtype not in _ANY | {"uint8"}:
            yield Finding("error", value.name, f"{dtype} cannot go in or out", MATRIX)
    for value in inputs:
        if graph.dtype(value.name) == "uint8":
            users = graph.users.get(value.name, [])
            for node in [user for user in users if user.op_type != "Cast"]:
                what = f"uint8 input {value.name} must be cast at once"
                yield Finding("error", graph.label(node), what, MATRIX)


def _uint8_inside(graph: _Graph) -> Iterator[Finding]:
    for name, node in graph.makers.items():
        dtype = graph.dtype(name)
        if dtype in ("uint8", "double") and node.op_type != "Constant":
            what = f"gives {dtype}, which exists at the inputs only, if at all"
            yield Finding("error", graph.label(node), what, MATRIX)


def _normalization(graph: _Graph) -> Iterator[Finding]:
    for node in graph.graph.node:
        where = graph.label(node)
        extra = [name for name in node.output[1:] if name]
        if node.op_type == "LayerNormalization" and extra:
            what = f"only its first output is supported, not {', '.join(extra)}"
            yield Finding("error", where, what, MATRIX)
        if node.op_type == "Sqrt" and graph.dtype(node.output[0]) == "float16":
            for add in graph.before(node, {"Add"}):
                for mean in graph.before(add, {"ReduceMean"}):
                    if graph.before(mean, {"Pow", "Mul"}):
                        what = "a layer norm taken apart overflows in float16: use the operator"
                        yield Finding("error", where, what, KNOWN)


def _quantization(graph: _Graph) -> Iterator[Finding]:
    for node in graph.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        where = graph.label(node)
        zero_point = node.input[2] if len(node.input) > 2 else ""
        zeros = graph.array(zero_point) if zero_point else None
        if zeros is not None and zeros.any():
            yield Finding("error", where, "its zero point is not zero", MATRIX)
        quantized = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
        dtype = graph.dtype(zero_point) if zero_point else graph.dtype(quantized)
        if dtype not in ("int8", "undefined"):
            what = f"quantizes to {dtype}; only symmetric int8 is taken (leave biases in float)"
            yield Finding("error", where, what, GUIDE)
        scales = graph.array(node.input[1])
        if scales is not None and not (scales > 0).all():
            yield Finding("error", where, "a scale is not positive", GUIDE)


_CHECKS: tuple[Callable[[_Graph], Iterator[Finding]], ...] = (
    _opsets,
    _interface,
    _operators,
    _constants,
    _uint8_inside,
    _normalization,
    _quantization,
)
