"""report.json, and its headline on the console.

`rows` maps who was judged (`model`, `silero_500`, ...) to materials (`generated_seen`,
`generated_unseen`, `generated_phrased`, `human`) to figures by name, each
`{"value", "n", "ci95"}`, with `texts` and `recordings` where few were said or played again and
again; `proofs` has the seven, each with `claim`, `figures`, `holds` (null: not decided) and the
`reason` for that; `system` has figures of the whole runtime by clock and material; `curves` what
the pictures are drawn from.
Beside them stand engine, revision, seed, the share of a full run, what a micro-turn cost and how
much of it the model's latencies count (`compute_ms`), figures that it lacks an input or output for
(`not_asked`), and what was read of a folder of recordings (`data`).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_runtime.errors import InputError
from edge_runtime.evaluation.asked import put_not_asked
from edge_runtime.evaluation.figures import Figure
from edge_runtime.whole_file import write_whole

REPORT = "report.json"
MARKS = {True: "✓", False: "✗", None: "-"}


def write_report(out: Path, report: Mapping[str, Any]) -> Path:
    """Writes report.json atomically."""
    path = out / REPORT
    write_whole(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return path


def read_report(path: Path) -> dict[str, Any]:
    """Raises InputError where the file is no report of `edge-runtime evaluate`."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a report: {error}. Write one with "
            "edge-runtime evaluate --out DIR"
        ) from error
    if not isinstance(report, dict) or "model" not in report.get("rows", {}):
        raise InputError(f"{path} has no row of a model. Write it anew: edge-runtime evaluate")
    return report


def check_can_draw() -> None:
    """Before the run, not after it. Raises InputError."""
    for module, what, package in (
        ("matplotlib", "The report is drawn with matplotlib", "'edge-runtime[evaluate]'"),
        ("cv2", "People are drawn with OpenCV", "opencv-python-headless"),
    ):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(f"{what} ({error}). Install it: pip install {package}") from error


# -- how figures are put -------------------------------------------------------------------------

HEARING = (
    "The detectors hear the microphone as it is, with the echo that nothing has cancelled; the "
    "model is given what is played, too."
)
PERCENT, PER_MINUTE, PER_HOUR = "share", "per minute", "per hour"
TIMES = {PER_MINUTE: " min", PER_HOUR: " h"}
"""What n counts, where it counts time."""
HEADLINE: Sequence[tuple[str, str, str]] = (
    ("takeover_rate", "takes true ends in 2 s", PERCENT),
    ("unanswered_rate", "… does not in 8 s", PERCENT),
    ("false_takeover_rate", "speaks into pauses", PERCENT),
    ("turn_auc", "turn AUC, natural pauses", "number"),
    ("turn_auc_matched", "… matched on length", "number"),
    ("turn_auc_cut", "… mid-flow cuts", "number"),
    ("response_latency_ms_p50", "response, median", "ms"),
    ("response_latency_ms_p90", "response, 90 %", "ms"),
    ("latency_ms_at_5pct_cutoffs", "response at 5 % cut-offs", "ms"),
    ("stop_miss_rate", "misses an interruption", PERCENT),
    ("stopped_before_rate", "… had stopped before it", PERCENT),
    ("stop_latency_ms_p50", "stops after, median", "ms"),
    ("stop_latency_ms_p95", "stops after, 95 %", "ms"),
    ("selectivity", "selectivity, mean of its kinds", PERCENT),
    ("hesitation_rate", "… and is silent for a moment", PERCENT),
    ("side_talk_answers_per_min", "answers side talk, a minute", PER_MINUTE),
    ("side_talk_backchannels_per_min", "… says mhm to it", PER_MINUTE),
    ("noise_answers_per_min", "answers noise, a minute", PER_MINUTE),
    ("noise_backchannels_per_min", "… says mhm to it", PER_MINUTE),
    ("self_answers_per_min", "answers itself, a minute", PER_MINUTE),
    ("self_backchannels_per_min", "… says mhm to itself", PER_MINUTE),
)
MODEL_ONLY: Sequence[tuple[str, str, str]] = (
    ("selectivity_backchannel", "selectivity: backchannels", PERCENT),
    ("selectivity_side_talk", "selectivity: side talk", PERCENT),
    ("selectivity_noise", "selectivity: noise", PERCENT),
    ("selectivity_echo", "selectivity: own echo", PERCENT),
    ("self_interruptions_per_min", "interrupts itself, a minute", PER_MINUTE),
    ("false_takeover_rate_long_pause", "speaks into pauses of 1 s and more", PERCENT),
    ("speech_cut_ins_per_min", "cuts into speech, a minute", PER_MINUTE),
    ("speech_backchannels_per_min", "… says mhm into it", PER_MINUTE),
    ("backchannels_per_min", "backchannels a minute of long turns", PER_MINUTE),
    ("backchannels_in_pauses", "… placed in pauses", PERCENT),
    ("long_turn_took_floor", "takes the floor in a long turn", PERCENT),
    ("vision_recall", "sees arrival, wave, hand", PERCENT),
    ("vision_recall_arrival", "… arrival", PERCENT),
    ("vision_recall_wave", "… wave", PERCENT),
    ("vision_recall_hand", "… raised hand", PERCENT),
    ("vision_waves_at_hand", "waves at a raised hand", PERCENT),
    ("vision_stops_for_wave", "stops for a wave", PERCENT),
    ("vision_latency_ms_p50", "sees it after, median", "ms"),
    ("vision_false_per_hour", "false alarms an hour", PER_HOUR),
    ("vision_backchannels_per_hour", "… says mhm to nothing", PER_HOUR),
    ("delegation_precision", "delegation, precision", PERCENT),
    ("delegation_recall", "delegation, recall", PERCENT),
    ("premature_delegation_rate", "hands on half a question", PERCENT),
    ("open_delegation_rate", "hands on free text", PERCENT),
    ("open_action_rate", "acts upon free text", PERCENT),
    ("side_talk_delegations_per_min", "hands on side talk, a minute", PER_MINUTE),
    ("act_accuracy", "the right act", PERCENT),
    ("action_accuracy", "the right action", PERCENT),
    ("wrong_action_rate", "a wrong action, or one too many", PERCENT),
    ("premature_action_rate", "acts in the middle of a turn", PERCENT),
    ("asks_again_rate", "asks again for what a noise drowned", PERCENT),
    ("drowned_delegated_rate", "… hands it on", PERCENT),
    ("drowned_backchannel_rate", "… says mhm to it", PERCENT),
    ("asks_needlessly_rate", "asks again for what was clear", PERCENT),
    ("weave_violation_rate", "result: talks over the person", PERCENT),
    ("weave_delivered_rate", "result: delivered in 4 s", PERCENT),
    ("weave_delivered_late_rate", "… long after the question", PERCENT),
    ("weave_delay_ms_p50", "result: after the floor was free", "ms"),
    ("stale_delivery_rate", "result: none, and delivered", PERCENT),
    ("delivery_after_cancel_rate", "result: after a cancel, and delivered", PERCENT),
    ("cancel_recall", "takes a cancel", PERCENT),
    ("follow_up_answered", "answers while a question is out", PERCENT),
    ("asked_on_answered", "asked to go on, or again: answers", PERCENT),
    ("asked_on_delegated", "… hands it on", PERCENT),
    ("cer", "character error rate", "number"),
    ("wer", "word error rate", "number"),
    ("closed_vocabulary_accuracy", "which of these sentences it was", PERCENT),
)
SYSTEM: Sequence[tuple[str, str, str]] = (
    ("takeover_rate", "takes true ends in 2 s, and not before", PERCENT),
    ("spoke_before_rate", "… had spoken before", PERCENT),
    ("false_takeover_rate", "begins to speak in pauses, or goes on", PERCENT),
    ("speech_cut_ins_per_min", "cuts into speech, a minute", PER_MINUTE),
    ("speech_backchannels_per_min", "… says mhm into it", PER_MINUTE),
    ("response_latency_ms_p50", "response, median", "ms"),
    ("response_latency_ms_p90", "response, 90 %", "ms"),
    ("stop_miss_rate", "misses an interruption, or is heard on", PERCENT),
    ("stop_latency_ms_p50", "silent after, median", "ms"),
    ("stop_latency_ms_p95", "silent after, 95 %", "ms"),
    ("selectivity_backchannel", "selectivity: backchannels", PERCENT),
    ("hesitation_rate", "… and is silent for a moment", PERCENT),
    ("fell_silent_by_itself", "had fallen silent before either", PERCENT),
    ("side_talk_answers_per_min", "answers side talk, a minute", PER_MINUTE),
    ("side_talk_backchannels_per_min", "… says mhm to it", PER_MINUTE),
)
"""The whole runtime, in which the device speaks by its own decision and hears itself."""


def by_clock(system: Mapping[str, Any]) -> dict[str, Mapping[str, Figure]]:
    """A report's `system` as columns."""
    return {
        f"{material.replace('_', ' ')}, {clock.replace('_', ' ')}": figures
        for clock, materials in system.items()
        for material, figures in materials.items()
    }


def put(figure: Figure | None, unit: str) -> str:
    """A figure in words: `84 % (n 260)`, `28 % (n 100, 6 texts)`, `-` where there is none."""
    if figure is None or figure["value"] is None:
        return "-"
    value = figure["value"]
    shown = {
        PERCENT: f"{100 * value:.0f} %",
        "ms": f"{value:.0f} ms",
    }.get(unit, f"{value:.2f}")
    few = ""
    for name in ("texts", "recordings"):
        if count := figure.get(name):
            few += f", {count} {name if count > 1 else name[:-1]}"
    return f"{shown} (n {figure['n']:g}{TIMES.get(unit, '')}{few})"


def interval(figure: Figure | None, unit: str) -> str:
    if figure is None or figure["ci95"][0] is None or figure["ci95"][1] is None:
        return ""
    low, high = figure["ci95"]
    if unit == PERCENT:
        return f"{100 * low:.0f} … {100 * high:.0f} %"
    return f"{low:.0f} … {high:.0f} ms" if unit == "ms" else f"{low:.2f} … {high:.2f}"


def table(report: Mapping[str, Any], console: Console) -> None:
    """The model's headline by material, and the proofs. A run of some scenarios shows what they
    tell."""
    rows = report["rows"]["model"]
    shown = Table("", *rows, title="The model (baselines are in report.html)")
    for name, words, unit in (*HEADLINE, *MODEL_ONLY):
        cells = [put(rows[material].get(name), unit) for material in rows]
        if not report.get("only") or set(cells) != {"-"}:
            shown.add_row(words, *cells)
    console.print(shown)
    if words := put_not_asked(report.get("not_asked", {})):
        console.print(escape(words), soft_wrap=True)
    for name, found in report.get("proofs", {}).items():
        reason = f" ({found['reason']})" if found["reason"] else ""
        words = f"{MARKS[found['holds']]} {name.replace('_', ' ')}{reason}"
        console.print(escape(words), soft_wrap=True)
