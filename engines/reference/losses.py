"""What the reference model is trained on: one weighted sum over all its heads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engines.reference.corpus.draft import IGNORE, Conversation
from engines.reference.model import SUBFRAMES, Outputs
from engines.reference.vocabulary import SYMBOLS

_SYMBOL = {symbol: index for index, symbol in enumerate(SYMBOLS)}
FLOOR_WEIGHT = torch.tensor([1.0, 3.0, 2.0, 3.0, 1.0])
"""Listening and holding are most turns; the rare decisions count for more."""
ACTION_WEIGHT = torch.tensor([0.5] + [2.0] * 7)
DELEGATE_WEIGHT = torch.tensor([0.5, 2.0, 3.0])
DECISIONS = ("floor", "act", "action", "delegate")
# Acts are labelled where something is said, actions and delegation in every turn: they weigh more
# than it seems.
WEIGHTS = {
    "floor": 3.0,
    "act": 0.5,
    "action": 3.0,
    "delegate": 2.0,
    "speech": 0.4,
    "intent": 0.7,
    "end": 0.6,
    "vision": 0.5,
    "phones": 1.0,
    "text": 1.0,
    "blank": 0.2,
}


@dataclass
class Batch:
    """Conversations as tensors; shapes as in `Conversation` with a batch axis in front."""

    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
    labels: dict[str, Tensor]
    texts: list[tuple[tuple[int, int, str], ...]]

    @staticmethod
    def of(conversations: Sequence[Conversation], device: torch.device | None = None) -> Batch:
        def stack(name: str) -> Tensor:
            arrays = [getattr(one, name) for one in conversations]
            return torch.from_numpy(np.stack(arrays)).to(device)

        pictures = np.concatenate([one.pictures for one in conversations])
        first = np.cumsum([0, *(len(one.pictures) for one in conversations[:-1])])
        picture_of = np.stack([one.picture_of for one in conversations]) + first[:, None]
        names = (
            "floor", "floor_weight", "act", "action", "delegate", "speech", "intent",
            "end_of_turn", "vision", "phones",
        )  # fmt: skip
        return Batch(
            inputs=(
                stack("audio"),
                torch.from_numpy(pictures).to(device),
                torch.from_numpy(picture_of).to(device),
                stack("frame_valid"),
                stack("events"),
                stack("status"),
            ),
            labels={name: stack(name) for name in names},
            texts=[one.texts for one in conversations],
        )

    def asked_every(self, turns: int) -> Batch:
        """The same with decisions in each `turns`-th micro-turn only; all else is learned as ever.
        For the tick ablation (`edge-runtime evaluate --ticks`)."""
        if turns == 1:
            return self
        labels = dict(self.labels)
        for name in DECISIONS:
            known = labels[name].clone()
            known[:, ~torch.from_numpy(asked(known.shape[1], turns))] = IGNORE
            labels[name] = known
        return replace(self, labels=labels)


def asked(turns: int, every: int) -> NDArray[np.bool_]:
    """Whether a slower decider is asked in a micro-turn, (turns,): in each `every`-th."""
    return (np.arange(turns) + 1) % every == 0


def _classes(
    logits: Tensor,
    target: Tensor,
    class_weight: Tensor | None = None,
    turn_weight: Tensor | None = None,
) -> Tensor:
    """Weighted mean of the cross-entropy over the labelled turns; zero when there are none."""
    flat, target = logits.float().flatten(0, 1), target.flatten()
    known = target != IGNORE
    if not bool(known.any()):
        return flat.sum() * 0
    weight = known.float()
    if class_weight is not None:
        weight = weight * class_weight.to(flat.device)[target.clamp(0)]
    if turn_weight is not None:
        weight = weight * turn_weight.flatten()
    each = F.cross_entropy(flat, target, ignore_index=IGNORE, reduction="none")
    return (each * weight).sum() / weight.sum()


def joined(spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Windows that share a turn as one, where what is said in both is known: by itself each would
    forbid the letters that the other demands."""
    found: list[tuple[int, int, str]] = []
    for first, last, text in sorted(spans):
        if found and first <= found[-1][1] and text and found[-1][2]:
            begin, end, before = found[-1]
            found[-1] = begin, max(end, last), f"{before} {text}"
        else:
            found.append((first, last, text))
    return found


def _coded(text: str) -> list[int]:
    return [_SYMBOL[c] for c in text if c in _SYMBOL] + [_SYMBOL[" "]]


def fits(text: str, steps: int) -> bool:
    """Whether a transcript can be written in so many steps: CTC parts two equal letters by a
    blank."""
    coded = _coded(text)
    repeats = sum(a == b for a, b in itertools.pairwise(coded))
    return len(coded) + repeats <= steps - 2


def _transcript(
    logits: Tensor, texts: Sequence[tuple[tuple[int, int, str], ...]]
) -> tuple[Tensor, Tensor]:
    """CTC in the window of each utterance, blank outside of all of them."""
    log_probs = F.log_softmax(logits.float(), -1)
    outside = torch.ones(log_probs.shape[:2], device=logits.device)
    windows: list[Tensor] = []
    symbols: list[int] = []
    counts: list[int] = []
    for row, spans in enumerate(texts):
        for first, last, text in joined(spans):
            steps = slice(first * SUBFRAMES, (last + 1) * SUBFRAMES)
            outside[row, steps] = 0
            if not text:  # not known
                continue
            window, coded = log_probs[row, steps], _coded(text)
            if fits(text, len(window)):
                windows.append(window)
                symbols += coded
                counts.append(len(coded))
    blank = -(log_probs[:, :, 0] * outside).sum() / outside.sum().clamp(1)
    if not windows:
        return log_probs.sum() * 0, blank
    lengths = torch.tensor([len(window) for window in windows])
    padded = torch.nn.utils.rnn.pad_sequence(windows)
    loss = F.ctc_loss(
        padded,
        torch.tensor(symbols, device=logits.device),
        lengths,
        torch.tensor(counts),
        reduction="sum",
        zero_infinity=True,
    )
    return loss / len(symbols), blank


def compute(outputs: Outputs, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The weighted loss, and its parts for the log."""
    labels = batch.labels
    text, blank = _transcript(outputs.transcript, batch.texts)
    ended = labels["end_of_turn"]
    known = ended != IGNORE
    end = F.binary_cross_entropy_with_logits(
        outputs.end_of_turn.float(), ended.clamp(0).float(), reduction="none"
    )
    seen = batch.inputs[3] * (labels["vision"] != IGNORE)
    vision = F.binary_cross_entropy_with_logits(
        outputs.seen.float(), labels["vision"], reduction="none"
    )
    parts = {
        "floor": _classes(outputs.floor, labels["floor"], FLOOR_WEIGHT, labels["floor_weight"]),
        "act": _classes(outputs.act, labels["act"]),
        "action": _classes(outputs.action, labels["action"], ACTION_WEIGHT),
        "delegate": _classes(outputs.delegate, labels["delegate"], DELEGATE_WEIGHT),
        "speech": _classes(outputs.speech, labels["speech"]),
        "intent": _classes(outputs.intent, labels["intent"]),
        "end": (end * known).sum() / known.sum().clamp(1),
        "vision": (vision * seen).sum() / seen.sum().clamp(1),
        "phones": _classes(outputs.phones, labels["phones"]),
        "text": text,
        "blank": blank,
    }
    total = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
    return total, {name: float(part.detach()) for name, part in parts.items()}
