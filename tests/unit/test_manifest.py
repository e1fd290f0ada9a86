"""A model folder that breaks its contract is refused before anything runs, with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_model import MISSING, tiny_manifest, write_tiny_model

from edge_runtime.errors import ManifestError
from edge_runtime.inference.manifest import Manifest, load_manifest, read_graph

REMEDY = "Correct these keys, or export the model again"


def refusal(folder: Path) -> str:
    with pytest.raises(ManifestError) as refused:
        load_manifest(folder)
    return str(refused.value)


def refusal_of(folder: Path, changes: dict[str, Any]) -> str:
    return refusal(write_tiny_model(folder, changes))


def tensor(name: str, role: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "role": role, "shape": shape, "dtype": "float32"}


def test_a_whole_folder_is_read(tmp_path: Path) -> None:
    manifest = load_manifest(write_tiny_model(tmp_path))
    read_graph(manifest)
    assert (manifest.name, manifest.version) == ("tiny", "1.2.3")
    assert manifest.model_path == tmp_path / "model.onnx"
    assert [state.initial for state in manifest.states] == [10.0]
    assert manifest.decoding.yield_ == 0.5


def test_the_manifest_says_where_decisions_are_taken(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path, {"decoding": {"yield": 0.8, "speak": 0.35}})
    decoding = load_manifest(folder).decoding
    assert (decoding.yield_, decoding.speak, decoding.backchannel) == (0.8, 0.35, 0.5)


def test_the_reference_model_is_whole(repository: Path) -> None:
    manifest = load_manifest(repository / "engines" / "reference")
    read_graph(manifest)
    assert manifest.vocabularies.floor == ("listen", "backchannel", "speak", "yield", "hold")
    assert manifest.vocabularies.symbols[0] == ""


class TestFiles:
    def test_a_folder_without_a_manifest(self, tmp_path: Path) -> None:
        said = refusal(tmp_path)
        assert str(tmp_path) in said
        assert "it has no manifest.yaml. Give a folder" in said

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"format: [1", "line 1"),
            (b"name: \xff\xfe", "utf-8"),
            (b"version: 2024-13-45", "month must be"),
            (b"", "must be a mapping, not NoneType"),
            (b"- format: 1", "must be a mapping, not list"),
        ],
        ids=["broken YAML", "not UTF-8", "impossible date", "empty", "a list"],
    )
    def test_a_manifest_that_is_no_mapping(
        self, tmp_path: Path, content: bytes, problem: str
    ) -> None:
        path = write_tiny_model(tmp_path) / "manifest.yaml"
        path.write_bytes(content)
        said = refusal(tmp_path)
        assert str(path) in said
        assert problem in said
        assert "Export the model again" in said

    def test_a_model_file_that_is_not_there(self, tmp_path: Path) -> None:
        manifest = load_manifest(write_tiny_model(tmp_path))
        manifest.model_path.unlink()
        with pytest.raises(ManifestError, match=r"model\.onnx cannot be read.*whole folder again"):
            read_graph(manifest)

    def test_one_changed_bit_is_noticed(self, tmp_path: Path) -> None:
        manifest = load_manifest(write_tiny_model(tmp_path))
        content = bytearray(manifest.model_path.read_bytes())
        content[len(content) // 2] ^= 1
        manifest.model_path.write_bytes(content)
        with pytest.raises(ManifestError) as refused:
            read_graph(manifest)
        said = str(refused.value)
        assert f"{manifest.model_path} is not the file its manifest describes" in said
        assert manifest.model.sha256[:16] in said
        assert "copy the whole folder again" in said

    def test_a_model_in_a_subfolder(self, tmp_path: Path) -> None:
        folder = write_tiny_model(tmp_path, {"model.file": "graphs/model.onnx"})
        (folder / "graphs").mkdir()
        (folder / "model.onnx").rename(folder / "graphs" / "model.onnx")
        read_graph(load_manifest(folder))

    @pytest.mark.parametrize(
        "file",
        ["../x.onnx", "graphs/../../x.onnx", "..", "/etc/passwd", "..\\x.onnx", "C:\\x.onnx", ""],
    )
    def test_a_model_outside_its_folder(self, tmp_path: Path, file: str) -> None:
        said = refusal_of(tmp_path, {"model.file": file})
        assert "model.file" in said
        assert "must name a file inside the model's folder, such as model.onnx" in said
        assert repr(file) in said


KEYS = (
    *("format", "name", "version", "licence", "model", "model.file", "model.sha256"),
    *("model.opset", "tick_ms", "sample_rate_hz", "inputs", "inputs.1.shape", "inputs.0.role"),
    *("outputs", "outputs.0.dtype", "states.0.output", "vocabularies", "vocabularies.floor"),
)
WRONG: dict[str, tuple[Any, str]] = {
    "format": (2, "should be 1"),
    "name": (3, "valid string"),
    "model.sha256": ("cafe", "pattern"),
    "model.opset": ("twenty", "valid integer"),
    "tick_ms": (100, "should be 200"),
    "sample_rate_hz": (48000, "should be 16000"),
    "inputs": ("audio", "valid tuple"),
    "inputs.0.dtype": ("float16", "'float32' or 'uint8'"),
    "inputs.0.shape": ([], "at least 1 item"),
    "inputs.1.shape.1": (0, "greater than or equal to 1"),
    "inputs.2.shape.1": ("wide", "valid integer"),
    "inputs.3.role": ("smell", "'audio'"),
    "outputs.0.dtype": ("uint8", "'float32'"),
    "outputs.0.role": ("mood", "'floor'"),
    "states.0.dtype": ("int64", "'float32'"),
    "states.0.shape.0": (-1, "greater than or equal to 1"),
    "states.0.initial": ("zero", "valid number"),
    "vocabularies.floor": ("listen", "valid tuple"),
}


class TestKeys:
    @pytest.mark.parametrize("key", KEYS)
    def test_a_missing_key_is_named(self, tmp_path: Path, key: str) -> None:
        said = refusal_of(tmp_path, {key: MISSING})
        assert str(tmp_path / "manifest.yaml") in said
        assert f"  {key}: Field required" in said
        assert REMEDY in said

    @pytest.mark.parametrize(
        "key", ["licences", "model.url", "inputs.0.scale", "vocabularies.mood"]
    )
    def test_an_unknown_key_is_named(self, tmp_path: Path, key: str) -> None:
        said = refusal_of(tmp_path, {key: "x"})
        assert str(tmp_path / "manifest.yaml") in said
        assert f"  {key}: Extra inputs are not permitted" in said
        assert REMEDY in said

    def test_a_misspelt_decision_is_named(self, tmp_path: Path) -> None:
        said = refusal_of(tmp_path, {"decoding": {"yeild": 0.5}})
        assert "  decoding.yeild: Extra inputs are not permitted" in said

    def test_a_manifest_cannot_choose_its_folder(self, tmp_path: Path) -> None:
        said = refusal_of(tmp_path, {"folder": "/etc"})
        assert str(tmp_path / "manifest.yaml") in said
        assert "folder is no key of a manifest. Remove it." in said

    @pytest.mark.parametrize("key", WRONG)
    def test_a_wrong_value_is_named(self, tmp_path: Path, key: str) -> None:
        value, problem = WRONG[key]
        said = refusal_of(tmp_path, {key: value})
        assert str(tmp_path / "manifest.yaml") in said
        assert f"  {key}: " in said
        assert problem in said
        assert REMEDY in said

    @pytest.mark.parametrize("initial", [float("nan"), float("inf")])
    def test_a_state_begins_with_a_number(self, tmp_path: Path, initial: float) -> None:
        said = refusal_of(tmp_path, {"states.0.initial": initial})
        assert "states.0.initial: Input should be a finite number" in said

    @pytest.mark.parametrize("chance", [0.0, 1.0, -0.2, 50])
    def test_a_decision_needs_a_probability_between_0_and_1(
        self, tmp_path: Path, chance: float
    ) -> None:
        said = refusal_of(tmp_path, {"decoding": {"yield": chance}})
        assert f"decoding.yield: Input should be {'less' if chance > 0.5 else 'greater'}" in said

    def test_it_goes_on_only_when_it_is_surer_than_when_it_hesitated(self, tmp_path: Path) -> None:
        said = refusal_of(tmp_path, {"decoding": {"hesitate": 0.2, "resume": 0.3}})
        assert "decoding: " in said and "resume 0.3 must not be above hesitate 0.2" in said

    def test_it_hesitates_before_it_yields(self, tmp_path: Path) -> None:
        said = refusal_of(tmp_path, {"decoding": {"yield": 0.15, "hesitate": 0.3}})
        assert "hesitate 0.3 must not be above yield 0.15" in said

    def test_all_wrong_keys_are_told_at_once(self, tmp_path: Path) -> None:
        said = refusal_of(tmp_path, {"tick_ms": 100, "outputs.0.dtype": "int8", "mood": "good"})
        assert all(f"  {key}: " in said for key in ("tick_ms", "outputs.0.dtype", "mood"))


class TestTensors:
    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"inputs.0": MISSING}, "an audio tensor float32 (1, 2, 3200) is required"),
            ({"inputs.0.shape": [1, 1, 3200]}, "an audio tensor float32 (1, 2, 3200) is required"),
            ({"inputs.0.shape": [1, 2, 1600]}, "an audio tensor float32 (1, 2, 3200) is required"),
            ({"inputs.0.dtype": "uint8"}, "an audio tensor float32 (1, 2, 3200) is required"),
            ({"inputs.1.dtype": "float32"}, "the frame must be uint8 (1, height, width, 3)"),
            ({"inputs.1.shape": [1, 3, 96, 96]}, "the frame must be uint8 (1, height, width, 3)"),
            ({"inputs.1.shape": [2, 4, 6, 3]}, "frame: shape [2, 4, 6, 3] must have 4 dimensions"),
            ({"inputs.3.shape": [3]}, "events: shape [3] must have 2 dimensions and start with 1"),
            ({"inputs.4.dtype": "uint8"}, "every tensor but the frame must be float32"),
            ({"outputs.0.shape": [5]}, "floor: shape [5] must have 2 dimensions and start with 1"),
            ({"outputs.0.role": "act"}, "outputs: a floor tensor is required"),
            (
                {"inputs.3.shape": [1, 4]},
                "events: shape [1, 4] has 4 classes, its vocabulary has 3",
            ),
            ({"outputs.0.shape": [1, 4]}, "floor: shape [1, 4] has 4 classes"),
            ({"vocabularies.status": ["speaking"]}, "status: shape [1, 5] has 5 classes"),
            ({"vocabularies.floor.2": "talk"}, "vocabularies.floor: lacks speak"),
            ({"vocabularies.floor": ["hold"]}, "vocabularies.floor: lacks listen, speak"),
            ({"vocabularies.floor.4": "keep"}, "vocabularies.floor: keep is unknown; it may have"),
            (
                {"vocabularies.floor": ["listen", "speak", "yield"]},
                "vocabularies.floor: yield and hold go together, or neither is there",
            ),
            (
                {"vocabularies.floor": ["listen", "speak", "hold"]},
                "vocabularies.floor: yield and hold go together, or neither is there",
            ),
        ],
    )
    def test_what_the_runtime_cannot_serve(
        self, tmp_path: Path, changes: dict[str, Any], problem: str
    ) -> None:
        said = refusal_of(tmp_path, changes)
        assert str(tmp_path / "manifest.yaml") in said
        assert problem in said
        assert REMEDY in said

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"inputs.4.name": "events"}, "inputs: 'events' is there more than once"),
            ({"states.0.input": "audio"}, "inputs: 'audio' is there more than once"),
            ({"states.0.output": "floor"}, "outputs: 'floor' is there more than once"),
            (
                {"states.+": {"input": "state_sum", "output": "next", "shape": [1, 1]}},
                "inputs: 'state_sum' is there more than once",
            ),
            (
                {"inputs.+": tensor("more_events", "events", [1, 3])},
                "inputs, roles: 'events' is there more than once",
            ),
            (
                {"outputs.+": tensor("second_floor", "floor", [1, 5])},
                "outputs, roles: 'floor' is there more than once",
            ),
            (
                {"vocabularies.floor.4": "yield"},
                "vocabularies.floor: 'yield' is there more than once",
            ),
        ],
    )
    def test_a_name_given_twice(
        self, tmp_path: Path, changes: dict[str, Any], problem: str
    ) -> None:
        said = refusal_of(tmp_path, changes)
        assert str(tmp_path / "manifest.yaml") in said
        assert problem in said
        assert REMEDY in said

    @pytest.mark.parametrize(
        ("role", "names", "problem"),
        [
            ("delegate", ["nothing", "ask"], "lacks delegate, none; it may have none, delegate"),
            ("delegate", ["none", "cancel"], "lacks delegate; it may have none, delegate, cancel"),
            ("delegate", ["none", "delegate", "ask"], "ask is unknown; it may have none, delegate"),
            ("action", ["wave", "look_at"], "lacks none"),
            ("action", ["none", "Wave"], "'Wave' is no name of an action"),
            ("action", ["none", "look at"], "'look at' is no name of an action"),
            ("action", ["none", "wave\n"], "'wave\\n' is no name of an action"),
        ],
    )
    def test_classes_that_nobody_would_act_on(
        self, tmp_path: Path, role: str, names: list[str], problem: str
    ) -> None:
        output = tensor("also", role, [1, len(names)])
        said = refusal_of(tmp_path, {"outputs.+": output, f"vocabularies.{role}": names})
        assert f"vocabularies.{role}: {problem}" in said
        assert REMEDY in said

    def test_a_model_need_not_cancel_and_may_name_actions_of_its_own(self, tmp_path: Path) -> None:
        words = {"delegate": ["none", "delegate"], "action": ["none", "open_door_2"]}
        changes: dict[str, Any] = {f"vocabularies.{role}": names for role, names in words.items()}
        content = tiny_manifest(changes)
        content["outputs"] += [tensor(role, role, [1, 2]) for role in words]
        assert Manifest.model_validate(content).vocabularies.action == ("none", "open_door_2")

    def test_what_it_will_never_be_told_is_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert load_manifest(write_tiny_model(tmp_path)).name == "tiny"
        assert not caplog.messages
        changes = {"vocabularies.events.1": "resultt", "vocabularies.status.0": "battery"}
        load_manifest(write_tiny_model(tmp_path, changes))
        events, status = caplog.messages
        assert "vocabularies.events: resultt is unknown" in events and "result, failed" in events
        assert "vocabularies.status: battery is unknown" in status and "pending" in status

    def test_a_model_without_eyes_and_state_is_fine(self, tmp_path: Path) -> None:
        """The smallest model: it hears and decides on the floor."""
        hears = [tensor("heard", "audio", [1, 2, 3200])]
        words = {"floor": ["listen", "speak"]}
        changes = {"inputs": hears, "states": MISSING, "vocabularies": words}
        folder = write_tiny_model(tmp_path, {**changes, "outputs.0.shape": [1, 2]})
        manifest = load_manifest(folder)
        assert manifest.input("frame") is None
        assert manifest.states == ()
