"""What int8 costs is measured on the same conversations, through the runtime's own engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("onnx", reason="the factory needs onnx (make train)")

from calibration.int8.cost import HEADLINE, GraphModel, too_few, worse  # noqa: E402
from calibration.int8.draw import micro_turns  # noqa: E402
from edge_runtime.inference.encode import Encoder  # noqa: E402
from edge_runtime.inference.onnx import OnnxEngine  # noqa: E402
from engines.reference.export import export  # noqa: E402
from engines.reference.model import InteractionModel, ModelConfig  # noqa: E402
from engines.reference.vocabulary import EVENTS, STATUS  # noqa: E402

TURNS, ROWS = 6, 2
SMALL = ModelConfig(width=64, layers=2, heads=2, window=24, local_width=32, local_layers=2)


def conversations() -> list[torch.Tensor]:
    """Audio, pictures, which picture, whether one is seen, events and status of two of them."""
    rng = np.random.default_rng(0)
    status = rng.integers(0, 2, (ROWS, TURNS, len(STATUS))).astype(np.float32)
    status[..., STATUS.index("seconds_left")] *= 0.125 * status[..., STATUS.index("speaking")]
    arrays = [
        (0.1 * rng.standard_normal((ROWS, 2, TURNS * 3200))).astype(np.float32),
        rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8),
        rng.integers(0, 3, (ROWS, TURNS)),
        np.ones((ROWS, TURNS, 1), np.float32),
        rng.integers(0, 2, (ROWS, TURNS, len(EVENTS))).astype(np.float32),
        status,
    ]
    return [torch.from_numpy(array) for array in arrays]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model")
    export(InteractionModel(SMALL).eval(), path, "0.0.0")
    return path


def test_a_graph_answers_where_the_network_is_expected(folder: Path) -> None:
    torch.manual_seed(0)
    model = InteractionModel(SMALL).eval()
    given = conversations()
    with torch.no_grad():
        wanted = model(*given)
    with OnnxEngine(folder) as engine:
        got = GraphModel(engine)(*given)
    for name in ("floor", "act", "action", "delegate", "transcript"):
        one, other = getattr(got, name), getattr(wanted, name)
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)


def test_a_conversation_of_the_corpus_reaches_the_model_unchanged(folder: Path) -> None:
    audio, pictures, seen, valid, events, status = (t.numpy() for t in conversations())
    with OnnxEngine(folder) as engine:
        words, encoder = engine.manifest.vocabularies, Encoder(engine.manifest)
    into = encoder.arrays()
    row = 1
    frames = pictures[seen[row]]
    turns = micro_turns(audio[row], frames, valid[row], events[row], status[row], words)
    for index, turn in enumerate(turns):
        encoder.encode(turn, into)
        np.testing.assert_array_equal(into["frame"][0], frames[index])
        np.testing.assert_array_equal(into["events"][0], events[row, index])
        np.testing.assert_allclose(into["status"][0], status[row, index])
    assert index == TURNS - 1


def test_two_points_worse_are_noticed_in_the_direction_that_counts() -> None:
    before = {"takeover_rate": {"value": 0.9}, "stop_miss_rate": {"value": 0.1}}
    better = {"takeover_rate": {"value": 0.95}, "stop_miss_rate": {"value": 0.0}}
    a_little = {"takeover_rate": {"value": 0.885}, "stop_miss_rate": {"value": 0.115}}
    much = {"takeover_rate": {"value": 0.87}, "stop_miss_rate": {"value": 0.2}}
    assert worse(before, better) == worse(before, a_little) == {}
    assert worse(before, much) == {"takeover_rate": 0.03, "stop_miss_rate": 0.1}


def test_a_figure_on_few_clips_is_not_judged() -> None:
    enough = {name: {"value": 0.9, "n": 50} for name in HEADLINE}
    assert too_few(enough) == {}
    assert too_few(enough | {"stop_miss_rate": {"value": 0.0, "n": 14}}) == {"stop_miss_rate": 14}
