"""Weights in another file are found wherever a graph may hold them, and such a model is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tiny_model import tiny_graph, write_tiny_model

from edge_runtime.errors import ManifestError
from edge_runtime.inference import onnx_file
from edge_runtime.inference.estimate import cost
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.inference.onnx_file import external_weights

MESSAGES = {
    "model": onnx.ModelProto,
    "function": onnx.FunctionProto,
    "graph": onnx.GraphProto,
    "node": onnx.NodeProto,
    "attribute": onnx.AttributeProto,
    "sparse": onnx.SparseTensorProto,
    "tensor": onnx.TensorProto,
}
NOT_RUN = {"training_info", "attribute_proto"}
"""What leads to tensors in training, and default values of functions' attributes."""


def elsewhere(name: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, "model.onnx.data")
    return tensor


def with_its_weights_outside(folder: Path) -> Path:
    """A model folder as PyTorch's exporter writes it, with the hash of the .onnx."""

    def with_raw_values(graph: onnx.GraphProto) -> None:
        graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([1, 1]), "one_by_one"))

    path = write_tiny_model(folder, edit_graph=with_raw_values) / "model.onnx"
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    manifest["model"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def test_the_fields_are_those_of_onnx() -> None:
    kinds = {message.DESCRIPTOR.full_name: kind for kind, message in MESSAGES.items()}
    for kind, message in MESSAGES.items():
        held = {
            field.number: kinds[field.message_type.full_name]
            for field in message.DESCRIPTOR.fields
            if field.message_type is not None
            and field.message_type.full_name in kinds
            and field.name not in NOT_RUN
        }
        assert onnx_file._HOLDS[kind] == held
    tensor = onnx.TensorProto
    assert onnx_file._NAME == tensor.NAME_FIELD_NUMBER
    assert onnx_file._DATA_LOCATION == tensor.DATA_LOCATION_FIELD_NUMBER
    assert onnx_file._EXTERNAL == tensor.EXTERNAL


def test_what_is_within_is_fine() -> None:
    assert external_weights(tiny_graph().SerializeToString()) is None


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_a_tensor_elsewhere_is_found_by_name(place: str) -> None:
    model = tiny_graph()
    if place == "initializer":
        model.graph.initializer.append(elsewhere("weights"))
    else:
        constant = helper.make_node("Constant", [], ["c"], value=elsewhere("weights"))
        branch = helper.make_graph([constant], "branch", [], [])
        nested = helper.make_node("If", ["x"], ["y"], then_branch=branch)
        model.graph.node.append(constant if place == "constant" else nested)
    problem = external_weights(model.SerializeToString())
    assert problem is not None
    assert "(weights)" in problem and "external_data=False" in problem


def test_of_many_the_first_are_named() -> None:
    model = tiny_graph()
    model.graph.initializer.extend(elsewhere(f"w{number}") for number in range(9))
    problem = external_weights(model.SerializeToString())
    assert problem is not None and problem.startswith("the values of 9 tensors (w0, w1, w2, ...)")


@given(st.binary(max_size=200))
def test_any_bytes_can_be_asked(content: bytes) -> None:
    external_weights(content)
    assert external_weights(b"\xff" * 200) is None


def test_such_a_model_is_refused_wherever_it_is_run_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_its_weights_outside(tmp_path / "model")
    monkeypatch.chdir(folder)  # where ONNX Runtime would find them
    with pytest.raises(ManifestError, match="external_data=False"), OnnxEngine(folder):
        pass
    with pytest.raises(ManifestError, match="external_data=False"):
        cost(load_manifest(folder), "fp32")
