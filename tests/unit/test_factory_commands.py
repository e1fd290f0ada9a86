"""A mistake in a command of the factory is a message with a remedy and an exit code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("scipy", reason="the factory needs scipy (make train)")
pytest.importorskip("onnx", reason="the factory needs onnx (make train)")

from edge_runtime.errors import InputError  # noqa: E402
from engines.reference.checkpoint import config_of, fill, read_checkpoint  # noqa: E402
from engines.reference.corpus.bank import Speaker  # noqa: E402
from engines.reference.model import InteractionModel, ModelConfig  # noqa: E402

SMALL = ModelConfig(width=64, layers=2, heads=2, window=24, local_width=32, local_layers=2)
Tell = Callable[..., str]
"""A command with its arguments; returns what it told before it exited with 2."""


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tell:
    def run(module: str, *arguments: object) -> str:
        monkeypatch.setattr("sys.argv", [module, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(module).main()
        assert ended.value.code == 2
        return capsys.readouterr().err

    return run


def a_checkpoint(path: Path, **changes: object) -> Path:
    saved: dict[str, object] = {
        "config": SMALL.as_dict(),
        "model": InteractionModel(SMALL).state_dict(),
        "average": InteractionModel(SMALL).state_dict(),
        "step": 1,
        "hours": 1.0,
        "seconds": 1.0,
    }
    torch.save({**saved, **changes}, path)
    return path


def test_what_is_wrong_with_a_checkpoint_is_told(tmp_path: Path, tell: Tell) -> None:
    whole = a_checkpoint(tmp_path / "whole.pt").read_bytes()
    path = tmp_path / "checkpoint.pt"
    export = ("engines.reference.export", "--out", tmp_path / "out", "--checkpoint", path)
    train = ("engines.reference.train", "--folder", tmp_path)
    assert "no such checkpoint" in tell(*export)
    for damaged in (b"rubbish", whole[: len(whole) // 2], b""):
        path.write_bytes(damaged)
        for command in (export, train):
            told = tell(*command)
            assert "checkpoint.pt cannot be read as a checkpoint" in told and "--start-from" in told
    torch.save({"weights": 1}, path)
    assert "it lacks config, average" in tell(*export)
    torch.save([1], path)
    assert "is no checkpoint" in tell(*train)
    a_checkpoint(path, config={**SMALL.as_dict(), "experts": 8})
    for command in (export, train):
        assert "its network has experts" in tell(*command)
    assert not (tmp_path / "bank").exists() and not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_are_told_with_their_file(tmp_path: Path) -> None:
    path = a_checkpoint(tmp_path / "checkpoint.pt")
    saved = read_checkpoint(path)
    assert config_of(saved, path) == SMALL
    del saved["average"]["head.bias"]
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*another architecture \(head\.bias"):
        fill(InteractionModel(SMALL), saved["average"], path)


def test_what_export_is_given_is_checked(tmp_path: Path, tell: Tell) -> None:
    checkpoint = a_checkpoint(tmp_path / "checkpoint.pt")
    export = ("engines.reference.export", "--out", tmp_path / "out", "--checkpoint", checkpoint)
    assert "is not a model folder" in tell(*export, "--decoding", tmp_path / "nowhere")
    figures = tmp_path / "figures.json"
    assert "cannot be read as JSON" in tell(*export, "--evaluation", figures)
    for wrong in ("{", "[1]"):
        figures.write_text(wrong)
        assert "JSON" in tell(*export, "--evaluation", figures)
    assert "is not an ONNX graph" in tell(*export, "--blend", figures)
    assert not (tmp_path / "out").exists()


def test_measuring_needs_a_checkpoint_and_people(tmp_path: Path, tell: Tell) -> None:
    path = tmp_path / "nowhere.pt"
    assert "no such checkpoint" in tell("engines.reference.measure", "--checkpoint", path)
    (tmp_path / "manifest.csv").write_text("file,kind,split\na.wav,turn,train\nb.wav,noise,dev\n")
    for command in ("engines.reference.measure", "calibration.int8.cost"):
        told = tell(command, "--data", tmp_path, "--out", tmp_path / "out.json")
        assert "lists nobody to measure with" in told


def test_a_mistake_in_quantizing_is_told_before_any_synthesis(tmp_path: Path, tell: Tell) -> None:
    out = tmp_path / "out"
    draw = ("calibration.int8.draw", "--out", out)
    cost = ("calibration.int8.cost", "--out", out)
    for command in (draw, cost):
        assert "manifest.csv" in tell(*command, "--data", tmp_path / "nowhere")
        assert "is not a model folder" in tell(*command, "--engine", tmp_path / "nowhere")
    assert not out.exists()


def test_characters_are_counted_for_a_folder_that_is_there(tmp_path: Path, tell: Tell) -> None:
    told = tell("engines.reference.characters", "--out", tmp_path / "nowhere")
    assert "nowhere: no such folder" in told


def test_a_missing_synthesizer_is_an_error_that_commands_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: f"lib{name}-that-is-not-here.so")
    with pytest.raises(InputError, match="espeak-ng is missing: apt-get install"):
        Speaker("train")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--processes", "0"), "1 or more"),
        (("--dense", "2"), "a share"),
        (("--start-from", "nothing.onnx"), "no such file"),
        (("--recordings", "."), "holds no recording"),
        (("--data", "."), "manifest.csv cannot be read as a list of recordings"),
        (("--start-from", __file__), "is not an ONNX graph"),
    ],
)
def test_a_mistake_in_training_is_told_before_any_work(
    tmp_path: Path,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = tell("engines.reference.train", "--folder", tmp_path, *arguments)
    assert told.count(words) == 1 and "Traceback" not in told
    assert not (tmp_path / "bank").exists()
