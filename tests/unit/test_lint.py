"""The graph check: every rule finds what it is for, and the shipped graph is clean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_model import tiny_graph, write_tiny_model
from typer.testing import CliRunner

from edge_runtime.cli import app
from edge_runtime.errors import ManifestError
from edge_runtime.inference.lint import AVOID, OPERATORS, lint, lint_as_fp16, lint_model

FLOAT, HALF, INT8, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.UINT8,
)
Build = Callable[[], onnx.ModelProto]


def model(
    *nodes: onnx.NodeProto,
    constants: dict[str, Any] | None = None,
    dtype: int = FLOAT,
    shape: tuple[Any, ...] = (1, 4),
    opsets: tuple[tuple[str, int], ...] = (("", 20),),
) -> onnx.ModelProto:
    """A graph from `x` to `y`, both of this type and shape."""
    graph = helper.make_graph(
        list(nodes),
        "one",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    return helper.make_model(graph, ir_version=9, opset_imports=imports)


def node(operator: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def quantized(**other: Any) -> onnx.ModelProto:
    """A tensor in int8 and back, with another `scale` or `zero` if given."""
    return model(
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero"),
        constants={"scale": np.float32(0.1), "zero": np.int8(0), **other},
    )


def taken_apart(dtype: int) -> onnx.ModelProto:
    """A layer norm by hand."""
    kind = np.float16 if dtype == HALF else np.float32
    return model(
        node("ReduceMean", "x axes", "m"),
        node("Sub", "x m", "d"),
        node("Mul", "d d", "dd"),
        node("ReduceMean", "dd axes", "v"),
        node("Add", "v e", "ve"),
        node("Sqrt", "ve", "s"),
        node("Div", "d s"),
        constants={"axes": np.array([1]), "e": kind(1e-3)},
        dtype=dtype,
    )


BAD: dict[str, tuple[Build, str]] = {
    "an opset that is too new": (lambda: model(node("Relu"), opsets=(("", 21),)), "opset 21"),
    "an opset that is too old": (lambda: model(node("Relu"), opsets=(("", 8),)), "opset 8"),
    "an operator of another domain": (
        lambda: model(
            node("FusedGelu", domain="com.microsoft"), opsets=(("", 20), ("com.microsoft", 1))
        ),
        "needs a plugin",
    ),
    "an operator that the parser lacks": (
        lambda: model(node("BitwiseNot"), dtype=TensorProto.INT32),
        "no such operator",
    ),
    "control flow": (
        lambda: model(
            node("Scan", body=model(node("Relu"), shape=(4,)).graph, num_scan_inputs=1),
        ),
        "control flow",
    ),
    "a ring buffer by scatter": (
        lambda: model(
            node("ScatterND", "x i u"),
            constants={"i": np.array([[0, 0]]), "u": np.zeros(1, np.float32)},
        ),
        "Concat and Slice",
    ),
    "a type that the operator does not take": (
        lambda: model(node("Pow", "x p"), constants={"p": np.int32(2)}, dtype=TensorProto.INT32),
        "does not take int32",
    ),
    "axes that are computed": (
        lambda: model(
            node("Identity", "a", "axes"),
            node("ReduceMean", "x axes", "y"),
            constants={"a": np.array([1])},
        ),
        "its input 1 (axes) must be a constant",
    ),
    "a shape that is not fixed": (
        lambda: model(node("Relu"), shape=("batch", 4)),
        "shape is not fixed",
    ),
    "double precision": (
        lambda: model(node("Relu"), dtype=TensorProto.DOUBLE),
        "double cannot go in or out",
    ),
    "bytes that are not cast at once": (
        lambda: model(node("Identity"), dtype=UINT8),
        "must be cast at once",
    ),
    "bytes inside": (
        lambda: model(node("Cast", "x", "b", to=UINT8), node("Cast", "b", "y", to=FLOAT)),
        "gives uint8",
    ),
    "more than the first output of a layer norm": (
        lambda: model(
            node("LayerNormalization", "x g", "y mean"), constants={"g": np.ones(4, np.float32)}
        ),
        "only its first output",
    ),
    "a layer norm taken apart in float16": (lambda: taken_apart(HALF), "overflows in float16"),
    "a zero point that is not zero": (lambda: quantized(zero=np.int8(3)), "not zero"),
    "unsigned quantization": (lambda: quantized(zero=np.uint8(0)), "quantizes to uint8"),
    "a quantized bias": (
        lambda: model(
            node("DequantizeLinear", "b s", "f"),
            node("Add", "x f"),
            constants={"b": np.ones(4, np.int32), "s": np.float32(0.1)},
        ),
        "quantizes to int32",
    ),
    "a scale of zero": (lambda: quantized(scale=np.float32(0)), "scale is not positive"),
}


@pytest.mark.parametrize("case", BAD)
def test_it_finds(case: str) -> None:
    make, problem = BAD[case]
    errors = [found for found in lint_model(make()) if found.severity == "error"]
    assert any(problem in found.problem for found in errors), errors
    assert all(found.source and found.where for found in errors)


# A Loop without a body cannot even be looked at.
@pytest.mark.parametrize("name", sorted(set(AVOID) - {"Loop"}))
def test_what_is_to_be_avoided_says_why(name: str) -> None:
    found = lint_model(model(node(name)))
    assert [f.problem for f in found if f.severity == "error"][:1] == [AVOID[name][0]]


GOOD: dict[str, Build] = {
    "a layer norm taken apart in float32": lambda: taken_apart(FLOAT),
    "symmetric int8": quantized,
    "per-channel scales": lambda: quantized(
        scale=np.array([0.1, 0.2, 0.3, 0.4], np.float32), zero=np.zeros(4, np.int8)
    ),
    "the tiny model": tiny_graph,
}


@pytest.mark.parametrize("case", GOOD)
def test_it_is_content_with(case: str) -> None:
    assert lint_model(GOOD[case]()) == []


def saved(graph: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(graph, folder / "model.onnx")
    return folder / "model.onnx"


def test_what_only_float16_breaks_is_found_in_the_float32_graph(tmp_path: Path) -> None:
    found = lint_as_fp16(saved(taken_apart(FLOAT), tmp_path))
    assert found is not None
    assert [finding.where for finding in found] == ["Sqrt_5 (Sqrt)"]
    assert "overflows in float16" in found[0].problem


def test_what_was_told_of_the_float32_graph_is_not_told_again(tmp_path: Path) -> None:
    wrong = model(node("Not"), opsets=(("", 17),))
    assert len(lint_model(wrong)) == 2
    assert lint_as_fp16(saved(wrong, tmp_path)) == []


def test_a_graph_with_quantization_is_run_as_it_is(tmp_path: Path) -> None:
    assert lint_as_fp16(saved(quantized(), tmp_path)) is None


def test_the_command_tells_which_of_the_two_it_found_it_in(tmp_path: Path) -> None:
    path = saved(taken_apart(FLOAT), tmp_path)
    ran = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["engine", "lint", str(path)])
    assert ran.exit_code == 1
    assert f"{path}: nothing found." in ran.output
    assert "as fp16" in ran.output and "overflows in float16" in ran.output


def test_a_manifest_that_says_another_opset(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, {"model.opset": 17})
    ran = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["engine", "lint", str(tmp_path)])
    assert ran.exit_code == 1
    assert "says opset 17, the graph has 20: correct it" in " ".join(ran.output.split())


def test_warnings_are_no_errors() -> None:
    found = lint_model(model(node("Relu"), opsets=(("", 17), ("com.microsoft", 1))))
    assert {f.severity for f in found} == {"warning"}
    assert {f.problem.split(";")[0] for f in found} == {
        "opset 17",
        "imports the operator set 'com.microsoft' and does not use it",
    }


def test_the_shipped_graphs_are_clean(repository: Path) -> None:
    for path in (repository / "engines" / "reference").glob("*.onnx"):
        assert lint(path) == []
        assert not lint_as_fp16(path)


def test_every_operator_of_the_table_exists() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= known
    assert not set(OPERATORS) & set(AVOID)


def test_weights_in_another_file_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    taken = taken_apart(FLOAT)
    onnx.save(taken, path, save_as_external_data=True, size_threshold=0)
    (found,) = lint(path)
    assert found.severity == "error"
    assert "external_data=False" in found.problem
    assert lint_as_fp16(path) is None


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"words")
    with pytest.raises(ManifestError, match="is not an ONNX graph"):
        lint(tmp_path / "model.onnx")
