"""Draws a generated person in a generated room.

The demonstration shows this person, and the training corpus draws thousands of them. Everything
about one (room, skin, hair, clothes, size, light) follows from the seed; what they do comes as a
Pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edge_runtime.micro_turn import Frame

Colour = tuple[int, int, int]
Point = tuple[int, int]
_SKINS = ((238, 205, 180), (224, 172, 138), (198, 140, 104), (150, 100, 70), (96, 62, 46))
_HAIRS = (
    (35, 25, 20),
    (80, 52, 32),
    (140, 96, 52),
    (196, 164, 100),
    (150, 150, 150),
    (110, 40, 24),
)
_SUPERSAMPLE = 2


@dataclass(frozen=True, slots=True)
class Pose:
    """What the person does in one frame."""

    present: bool = True
    facing: bool = True
    mouth: float = 0.0
    """0 closed .. 1 wide open."""
    waving: int = 0
    """0 not waving, else the phase: the hand swings with it."""
    hand_raised: bool = False
    x: float = 0.0
    """-1 (left edge) .. 1 (right edge), 0 where this person usually stands."""


@dataclass(frozen=True)
class _Look:
    skin: Colour
    hair: Colour
    shirt: Colour
    long_hair: bool
    bald: bool
    glasses: bool
    side: int
    """1 or -1: which way the person turns, and which hand is raised."""
    size: float
    """Half the head's width as a share of the picture's height."""
    x: float
    y: float
    light: float
    grain: float


class PersonRenderer:
    """One person in one room, at any picture size; `seed` decides what both look like."""

    def __init__(self, seed: int, height: int = 96, width: int = 96) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._cv2 = cv2
        self._rng = rng = np.random.default_rng(seed)
        self.height, self.width = height, width
        self._look = self._choose(rng)
        self._room = self._furnish(rng)
        self._grain = rng.normal(0, self._look.grain, (3, height, width, 3)).astype(np.int16)

    def render(self, pose: Pose, step: int = 0) -> Frame:
        """uint8 (height, width, 3) RGB; `step` moves the small things (sway, blinking, grain)."""
        cv2 = self._cv2
        image = self._room.copy()
        if pose.present:
            self._draw_person(image, pose, step)
        small = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA)
        lit = small.astype(np.float32) * self._look.light
        noisy = lit + self._grain[step % len(self._grain)]
        out: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
        return out

    # -- choices ------------------------------------------------------------------

    @staticmethod
    def _choose(rng: np.random.Generator) -> _Look:
        def shade(colours: tuple[Colour, ...], spread: int) -> Colour:
            base = np.array(colours[int(rng.integers(len(colours)))])
            red, green, blue = np.clip(base + rng.integers(-spread, spread + 1, 3), 0, 255)
            return int(red), int(green), int(blue)

        size = float(rng.uniform(0.075, 0.17))
        red, green, blue = (int(v) for v in rng.integers(20, 236, 3))
        return _Look(
            skin=shade(_SKINS, 12),
            hair=shade(_HAIRS, 12),
            shirt=(red, green, blue),
            long_hair=bool(rng.random() < 0.4),
            bald=bool(rng.random() < 0.12),
            glasses=bool(rng.random() < 0.25),
            side=1 if rng.random() < 0.5 else -1,
            size=size,
            x=float(rng.uniform(0.36, 0.64)),
            y=float(rng.uniform(0.26, 0.42)) + size * 0.4,
            light=float(rng.uniform(0.55, 1.15)),
            grain=float(rng.uniform(1.0, 7.0)),
        )

    def _furnish(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A wall, a floor, and some rectangles and plants that could be furniture."""
        cv2 = self._cv2
        height, width = self.height * _SUPERSAMPLE, self.width * _SUPERSAMPLE
        corners = rng.integers(60, 235, (2, 3, 3)).astype(np.float32)
        corners = 0.65 * corners.mean((0, 1)) + 0.35 * corners
        room = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
        horizon = int(height * rng.uniform(0.6, 0.9))
        room[horizon:] = room[horizon:] * 0.4 + rng.integers(30, 160, 3) * 0.6
        image: NDArray[np.uint8] = np.clip(room, 0, 255).astype(np.uint8)
        for _ in range(int(rng.integers(2, 8))):
            colour = tuple(int(v) for v in rng.integers(20, 240, 3))
            left, top = rng.integers(0, width), rng.integers(0, height)
            wide, high = (
                rng.integers(width // 14, width // 3),
                rng.integers(height // 14, height // 2),
            )
            if rng.random() < 0.8:
                corner = (int(left + wide), int(top + high))
                cv2.rectangle(image, (int(left), int(top)), corner, colour, -1)
            else:
                axes = (int(wide // 2), int(high // 3))
                cv2.ellipse(image, (int(left), int(top)), axes, 0, 0, 360, colour, -1)
        if rng.random() < 0.5:
            blur = int(rng.integers(1, 4)) * 2 + 1
            image = cv2.GaussianBlur(image, (blur, blur), 0)
        return image

    # -- drawing --------------------------------------------------------------------

    def _draw_person(self, image: NDArray[np.uint8], pose: Pose, step: int) -> None:
        look = self._look
        height, width = image.shape[:2]
        head = look.size * height
        sway = 0.04 * head * np.sin(step * 0.7)
        x = width * (look.x + 0.5 * pose.x) + sway
        y = height * look.y + 0.02 * head * np.cos(step * 0.5)
        self._body(image, x, y, head)
        self._head(image, x, y, head, pose, step)
        if pose.waving or pose.hand_raised:
            self._raised_arm(image, x, y, head, pose)

    def _ellipse(
        self, image: NDArray[np.uint8], x: float, y: float, a: float, b: float, colour: Colour
    ) -> None:
        axes = (max(1, round(a)), max(1, round(b)))
        self._cv2.ellipse(image, (round(x), round(y)), axes, 0, 0, 360, colour, -1)

    def _line(
        self,
        image: NDArray[np.uint8],
        start: tuple[float, float],
        end: tuple[float, float],
        width: float,
        colour: Colour,
    ) -> None:
        first, last = (round(start[0]), round(start[1])), (round(end[0]), round(end[1]))
        self._cv2.line(image, first, last, colour, max(1, round(width)))

    def _body(self, image: NDArray[np.uint8], x: float, y: float, head: float) -> None:
        look = self._look
        shoulder = y + 2.1 * head
        shadow = _shade(look.shirt, 0.75)
        self._line(image, (x, y + head), (x, shoulder), 0.8 * head, _shade(look.skin, 0.85))
        for side in (-1, 1):
            arm = x + side * 1.95 * head
            self._line(
                image,
                (arm, shoulder + 0.4 * head),
                (arm, shoulder + 3.6 * head),
                0.75 * head,
                shadow,
            )
        self._ellipse(image, x, shoulder + 0.6 * head, 2.2 * head, 0.9 * head, look.shirt)
        corner = (round(x - 1.75 * head), round(shoulder + 0.5 * head))
        end = (round(x + 1.75 * head), image.shape[0])
        self._cv2.rectangle(image, corner, end, look.shirt, -1)

    def _head(
        self, image: NDArray[np.uint8], x: float, y: float, head: float, pose: Pose, step: int
    ) -> None:
        look, turn = self._look, 0.0 if pose.facing else self._look.side
        if look.long_hair:
            self._ellipse(image, x, y + 0.5 * head, 1.2 * head, 1.7 * head, look.hair)
        if not look.bald:
            self._ellipse(
                image, x - 0.15 * turn * head, y - 0.2 * head, 1.1 * head, 1.3 * head, look.hair
            )
        face = x + 0.38 * turn * head
        self._ellipse(
            image, face, y + 0.1 * head, (1.0 - 0.3 * abs(turn)) * head, 1.15 * head, look.skin
        )
        if pose.facing:
            for side in (-1, 1):
                self._ellipse(
                    image, x + side * head, y + 0.1 * head, 0.16 * head, 0.28 * head, look.skin
                )
            self._front(image, x, y, head, pose.mouth, step)
        else:
            self._profile(image, face, y, head, pose.mouth)

    def _front(
        self, image: NDArray[np.uint8], x: float, y: float, head: float, mouth: float, step: int
    ) -> None:
        look, blink = self._look, step % 19 == 0
        for side in (-1, 1):
            eye = x + side * 0.4 * head
            if blink:
                self._line(
                    image, (eye - 0.15 * head, y), (eye + 0.15 * head, y), 0.06 * head, (60, 40, 30)
                )
            else:
                self._ellipse(image, eye, y, 0.2 * head, 0.13 * head, (245, 245, 245))
                self._ellipse(image, eye, y, 0.1 * head, 0.12 * head, (30, 25, 20))
            brow = (eye - 0.2 * head, y - 0.27 * head), (eye + 0.2 * head, y - 0.27 * head)
            self._line(image, *brow, 0.08 * head, _shade(look.hair, 0.8))
            if look.glasses:
                centre, radius = (round(eye), round(y)), max(1, round(0.28 * head))
                self._cv2.circle(image, centre, radius, (25, 25, 25), max(1, round(0.05 * head)))
        shade = _shade(look.skin, 0.82)
        self._line(image, (x, y + 0.1 * head), (x, y + 0.4 * head), 0.12 * head, shade)
        self._mouth(image, x, y + 0.68 * head, head, mouth, 0.36)

    def _profile(
        self, image: NDArray[np.uint8], face: float, y: float, head: float, mouth: float
    ) -> None:
        look = self._look
        front = face + look.side * 0.62 * head
        self._ellipse(image, front, y + 0.3 * head, 0.2 * head, 0.14 * head, look.skin)
        eye = face + look.side * 0.4 * head
        self._ellipse(image, eye, y, 0.09 * head, 0.11 * head, (30, 25, 20))
        ear = face - look.side * 0.5 * head
        self._ellipse(image, ear, y + 0.1 * head, 0.14 * head, 0.25 * head, _shade(look.skin, 0.85))
        self._mouth(image, face + look.side * 0.42 * head, y + 0.68 * head, head, mouth, 0.18)

    def _mouth(
        self, image: NDArray[np.uint8], x: float, y: float, head: float, opening: float, wide: float
    ) -> None:
        high = (0.04 + 0.26 * opening) * head
        self._ellipse(image, x, y, wide * head, high + 0.05 * head, (170, 80, 80))
        if opening > 0.1:
            self._ellipse(image, x, y, 0.75 * wide * head, 0.8 * high, (60, 20, 25))

    def _raised_arm(
        self, image: NDArray[np.uint8], x: float, y: float, head: float, pose: Pose
    ) -> None:
        look = self._look
        swing = (0.0, 0.75, 0.0, -0.75)[pose.waving % 4] if pose.waving else 0.0
        elbow = (x + look.side * 2.6 * head, y + 2.6 * head)
        hand = (x + look.side * (2.3 + swing) * head, y + 0.1 * head)
        self._line(
            image,
            (x + look.side * 1.8 * head, y + 2.7 * head),
            elbow,
            0.75 * head,
            _shade(look.shirt, 0.8),
        )
        self._line(image, elbow, hand, 0.6 * head, _shade(look.shirt, 0.9))
        self._ellipse(image, *hand, 0.45 * head, 0.5 * head, look.skin)
        for finger in range(-2, 3):
            tip = (
                hand[0] + (0.2 * finger + 0.35 * swing) * head,
                hand[1] - (0.95 - 0.08 * abs(finger)) * head,
            )
            self._line(image, hand, tip, 0.15 * head, look.skin)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(min(255, channel * factor)) for channel in colour)
    return red, green, blue
