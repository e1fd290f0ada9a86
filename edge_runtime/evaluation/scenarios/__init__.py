"""The scenarios, as generators of clips. Clip `index` of a scenario follows from the seed alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.material import Material
from edge_runtime.evaluation.stage import Stage


@dataclass(frozen=True)
class Casting:
    """Who plays, how often, and for which eyes."""

    material: Material
    seed: int
    frame_px: int
    live: bool = False
    """The device speaks for itself: what a script would have it say is only noted."""

    def stage(self, rng: np.random.Generator, seconds: float) -> Stage:
        return Stage(self.material, rng, seconds, self.frame_px, self.live)

    def rng(self, scenario: str, index: int) -> np.random.Generator:
        names = zlib.crc32(f"{self.material.name} {scenario}".encode())
        return np.random.default_rng([self.seed, names, index])


Render = Callable[[Casting, int], Clip | None]
"""Makes clip number `index`; None where the material has nothing for it."""


def clips(render: Render, casting: Casting, count: int) -> Iterator[Clip]:
    for index in range(count):
        clip = render(casting, index)
        if clip is not None:
            yield clip
