"""A Q/DQ graph of a float32 graph: INT8 as TensorRT takes it.

The recipe: symmetric int8 for weights (a scale a channel) and activations (one scale), no zero
points, no quantized biases, and only the inputs of Conv, MatMul and Gemm quantized. Left in float
are all that leads to a logarithm (see `precision.py`), and products of two computed tensors, as in
attention.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import ManifestError
from edge_runtime.inference.precision import before_logarithms, named

OPERATORS = ("Conv", "MatMul", "Gemm")
OLDEST_OPSET = 19
"""The first whose quantization takes scales in float16."""
SENSITIVITY_TURNS = 16
Feed = Mapping[str, NDArray[Any]]
"""Inputs and states of one micro-turn, by the graph's names."""
_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(OPERATORS),
}


@dataclass(frozen=True)
class Sensitivity:
    """What one layer alone costs when only it is quantized."""

    layer: str
    operator: str
    error: float
    """Root of the mean squared difference of the outputs, over that of the outputs themselves."""


def quantizable(graph: bytes) -> dict[str, str]:
    """Operator by name of the layers that may be quantized.

    Raises ManifestError when there is none, the opset is too old, or the package `onnx` is missing.
    """
    model = _load(graph)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < OLDEST_OPSET:
        raise ManifestError(
            f"int8 needs opset 19 or 20, and the graph has {opset}. Export the model again, with "
            "opset_version=20 where it is PyTorch's."
        )
    layers = _layers(model.graph)
    if not layers:
        raise ManifestError(
            "There is no layer to quantize: no Conv, MatMul or Gemm with constant weights, but for "
            "what leads to a logarithm. Use fp16."
        )
    return layers


class Quantizer:
    """Ranges are measured once, on entering; graphs are made from them as often as wanted."""

    def __init__(self, graph: bytes, feeds: Sequence[Feed]) -> None:
        self._graph, self._feeds = graph, feeds
        self._ranges: Any = None

    def __enter__(self) -> Quantizer:
        """Raises ManifestError when the packages are missing, or there is nothing to measure on."""
        self._model = _load(self._graph)
        self.layers = _layers(self._model.graph)
        import onnx
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

        if not self._feeds:
            raise ManifestError("There is no micro-turn to calibrate on. Give --recording.")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(self._model, str(path))
            calibrator = create_calibrator(
                path,
                list(OPERATORS),
                augmented_model_path=str(Path(folder) / "augmented.onnx"),
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"symmetric": True},
            )
            calibrator.collect_data(_Reader(self._feeds))
            self._ranges = calibrator.compute_data()
            del calibrator
        return self

    def __exit__(self, *exception: object) -> None:
        self._ranges = None

    def graph(self, layers: Iterable[str]) -> bytes:
        """The Q/DQ graph in which these layers are quantized; the rest stays float32."""
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copy = onnx.ModelProto()
        copy.CopyFrom(self._model)
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=list(layers),
            nodes_to_exclude=[],
            op_types_to_quantize=list(OPERATORS),
            extra_options=dict(_OPTIONS),
        )
        quantizer.quantize_model()
        made = quantizer.model.model
        used = {node.domain for node in made.graph.node} | {""}
        kept = [entry for entry in made.opset_import if entry.domain in used]
        del made.opset_import[:]
        made.opset_import.extend(kept)
        data: bytes = made.SerializeToString()
        return data

    def sensitivities(
        self, outputs: Sequence[str], progress: Callable[[int, int], None]
    ) -> list[Sensitivity]:
        """Every layer alone, on some of the turns; the most expensive first."""
        feeds = self._feeds[:: max(1, len(self._feeds) // SENSITIVITY_TURNS)]
        wanted = run(self._graph, feeds, outputs)
        found = []
        for index, (name, operator) in enumerate(self.layers.items()):
            progress(index, len(self.layers))
            got = run(self.graph([name]), feeds, outputs)
            found.append(Sensitivity(name, operator, relative_error(wanted, got)))
        return sorted(found, key=lambda one: -one.error)


def run(graph: bytes, feeds: Sequence[Feed], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
    """The outputs of every feed, one row each, by ONNX Runtime on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    rows = [session.run(list(outputs), dict(feed)) for feed in feeds]
    return [np.stack([row[index] for row in rows]) for index in range(len(outputs))]


def relative_error(
    wanted: Sequence[NDArray[np.float32]], got: Sequence[NDArray[np.float32]]
) -> float:
    """Over all outputs, each weighing the same."""
    parts = [
        float(np.sqrt(np.mean(np.square(a - b)) / np.mean(np.square(a))))
        for a, b in zip(wanted, got, strict=True)
    ]
    return float(np.mean(parts))


class _Reader:
    """What ONNX Runtime calls a CalibrationDataReader."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def _load(graph: bytes) -> Any:
    """As `onnx.ModelProto`, every node with a name. Raises ManifestError without `onnx`."""
    try:
        import onnx
    except ImportError as error:
        raise ManifestError(
            f"Quantizing needs the package onnx ({error}): pip install 'edge-runtime[engine]'."
        ) from None
    return named(onnx.load_from_string(graph))


def _layers(graph: Any) -> dict[str, str]:
    """Operator by name of all that may be quantized: what multiplies by a constant."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    early = before_logarithms(graph)
    return {
        node.name: node.op_type
        for node in graph.node
        if node.op_type in OPERATORS and node.name not in early and constants & set(node.input[:2])
    }
