"""Conversations that go the way the model itself leads them (DAgger, Ross et al. 2011).

The model hears a conversation in which the device waits, its choices are read off at each moment
where the device could act, and the same conversation is composed again with them: an answer comes
when the model would have given it, a pause is broken where it would have been, a "stop" takes as
long as it takes. The labels stay those of the script: the model learns from where it gets itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_runtime.decide import Doubt
from edge_runtime.inference.manifest import Decoding
from engines.reference.corpus.choices import WAITING, made
from engines.reference.corpus.conversation import Composer
from engines.reference.corpus.draft import Conversation
from engines.reference.losses import Batch, asked
from engines.reference.model import InteractionModel
from engines.reference.vocabulary import DECODING, FLOOR

AT = Decoding.model_validate({**DECODING, "speak": 0.75, "yield": 0.4})
"""It speaks and stops where the next weights will."""
SILENT = [FLOOR.index(name) for name in ("listen", "backchannel", "speak")]
SPEAKING = [FLOOR.index(name) for name in ("yield", "hold")]


def floor_chances(
    floor: Tensor, speaking: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Chances to take and to yield the floor, (T,), from logits (T, 5), as the decider has them:
    renormalised over what is possible while the mouth speaks or not."""
    take = floor[:, SILENT].float().softmax(-1)[:, 2].cpu().numpy()
    give = floor[:, SPEAKING].float().softmax(-1)[:, 0].cpu().numpy()
    return np.where(speaking, 0.0, take), np.where(speaking, give, 0.0)


def yields(give: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 in each turn in which a device that speaks would yield, (T,); a turn in which it could not
    has no chance of it."""
    doubt = Doubt(AT)
    return np.array([doubt.state(float(chance)) == "yield" for chance in give], np.float32)


def led_by(
    model: InteractionModel,
    composer: Composer,
    seeds: Sequence[int],
    device: torch.device,
    tick: int = 1,
    bfloat16: bool = False,
) -> list[Conversation]:
    """The conversations of `seeds`, with the model's choices in place of the script's. It may
    choose in each `tick`-th micro-turn."""
    waiting = [composer.compose(seed, WAITING) for seed in seeds]
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        floor = model(*Batch.of(waiting, device).inputs).floor
    led = []
    for seed, one, logits in zip(seeds, waiting, floor, strict=True):
        take, give = floor_chances(logits, one.status[:, 0] > 0)
        open_to_it = asked(len(take), tick)
        take, give = take * open_to_it, give * open_to_it
        choices = made(one.points, take, yields(give), AT.speak)
        led.append(composer.compose(seed, choices))
    return led
