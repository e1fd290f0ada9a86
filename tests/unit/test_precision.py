"""float16 graphs: what leads to a logarithm is never rounded to it, not even on its way."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.inference.onnx import OnnxEngine, OnnxOptions
from edge_runtime.inference.precision import before_logarithms, half
from edge_runtime.micro_turn import TURN_SAMPLES, MicroTurn

FLOOR = 1e-10
HEARD = (1, 64)


def log_power(*, constants_as_nodes: bool, gain: float = 1.0, floor: float = FLOOR) -> bytes:
    """level = log(mean((gain * heard) ** 2) + floor), its power as a state, and scaled = level *
    floor, which shares the floor but not the front end."""
    values = {"gain": gain, "floor": floor}
    constants = {
        k: numpy_helper.from_array(np.full((1, 1), v, np.float32), k) for k, v in values.items()
    }
    nodes = [
        helper.make_node("Mul", ["heard", "gain"], ["raw"]),
        helper.make_node("Mul", ["raw", "raw"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["power"], keepdims=1),
        helper.make_node("Add", ["power", "floor"], ["lifted"]),
        helper.make_node("Log", ["lifted"], ["level"]),
        helper.make_node("Mul", ["level", "floor"], ["scaled"]),
    ]
    if constants_as_nodes:
        nodes = [
            helper.make_node("Constant", [], [k], value=v) for k, v in constants.items()
        ] + nodes
    graph = helper.make_graph(
        nodes,
        "log_power",
        [helper.make_tensor_value_info("heard", TensorProto.FLOAT, HEARD)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1))
            for name in ("level", "power", "scaled")
        ],
        [] if constants_as_nodes else list(constants.values()),
    )
    opsets = [helper.make_opsetid("", 20)]
    data: bytes = helper.make_model(graph, ir_version=9, opset_imports=opsets).SerializeToString()
    return data


def run(graph: bytes, heard: NDArray[np.float32]) -> dict[str, float]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {"heard": heard})
    return {name: value.item() for name, value in zip(names, found, strict=True)}


def rounded_before_logarithms(graph: bytes) -> list[str]:
    """Tensors in float16 among all that a logarithm depends on."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph), strict_mode=True)
    values = (*model.graph.input, *model.graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    early = before_logarithms(model.graph)
    names = {name for node in model.graph.node if node.name in early for name in node.input}
    return sorted(name for name in names if types[name] == TensorProto.FLOAT16)


@pytest.mark.parametrize("constants_as_nodes", [False, True])
class TestFrontEnd:
    def test_nothing_before_a_logarithm_is_float16(self, constants_as_nodes: bool) -> None:
        made = half(log_power(constants_as_nodes=constants_as_nodes))
        onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
        assert rounded_before_logarithms(made) == []

    def test_silence_is_the_floor(self, constants_as_nodes: bool) -> None:
        made = half(log_power(constants_as_nodes=constants_as_nodes))
        got = run(made, np.zeros(HEARD, np.float32))
        assert got["level"] == pytest.approx(np.log(FLOOR), rel=1e-3)

    def test_powers_of_whole_numbers_do_not_overflow(self, constants_as_nodes: bool) -> None:
        """A gain that makes 16-bit samples of them, as many front ends begin."""
        graph = log_power(constants_as_nodes=constants_as_nodes, gain=32768.0, floor=1.0)
        heard = np.full(HEARD, 0.5, np.float32)
        wanted, got = run(graph, heard), run(half(graph), heard)
        assert got["level"] == pytest.approx(wanted["level"], rel=1e-3)
        assert got["power"] == wanted["power"] == 16384.0**2, "given out, it is not rounded"


def test_only_casts_that_somebody_uses_are_left(repository: Path) -> None:
    made = half((repository / "engines" / "reference" / "model.onnx").read_bytes())
    assert rounded_before_logarithms(made) == []
    graph = onnx.load_from_string(made).graph
    given = {name for node in graph.node for name in node.output}
    used = {name for node in graph.node for name in node.input}
    assert [n.name for n in graph.node if not used.intersection(n.output)] == [
        n.name for n in graph.node if n.output[0] in {value.name for value in graph.output}
    ]
    assert {value.name for value in graph.value_info} <= given, "none of what is gone"


def test_equal_graphs_give_equal_bytes() -> None:
    graph = log_power(constants_as_nodes=False)
    first, second = (hashlib.sha256(half(graph)).hexdigest() for _ in range(2))
    assert first == second


def test_the_reference_model_hears_quiet_bands_beside_a_loud_tone(repository: Path) -> None:
    """440 Hz, in whose shadow float16 loses every other band: errors of .3 with rounded powers."""
    folder = repository / "engines" / "reference"
    time_s = np.arange(16 * TURN_SAMPLES) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    worst = 0.0
    with OnnxEngine(folder) as whole, OnnxEngine(folder, OnnxOptions(precision="fp16")) as halved:
        for index, heard in enumerate(tone.reshape(16, TURN_SAMPLES)):
            turn = MicroTurn(index, 0, np.stack([heard, np.zeros_like(heard)]))
            wanted, got = whole.step(turn).tensors, halved.step(turn).tensors
            worst = max([worst, *(float(np.abs(wanted[n] - got[n]).max()) for n in wanted)])
    assert worst < 0.06
