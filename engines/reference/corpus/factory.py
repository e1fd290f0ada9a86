"""Puts a composer together: bank, labels, noises and rooms, from what this machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from engines.reference.corpus import human
from engines.reference.corpus.acoustics import Acoustics, generated_beds
from engines.reference.corpus.bank import Bank
from engines.reference.corpus.conversation import Composer
from engines.reference.corpus.text import Grammar

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
    def seed(self) -> int: ...


def build_composer(
    settings: CorpusSettings,
    progress: Callable[[str], None] | None = None,
    split: str = "train",
) -> Composer:
    """A composer over a bank of `settings.scale`; human speech where `settings.data` has it."""
    data = settings.data
    bank = Bank.build(
        seed=settings.seed,
        scale=settings.scale,
        human_dir=data,
        split=split,
        cache=settings.folder / "bank",
        progress=progress,
    )
    rng = np.random.default_rng(settings.seed)
    part = "train" if split == "train" else "dev"
    recorded = [] if data is None else human.load_noises(data, part)
    rooms = [] if data is None else human.load_rirs(data, part)
    voices = [segment.pcm for spoken in bank["turn"] for segment in spoken.segments]
    acoustics = Acoustics(recorded + generated_beds(rng, voices) * 3, rooms)
    labels = Grammar.load(GRAMMAR).labels
    return Composer(bank, labels, acoustics, settings.turns, human_share=settings.human_share)
