"""`edge-runtime thresholds`: from which chances a model should act.

The device of a clip follows a script, whatever is decided. So a model is run once, and what it gave
out is decided upon again with each setting, by the runtime's own decoder. A setting is as good as
its mistakes are few: shares of what happened in the clips (`mistakes.py`), each material's alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from edge_runtime.app import decider_for, engine_for
from edge_runtime.decide import FloorDecider
from edge_runtime.evaluation.asked import abilities
from edge_runtime.evaluation.clip import Clip, Trace
from edge_runtime.evaluation.figures import RESAMPLES, Figure, Floats, figure, of_their_own
from edge_runtime.evaluation.material import splits
from edge_runtime.evaluation.metrics import Tally
from edge_runtime.evaluation.mistakes import QUESTIONS, Question, Setting
from edge_runtime.evaluation.model_level import Model, trace
from edge_runtime.evaluation.plan import PARTS, Part
from edge_runtime.evaluation.report import check_can_draw
from edge_runtime.evaluation.run import (
    Order,
    bars,
    clips_of,
    frame_px,
    materials_of,
    revision,
)
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.inference.manifest import Decoding, Manifest
from edge_runtime.micro_turn import EngineOutput, MicroTurn

ROWS = 12
"""Settings that the console shows of each question, the best ones."""


@dataclass(frozen=True)
class Take:
    """A clip without its sounds and pictures, and what the model gave out in it."""

    material: str
    part: str
    clip: Clip
    turns: Sequence[MicroTurn]
    outputs: Sequence[EngineOutput]


@dataclass(frozen=True)
class Counts:
    """Of one material: mistakes and their chances, int64 (settings, clips, kinds of mistake)."""

    wrong: NDArray[np.int64]
    of: NDArray[np.int64]
    times: Sequence[Sequence[float]]
    """By setting: ms, of the question's `latency`."""
    texts: Sequence[str]
    """By clip: what is said in it."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """How often each clip is in a bootstrap sample, (RESAMPLES, clips); clips of one text come
        together."""
        names, of = np.unique(of_their_own(self.texts), return_inverse=True)
        n = len(names)
        return rng.multinomial(n, [1 / n] * n, RESAMPLES)[:, of]

    def shares(self, drawn: NDArray[np.int64]) -> Floats:
        """(draws, settings, kinds), where each clip counts `drawn` (draws, clips) times; NaN where
        no setting has a chance to make the mistake."""
        wrong, of = (np.tensordot(drawn, part, ((1,), (1,))) for part in (self.wrong, self.of))
        found = wrong / np.maximum(of, 1)
        found[:, :, ~self.of.any((0, 1))] = np.nan
        return np.asarray(found, np.float64)


class Trial:
    """One question asked of one model's takes."""

    def __init__(self, question: Question, manifest: Manifest) -> None:
        self.question, self._able = question, abilities(manifest)
        now = manifest.decoding.model_dump(by_alias=True)
        self.now: Setting = {name: now[name] for name in question.fields}
        settings = [{**self.now, **setting} for setting in question.settings]
        self.settings: list[Setting] = [self.now, *(s for s in settings if s != self.now)]
        self._manifests = [
            _without_words(manifest, Decoding.model_validate({**now, **setting}))
            for setting in self.settings
        ]
        self.counts: dict[str, Counts] = {}

    def steps(self, takes: Sequence[Take]) -> int:
        return len(self.settings) * sum(take.part in self.question.parts for take in takes)

    def run(self, takes: Sequence[Take]) -> Iterator[None]:
        """Decides upon all of them with all settings; yields after each."""
        for material in dict.fromkeys(take.material for take in takes):
            mine = [t for t in takes if t.material == material and t.part in self.question.parts]
            counted, times = [], []
            for manifest in self._manifests:
                tallies = []
                for take in mine:
                    tally = Tally(self._able)
                    tally.add(take.clip, decide_again(take, manifest))
                    tallies.append(tally)
                    yield
                counted.append([[m.count(t) for m in self.question.mistakes] for t in tallies])
                latency = self.question.latency
                times.append([ms for t in tallies for ms in t.values.get(latency, [])])
            if mine:
                both = np.array(counted, np.int64)
                texts = [take.clip.text for take in mine]
                self.counts[material] = Counts(both[..., 0], both[..., 1], times, texts)

    def costs(self, drawn: Mapping[str, NDArray[np.int64]]) -> Floats:
        """(draws, settings): the weighed mean share of mistakes, each kind's over the materials
        first."""
        shares = np.stack([counts.shares(drawn[name]) for name, counts in self.counts.items()])
        known = ~np.isnan(shares).all((0, 1, 2))
        kinds = np.nanmean(shares[..., known], axis=0)
        weights = np.array([m.weight for m in self.question.mistakes])[known]
        if not len(weights):
            return np.zeros(kinds.shape[:2])
        return np.asarray(kinds @ (weights / weights.sum()), np.float64)

    def _costs_here(self) -> Floats:
        """(settings,), of all clips as they are."""
        each = {name: np.ones((1, c.wrong.shape[1]), np.int64) for name, c in self.counts.items()}
        found: Floats = self.costs(each)[0]
        return found

    def report(self, seed: int) -> dict[str, Any]:
        """What is found, as `thresholds` returns it."""
        costs = self._costs_here()
        best = int(np.argmin(costs))  # the first: what is there already, where nothing is better
        difference = self._difference(best, float(costs[best] - costs[0]), seed)
        sure = best != 0 and difference["ci95"][1] < 0
        return {
            "now": self.now,
            "least_mistakes": self.settings[best],
            "difference": difference,
            "chosen": self.settings[best] if sure else self.now,
            "settings": [
                {
                    "setting": setting,
                    "mistakes": round(float(costs[at]), 4),
                    "by_material": {name: self._figures(name, at) for name in self.counts},
                }
                for at, setting in enumerate(self.settings)
            ],
        }

    def _difference(self, best: int, value: float, seed: int) -> Figure:
        """Of the best setting from that of now; both decided upon the same drawn clips. The
        interval holds for all settings at once, as the best of many is better by chance alone
        (White 2000, "A reality check for data snooping")."""
        rng = np.random.default_rng(seed)
        here = self._costs_here()
        costs = self.costs({name: counts.draw(rng) for name, counts in self.counts.items()})
        chance = (costs - costs[:, :1]) - (here - here[0])
        most, least = np.percentile(chance.max(1), 97.5), np.percentile(chance.min(1), 2.5)
        clips = sum(counts.wrong.shape[1] for counts in self.counts.values())
        return figure(value, clips, float(value - most), float(value - least))

    def _figures(self, material: str, at: int) -> dict[str, Any]:
        counts = self.counts[material]
        wrong, of = counts.wrong[at].sum(0), counts.of[at].sum(0)
        found: dict[str, Any] = {
            kind.words: {"share": round(float(w / n), 4) if n else None, "n": int(n)}
            for kind, w, n in zip(self.question.mistakes, wrong, of, strict=True)
        }
        times = counts.times[at]
        if self.question.latency and times:
            p50, p90 = np.percentile(times, [50, 90])
            found["latency_ms"] = {"p50": round(float(p50)), "p90": round(float(p90))}
        return found


def decide_again(take: Take, manifest: Manifest) -> Trace:
    """What the runtime would have decided with the thresholds of `manifest`."""
    decider = FloorDecider(manifest)
    pairs = zip(take.outputs, take.turns, strict=True)
    return trace(take.clip, [decider.decide(output, turn) for output, turn in pairs])


def thresholds(order: Order, console: Console) -> dict[str, Any]:
    """Asks all questions of the configured model and writes nothing. Returns, by question, what is
    there now, what makes the least mistakes, and all settings with theirs; and `decoding` as it
    would be. Raises InputError."""
    check_can_draw()
    if order.data is not None:
        splits(order.data)  # what must be refused is refused before there is anything to see
    with ExitStack() as stack:
        engine = stack.enter_context(engine_for(order.config))
        progress = stack.enter_context(bars(console))
        manifest = engine.manifest
        model = Model(engine, decider_for(order.config, manifest), manifest)
        questions = [question for question in QUESTIONS if question.can_be_asked(manifest)]
        wanted = {name for question in questions for name in question.parts}
        parts = [part for part in PARTS if part.name in wanted]
        takes = _takes(order, model, manifest, parts, progress)
        found = {}
        for question in questions:
            trial = Trial(question, manifest)
            task = progress.add_task(f"when to {question.name}", total=trial.steps(takes))
            for _ in trial.run(takes):
                progress.advance(task)
            found[question.name] = trial.report(order.seed)
        decoding: dict[str, float | None] = manifest.decoding.model_dump(by_alias=True)
        for answer in found.values():
            decoding |= answer["chosen"]
        return {
            "engine": dict(engine.identity),
            "revision": revision(),
            "seed": order.seed,
            "share": order.share,
            "clips": {
                name: sum(take.material == name for take in takes)
                for name in dict.fromkeys(take.material for take in takes)
            },
            "questions": found,
            "decoding": _needed(decoding),
        }


def _takes(
    order: Order, model: Model, manifest: Manifest, parts: Sequence[Part], progress: Progress
) -> list[Take]:
    phrased = any(part.phrased for part in parts)
    materials = materials_of(order, phrased, progress, tuning=True)
    casts = [Casting(material, order.seed, frame_px(manifest)) for material in materials]
    takes: list[Take] = []
    for name, part, clip in clips_of(order, parts, casts, progress):
        outputs = [_light(output, manifest) for output in model.outputs(clip)]
        light = _emptied(clip)
        takes.append(Take(name, part.name, light, list(light.micro_turns()), outputs))
    return takes


def _emptied(clip: Clip) -> Clip:
    """Without sounds and pictures, which take a megabyte a clip and decide nothing."""
    silence = np.float32(0)
    return replace(
        clip,
        audio=np.broadcast_to(silence, clip.audio.shape),
        near=np.broadcast_to(silence, clip.near.shape),
        frames=None,
    )


def _light(output: EngineOutput, manifest: Manifest) -> EngineOutput:
    words = manifest.output("transcript")
    kept = {
        name: tensor.copy()
        for name, tensor in output.tensors.items()
        if words is None or name != words.name
    }
    return EngineOutput(output.index, kept)


def _without_words(manifest: Manifest, decoding: Decoding) -> Manifest:
    outputs = tuple(tensor for tensor in manifest.outputs if tensor.role != "transcript")
    return manifest.model_copy(update={"outputs": outputs, "decoding": decoding})


# -- how it is put -------------------------------------------------------------------------------


def show(report: Mapping[str, Any], console: Console) -> None:
    """The best settings of each question, and `decoding` as a manifest has it."""
    for name, found in report["questions"].items():
        question = next(question for question in QUESTIONS if question.name == name)
        console.print(_table(question, found))
        console.print(escape(_verdict(found)), soft_wrap=True)
    console.print("\ndecoding:")
    for field, value in report["decoding"].items():
        console.print(f"  {field}: {value:g}")


def _table(question: Question, found: Mapping[str, Any]) -> Table:
    title = f"When to {question.name}: mistakes in %, mean of the materials"
    shown = Table(title=title, caption="bold: the least mistakes; yellow: now", box=SIMPLE_HEAD)
    fields = [field for field in question.fields if field != "resume"]
    for heading in (*fields, "all", *(mistake.words for mistake in question.mistakes)):
        shown.add_column(heading, justify="right", overflow="fold")
    if question.latency:
        shown.add_column("ms", justify="right")
    best = sorted(found["settings"], key=lambda row: float(row["mistakes"]))[:ROWS]
    rows = [row for row in found["settings"] if row in best or row["setting"] == found["now"]]
    for row in rows:
        style = "yellow" if row["setting"] == found["now"] else ""
        style = "bold" if row["setting"] == found["least_mistakes"] else style
        values = [row["setting"][field] for field in fields]
        chances = ["-" if value is None else f"{value:g}" for value in values]
        shown.add_row(*chances, *_cells(row, question), style=style)
    return shown


def _cells(row: Mapping[str, Any], question: Question) -> list[str]:
    materials = row["by_material"].values()
    cells = [f"{100 * row['mistakes']:.1f}"]
    for mistake in question.mistakes:
        shares = [one[mistake.words]["share"] for one in materials]
        known = [share for share in shares if share is not None]
        cells.append(f"{100 * sum(known) / len(known):.0f}" if known else "-")
    if question.latency:
        times = [one["latency_ms"]["p50"] for one in materials if "latency_ms" in one]
        cells.append(f"{np.mean(times):.0f}" if times else "-")
    return cells


def _verdict(found: Mapping[str, Any]) -> str:
    now, best = (_put(found[name]) for name in ("now", "least_mistakes"))
    if now == best:
        return f"Nothing is better than {now}."
    low, high = (f"{100 * end:+.1f}" for end in found["difference"]["ci95"])
    by = f"{100 * found['difference']['value']:+.1f} points of mistakes ({low} to {high}, 95 %)"
    kept = "" if found["chosen"] == found["least_mistakes"] else f", not surely: {now} stays"
    return f"{best} instead of {now}: {by}{kept}."


def _put(setting: Setting) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in _needed(setting).items())


def _needed(setting: Setting) -> dict[str, float]:
    """Without what is none; and who does not hesitate does not resume."""
    given = {name: value for name, value in setting.items() if value is not None}
    if "hesitate" not in given:
        given.pop("resume", None)
    return given
