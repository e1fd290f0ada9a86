"""`edge-runtime thresholds` on whole clips, beside `edge-runtime evaluate` on the same ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from program import assert_refused, edge
from rich.console import Console
from test_evaluate import judged, needs_espeak, small, voices, write_tiny_model

from edge_runtime.config import Config
from edge_runtime.evaluation import plan, run, thresholds
from edge_runtime.evaluation.material import Material
from edge_runtime.evaluation.run import Order

pytestmark = needs_espeak


def test_what_is_there_now_does_what_evaluate_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    tunings: list[bool] = []

    def asked_for(*order: Any) -> list[Material]:
        tunings.append(order[-1])
        return voices(*order)

    monkeypatch.setattr(run, "load_materials", asked_for)
    monkeypatch.setattr(thresholds, "PARTS", tuple(replace(part, full=2) for part in plan.PARTS))
    folder = write_tiny_model(tmp_path / "tiny")
    report = judged(folder, tmp_path / "out", only=("turns", "side talk", "noise", "interruptions"))
    config = Config(engine={"folder": folder})
    found = thresholds.thresholds(Order(config, Path(), share=0.1), Console(quiet=True))
    assert set(found["clips"]) == {"generated_seen", "generated_unseen", "generated_phrased"}
    assert tunings == [False, True], "chosen on phrases that are not reported"
    assert list(found["questions"]) == ["take the floor", "give it up"]
    assert set(found["decoding"]) == {"speak", "backchannel", "yield", "action", "delegate"}
    same = {
        "take the floor": (
            ("no answer in 2 s", "takeover_rate", True),
            ("nor in 8 s", "unanswered_rate", False),
            ("into a pause", "false_takeover_rate", False),
            ("to side talk", "selectivity_side_talk", True),
        ),
        "give it up": (("stop missed", "stop_miss_rate", False),),
    }
    for question, figures in same.items():
        (now,) = (
            one
            for one in found["questions"][question]["settings"]
            if one["setting"] == found["questions"][question]["now"]
        )
        for words, name, wanted in figures:
            evaluated = report["rows"]["model"]["generated_seen"][name]
            share = now["by_material"]["generated_seen"][words]
            assert evaluated["n"] == share["n"] > 0
            assert share["share"] == pytest.approx(
                1 - evaluated["value"] if wanted else evaluated["value"], abs=1e-4
            )


def test_recordings_that_are_none_are_refused(tmp_path: Path) -> None:
    result = edge("thresholds", "--data", tmp_path, cwd=tmp_path)
    assert_refused(result, "manifest.csv", "cannot be read")


def test_figures_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = edge("thresholds", "--json", tmp_path / "file" / "found.json", cwd=tmp_path)
    assert_refused(result, "found.json", "cannot be written")


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    assert_refused(edge("thresholds", "--engine", tmp_path, cwd=tmp_path), "manifest.yaml")
