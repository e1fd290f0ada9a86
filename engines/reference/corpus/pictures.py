"""What the camera sees of a conversation: one picture for each pose, and which turn shows which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.demo.renderer import PersonRenderer, Pose
from engines.reference.corpus.draft import Draft, Ints
from engines.reference.corpus.photographs import PhotographedPerson, Photographs

GRAINS = 2
"""Noise patterns of a camera in one conversation."""
DARKEST = 24
"""A covered lens is no brighter, in levels of 255."""


def draw(
    draft: Draft, size: int, photographs: Photographs | None = None
) -> tuple[NDArray[np.uint8], Ints]:
    """Pictures uint8 (U, size, size, 3) of the draft's poses, and the picture of each turn (T,).

    Equal poses share a drawing, so that the network looks at each only once.
    """
    rng = draft.rng
    if draft.covered:
        dark = _dark(rng, size)
        return dark, rng.integers(0, len(dark), draft.turns)
    if draft.blind:
        return np.zeros((1, size, size, 3), np.uint8), np.zeros(draft.turns, np.int64)
    seed = int(rng.integers(1 << 31))
    renderer = (
        PhotographedPerson(seed, size, photographs)
        if photographs
        else PersonRenderer(seed, size, size)
    )
    noise = rng.normal(0, rng.uniform(1, 6), (GRAINS, size, size, 3)).astype(np.int16)
    drawn: dict[tuple[int, ...], NDArray[np.uint8]] = {}
    known: dict[tuple[int, ...], int] = {}
    pictures: list[NDArray[np.uint8]] = []
    picture_of = np.zeros(draft.turns, np.int64)
    sway = 0
    for turn, (present, facing, mouth, wave, hand) in enumerate(draft.pose):
        if rng.random() < 0.15:
            sway = int(rng.integers(0, 3))
        phase = 0 if not wave else 1 + int(wave) % 4
        key = (int(present), int(facing), int(np.ceil(mouth * 3)), phase, int(hand), sway)
        if not present:
            key = (0, 0, 0, 0, 0, 0)
        if key not in drawn:
            pose = Pose(
                bool(present), bool(facing), key[2] / 3, phase, bool(hand), 0.06 * (key[5] - 1)
            )
            drawn[key] = renderer.render(pose, turn)
        grain = int(rng.integers(GRAINS))
        if (*key, grain) not in known:
            known[(*key, grain)] = len(pictures)
            picture = drawn[key].astype(np.int16) + noise[grain]
            pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
        picture_of[turn] = known[(*key, grain)]
    return np.stack(pictures), picture_of


def _dark(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """What a covered lens sees, uint8 (1 or GRAINS, size, size, 3): black, or one dark colour with
    the camera's noise."""
    if rng.random() < 0.5:
        return np.zeros((1, size, size, 3), np.uint8)
    noise = rng.normal(0, rng.uniform(1, 6), (GRAINS, size, size, 3))
    return np.clip(rng.uniform(0, DARKEST, 3) + noise, 0, 255).astype(np.uint8)
