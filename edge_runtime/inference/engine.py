"""What the engines have in common, whatever runs the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError
from edge_runtime.inference.manifest import Manifest
from edge_runtime.interfaces import Engine
from edge_runtime.micro_turn import EngineOutput

WARM_UP_TURNS = 3
"""What an engine runs before its first micro-turn, since the first ones are slower."""
INACTIVE = "The engine is not active: use it inside a `with` block."
State = Mapping[str, NDArray[np.float32]]
"""What one micro-turn gives the next, by the names of the graph's inputs."""


class ModelEngine(Engine, Protocol):
    """An engine of a model folder, whose state can be looked at and set."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def identity(self) -> Mapping[str, str]:
        """What a recording notes, so that a replay knows whether it runs the same engine."""
        ...

    def state(self) -> State:
        """What the next micro-turn will start from; copies."""
        ...

    def restore(self, state: State) -> None:
        """Let the next micro-turn start from what `state()` gave, here or in another engine."""
        ...


def initial_state(manifest: Manifest) -> State:
    return {s.input: np.full(s.shape, s.initial, np.float32) for s in manifest.states}


def finite_output(index: int, outputs: Mapping[str, NDArray[np.float32]]) -> EngineOutput:
    """Copies of the output arrays. Raises EngineError when they hold NaN or infinity."""
    tensors = {name: array.copy() for name, array in outputs.items()}
    broken = [name for name, array in tensors.items() if not np.isfinite(array).all()]
    if broken:
        names = ", ".join(broken)
        raise EngineError(
            f"The engine gave NaN or infinity in micro-turn {index}: {names}. Where it runs in "
            "fp16 or int8, try engine.precision fp32: float16 ends at 65504."
        )
    return EngineOutput(index, tensors)
