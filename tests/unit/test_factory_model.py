"""The exported step graph against the training-time pass, and what TensorRT can take of it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("onnx", reason="the factory needs onnx (make train)")

from edge_runtime.errors import InputError  # noqa: E402
from edge_runtime.inference.encode import left_as_share  # noqa: E402
from edge_runtime.inference.manifest import load_manifest  # noqa: E402
from edge_runtime.inference.onnx import OnnxEngine  # noqa: E402
from edge_runtime.micro_turn import (  # noqa: E402
    TURN_SAMPLES,
    BackgroundState,
    Event,
    EventKind,
    MicroTurn,
    VoiceState,
)
from engines.reference.export import export, shorten  # noqa: E402
from engines.reference.export import main as export_main  # noqa: E402
from engines.reference.model import InteractionModel, ModelConfig  # noqa: E402
from engines.reference.vocabulary import DECODING, EVENTS  # noqa: E402
from engines.reference.warm_start import blend, config_of_graph, load_graph  # noqa: E402

TURNS = 44
SMALL = ModelConfig(width=64, layers=2, heads=2, window=24, local_width=32, local_layers=2)
SAFE = set(
    "Add Cast Concat Constant Conv Div Erf Flatten Gather Gelu Gemm Identity LayerNormalization "
    "Log MatMul Mul Pow ReduceMean ReduceSum Reshape Slice Softmax Split Sqrt Squeeze Sub "
    "Transpose Unsqueeze".split()
)
"""Operators that TensorRT 10.3 takes with constant axes and shapes."""


@pytest.fixture(scope="module")
def model() -> InteractionModel:
    torch.manual_seed(0)
    model = InteractionModel(SMALL).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.distance_bias, std=0.3)
    return model


@pytest.fixture(scope="module")
def turns() -> list[MicroTurn]:
    """A session longer than the attention window, with gaps in the picture, events and states."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(TURNS):
        kind = EventKind(EVENTS[int(rng.integers(len(EVENTS)))])
        seen = rng.random() < 0.7
        made.append(
            MicroTurn(
                index=index,
                deadline_ns=0,
                audio=(0.1 * rng.standard_normal((2, TURN_SAMPLES))).astype(np.float32),
                frame=rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) if seen else None,
                events=(Event(kind),) if rng.random() < 0.3 else (),
                voice=VoiceState("u", float(rng.random() * 12)) if seen else VoiceState(),
                background=BackgroundState(bool(rng.integers(2)), bool(rng.integers(2)), True),
            )
        )
    return made


def whole(model: InteractionModel, turns: list[MicroTurn]) -> dict[str, np.ndarray]:
    """The training-time pass over all turns at once, as the outputs of each turn."""
    black = np.zeros((96, 96, 3), np.uint8)
    events = np.zeros((1, len(turns), len(EVENTS)), np.float32)
    for index, turn in enumerate(turns):
        for event in turn.events:
            events[0, index, EVENTS.index(event.kind.value)] = 1
    status = [
        [
            float(t.voice.speaking),
            left_as_share(t.voice.seconds_left),
            float(t.background.pending),
            float(t.background.result_ready),
            float(t.background.link_up),
        ]
        for t in turns
    ]
    with torch.no_grad():
        out = model(
            torch.from_numpy(np.concatenate([t.audio for t in turns], 1))[None],
            torch.from_numpy(np.stack([black if t.frame is None else t.frame for t in turns])),
            torch.arange(len(turns))[None],
            torch.tensor([[[float(t.frame is not None)] for t in turns]]),
            torch.from_numpy(events),
            torch.tensor([status]),
        )
    return {
        "floor": out.floor[0].numpy(),
        "act": out.act[0].numpy(),
        "action": out.action[0].numpy(),
        "delegate": out.delegate[0].numpy(),
        "transcript": out.transcript[0].reshape(len(turns), 10, -1).numpy(),
        "seen": out.seen[0].numpy(),
    }


@pytest.fixture(scope="module")
def folder(model: InteractionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    export(model, folder, "0.0.0")
    return folder


@pytest.mark.parametrize("training", [False, True])
def test_streaming_equals_batch(
    model: InteractionModel, folder: Path, turns: list[MicroTurn], training: bool
) -> None:
    model.train(training)
    expected = whole(model, turns)
    model.eval()
    with OnnxEngine(folder) as engine:
        for turn in turns:
            tensors = engine.step(turn).tensors
            for name, values in expected.items():
                gap = np.abs(tensors[name][0] - values[turn.index]).max()
                assert gap < 1e-4, (turn.index, name)


def test_silence_of_the_loudspeaker_is_not_filtered_and_sounds_the_same() -> None:
    bank = InteractionModel(SMALL).filterbank
    played = torch.zeros(2, 2, 240 + 60 * 160)
    torch.nn.init.normal_(played[:, 0], std=0.05)
    torch.nn.init.normal_(played[1, 1, 3000:5000], std=0.05)
    faint = played + 1e-9 * (played == 0)  # so that no frame is left out
    found, whole = bank(played), bank(faint)
    assert torch.allclose(found, whole, atol=1e-4)
    assert (found[0, 1] == found[0, 1, 0]).all() and found[1, 1].std() > 0.1


def test_the_future_changes_nothing(model: InteractionModel, turns: list[MicroTurn]) -> None:
    cut = TURNS // 2
    rng = np.random.default_rng(1)
    other = turns[:cut] + [
        MicroTurn(t.index, 0, rng.standard_normal((2, TURN_SAMPLES)).astype(np.float32))
        for t in turns[cut:]
    ]
    one, two = whole(model, turns), whole(model, other)
    for name in one:
        np.testing.assert_array_equal(one[name][:cut], two[name][:cut])
        assert not np.array_equal(one[name][cut:], two[name][cut:])


def test_the_graph_uses_operators_that_tensorrt_takes(folder: Path) -> None:
    import onnx

    graph = onnx.load(folder / "model.onnx")
    assert {node.op_type for node in graph.graph.node} <= SAFE
    assert [entry.version for entry in graph.opset_import if entry.domain == ""] == [20]
    dimensions = [d for value in graph.graph.input for d in value.type.tensor_type.shape.dim]
    assert all(d.HasField("dim_value") and d.dim_value > 0 for d in dimensions)


def test_training_can_start_from_an_exported_graph(tmp_path: Path) -> None:
    trained, fresh = InteractionModel(SMALL), InteractionModel(SMALL)
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter)
    graph = export(trained, tmp_path, version="0.0.0")
    missing = load_graph(fresh, graph)
    assert missing == ["intent_head.bias", "intent_head.weight"], "of training only"
    ours, theirs = trained.state_dict(), fresh.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name not in missing)


def test_thresholds_that_were_tuned_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = {**DECODING, "yield": 0.33, "hesitate": 0.2, "resume": 0.1}
    export(InteractionModel(SMALL), tmp_path / "mine", "0.0.0", decoding=tuned)
    torch.save(
        {
            "config": vars(SMALL),
            "average": InteractionModel(SMALL).state_dict(),
            "step": 1,
            "hours": 1.0,
            "seconds": 1.0,
        },
        tmp_path / "checkpoint.pt",
    )
    told = ["export", "--checkpoint", str(tmp_path / "checkpoint.pt")]
    told += ["--out", str(tmp_path / "next"), "--decoding", str(tmp_path / "mine")]
    monkeypatch.setattr("sys.argv", told)
    export_main()
    decoding = load_manifest(tmp_path / "next").decoding
    assert decoding.model_dump(by_alias=True) == tuned


def test_blended_weights_lie_between(tmp_path: Path) -> None:
    first, second = InteractionModel(SMALL), InteractionModel(SMALL)
    for parameter in first.parameters():
        torch.nn.init.normal_(parameter)
    graph = export(first, tmp_path, version="0.0.0")
    before = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    blend(second, graph, 0.25)
    theirs = first.state_dict()
    for name, found in second.state_dict().items():
        share = 0.0 if name.startswith("intent_head") else 0.25
        expected = share * theirs[name] + (1 - share) * before[name]
        assert torch.allclose(found, expected, atol=1e-6), name


def test_shortened_weights_are_near_the_whole_ones_and_pack_well() -> None:
    whole, short = InteractionModel(ModelConfig()), InteractionModel(ModelConfig())
    short.load_state_dict(whole.state_dict())
    shorten(short, 9)
    for one, other in zip(whole.parameters(), short.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=2**-10, atol=0)
    sizes = [
        len(zlib.compress(torch.cat([p.detach().flatten() for p in m.parameters()]).numpy()))
        for m in (whole, short)
    ]
    assert sizes[1] < 0.65 * sizes[0]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    graph = export(InteractionModel(SMALL), tmp_path, version="0.0.0")
    with pytest.raises(ValueError, match="another architecture"):
        load_graph(InteractionModel(replace(SMALL, width=2 * SMALL.width)), graph)


def test_the_size_of_the_ear_is_read_from_a_graph(tmp_path: Path) -> None:
    assert config_of_graph(export(InteractionModel(), tmp_path, "0.0.0")) == ModelConfig()
    larger = ModelConfig(local_layers=5, local_expansion=3)
    assert config_of_graph(export(InteractionModel(larger), tmp_path, "0.0.0")) == larger


def test_weights_of_another_ear_are_not_blended(tmp_path: Path) -> None:
    graph = export(InteractionModel(SMALL), tmp_path, version="0.0.0")
    larger = InteractionModel(replace(SMALL, local_layers=3, local_expansion=4))
    with pytest.raises(InputError, match="--ear-layers 3 --ear-expansion 4"):
        blend(larger, graph, 0.5)
