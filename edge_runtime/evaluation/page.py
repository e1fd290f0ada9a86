"""report.html: one page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edge_runtime.evaluation.asked import put_not_asked
from edge_runtime.evaluation.material import HUMAN, put_read
from edge_runtime.evaluation.pictures import draw_curves, write_timeline
from edge_runtime.evaluation.report import (
    HEADLINE,
    HEARING,
    MARKS,
    MODEL_ONLY,
    SYSTEM,
    by_clock,
    interval,
    put,
)
from edge_runtime.evaluation.system_level import Played
from edge_runtime.whole_file import write_whole

PAGE = "report.html"
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:1560px;margin:2em auto;padding:0 1em}
h1{margin-bottom:.1em} h2{margin-top:1.8em;border-bottom:1px solid #ddd} .quiet{color:#777}
table{border-collapse:collapse;margin:.6em 0;font-size:12.5px} td,th{padding:.25em .45em;
text-align:right;border-bottom:1px solid #eee;vertical-align:top} th{font-weight:600;
background:#f6f7f9} td:first-child,th:first-child{text-align:left;white-space:nowrap}
td small{display:block;color:#888;font-size:10.5px;white-space:nowrap} 
tr.model td{background:#fff4f3;font-weight:600}
img,svg{max-width:100%;height:auto} .wide{overflow-x:auto} audio{width:100%}
.yes{color:#1f7a4d;font-weight:700} .no{color:#b5341f;font-weight:700}
pre{font-size:12px;background:#f6f7f9;padding:.6em;overflow-x:auto}
"""
TITLES = {
    "generated_seen": "Generated, voices of synthesizers it was trained with",
    "generated_unseen": "Generated, a synthesizer it never heard",
    "generated_phrased": "Generated, turns in phrasings of no training, voices as in the first",
    HUMAN: "Human speakers it never heard",
}
UNKNOWN = "Human speakers; no split says that it never heard them"
READ = (
    "Value, 95 % interval, n. A takeover is speech that is no backchannel, decided when all the "
    "sound it used had been heard; latencies run from the person's last sample (or the first of an "
    "interruption) to the device's first (or to silence). Always silent and always talk are the "
    f"two ends: a figure counts only beside its counterpart. {HEARING}"
)


def write_page(out: Path, report: Mapping[str, Any], shown: Sequence[Played]) -> Path:
    """Writes report.html, the curves and the timelines into `out`."""
    svg = draw_curves(report["curves"], report["decoding"])
    (out / "curves.svg").write_bytes(svg)
    files = [write_timeline(run, out / "timelines", i) for i, run in enumerate(shown, 1)]
    body = [
        *_head(report),
        *_recordings(report.get("data")),
        *_tables(report),
        "<h2>Curves</h2><p class=quiet>Each threshold of the model and of smart-turn, each timeout "
        "of Silero; the dot is what ships. Below: the one knob, <code>decision.eagerness</code>."
        f"</p><img alt=curves src='{_uri(svg, 'image/svg+xml')}'>",
        *_pauses(report["curves"]),
        *_proofs(report.get("proofs", {})),
        *_system(report.get("system", {})),
        *_timelines(shown, files),
    ]
    html = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation</title>"
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
    path = out / PAGE
    write_whole(path, html)
    return path


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    engine, compute = report["engine"], report["compute_ms"]
    minutes = ", ".join(f"{name} {value:g} min" for name, value in report["minutes"].items())
    share = report["share"]
    part = "" if share == 1 else f" This run played {100 * share:g} % of a full run's clips."
    if report.get("only"):
        part += f" It played nothing but {escape(', '.join(report['only']))}."
    yield (
        f"<h1>{escape(engine['name'])} {escape(engine['version'])}</h1><p class=quiet>"
        f"graph {engine['sha256'][:16]}, revision {escape(report['revision'][:12])}"
        f"{'+' if report['revision'].endswith('+') else ''}, seed {report['seed']}; {minutes}; "
        f"{compute['p50']} ms a micro-turn at the median, {compute['p99']} ms at 99 % "
        f"({compute['turns']} turns), of which latencies count {compute['counted']:g} ms.{part}</p>"
    )
    for warning in report["warnings"]:
        yield f"<p class=no>{escape(warning)}</p>"


def _recordings(data: Mapping[str, Any] | None) -> Iterator[str]:
    if data is not None:
        yield f"<p class=quiet>{escape(put_read(data))}</p>"


def _title(material: str, data: Mapping[str, Any] | None) -> str:
    if material == HUMAN and data is not None and data["splits"] != ["dev"]:
        return UNKNOWN
    return TITLES.get(material, material)


def _cell(figure: Mapping[str, Any] | None, unit: str) -> str:
    value, _, n = put(dict(figure) if figure else None, unit).partition(" (")
    between = interval(dict(figure) if figure else None, unit)
    small = f"<small>{between}</small><small>{n.rstrip(')')}</small>" if n else ""
    return f"<td>{value}{small}</td>"


def _tables(report: Mapping[str, Any]) -> Iterator[str]:
    rows = report["rows"]
    yield f"<h2>The model beside its baselines</h2><p class=quiet>{READ}</p>"
    for material in rows["model"]:
        heads = "".join(f"<th>{escape(words)}</th>" for _, words, _ in HEADLINE)
        yield f"<h3>{_title(material, report.get('data'))}</h3>"
        yield f"<div class=wide><table><tr><th></th>{heads}</tr>"
        for name, found in rows.items():
            cells = "".join(
                _cell(found.get(material, {}).get(key), unit) for key, _, unit in HEADLINE
            )
            kind = " class=model" if name == "model" else ""
            yield f"<tr{kind}><td>{name.replace('_', ' ')}</td>{cells}</tr>"
        yield "</table></div>"
    asked = escape(put_not_asked(report["not_asked"]))
    yield f"<h2>What only a model can do</h2><p class=quiet>{asked}</p>"
    yield _by_material(rows["model"], MODEL_ONLY)


def _by_material(
    found: Mapping[str, Mapping[str, Any]], names: Sequence[tuple[str, str, str]]
) -> str:
    heads = "".join(f"<th>{material.replace('_', ' ')}</th>" for material in found)
    lines = "".join(
        f"<tr><td>{escape(words)}</td>"
        + "".join(_cell(found[material].get(key), unit) for material in found)
        + "</tr>"
        for key, words, unit in names
    )
    return f"<table><tr><th></th>{heads}</tr>{lines}</table>"


def _pauses(curves: Mapping[str, Any]) -> Iterator[str]:
    kinds = sorted({kind for found in curves.values() for kind in found.get("pauses", {})})
    heads = "".join(f"<th>{kind}</th>" for kind in kinds)
    yield f"<h3>Pauses spoken into, by what goes before</h3><table><tr><th></th>{heads}</tr>"
    for material, found in curves.items():
        cells = ""
        for kind in kinds:
            one = found.get("pauses", {}).get(kind, {"false_takeovers": 0, "n": 0})
            cells += f"<td>{one['false_takeovers']} of {one['n']}</td>"
        yield f"<tr><td>{material.replace('_', ' ')}</td>{cells}</tr>"
    yield "</table>"


def _proofs(proofs: Mapping[str, Any]) -> Iterator[str]:
    if not proofs:
        return
    yield "<h2>Is it a detector in disguise? Seven proofs</h2>"
    for name, found in proofs.items():
        kind = {True: "yes", False: "no", None: "quiet"}[found["holds"]]
        word = {True: "holds", False: "does not hold", None: "not decided"}[found["holds"]]
        reason = (
            f"<br><span class=quiet>{escape(found['reason'])}</span>" if found["reason"] else ""
        )
        figures = escape("\n".join(_flat(found["figures"])))
        yield (
            f"<p><span class={kind}>{MARKS[found['holds']]} {name.replace('_', ' ')}: {word}</span>"
            f"<br>{escape(found['claim'])}.{reason}</p>"
            f"<details><summary class=quiet>figures</summary><pre>{figures}</pre></details>"
        )


def _flat(figures: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, Mapping) and "ci95" in value:
            low, high = value["ci95"]
            yield f"{path}{name}: {value['value']}  [{low}, {high}]  n {value['n']}"
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name} / ")
        else:
            yield f"{path}{name}: {value}"


def _system(system: Mapping[str, Any]) -> Iterator[str]:
    if not system:
        return
    yield (
        "<h2>The whole runtime</h2><p class=quiet>Sources, loop, engine, mouth and background "
        "model; the device hears itself; measured where sound enters the loudspeaker.</p>"
        + _by_material(by_clock(system), SYSTEM)
    )


def _timelines(shown: Sequence[Played], files: Sequence[tuple[Path, Path]]) -> Iterator[str]:
    if not shown:
        return
    yield (
        "<h2>To look at and listen to</h2><p class=quiet>The whole runtime on generated people; "
        "left ear what the microphone hears, right ear the device. The first clips of their kind, "
        "not the best.</p>"
    )
    for run, (picture, sound) in zip(shown, files, strict=True):
        said = " … ".join(text for _, _, text in run.clip.said if text)
        spoken = f": “{escape(said)}”" if said else ""
        yield (
            f"<h3>{escape(run.clip.scenario)}{spoken}</h3>"
            f"<img alt=timeline src='{_uri(picture.read_bytes(), 'image/png')}'>"
            f"<audio controls src='{_uri(sound.read_bytes(), 'audio/ogg')}'></audio>"
        )
