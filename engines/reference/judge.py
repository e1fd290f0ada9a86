"""What a model does in recordings of one's own device, beside another model.

`python -m engines.reference.judge mine/ --engine my_model`. Both models are led through each
recording as the device lived it: they hear it, and are told of themselves what it did. Counted is
which corrections they meet, and of all else that the device said and did how much they would do
again, and what more. Training leaves out what is named `*.dev.mcap`, so that this is what tells;
the others the model has learned by heart.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge_runtime.app import decider_for
from edge_runtime.commands.common import write_json
from edge_runtime.config import Config, DecisionConfig
from edge_runtime.errors import InputError
from edge_runtime.evaluation.sentences import edits
from edge_runtime.inference.onnx import OnnxEngine
from edge_runtime.micro_turn import TURN_MS, Decision, Delegation
from edge_runtime.replay import RecordedTurn, eagerness, metadata, read
from engines.reference.command import command
from engines.reference.corpus.recordings import (
    AROUND,
    Correction,
    check_names,
    failed,
    is_held_out,
    labelled,
    unsaid,
)
from engines.reference.corpus.text import normalise

console = Console(highlight=False)
WITHIN = 3
"""Micro-turns by which the same decision may come earlier or later."""
SAY = "say "
"""How the name of a deed begins that is heard."""
KEPT_OUT = "kept out of training (*.dev.mcap)"
NOT_KEPT = np.zeros((2, 0), np.float32)
"""In place of sound that was heard."""
LATER = 3
"""Micro-turns after a sentence in which its last letters may still be written."""


@dataclass
class Tally:
    """Counts of one model over some recordings."""

    met: Counter[str] = field(default_factory=Counter)
    """Corrections that it meets, by what they ask; `asked` are all of them."""
    asked: Counter[str] = field(default_factory=Counter)
    wrong_letters: int = 0
    letters: int = 0
    again: int = 0
    """Of what the device decided away from corrections; `decided` is all of it."""
    decided: int = 0
    more: int = 0
    """Decisions that the device did not take, away from corrections."""
    turns: int = 0

    def add(
        self,
        then: Sequence[Decision],
        now: Sequence[Decision],
        corrections: Sequence[Correction],
        unsaid: Collection[int] = frozenset(),
        failed: Collection[int] = frozenset(),
    ) -> None:
        """One recording: what was decided then and what this model decides, turn by turn. Training
        leaves out what was decided and `unsaid`, and turns in which the model had `failed`."""
        self.turns += len(now)
        for one in corrections:
            for what, met in _judged(one, now):
                self.asked[what] += 1
                self.met[what] += met
            if one.said is not None:
                truth = normalise(one.said)
                span = now[one.turns.start : one.turns.stop + LATER]
                guess = "".join(decision.heard for decision in span).strip()
                self.letters += len(truth)
                self.wrong_letters += min(edits(truth, guess), len(truth))
        left_out = _around(corrections, len(now)).union(failed)
        was, would = _deeds(then, left_out), _deeds(now, left_out)
        done = [deed for deed in was if not _is_unsaid(deed, unsaid)]
        self.decided += len(done)
        self.again += sum(_near(deed, would) for deed in done)
        more = [deed for deed in would if not _near(deed, was)]
        self.more += sum(not _is_unsaid(deed, unsaid) for deed in more)

    def report(self) -> dict[str, Any]:
        return {
            "corrections": {
                what: {"met": self.met[what], "of": count} for what, count in self.asked.items()
            },
            "character_error_rate": self.wrong_letters / self.letters if self.letters else None,
            "decided_again": {"met": self.again, "of": self.decided},
            "decided_besides": self.more,
            "minutes": round(self.turns * TURN_MS / 60_000, 2),
        }


def _judged(correction: Correction, now: Sequence[Decision]) -> Iterator[tuple[str, bool]]:
    """For each thing that a correction asks, its name and whether it is done in the span."""
    span = now[correction.turns]
    floors = {one.floor for one in span}
    said = {one.say for one in span if one.say is not None}
    done = {action.name for one in span for action in one.actions}
    handed = {one.delegation.value for one in span if one.delegation is not Delegation.NONE}
    if correction.floor is not None:
        held = {"listen": not said, "hold": not any(one.stop for one in span)}
        yield correction.floor, held.get(correction.floor, correction.floor in floors)
    if correction.act is not None:
        yield f"act {correction.act}", _is_done(correction.act, said)
    if correction.action is not None:
        yield f"action {correction.action}", _is_done(correction.action, done)
    if correction.delegate is not None:
        yield f"delegate {correction.delegate}", _is_done(correction.delegate, handed)


def _is_done(wanted: str, done: set[str]) -> bool:
    return not done if wanted == "none" else wanted in done


def _around(corrections: Sequence[Correction], turns: int) -> set[int]:
    """Turns in which what the device did is no example."""
    spans = [one.turns for one in corrections]
    around = (range(span.start - AROUND, span.stop + AROUND) for span in spans)
    return {turn for span in around for turn in span if 0 <= turn < turns}


def _deeds(decisions: Sequence[Decision], left_out: set[int]) -> list[tuple[int, str]]:
    """What was decided, and in which turn."""
    deeds = []
    for turn, one in enumerate(decisions):
        names = [f"{SAY}{one.say}"] if one.say is not None else []
        names += ["stop"] if one.stop else []
        names += [f"do {action.name}" for action in one.actions]
        names += [one.delegation.value] if one.delegation is not Delegation.NONE else []
        deeds += [(turn, name) for name in names if turn not in left_out]
    return deeds


def _is_unsaid(deed: tuple[int, str], unsaid: Collection[int]) -> bool:
    turn, name = deed
    return turn in unsaid and name.startswith(SAY)


def _near(deed: tuple[int, str], others: Sequence[tuple[int, str]]) -> bool:
    turn, name = deed
    return any(name == other and abs(turn - then) <= WITHIN for then, other in others)


def judge(paths: Sequence[Path], engine: OnnxEngine) -> Tally:
    """With the eagerness of the device that recorded. Raises RecordingError for a damaged
    recording, InputError for what training refuses."""
    tally = Tally()
    for path in paths:
        engine.reset()
        decider = decider_for(as_recorded(path), engine.manifest)
        turns: list[RecordedTurn] = []
        now: list[Decision] = []
        for recorded in read(path):
            now.append(decider.decide(engine.step(recorded.turn), recorded.turn))
            heard = replace(recorded.turn, frame=None, audio=NOT_KEPT)
            turns.append(replace(recorded, turn=heard))
        tally.add(
            [one.decision for one in turns],
            now,
            labelled(path, turns).corrections,
            {number for number, one in enumerate(turns) if unsaid(one)},
            {number for number, one in enumerate(turns) if failed(one)},
        )
    return tally


def as_recorded(path: Path) -> Config:
    """As far as decisions depend on it."""
    eager = eagerness(metadata(path))
    return Config() if eager is None else Config(decision=DecisionConfig(eagerness=eager))


def _table(tallies: Sequence[tuple[str, Tally]]) -> Table:
    table = Table("", *(name for name, _ in tallies))
    counts = [tally for _, tally in tallies]
    for what in sorted(counts[0].asked):
        table.add_row(f"corrected to {what}", *(_of(t.met[what], t.asked[what]) for t in counts))
    if counts[0].letters:
        rates = (f"{t.wrong_letters / t.letters:.2f} of {t.letters}" for t in counts)
        table.add_row("letters wrong", *rates)
    table.add_row("else: decided again", *(_of(t.again, t.decided) for t in counts))
    table.add_row("else: decided besides", *(str(t.more) for t in counts))
    return table


def _of(some: int, all_: int) -> str:
    return f"{some} of {all_}"


def run(folder: Path, engines: Sequence[Path], json_path: Path | None) -> None:
    paths = sorted(folder.glob("*.mcap"))
    if not paths:
        raise InputError(f"{folder} holds no recording (*.mcap).")
    check_names(folder)
    groups = {
        KEPT_OUT: [one for one in paths if is_held_out(one)],
        "to train on": [one for one in paths if not is_held_out(one)],
    }
    report: dict[str, Any] = {}
    for name, some in groups.items():
        if not some:
            continue
        tallies = []
        for path in engines:
            with OnnxEngine(path) as engine:
                tally = judge(some, engine)
                tallies.append((f"{path} ({engine.manifest.version})", tally))
        minutes = tallies[0][1].turns * TURN_MS / 60_000
        console.print(f"Recordings {name}: {len(some)}, {minutes:.1f} minutes", soft_wrap=True)
        console.print(_table(tallies))
        report[name] = {model: tally.report() for model, tally in tallies}
    if not groups[KEPT_OUT]:
        console.print(
            "What a model has learned by heart says little: name some recordings and their "
            "corrections NAME.dev.mcap and NAME.dev.yaml before you train.",
            soft_wrap=True,
        )
    if json_path is not None:
        write_json(json_path, report)


@command
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", type=Path, help="a folder of *.mcap with corrections")
    parser.add_argument("--engine", type=Path, required=True, help="the model folder to judge")
    parser.add_argument(
        "--against", type=Path, default=Path("engines/reference"), help="the one beside it"
    )
    parser.add_argument("--json", type=Path, help="write the counts here")
    chosen = parser.parse_args()
    run(chosen.recordings, [chosen.against, chosen.engine], chosen.json)


if __name__ == "__main__":
    main()
