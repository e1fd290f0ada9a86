"""The roofline: counted by hand on a small graph, and in line with itself on the shipped one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_model import write_tiny_model

from edge_runtime.errors import ManifestError
from edge_runtime.inference.estimate import BOARDS, Board, cost
from edge_runtime.inference.manifest import load_manifest


def with_matmul(graph: onnx.GraphProto) -> None:
    graph.node[-1].output[0] = "raw"
    weights = numpy_helper.from_array(np.eye(5, dtype=np.float32), "weights")
    graph.initializer.append(weights)
    graph.node.append(helper.make_node("MatMul", ["raw", "weights"], ["floor"], "layer"))


def test_it_counts_what_moves_and_what_is_computed(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path, edit_graph=with_matmul)
    found = cost(load_manifest(folder), "fp32")
    assert found.weight_bytes == 5 * 5 * 4 + 2 * 8, "the matrix, and the shape (1, 1)"
    assert found.state_bytes == 2 * 4
    assert found.interface_bytes == 4 * (6400 + 1 + 3 + 5 + 5) + 4 * 6 * 3
    assert found.operations == 2 * 5 * 5
    halved = cost(load_manifest(folder), "fp16")
    assert halved.weight_bytes == 5 * 5 * 2 + 2 * 8
    assert halved.state_bytes == found.state_bytes, "states stay float32"


def test_the_slower_of_the_two_counts(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path, edit_graph=with_matmul)
    found = cost(load_manifest(folder), "fp32")
    moved = found.weight_bytes + found.state_bytes + found.interface_bytes
    slow_memory = Board("m", 1e-3, {"fp32": 1e6})
    slow_arithmetic = Board("a", 1e6, {"fp32": 1e-6})
    assert found.at_least_us(slow_memory) == pytest.approx(moved)
    assert found.at_least_us(slow_arithmetic) == pytest.approx(found.operations)


def test_a_small_model_waits_for_memory_everywhere(repository: Path) -> None:
    found = cost(load_manifest(repository / "engines" / "reference"), "fp16")
    for board in BOARDS:
        assert found.at_least_us(board) == found.memory_us(board) > found.compute_us(board)


def test_without_onnx_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ManifestError, match=r"pip install 'edge-runtime\[engine\]'"):
        cost(load_manifest(repository / "engines" / "reference"), "fp32")
