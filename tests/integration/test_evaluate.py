"""The whole evaluation on a model that is small enough to know nothing."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from program import assert_refused, edge, needs_espeak
from rich.console import Console

pytest.importorskip("matplotlib", reason="the report is drawn with matplotlib")
pytest.importorskip("scipy", reason="the corpus needs scipy: pip install 'edge-runtime[evaluate]'")
pytest.importorskip("onnx", reason="the small model is made with onnx")
sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

from tiny_model import write_tiny_model

from edge_runtime.config import Config
from edge_runtime.errors import InputError
from edge_runtime.evaluation import plan, proofs, run, system_level
from edge_runtime.evaluation.card import card_lines, write_card
from edge_runtime.evaluation.material import Material, load_materials
from edge_runtime.evaluation.run import Order, evaluate

pytestmark = needs_espeak
NAMES = (
    "takeover_rate unanswered_rate false_takeover_rate false_takeover_rate_long_pause turn_auc "
    "turn_auc_matched turn_auc_cut response_latency_ms_p50 response_latency_ms_p90 "
    "latency_ms_at_5pct_cutoffs stop_miss_rate stop_latency_ms_p50 stop_latency_ms_p95 "
    "selectivity side_talk_answers_per_min noise_answers_per_min self_answers_per_min "
    "side_talk_backchannels_per_min noise_backchannels_per_min self_backchannels_per_min "
    "speech_cut_ins_per_min speech_backchannels_per_min drowned_backchannel_rate "
    "backchannels_per_min backchannels_in_pauses vision_recall vision_latency_ms_p50 "
    "vision_false_per_hour vision_backchannels_per_hour delegation_precision delegation_recall "
    "act_accuracy action_accuracy open_action_rate open_delegation_rate weave_violation_rate "
    "weave_delay_ms_p50 stale_delivery_rate "
    "cer wer"
).split()
PROOFS = (
    "energy_matched_pairs envelope_ablation vision own_channel causality listening_while_speaking "
    "tick_ablation"
).split()


@functools.cache
def _voices(scale: float, seed: int) -> list[Material]:
    return load_materials(None, scale, seed, lambda text: None, phrased=True)


def voices(
    data: None, scale: float, seed: int, progress: object, phrased: bool, tuning: bool
) -> list[Material]:
    """Synthesized once: a second time in one process espeak-ng speaks a little otherwise."""
    return [one for one in _voices(scale, seed) if phrased or one.name != "generated_phrased"]


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of clips: what is tried here is the course of it, not the model."""
    monkeypatch.setattr(run, "PARTS", tuple(replace(part, full=2) for part in plan.PARTS))
    monkeypatch.setattr(run, "bank_scale", lambda share: 0.001)
    monkeypatch.setattr(run, "load_materials", voices)
    monkeypatch.setattr(system_level, "PARTS", dict.fromkeys(list(system_level.PARTS)[:2], 1))
    monkeypatch.setattr(proofs.Bench, "count", lambda self, full: 2)


def judged(folder: Path, out: Path, seed: int = 1, only: Sequence[str] = ()) -> dict[str, Any]:
    config = Config()
    engine = config.engine.model_copy(update={"folder": folder})
    order = Order(
        config.model_copy(update={"engine": engine}),
        out,
        baselines=False,
        share=0.1,
        seed=seed,
        only=only,
    )
    try:
        return evaluate(order, Console(quiet=True))
    except InputError as error:
        if "synthesizer" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    here = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        judged(write_tiny_model(here / "tiny"), here / "out")
    report: dict[str, Any] = json.loads((here / "out" / "report.json").read_text())
    return here, report


def test_the_report_has_every_name(done: tuple[Path, dict[str, Any]]) -> None:
    _, report = done
    assert report["engine"]["name"] == "tiny" and report["seed"] == 1 and report["share"] == 0.1
    assert report["material"]["generated"] > 20 and report["material"]["human"] == 0
    assert len(report["revision"].rstrip("+")) == 40 or report["revision"] == "unknown"
    assert set(report["rows"]) == {"model", "always_silent", "always_talk", "speech_length"}
    for row in report["rows"].values():
        assert set(row) == {"generated_seen", "generated_unseen", "generated_phrased"}
        for figures in row.values():
            assert set(NAMES) <= set(figures)
            for figure in figures.values():
                _check(figure)
    assert report["not_asked"]["cer"] == ["transcript"]
    for figures in report["rows"]["model"].values():
        assert all(figures[name]["n"] == 0 for name in figures.keys() & report["not_asked"].keys())
    assert report["compute_ms"]["counted"] >= 12 and report["data"] is None


def _check(figure: Mapping[str, Any]) -> None:
    assert set(figure) - {"texts"} == {"value", "n", "ci95"} and len(figure["ci95"]) == 2
    low, high = figure["ci95"]
    if figure["value"] is not None and low is not None and high is not None:
        assert low - 1e-9 <= figure["value"] <= high + 1e-9
    if not figure["n"]:
        assert figure["value"] is None


def test_all_seven_proofs_are_there_and_none_is_pretended(
    done: tuple[Path, dict[str, Any]],
) -> None:
    _, report = done
    assert list(report["proofs"]) == PROOFS
    for proof in report["proofs"].values():
        assert set(proof) == {"claim", "figures", "holds", "reason"}
        assert proof["holds"] is None or isinstance(proof["holds"], bool)
        assert (proof["holds"] is None) <= bool(proof["reason"])
    assert report["proofs"]["tick_ablation"]["holds"] is None
    assert report["proofs"]["energy_matched_pairs"]["holds"] is False
    assert report["proofs"]["causality"]["figures"]["turns_that_differ"] == 0


def test_the_ends_of_the_scales_are_where_they_must_be(
    done: tuple[Path, dict[str, Any]],
) -> None:
    rows = done[1]["rows"]
    for material in ("generated_seen", "generated_unseen"):
        talk, silence = rows["always_talk"][material], rows["always_silent"][material]
        assert talk["takeover_rate"]["value"] == talk["false_takeover_rate"]["value"] == 1
        assert silence["takeover_rate"]["value"] == 0 == talk["unanswered_rate"]["value"]
        assert silence["unanswered_rate"]["value"] == 1
        assert (talk["stop_miss_rate"]["value"], silence["stop_miss_rate"]["value"]) == (1, 0)
        assert talk["turn_auc"]["value"] in (0.5, None)


def test_the_whole_runtime_was_run(done: tuple[Path, dict[str, Any]]) -> None:
    system = done[1]["system"]
    assert set(system) == {"virtual_clock"}, "a quick run waits for no clock"
    for figures in system["virtual_clock"].values():
        for figure in figures.values():
            _check(figure)


def test_the_page_needs_nothing_but_itself(done: tuple[Path, dict[str, Any]]) -> None:
    html = (done[0] / "out" / "report.html").read_text()
    assert html.count("data:image/svg+xml;base64,") == 1
    assert html.count("data:audio/ogg;base64,") == html.count("data:image/png;base64,") >= 1
    assert "http://" not in html and "https://" not in html and "src='/" not in html
    for name in ("tiny", "always silent", "does not hold", "seed 1"):
        assert name in html


def test_one_seed_one_report(
    done: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, first = done
    small(monkeypatch)
    again = judged(here / "tiny", tmp_path / "again")
    again = json.loads(json.dumps(again))
    for part in ("rows", "curves", "proofs", "system", "material"):
        assert again[part] == first[part], part


def test_one_scenario_alone_gives_its_figures_and_no_others(
    done: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, whole = done
    small(monkeypatch)
    alone = judged(here / "tiny", tmp_path / "alone", only=["answers"])
    assert set(alone["rows"]["model"]) == {"generated_seen", "generated_unseen"}
    assert alone["only"] == ["answers"] and "proofs" not in alone and "system" not in alone
    for material, figures in alone["rows"]["model"].items():
        for name in ("weave_violation_rate", "stale_delivery_rate"):
            assert figures[name] == whole["rows"]["model"][material][name]
        assert figures["stop_miss_rate"]["n"] == 0
    assert alone["rows"]["model"]["generated_seen"]["weave_violation_rate"]["n"] > 0
    assert "nothing but answers" in (tmp_path / "alone" / "report.html").read_text()


def test_a_card_is_made_of_the_report(done: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    table, figures = write_card(done[0] / "out" / "report.json", tmp_path)
    lines = table.read_text().splitlines()
    assert lines[0] == "| | generated seen | generated unseen | generated phrased |"
    for words in ("takes true ends in 2 s", "… says mhm to it", "… says mhm into it"):
        assert any(line.startswith(f"| {words} | ") for line in lines)
    assert "| | generated seen, virtual clock | generated unseen, virtual clock |" in lines
    assert any(line.startswith("| silent after, median | ") for line in lines)
    missed = next(line for line in lines if line.startswith("| misses an interruption | "))
    assert missed.endswith("| - |"), "new phrasings are of whole turns alone"
    kept = json.loads(figures.read_text())
    assert kept["system"] == done[1]["system"]
    assert kept["run"] == {k: done[1][k] for k in ("revision", "seed", "share")} and set(
        kept["proofs"]
    ) == set(PROOFS)
    for material in ("generated_seen", "generated_phrased"):
        assert kept[material]["takeover_rate"]["n"] > 0
    with pytest.raises(InputError, match="report"):
        write_card(table, tmp_path)


def test_a_card_has_two_baselines_beside_the_model_and_says_what_they_hear() -> None:
    figure = {"value": 0.5, "n": 8, "ci95": [0.2, 0.8]}
    names = ("model", "silero_500", "silero_800", "silero_smart_turn")
    rows = {name: {"generated_seen": {"takeover_rate": figure}} for name in names}
    lines = list(card_lines({"rows": rows}))
    assert lines[0] == (
        "| | generated seen | Silero 800 ms, generated seen | smart-turn, generated seen |"
    )
    assert any("echo" in line and not line.startswith("|") for line in lines)
    assert not any(
        "echo that nothing" in line for line in card_lines({"rows": {"model": rows["model"]}})
    )


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    result = edge("evaluate", "--quick", "--data", tmp_path, "--out", "o", cwd=tmp_path)
    assert_refused(result, "manifest.csv", "cannot be read")


def test_a_scenario_that_is_not_there_is_refused(tmp_path: Path) -> None:
    result = edge("evaluate", "--only", "weaving", "--out", "o", cwd=tmp_path)
    assert_refused(result, "'weaving'", "follow-ups")


def test_other_ticks_need_their_models(tmp_path: Path) -> None:
    result = edge("evaluate", "--ticks", tmp_path, "--out", "o", cwd=tmp_path)
    assert_refused(result, "200", "is not a model folder")
