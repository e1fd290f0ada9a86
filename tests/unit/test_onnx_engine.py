"""The ONNX engine: what it refuses to run, and the state that one micro-turn gives the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tiny_model import INITIAL_SUM, MISSING, write_tiny_model

from edge_runtime.errors import EngineError, ManifestError
from edge_runtime.inference.onnx import OnnxEngine, OnnxOptions, _providers
from edge_runtime.micro_turn import TURN_SAMPLES, EngineOutput, Event, EventKind, MicroTurn

GraphEdit = Callable[[onnx.GraphProto], None]
PICTURE = np.full((4, 6, 3), 40, np.uint8)


def turn(index: int = 0, loudness: float = 0.0, **what: Any) -> MicroTurn:
    return MicroTurn(index, 0, np.full((2, TURN_SAMPLES), loudness, np.float32), **what)


def floor(output: EngineOutput) -> list[float]:
    values: list[float] = output.tensors["floor"][0].tolist()
    return values


def sums(engine: OnnxEngine, loudness: Sequence[float]) -> list[float]:
    """What the tiny model has added up after each micro-turn."""
    return [floor(engine.step(turn(i, level)))[0] for i, level in enumerate(loudness)]


def refusal(folder: Path) -> str:
    with pytest.raises(ManifestError) as refused, OnnxEngine(folder):
        pass
    return str(refused.value)


def renamed(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


class TestStep:
    def test_the_model_gets_the_whole_turn(self, tmp_path: Path) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            events = (Event(EventKind.RESULT), Event(EventKind.LINK_UP))
            output = engine.step(turn(7, 0.5, frame=PICTURE, events=events))
        assert output.index == 7
        assert list(output.tensors) == ["floor"]
        assert floor(output) == [INITIAL_SUM + 0.5, 40.0, 1.0, 2.0, 1.0]

    def test_one_turn_hands_its_state_to_the_next(self, tmp_path: Path) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            assert sums(engine, [0.5, 0.25, 0.0, 1.0]) == [10.5, 10.75, 10.75, 11.75]

    def test_the_first_turn_starts_from_the_initial_state(self, tmp_path: Path) -> None:
        """Nothing of the warm-up is left."""
        with OnnxEngine(write_tiny_model(tmp_path, {"states.0.initial": -3.0})) as engine:
            assert sums(engine, [0.0]) == [-3.0]

    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_reset_forgets_what_was_heard(self, tmp_path: Path, turns: int) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            first = sums(engine, [0.5] * turns)
            engine.reset()
            assert sums(engine, [0.5] * turns) == first

    def test_a_result_is_never_written_to_again(self, tmp_path: Path) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            results = [engine.step(turn(i, 1.0)) for i in range(4)]
            engine.reset()
        assert [floor(result)[0] for result in results] == [11.0, 12.0, 13.0, 14.0]

    def test_writing_to_a_result_does_not_change_the_engine(self, tmp_path: Path) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            engine.step(turn(0, 1.0)).tensors["floor"][:] = 1000.0
            assert sums(engine, [1.0]) == [12.0]

    def test_two_engines_share_nothing(self, tmp_path: Path) -> None:
        folder = write_tiny_model(tmp_path)
        with OnnxEngine(folder) as one, OnnxEngine(folder, OnnxOptions(threads=2)) as other:
            assert sums(one, [1.0, 1.0]) == [11.0, 12.0]
            assert sums(other, [0.25]) == [10.25]

    def test_a_recording_notes_which_model_ran(self, tmp_path: Path) -> None:
        engine = OnnxEngine(write_tiny_model(tmp_path))
        identity = engine.identity
        assert (identity["name"], identity["version"]) == ("tiny", "1.2.3")
        assert (identity["backend"], identity["sha256"]) == ("onnx", engine.manifest.model.sha256)


class TestState:
    def test_it_can_be_taken_and_given_back(self, tmp_path: Path) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            assert sums(engine, [1.0]) == [11.0]
            kept = engine.state()
            assert sums(engine, [1.0, 1.0]) == [12.0, 13.0]
            assert kept["state_sum"] == 11.0, "it is a copy"
            engine.restore(kept)
            assert sums(engine, [1.0]) == [12.0]

    def test_one_engine_goes_on_from_the_state_of_another(self, tmp_path: Path) -> None:
        folder = write_tiny_model(tmp_path)
        with OnnxEngine(folder) as one, OnnxEngine(folder) as other:
            sums(one, [1.0, 1.0])
            other.restore(one.state())
            assert sums(other, [1.0]) == [13.0]


class TestProviders:
    @pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
    def test_one_that_is_not_installed_is_refused_with_a_remedy(
        self, tmp_path: Path, provider: Any
    ) -> None:
        ort = pytest.importorskip("onnxruntime")
        if any(name.startswith(("CUDA", "Tensorrt")) for name in ort.get_available_providers()):
            pytest.skip("this ONNX Runtime has GPU providers")
        engine = OnnxEngine(write_tiny_model(tmp_path), OnnxOptions(provider=provider))
        with pytest.raises(ManifestError, match=f"{provider}.*onnxruntime-gpu"), engine:
            pass

    @pytest.mark.parametrize("broken", ["full", "absent"])
    def test_a_gpu_that_is_full_or_late_is_no_fault_of_the_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        """A later start may find it ready, so a service is to try again."""
        ort = pytest.importorskip("onnxruntime")
        on_cpu = ort.InferenceSession

        def session(graph: bytes, options: Any, providers: Any) -> Any:
            if broken == "full":
                raise RuntimeError("CUDA failure 2: out of memory")
            return on_cpu(graph, options, providers=["CPUExecutionProvider"])

        there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(ort, "get_available_providers", lambda: there)
        monkeypatch.setattr(ort, "InferenceSession", session)
        engine = OnnxEngine(write_tiny_model(tmp_path), OnnxOptions(provider="cuda"))
        told = {"full": "out of memory.*nvidia-smi", "absent": "not there yet.*choose cpu"}
        with pytest.raises(EngineError, match=told[broken]), engine:
            pass

    def test_the_gpu_comes_first_and_the_cpu_takes_the_rest(self, tmp_path: Path) -> None:
        options = OnnxOptions(provider="tensorrt", cache=tmp_path / "cache", workspace_mb=64)
        (first, settings), second, third = _providers(options)
        assert [first, second[0], third[0]] == [
            "TensorrtExecutionProvider",
            "CUDAExecutionProvider",
            "CPUExecutionProvider",
        ]
        assert settings["trt_max_workspace_size"] == str(64 << 20)
        for kind in ("engine", "timing"):
            assert settings[f"trt_{kind}_cache_enable"] == "True"
            assert settings[f"trt_{kind}_cache_path"] == str(tmp_path / "cache")
        assert (tmp_path / "cache").is_dir()


class TestFailures:
    def test_nan_is_an_error_and_names_the_tensor(self, tmp_path: Path) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            message = r"NaN or infinity in micro-turn 3: floor\..*engine\.precision fp32"
            with pytest.raises(EngineError, match=message):
                engine.step(turn(3, float("nan")))

    def test_infinity_is_an_error(self, tmp_path: Path) -> None:
        with (
            OnnxEngine(write_tiny_model(tmp_path)) as engine,
            pytest.raises(EngineError, match="NaN or infinity in micro-turn 4"),
        ):
            engine.step(turn(4, float("inf")))

    def test_a_graph_that_fails_while_running(self, tmp_path: Path) -> None:
        """The turn is named, and the next one goes on from the state before it."""
        with OnnxEngine(write_tiny_model(tmp_path, edit_graph=fails_with_a_picture)) as engine:
            assert sums(engine, [1.0]) == [11.0]
            with pytest.raises(EngineError, match="The engine failed in micro-turn 8"):
                engine.step(turn(8, 1.0, frame=PICTURE))
            assert sums(engine, [1.0]) == [12.0]

    def test_a_graph_that_fails_from_the_start_does_not_activate(self, tmp_path: Path) -> None:
        engine = OnnxEngine(write_tiny_model(tmp_path, edit_graph=fails_without_a_picture))
        message = r"model\.onnx loads but does not run: .*Export the model again"
        with pytest.raises(ManifestError, match=f"(?s){message}"), engine:
            pass
        with pytest.raises(EngineError, match="not active"):
            engine.step(turn())

    def test_a_turn_with_sound_of_another_length(self, tmp_path: Path) -> None:
        short = np.zeros((2, 1600), np.float32)
        with (
            OnnxEngine(write_tiny_model(tmp_path)) as engine,
            pytest.raises(EngineError, match="The engine failed in micro-turn 5"),
        ):
            engine.step(MicroTurn(5, 0, short))


def fails_with_a_picture(graph: onnx.GraphProto) -> None:
    _gather(graph, "frame_valid")


def fails_without_a_picture(graph: onnx.GraphProto) -> None:
    graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [1, 1], [1.0]))
    _gather(graph, "absent")
    graph.node.insert(0, helper.make_node("Sub", ["one", "frame_valid"], ["absent"]))


def _gather(graph: onnx.GraphProto, index: str) -> None:
    """Let the floor take `happened[index]`, which has one element, instead of `happened`."""
    floor_node = graph.node.pop()
    floor_node.input[3] = "gathered"
    graph.node.extend(
        [
            helper.make_node("Cast", [index], ["index"], to=TensorProto.INT64),
            helper.make_node("GatherElements", ["happened", "index"], ["gathered"]),
            floor_node,
        ]
    )


class TestLifetime:
    @pytest.mark.parametrize("use", [lambda e: e.step(turn()), lambda e: e.reset()])
    def test_before_activation_it_says_how_to_use_it(
        self, tmp_path: Path, use: Callable[[OnnxEngine], object]
    ) -> None:
        engine = OnnxEngine(write_tiny_model(tmp_path))
        with pytest.raises(EngineError, match="not active: use it inside a `with` block"):
            use(engine)

    @pytest.mark.parametrize("use", [lambda e: e.step(turn()), lambda e: e.reset()])
    def test_after_leaving_it_does_not_run(
        self, tmp_path: Path, use: Callable[[OnnxEngine], object]
    ) -> None:
        with OnnxEngine(write_tiny_model(tmp_path)) as engine:
            engine.step(turn())
        with pytest.raises(EngineError, match="not active"):
            use(engine)

    def test_it_is_released_when_the_block_fails(self, tmp_path: Path) -> None:
        engine = OnnxEngine(write_tiny_model(tmp_path))
        with pytest.raises(ZeroDivisionError), engine:
            engine.step(turn(1 // 0))
        with pytest.raises(EngineError, match="not active"):
            engine.step(turn())

    def test_entered_again_it_starts_afresh(self, tmp_path: Path) -> None:
        engine = OnnxEngine(write_tiny_model(tmp_path))
        with engine:
            assert sums(engine, [1.0, 1.0, 1.0]) == [11.0, 12.0, 13.0]
        with engine:
            assert sums(engine, [1.0]) == [11.0]

    def test_making_one_opens_nothing(self, tmp_path: Path) -> None:
        engine = OnnxEngine(tmp_path / "not there")
        with pytest.raises(ManifestError, match="it has no manifest"), engine:
            pass


class TestActivation:
    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            (
                {"inputs.1.shape": [1, 8, 6, 3]},
                "input frame: manifest uint8 [1, 8, 6, 3], graph uint8 [1, 4, 6, 3]",
            ),
            (
                {"states.0.shape": [1, 2]},
                "input state_sum: manifest float32 [1, 2], graph float32 [1, 1]",
            ),
            (
                {"states.0.shape": [1, 2]},
                "output next_sum: manifest float32 [1, 2], graph float32 [1, 1]",
            ),
            (
                {"inputs.3.name": "happenings"},
                "input happenings: manifest float32 [1, 3], graph has none",
            ),
            (
                {"inputs.3.name": "happenings"},
                "input events: manifest has none, graph float32 [1, 3]",
            ),
            (
                {"outputs.0.name": "ground"},
                "output ground: manifest float32 [1, 5], graph has none",
            ),
            ({"inputs.4": MISSING}, "input status: manifest has none, graph float32 [1, 5]"),
            ({"states": []}, "input state_sum: manifest has none, graph float32 [1, 1]"),
            ({"states": []}, "output next_sum: manifest has none, graph float32 [1, 1]"),
            (
                {"states.+": {"input": "state_more", "output": "next_more", "shape": [1, 7]}},
                "output next_more: manifest float32 [1, 7], graph has none",
            ),
        ],
    )
    def test_a_manifest_that_describes_another_graph(
        self, tmp_path: Path, changes: dict[str, Any], problem: str
    ) -> None:
        said = refusal(write_tiny_model(tmp_path, changes))
        assert f"{tmp_path / 'model.onnx'} and its manifest do not match" in said
        assert problem in said
        assert "Export the model again" in said

    def test_a_graph_of_another_type(self, tmp_path: Path) -> None:
        said = refusal(write_tiny_model(tmp_path, edit_graph=frame_in_floats))
        assert "input frame: manifest uint8 [1, 4, 6, 3], graph float32 [1, 4, 6, 3]" in said

    def test_a_graph_with_a_free_axis(self, tmp_path: Path) -> None:
        """The runtime binds buffers once, so every shape must be known."""
        said = refusal(write_tiny_model(tmp_path, edit_graph=any_batch))
        assert "input frame_valid: manifest float32 [1, 1], graph float32 ['batch', 1]" in said

    def test_a_graph_with_another_output(self, tmp_path: Path) -> None:
        folder = write_tiny_model(tmp_path, edit_graph=lambda g: renamed(g, "floor", "mood"))
        said = refusal(folder)
        assert "output floor: manifest float32 [1, 5], graph has none" in said
        assert "output mood: manifest has none, graph float32 [1, 5]" in said

    def test_all_differences_are_told_at_once(self, tmp_path: Path) -> None:
        changes = {"inputs.3.name": "a", "inputs.4.name": "b", "states.0.shape": [2, 2]}
        said = refusal(write_tiny_model(tmp_path, changes))
        assert said.count("input ") == 5
        assert said.count("output ") == 1

    def test_a_file_that_is_not_the_described_one(self, tmp_path: Path) -> None:
        said = refusal(write_tiny_model(tmp_path, {"model.sha256": "0" * 64}))
        assert "is not the file its manifest describes" in said
        assert "expected 0000000000000000" in said

    @pytest.mark.parametrize("kept", [0, 10, -1, -60])
    def test_a_graph_that_was_cut_off(self, tmp_path: Path, kept: int) -> None:
        """Cut before the hash was taken, so that only the graph's content can tell."""
        said = refusal(write_tiny_model(tmp_path, cut_to_bytes=kept))
        assert f"{tmp_path / 'model.onnx'} is not a graph that ONNX Runtime can load" in said
        assert "Export the model again" in said

    def test_a_copy_that_stopped_half_way(self, tmp_path: Path) -> None:
        path = write_tiny_model(tmp_path) / "model.onnx"
        path.write_bytes(path.read_bytes()[:200])
        said = refusal(tmp_path)
        assert f"{path} is not the file its manifest describes" in said
        assert "copy the whole folder again" in said


def frame_in_floats(graph: onnx.GraphProto) -> None:
    frame = next(value for value in graph.input if value.name == "frame")
    frame.type.tensor_type.elem_type = TensorProto.FLOAT


def any_batch(graph: onnx.GraphProto) -> None:
    valid = next(value for value in graph.input if value.name == "frame_valid")
    valid.type.tensor_type.shape.dim[0].dim_param = "batch"


class TestReferenceModel:
    """The model that ships, on 4 s of noise with a picture now and then."""

    TURNS = 20

    @pytest.fixture
    def turns(self) -> list[MicroTurn]:
        noise = np.random.default_rng(5)
        return [
            MicroTurn(
                index=i,
                deadline_ns=0,
                audio=noise.normal(0, 0.1, (2, TURN_SAMPLES)).astype(np.float32),
                frame=noise.integers(0, 256, (48, 64, 3), np.uint8) if i % 3 else None,
                events=(Event(EventKind.LINK_UP),) if i == 4 else (),
            )
            for i in range(self.TURNS)
        ]

    def run(self, engine: OnnxEngine, turns: Sequence[MicroTurn]) -> dict[str, NDArray[Any]]:
        outputs = [engine.step(turn).tensors for turn in turns]
        return {name: np.stack([output[name] for output in outputs]) for name in outputs[0]}

    def test_it_is_deterministic_and_reset_is_whole(
        self, repository: Path, turns: list[MicroTurn]
    ) -> None:
        folder = repository / "engines" / "reference"
        with OnnxEngine(folder) as engine:
            first = self.run(engine, turns)
            engine.reset()
            after_reset = self.run(engine, turns)
        with OnnxEngine(folder) as engine:
            afresh = self.run(engine, turns)
        assert set(first) == {"floor", "act", "action", "delegate", "transcript", "seen"}
        for name in first:
            np.testing.assert_array_equal(after_reset[name], first[name])
            np.testing.assert_array_equal(afresh[name], first[name])

    def test_it_remembers(self, repository: Path, turns: list[MicroTurn]) -> None:
        """The same last turn after another past gives another output."""
        with OnnxEngine(repository / "engines" / "reference") as engine:
            with_past = self.run(engine, turns)["floor"][-1]
            engine.reset()
            without_past = self.run(engine, turns[-1:])["floor"][-1]
        assert np.abs(with_past - without_past).max() > 1e-3
