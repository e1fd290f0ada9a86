"""What the device did at the moments when it could have done otherwise.

A composed conversation scripts the device: it answers after a drawn delay and errs at a drawn rate.
Given the choices of a model instead, the same conversation goes the way that model leads it, so
that it learns from where it gets itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
"""(T,)"""


class Moment(Enum):
    """What the device may do from some turn on."""

    TAKE = "take"
    """The floor is free: begin to speak."""
    PAUSE = "pause"
    """The person is thinking: speak by mistake."""
    YIELD = "yield"
    """The person interrupts: fall silent."""
    HOLD = "hold"
    """The person says "mhm": fall silent by mistake."""


Key = tuple[int, Moment, int]
"""Episode, what, and the how manieth of its kind in the episode."""


@dataclass(frozen=True)
class Point:
    """The device may act in any of the turns first..last."""

    key: Key
    first: int
    last: int


Choices = Mapping[Key, int | None]
"""The turn, counted from the point's first, in which the device decided to act; None: in none."""
SCRIPTED: Choices = {}


class _Waiting(dict[Key, int | None]):
    def get(self, key: Key, default: object = None) -> None:  # type: ignore[override]
        """Whatever was drawn."""


WAITING: Choices = _Waiting()
"""The device does nothing by itself, so that somebody who is asked in each turn of a point can be
read off to its last one: where the device has acted already nobody else can."""


def made(
    points: Sequence[Point],
    take: Probabilities,
    give: Probabilities,
    take_at: float = 0.5,
    give_at: float = 0.5,
) -> Choices:
    """What a model would have chosen, from its chances to take the floor and to yield it, (T,)."""
    choices: dict[Key, int | None] = {}
    for point in points:
        takes = point.key[1] in (Moment.TAKE, Moment.PAUSE)
        chances, at = (take, take_at) if takes else (give, give_at)
        acts = np.flatnonzero(chances[max(0, point.first) : point.last + 1] >= at)
        choices[point.key] = int(acts[0]) if len(acts) else None
    return choices
