"""Model-level figures of a checkpoint on held-out conversations, for CARD.md and the manifest.

`python -m engines.reference.measure --data DIR --out training/figures.json`. Conversations are
composed as in training, from voices, phrasings and (where `--data` has them) speakers that were not
trained on; those of `phrased` wish and ask in words that no template of training has, and
`children` are the same people and conversations as `human`, moved to a child's voice. The device's
side follows the script (teacher-forced); closed loops are `edge-runtime demo`. Names and
definitions of the metrics: takeover and stop as in CARD.md.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_runtime.evaluation.figures import share
from edge_runtime.evaluation.sentences import edits
from engines.reference.command import command
from engines.reference.corpus.draft import Conversation, Mark
from engines.reference.corpus.factory import build_composers
from engines.reference.corpus.human import check_measures
from engines.reference.corpus.text import PHRASED
from engines.reference.corpus.voices import CHILD, Voice, is_there
from engines.reference.export import load
from engines.reference.losses import Batch, compute
from engines.reference.model import TURN_SAMPLES, InteractionModel, Outputs
from engines.reference.rollout import floor_chances
from engines.reference.train import Settings
from engines.reference.vocabulary import ACTIONS, ACTS, DECODING, DELEGATE, SYMBOLS
from engines.reference.warm_start import config_of_graph, load_graph

TURN_MS = 200
TAKEN = 0.9
"""Share of the ends, and of the interruptions, at which thresholds stand that depend on no choice
of ours."""
PATIENCE = 9
"""Turns the script waits before it answers, so that a model may take up to 2 s."""


@dataclass
class Curves:
    """Probabilities over the turns of one conversation, renormalised as the decider does."""

    speak: NDArray[np.float32]
    stop: NDArray[np.float32]
    act: NDArray[np.int64]
    action: NDArray[np.int64]
    delegate: NDArray[np.int64]
    text: list[str]


def curves(out: Outputs, conversations: Sequence[Conversation]) -> Iterator[Curves]:
    for row, conversation in enumerate(conversations):
        take, give = floor_chances(out.floor[row], conversation.status[:, 0] > 0)
        symbols = out.transcript[row].argmax(-1).numpy()
        yield Curves(
            take,
            give,
            out.act[row, :, 1:].argmax(-1).numpy() + 1,
            out.action[row].argmax(-1).numpy(),
            out.delegate[row].argmax(-1).numpy(),
            [
                _greedy(symbols[first * 10 : (last + 1) * 10])
                for first, last, _ in conversation.texts
            ],
        )


def _greedy(symbols: NDArray[np.int64]) -> str:
    kept = [s for i, s in enumerate(symbols) if s and (i == 0 or s != symbols[i - 1])]
    return "".join(SYMBOLS[s] for s in kept).strip()


class Tally:
    """Collects what the marks of conversations ask for."""

    def __init__(self) -> None:
        self.share: dict[str, list[bool]] = defaultdict(list)
        self.latency: dict[str, list[float]] = defaultdict(list)
        self.characters = [0, 0]
        self.words = [0, 0]
        self.peaks: dict[str, list[float]] = defaultdict(list)
        """The highest chance to take or to yield the floor around each mark of a kind."""
        self.minutes: dict[str, float] = defaultdict(float)
        self.answers: dict[str, int] = defaultdict(int)
        self.losses: dict[str, float] = defaultdict(float)
        """Sums over `conversations` of what training makes small (`losses.py`)."""
        self.conversations = 0

    def add_losses(self, parts: Mapping[str, float], conversations: int) -> None:
        for name, part in parts.items():
            self.losses[name] += part * conversations
        self.conversations += conversations

    def add(self, conversation: Conversation, curve: Curves) -> None:
        for mark in conversation.marks:
            handler = getattr(self, f"_{mark.kind}", None)
            if handler is not None:
                handler(mark, conversation, curve)
        for (_, _, truth), guess in zip(conversation.texts, curve.text, strict=True):
            if not truth:  # not known
                continue
            self.characters[0] += edits(truth, guess)
            self.characters[1] += len(truth)
            self.words[0] += edits(truth.split(), guess.split())
            self.words[1] += len(truth.split())

    def _first(self, chance: NDArray[np.float32], start: int, end: int, limit: float) -> int | None:
        found = np.flatnonzero(chance[start:end] >= limit)
        return int(found[0]) + start if len(found) else None

    def _end(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first = mark.start // TURN_SAMPLES
        if first + PATIENCE + 1 >= len(curve.speak) or mark.end // TURN_SAMPLES < first + PATIENCE:
            return
        took = self._first(curve.speak, first, first + 10, DECODING["speak"])
        self.share["takeover_rate"].append(took is not None)
        self.peaks["end"].append(float(curve.speak[first : first + 10].max()))
        if took is None:
            return
        delay = (took + 1) * TURN_SAMPLES - mark.start
        self.latency["response_latency_ms"].append(delay / 16)
        labelled = first + 1
        act, delegate = conversation.act[labelled], conversation.delegate[labelled]
        if act >= 0:
            self.share["act_accuracy"].append(bool(curve.act[took] == act))
        self.share["asks_needlessly"].append(bool(curve.act[took] == ACTS.index("ask_repeat")))
        if delegate >= 0 and act >= 0:
            wanted, given = bool(delegate == 1), bool(curve.delegate[took] == 1)
            self.share["delegation_recall"] += [given] if wanted else []
            self.share["delegation_precision"] += [wanted] if given else []
        action = conversation.action[labelled]
        if action > 0:
            self.share["action_accuracy"].append(bool(curve.action[took] == action))

    def _drowned(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first = mark.start // TURN_SAMPLES
        took = self._first(curve.speak, first, first + 10, DECODING["speak"])
        self.share["takes_drowned"].append(took is not None)
        if took is not None:
            self.share["asks_again"].append(bool(curve.act[took] == ACTS.index("ask_repeat")))

    def _pause(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
        took = self._first(curve.speak, first, min(last, len(curve.speak)), DECODING["speak"])
        self.share["false_takeover_rate"].append(took is not None)
        self.peaks["pause"].append(float(curve.speak[first:last].max(initial=0.0)))
        if mark.end - mark.start >= 16_000:
            self.share["false_takeover_rate_long_pause"].append(took is not None)

    def _interruption(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first = mark.start // TURN_SAMPLES
        stopped = self._first(curve.stop, first, first + 8, DECODING["yield"])
        still = conversation.status[first : first + 3, 0].all()
        if not still:
            return
        self.share["stop_miss_rate"].append(stopped is None)
        self.peaks["interruption"].append(float(curve.stop[first : first + 8].max()))
        if stopped is not None:
            self.latency["stop_latency_ms"].append(
                ((stopped + 1) * TURN_SAMPLES - mark.start) / 16 + 20
            )

    def _held(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES + 2
        stopped = self._first(curve.stop, first, last, DECODING["yield"])
        self.share["selectivity"].append(stopped is None)
        self.peaks["held"].append(float(curve.stop[first:last].max(initial=0.0)))

    _backchannel_heard = _held
    _side_talk_heard = _held
    _noise_heard = _held

    def _side_talk(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
        self.minutes[mark.kind] += (last - first) * TURN_MS / 60_000
        took = self._first(curve.speak, first, last, DECODING["speak"])
        self.answers[mark.kind] += took is not None

    _noise = _side_talk

    def _arrival(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
        took = self._first(curve.speak, first, last, DECODING["speak"])
        self.share["greets_arrival"].append(
            took is not None and bool(curve.act[took] == ACTS.index("greet"))
        )

    def _wave(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES + 2
        waved = np.flatnonzero(curve.action[first:last] == ACTIONS.index("wave"))
        self.share["vision_recall"].append(len(waved) > 0)
        if len(waved):
            self.latency["vision_latency_ms"].append(float((waved[0] + 1) * TURN_MS))

    def _hand(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
        stopped = self._first(curve.stop, first, last, DECODING["yield"])
        self.share["hand_yields"].append(stopped is not None)

    def _deliver(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
        took = self._first(curve.speak, first, last, DECODING["speak"])
        self.share["delivers_in_time"].append(took is not None)

    def _cancel(self, mark: Mark, conversation: Conversation, curve: Curves) -> None:
        first = mark.start // TURN_SAMPLES
        given = curve.delegate[first : first + 4] == DELEGATE.index("cancel")
        self.share["cancel_recall"].append(bool(given.any()))

    def _at_the_same_share(self, wanted: str, unwanted: str) -> dict[str, Any]:
        """How much of what is unwanted comes with nine tenths of what is wanted."""
        if not self.peaks[wanted]:
            return share(0, 0)
        threshold = np.quantile(self.peaks[wanted], 1 - TAKEN)
        found = [peak >= threshold for peak in self.peaks[unwanted]]
        return share(sum(found), len(found))

    def report(self) -> dict[str, Any]:
        figures = {k: share(sum(v), len(v)) for k, v in sorted(self.share.items())}
        for name, values in sorted(self.latency.items()):
            for percent in (50, 90, 95):
                value = round(float(np.percentile(values, percent)), 0)
                figures[f"{name}_p{percent}"] = {"value": value, "n": len(values)}
        figures["pauses_at_90pct_of_ends"] = self._at_the_same_share("end", "pause")
        figures["held_at_90pct_of_stops"] = self._at_the_same_share("interruption", "held")
        for name, minutes in self.minutes.items():
            if minutes:
                rate = round(self.answers[name] / minutes, 3)
                figures[f"{name}_answers_per_min"] = {"value": rate, "n": round(minutes, 1)}
        for name, (wrong, total) in (("cer", self.characters), ("wer", self.words)):
            figures[name] = {"value": round(wrong / max(1, total), 4), "n": total}
        for name, total in self.losses.items():
            value = round(total / self.conversations, 4)
            figures[f"loss_{name}"] = {"value": value, "n": self.conversations}
        return figures


def measure(
    model: InteractionModel,
    settings: Settings,
    split: str,
    human: bool,
    count: int,
    voice: Voice | None = None,
) -> dict[str, Any]:
    """Figures over `count` conversations of 30 s; `voice`: what becomes of who was recorded."""
    mine = replace(
        settings, human_share=1.0 if human else 0.0, data=settings.data if human else None
    )
    composer = build_composers(mine, None, split, voice)["duplex"]
    composer.lags, composer.mistakes = (PATIENCE,), 0.0
    tally = Tally()
    for start in range(0, count, 8):
        conversations = [
            composer.compose(10_000_019 + i) for i in range(start, min(count, start + 8))
        ]
        batch = Batch.of(conversations)
        with torch.no_grad():
            outputs = model(*batch.inputs)
        if outputs.phones.numel():  # an exported graph has not the heads of training
            total, parts = compute(outputs, batch)
            tally.add_losses({"all": float(total), **parts}, len(conversations))
        for conversation, curve in zip(conversations, curves(outputs, conversations), strict=True):
            tally.add(conversation, curve)
    return tally.report()


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("training/checkpoint.pt"))
    parser.add_argument("--graph", type=Path, help="an exported model.onnx instead of a checkpoint")
    parser.add_argument("--data", type=Path, help="a folder of human speech (see CARD.md)")
    parser.add_argument("--count", type=int, default=160, help="conversations per material")
    parser.add_argument("--scale", type=float, default=0.15, help="of the test banks")
    parser.add_argument("--out", type=Path, default=Path("training/figures.json"))
    arguments = parser.parse_args()
    if arguments.data is not None:
        check_measures(arguments.data)  # before minutes of synthesis
    torch.set_num_threads(1)
    meaningless: set[str] = set()
    if arguments.graph is not None:
        model = InteractionModel(config_of_graph(arguments.graph))
        if load_graph(model.eval(), arguments.graph):  # heads of training alone, new and untaught
            meaningless = {"loss_all", "loss_intent"}
    else:
        model, _ = load(arguments.checkpoint)
    settings = Settings(data=arguments.data, scale=arguments.scale, seed=1)
    rows = {
        "generated_seen": measure(model, settings, "test_seen", False, arguments.count),
        "generated_unseen": measure(model, settings, "test_unseen", False, arguments.count),
        "phrased": measure(model, settings, PHRASED, False, arguments.count),
    }
    if arguments.data is not None:
        rows["human"] = measure(model, settings, "test_seen", True, arguments.count)
        if is_there():
            rows["children"] = measure(model, settings, "test_seen", True, arguments.count, CHILD)
    for row in rows.values():
        for name in meaningless:
            del row[name]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1))
    names = sorted({name for row in rows.values() for name in row})
    for name in names:
        cells = [
            f"{rows[m].get(name, {}).get('value')} (n {rows[m].get(name, {}).get('n')})"
            for m in rows
        ]
        print(f"{name:34s} " + "  ".join(f"{cell:>22s}" for cell in cells))


if __name__ == "__main__":
    main()
