"""The int8 graph: quantized as TensorRT takes it, checked on other turns, named by the manifest."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from tiny_model import tiny_manifest, write_tiny_model
from typer.testing import CliRunner

from edge_runtime.calibrate import calibrate, collect, split, write
from edge_runtime.cli import app
from edge_runtime.errors import EngineError, ManifestError
from edge_runtime.inference.lint import lint_model
from edge_runtime.inference.manifest import load_manifest, read_graph
from edge_runtime.inference.onnx import OnnxEngine, OnnxOptions
from edge_runtime.inference.precision import before_logarithms, half
from edge_runtime.inference.quantize import Quantizer, relative_error, run
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.sinks.recorder import Recorder

WEIGHTS = np.random.default_rng(3).normal(0.0, 0.2, (5, 5)).astype(np.float32)


def with_layers(graph: onnx.GraphProto) -> None:
    """floor = log-energy @ front, and then three layers: a MatMul, an attention and a Gemm."""
    graph.node[-1].output[0] = "raw"
    graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in {
            "front": np.eye(5, dtype=np.float32),
            "weights": WEIGHTS,
            "more": WEIGHTS[::-1].copy(),
            "tiny": np.full((1, 1), 1e-6, np.float32),
        }.items()
    )
    graph.node.extend(
        [
            helper.make_node("MatMul", ["raw", "front"], ["fronted"], "early"),
            helper.make_node("Mul", ["fronted", "fronted"], ["power"], "square"),
            helper.make_node("Add", ["power", "tiny"], ["lifted"], "lift"),
            helper.make_node("Log", ["lifted"], ["logs"], "log"),
            helper.make_node("MatMul", ["logs", "weights"], ["hidden"], "hidden"),
            helper.make_node("Transpose", ["hidden"], ["turned"], "turn", perm=[1, 0]),
            helper.make_node("MatMul", ["turned", "hidden"], ["scores"], "attention"),
            helper.make_node("Softmax", ["scores"], ["share"], "share", axis=-1),
            helper.make_node("MatMul", ["hidden", "share"], ["mixed"], "mix"),
            helper.make_node("Gemm", ["mixed", "more"], ["floor"], "last"),
        ]
    )


def stream(count: int, seed: int = 0) -> list[MicroTurn]:
    rng = np.random.default_rng(seed)
    sounds = 0.3 * rng.standard_normal((count, 2, TURN_SAMPLES)).astype(np.float32)
    frames = rng.integers(0, 255, (count, 4, 6, 3), dtype=np.uint8)
    return [MicroTurn(i, 0, sounds[i], frame=frames[i]) for i in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model", edit_graph=with_layers)


def nothing(what: str, done: int, total: int) -> None:
    pass


def never(what: str, done: int, total: int) -> None:
    raise AssertionError(what)


class TestQuantizer:
    def test_the_graph_is_as_tensorrt_takes_it(self, folder: Path) -> None:
        feeds = collect(folder, [stream(30)], 10)
        with Quantizer((folder / "model.onnx").read_bytes(), feeds) as quantizer:
            assert quantizer.layers == {"hidden": "MatMul", "last": "Gemm"}
            model = onnx.load_from_string(quantizer.graph(quantizer.layers))
        assert lint_model(model) == []
        constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        coded = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
        scales = [constants[node.input[1]] for node in coded]
        assert sorted(scale.size for scale in scales) == [1, 1, 5, 5], "a scale a channel"
        zeros = [constants[node.input[2]] for node in coded if len(node.input) > 2]
        assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)

    def test_only_the_layers_asked_for(self, folder: Path) -> None:
        feeds = collect(folder, [stream(30)], 10)
        with Quantizer((folder / "model.onnx").read_bytes(), feeds) as quantizer:
            model = onnx.load_from_string(quantizer.graph(["last"]))
            costs = quantizer.sensitivities(["floor"], lambda done, total: None)
        coded = [n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
        assert coded == ["mixed"]
        assert {cost.layer for cost in costs} == {"hidden", "last"}
        assert costs[0].error >= costs[1].error > 0

    def test_the_result_is_near(self, folder: Path) -> None:
        feeds = collect(folder, [stream(60)], 60)
        graph = (folder / "model.onnx").read_bytes()
        with Quantizer(graph, feeds) as quantizer:
            made = half(quantizer.graph(quantizer.layers))
        error = relative_error(run(graph, feeds, ["floor"]), run(made, feeds, ["floor"]))
        assert 0 < error < 0.05

    def test_without_material(self, folder: Path) -> None:
        graph = (folder / "model.onnx").read_bytes()
        with pytest.raises(ManifestError, match="no micro-turn"), Quantizer(graph, []):
            pass


class TestHalf:
    def test_all_but_the_front_end_is_float16(self, folder: Path) -> None:
        model = onnx.load_from_string(half((folder / "model.onnx").read_bytes()))
        onnx.checker.check_model(model, full_check=True)
        assert lint_model(model) == []
        types = {t.name: t.data_type for t in model.graph.initializer}
        assert types["weights"] == types["more"] == TensorProto.FLOAT16
        assert types["front"] == types["tiny"] == TensorProto.FLOAT
        ends = (*model.graph.input, *model.graph.output)
        kinds = {v.type.tensor_type.elem_type for v in ends}
        assert kinds == {TensorProto.FLOAT, TensorProto.UINT8}

    def test_what_leads_to_a_logarithm(self, folder: Path) -> None:
        graph = onnx.load(folder / "model.onnx").graph
        assert {"early", "square", "lift", "log"} <= before_logarithms(graph)
        assert not {"hidden", "attention", "last"} & before_logarithms(graph)

    def test_the_engine_runs_it(self, folder: Path) -> None:
        turns = stream(5)
        with OnnxEngine(folder) as one, OnnxEngine(folder, OnnxOptions(precision="fp16")) as two:
            for turn in turns:
                whole, halved = one.step(turn).tensors["floor"], two.step(turn).tensors["floor"]
                np.testing.assert_allclose(halved, whole, rtol=0.02, atol=0.1)
                assert (halved != whole).any()
        assert two.identity["precision"] == "fp16"


class TestCalibrate:
    def test_the_manifest_names_a_graph_that_runs(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        before = (folder / "manifest.yaml").read_text()
        made = calibrate(folder, out, [stream(60), stream(120, 1)], 40, [], nothing)
        assert (folder / "manifest.yaml").read_text() == before
        assert (made.layers, made.kept, made.checked_turns) == (2, (), 120)
        assert made.turns == 30, "every second one of 60, at most 40"
        assert made.check.passed
        manifest = load_manifest(out)
        read_graph(manifest, "int8")
        assert manifest.variants["int8"].file == "model.int8.onnx"
        with OnnxEngine(out, OnnxOptions(precision="int8")) as engine:
            engine.step(stream(1)[0])
            assert engine.identity["sha256"] == manifest.variants["int8"].sha256

    def test_a_layer_that_is_to_be_kept(self, folder: Path) -> None:
        made = calibrate(folder, folder, [stream(240)], 40, ["last"], nothing)
        assert made.kept == ("last",)
        model = onnx.load(folder / "model.int8.onnx")
        assert sum(n.op_type == "QuantizeLinear" for n in model.graph.node) == 1

    def test_an_unknown_layer_is_named_with_those_there_are(self, folder: Path) -> None:
        with pytest.raises(ManifestError, match=r"called other.*There are: hidden, last"):
            calibrate(folder, folder, [stream(240)], 40, ["other"], nothing)

    def test_what_cannot_be_quantized_is_told_before_any_work(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match=r"no layer to quantize.*Use fp16"):
            calibrate(write_tiny_model(tmp_path), tmp_path, [stream(8)], 4, [], never)
        old = onnx.load(write_tiny_model(tmp_path, edit_graph=with_layers) / "model.onnx")
        old.opset_import[0].version = 18
        content = old.SerializeToString()
        (tmp_path / "model.onnx").write_bytes(content)
        manifest = tiny_manifest({"model.sha256": hashlib.sha256(content).hexdigest()})
        (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))
        with pytest.raises(ManifestError, match=r"opset 19 or 20, and the graph has 18\. Export"):
            calibrate(tmp_path, tmp_path, [stream(8)], 4, [], never)

    @pytest.mark.parametrize(
        ("streams", "told"),
        [
            ([stream(60), stream(99)], r"The last recording .* has 99 micro-turns.* 1 s longer"),
            ([stream(60), stream(40)], r"The last recording .* has 40 micro-turns.* 12 s longer"),
            ([stream(150)], r"The second half of the recording .* has 75 .* 10 s longer"),
        ],
    )
    def test_too_little_to_check_with_is_told_before_any_work(
        self, folder: Path, streams: list[list[MicroTurn]], told: str
    ) -> None:
        with pytest.raises(ManifestError, match=told):
            calibrate(folder, folder, streams, 40, [], never)

    def test_a_folder_that_cannot_be_written_is_told_before_any_work(
        self, folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ManifestError, match=r"cannot be written into .*file.*Give --out"):
            calibrate(folder, tmp_path / "file" / "out", [stream(240)], 40, [], never)

    def test_a_graph_that_never_comes_within_its_limits(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from edge_runtime import calibrate as module
        from edge_runtime.inference.verify import LIMITS, Limits

        impossible = Limits(error=0.0, error_p99=0.0, cosine=1.0, agreement=1.0)
        monkeypatch.setattr(module, "LIMITS", {**LIMITS, ("fp32", "int8"): impossible})
        with pytest.raises(EngineError, match="still beyond its limits: floor: error"):
            calibrate(folder, folder, [stream(240)], 40, [], nothing)
        assert not (folder / "model.int8.onnx").exists()

    def test_a_folder_without_the_graph_says_how_to_make_it(self, folder: Path) -> None:
        with pytest.raises(ManifestError, match=r"has no int8 graph.*edge-runtime calibrate"):
            load_manifest(folder).graph("int8")


def test_another_folder_gets_all_that_belongs_to_the_model(folder: Path, tmp_path: Path) -> None:
    manifest, out = folder / "manifest.yaml", tmp_path / "out"
    content = yaml.safe_load(manifest.read_text())
    letters = {"name": "letters", "role": "transcript", "shape": [1, 4, 2], "dtype": "float32"}
    content["outputs"].append(letters)
    content["vocabularies"]["symbols"] = ["", "a"]
    content["language_model"] = {"file": "characters.npz", "sha256": "0" * 64}
    manifest.write_text(yaml.safe_dump(content))
    (folder / "characters.npz").write_bytes(b"counts")
    write(folder, out, b"graph")
    assert (out / "characters.npz").read_bytes() == b"counts"
    assert (out / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert (out / "model.int8.onnx").read_bytes() == b"graph"


def test_a_graph_in_a_subfolder_stays_in_one(folder: Path, tmp_path: Path) -> None:
    (folder / "graphs").mkdir()
    (folder / "model.onnx").rename(folder / "graphs" / "model.onnx")
    manifest = (folder / "manifest.yaml").read_text()
    (folder / "manifest.yaml").write_text(manifest.replace("model.onnx", "graphs/model.onnx"))
    calibrate(folder, tmp_path / "out", [stream(60), stream(100, 1)], 20, [], nothing)
    with OnnxEngine(tmp_path / "out", OnnxOptions(precision="int8")) as engine:
        engine.step(stream(1)[0])
    assert (tmp_path / "out" / "graphs" / "model.onnx").is_file()


def test_a_second_graph_takes_the_place_of_the_first(folder: Path) -> None:
    for graph in (b"first", b"second"):
        write(folder, folder, graph)
        assert read_graph(load_manifest(folder), "int8") == graph


def test_the_graph_that_ships(repository: Path) -> None:
    manifest = load_manifest(repository / "engines" / "reference")
    if "int8" not in manifest.variants:
        pytest.skip("this checkout has no int8 graph: make quantize")
    model = onnx.load_from_string(read_graph(manifest, "int8"))
    assert lint_model(model) == []
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = [
        (constants[node.input[0]], constants[node.input[1]])
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    ]
    assert len(weights) > 20
    for coded, scales in weights:
        assert coded.dtype == np.int8
        assert scales.size in coded.shape and scales.size > 1, "a scale a channel"


def test_what_is_calibrated_on_is_not_what_is_checked() -> None:
    one, two, three = stream(4), stream(6), stream(8)
    assert split([one, two, three]) == ([one, two], [three])
    assert split([two]) == ([two[:3]], [two[3:]])


def test_turns_are_drawn_evenly_with_the_state_they_met(folder: Path) -> None:
    turns = stream(10)
    feeds = collect(folder, [turns], 5)
    assert len(feeds) == 5
    with OnnxEngine(folder) as engine:
        engine.step(turns[0])
        np.testing.assert_array_equal(feeds[0]["state_sum"], engine.state()["state_sum"])
    np.testing.assert_array_equal(feeds[0]["audio"][0], turns[1].audio)


PICTURE_BYTES = 480 * 640 * 3


@pytest.mark.parametrize(
    "command",
    [
        ["calibrate", "--turns", "40"],
        ["engine", "verify", "--candidate", "onnx:fp32", "--reference", "onnx:fp32"],
    ],
)
def test_full_pictures_of_a_recording_are_not_held_in_memory(
    folder: Path, tmp_path: Path, command: list[str]
) -> None:
    turns = stream(240)
    with Recorder(path := tmp_path / "run.mcap", {}) as recorder:
        for turn in turns:
            seen = replace(turn, frame=np.full((480, 640, 3), turn.index, np.uint8))
            decided = Decision(turn.index, "listen")
            recorder.publish(TurnRecord(seen, EngineOutput(turn.index, {}), decided, Timings()))
    tracemalloc.start()
    ran = CliRunner().invoke(app, [*command, "--engine", str(folder), "--recording", str(path)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ran.exit_code == 0, ran.output
    assert peak < len(turns) * PICTURE_BYTES / 4
