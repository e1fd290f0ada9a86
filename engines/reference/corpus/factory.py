"""Puts a composer together: bank, labels, noises and rooms, from what this machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engines.reference.corpus import human
from engines.reference.corpus.acoustics import Acoustics, generated_beds, in_16_bits
from engines.reference.corpus.bank import Bank, in_voice
from engines.reference.corpus.conversation import BROKEN, LATE, PACED, Composer
from engines.reference.corpus.dense import DenseComposer
from engines.reference.corpus.photographs import Photographs
from engines.reference.corpus.text import Grammar
from engines.reference.corpus.voices import Voice

GRAMMAR = Path(__file__).parent / "grammar.yaml"


class CorpusSettings(Protocol):
    @property
    def data(self) -> Path | None: ...
    @property
    def folder(self) -> Path: ...
    @property
    def turns(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def human_share(self) -> float: ...
    @property
    def moved(self) -> float: ...
    @property
    def seed(self) -> int: ...


BEDS = 20
"""Times that the noises are generated: half of each are other people's voices, of which recorded
ones have few, and rooms have most."""
DENSE_SHARE_OF_TURNS = 0.5
"""A dense clip is shorter than a conversation: there is less to wait for."""


def bank_folder(settings: CorpusSettings) -> Path:
    return settings.folder / "bank"


def build_composers(
    settings: CorpusSettings,
    progress: Callable[[str], None] | None = None,
    split: str = "train",
    voice: Voice | None = None,
) -> dict[str, Composer]:
    """Composers of both stages over one bank of `settings.scale`; human speech where
    `settings.data` has it, all of it moved to `voice` if that is given."""
    data = settings.data
    bank = Bank.build(
        seed=settings.seed,
        scale=settings.scale,
        human_dir=data,
        split=split,
        cache=bank_folder(settings),
        progress=progress,
        moved=settings.moved if split == "train" else 0.0,
    )
    if voice is not None:
        for spoken in bank.values():
            spoken[:] = [in_voice(one, voice) if one.source == "human" else one for one in spoken]
    rng = np.random.default_rng(settings.seed)
    part = "train" if split == "train" else "dev"
    recorded = [] if data is None else human.load_noises(data, part)
    rooms = [] if data is None else human.load_rirs(data, part)
    voices = [segment.pcm for spoken in bank["turn"] for segment in spoken.segments]
    beds = [in_16_bits(bed) for _ in range(BEDS) for bed in generated_beds(rng, voices)]
    acoustics = Acoustics(recorded + beds, rooms)
    labels = Grammar.load(GRAMMAR).labels
    photographs = None if data is None else Photographs.load(data, part)
    turns = settings.turns
    short = max(1, round(turns * DENSE_SHARE_OF_TURNS))
    options: dict[str, Any] = {
        "human_share": settings.human_share,
        "photographs": photographs,
        "paced": PACED if split == "train" else 0.0,
        "late": LATE if split == "train" else 0.0,
        "broken": BROKEN if split == "train" else 0.0,
    }
    return {
        "dense": DenseComposer(bank, labels, acoustics, short, wordless=0.0, **options),
        "duplex": Composer(bank, labels, acoustics, turns, **options),
    }
