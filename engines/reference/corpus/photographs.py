"""Drawn people with real faces and hands in real rooms, where a folder of photographs has them.

The pose stays known, because it is drawn: only its parts are photographed. Portraits are grey; they
take on the colour of the drawn skin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.demo.renderer import PersonRenderer, Pose
from engines.reference.corpus.human import rows

Picture = NDArray[np.uint8]
ROOMS = ("empty_room", "empty_outdoor", "no_person_clip")
PARTS = dict.fromkeys(ROOMS, "room") | {"face_portrait": "face", "hand_closeup": "hand"}
"""What a picture is used for, by its kind."""
FACE_X, FACE_Y, FACE_WIDE, FACE_HIGH = 0.5, 0.5, 0.30, 0.34
"""Of a portrait: the middle of the face and its half axes, as shares of width and height."""
HAND_SATURATION = 30
"""A hand before a white wall: what has more colour than this is hand."""
SHARE_OF_ROOMS, SHARE_OF_FACES, SHARE_OF_HANDS = 0.6, 0.6, 0.5


@dataclass(frozen=True)
class Photographs:
    """RGB or grey pictures, uint8."""

    rooms: Sequence[Picture]
    faces: Sequence[Picture]
    """(80, 64): an upright ellipse of face, grey."""
    hands: Sequence[tuple[Picture, Picture]]
    """(n, n, 3) and its mask (n, n)."""

    @classmethod
    def load(cls, folder: Path, split: str, left_out: Counter[str] | None = None) -> Photographs:
        """What the manifest of `folder` lists for `split` (train or dev). `left_out` counts what
        cannot be used, by reason."""
        import cv2

        found: dict[str, list[Picture]] = {"room": [], "face": [], "hand": []}
        for row in rows(folder, split):
            name = PARTS.get(row["kind"])
            if name is None:
                continue
            image = cv2.imread(str(folder / row["file"]))
            if image is not None:
                found[name].append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            elif left_out is not None:
                left_out["no picture that can be read"] += 1
        return cls(
            found["room"],
            [_face(picture) for picture in found["face"]],
            [(picture, _mask(picture)) for picture in found["hand"]],
        )

    def __bool__(self) -> bool:
        return bool(self.rooms or self.faces or self.hands)


def _face(portrait: Picture) -> Picture:
    import cv2

    height, width = portrait.shape[:2]
    left, right = int(width * (FACE_X - FACE_WIDE)), int(width * (FACE_X + FACE_WIDE))
    top, bottom = int(height * (FACE_Y - FACE_HIGH)), int(height * (FACE_Y + FACE_HIGH))
    grey = cv2.cvtColor(portrait[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (64, 80), interpolation=cv2.INTER_AREA), np.uint8)


def _mask(picture: Picture) -> Picture:
    import cv2

    coloured = picture.max(2).astype(int) - picture.min(2) > HAND_SATURATION
    return np.asarray(cv2.medianBlur(coloured.astype(np.uint8) * 255, 5), np.uint8)


class PhotographedPerson(PersonRenderer):
    """As `PersonRenderer`; which parts are photographs follows from the seed too."""

    def __init__(self, seed: int, size: int, photographs: Photographs) -> None:
        self._choice = rng = np.random.default_rng([seed, 1])
        self._photographs = photographs
        self._face = self._one(rng, photographs.faces, SHARE_OF_FACES)
        self._hand = self._one(rng, photographs.hands, SHARE_OF_HANDS)
        self._natural = float(rng.uniform(0.4, 1.0))
        super().__init__(seed, size, size)

    @staticmethod
    def _one(
        rng: np.random.Generator,
        pictures: Sequence[Picture | tuple[Picture, Picture]],
        share: float,
    ) -> Picture | tuple[Picture, Picture] | None:
        if not pictures or rng.random() >= share:
            return None
        return pictures[int(rng.integers(len(pictures)))]

    def _furnish(self, rng: np.random.Generator) -> Picture:
        drawn, mine = super()._furnish(rng), self._choice
        room = self._one(mine, self._photographs.rooms, SHARE_OF_ROOMS)
        if not isinstance(room, np.ndarray):
            return drawn
        side = int(min(room.shape[:2]) * mine.uniform(0.6, 1.0))
        top = int(mine.integers(0, room.shape[0] - side + 1))
        left = int(mine.integers(0, room.shape[1] - side + 1))
        part = room[top : top + side, left : left + side]
        part = part[:, ::-1] if mine.random() < 0.5 else part
        size = (drawn.shape[1], drawn.shape[0])
        return np.ascontiguousarray(self._cv2.resize(part, size))

    def _front(
        self, image: Picture, x: float, y: float, head: float, mouth: float, step: int
    ) -> None:
        if not isinstance(self._face, np.ndarray):
            super()._front(image, x, y, head, mouth, step)
            return
        grey = self._face.astype(np.float32)
        shade = (grey / max(40.0, 1.2 * float(grey[20:60, 16:48].mean())))[..., None]
        skin = np.array(self._look.skin, np.float32)
        tint = self._natural * skin + (1 - self._natural) * skin.mean()
        face = np.clip(shade * tint, 0, 255).astype(np.uint8)
        mask = np.zeros(grey.shape, np.uint8)
        self._cv2.ellipse(mask, (32, 40), (28, 36), 0, 0, 360, 255, -1)
        self._paste(image, face, mask, (x, y + 0.15 * head), (2.1 * head, 2.7 * head))
        if mouth > 0.1:
            self._ellipse(
                image, x, y + 0.8 * head, 0.3 * head, (0.05 + 0.22 * mouth) * head, (60, 20, 25)
            )

    def _raised_arm(self, image: Picture, x: float, y: float, head: float, pose: Pose) -> None:
        super()._raised_arm(image, x, y, head, pose)
        if not isinstance(self._hand, tuple):
            return
        swing = (0.0, 0.75, 0.0, -0.75)[pose.waving % 4] if pose.waving else 0.0
        hand, mask = self._hand
        middle = (hand.shape[1] / 2, hand.shape[0] / 2)
        turn = self._cv2.getRotationMatrix2D(middle, -25 * swing, 1.0)
        size = (hand.shape[1], hand.shape[0])
        hand, mask = (self._cv2.warpAffine(part, turn, size) for part in (hand, mask))
        at = (x + self._look.side * (2.3 + swing) * head, y - 0.5 * head)
        self._paste(image, hand, mask, at, (2.2 * head, 2.2 * head))

    def _paste(
        self,
        image: Picture,
        part: Picture,
        mask: Picture,
        middle: tuple[float, float],
        size: tuple[float, float],
    ) -> None:
        """`part` scaled to `size` (wide, high), where `mask` is set, as far as it lies inside."""
        wide, high = max(2, round(size[0])), max(2, round(size[1]))
        area = self._cv2.INTER_AREA
        part = self._cv2.resize(part, (wide, high), interpolation=area)
        alpha = self._cv2.resize(mask, (wide, high), interpolation=area)[..., None] / 255.0
        left, top = round(middle[0] - wide / 2), round(middle[1] - high / 2)
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(image.shape[1], left + wide), min(image.shape[0], top + high)
        if x1 <= x0 or y1 <= y0:
            return
        inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        under = image[y0:y1, x0:x1]
        mixed = alpha[inside] * part[inside] + (1 - alpha[inside]) * under
        image[y0:y1, x0:x1] = mixed.astype(np.uint8)
