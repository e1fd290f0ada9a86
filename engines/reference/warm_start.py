"""Read the weights of an exported graph back into the network, so that training can go on from it.

An export folds and renames most matrices. They are found again by exporting a probe of the same
architecture: its initializers lie in the same order, and each equals a parameter of the probe, its
transpose or one of its rows. Heads that serve only training are not in the graph and stay as
initialised.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from engines.reference.export import export
from engines.reference.model import InteractionModel

Place = tuple[str, int | None, bool]
"""Parameter, row of it (None: all), transposed or not."""


def load_graph(model: InteractionModel, graph: Path) -> list[str]:
    """Fill `model` from an exported `graph`; returns the parameters that it does not hold.

    Raises ValueError where the graph is of another architecture.
    """
    probe = InteractionModel(model.config)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.normal_()
        with tempfile.TemporaryDirectory() as folder:
            ours = _initializers(export(probe, Path(folder), version="probe"))
        theirs = _initializers(graph)
        if [value.shape for value in ours] != [value.shape for value in theirs]:
            raise ValueError(
                f"{graph} is of another architecture than engines/reference/model.py describes; "
                "start without it, or check out the model.py that made it"
            )
        places = _places(probe)
        parameters = dict(model.named_parameters())
        found = set()
        for probe_value, value in zip(ours, theirs, strict=True):
            place = places.get(_key(probe_value))
            if place is None:
                continue  # a constant of the graph
            name, row, transposed = place
            target = parameters[name] if row is None else parameters[name][row]
            source = torch.from_numpy(np.array(value.T if transposed else value))
            target.copy_(source.reshape(target.shape))
            found.add(name)
    return sorted(set(parameters) - found)


def load_grown(model: InteractionModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Fill `model` from the weights of one whose ear may have fewer or narrower layers. What it has
    not comes last and adds nothing at first, so that the model does what the smaller one did.

    Raises ValueError where anything else differs.
    """
    own = model.state_dict()
    fitting = dict(weights)
    for name in weights.keys() & own.keys():
        if name.startswith("local.") and (".expand." in name or ".project." in name):
            fitting[name] = _widened(own[name], weights[name])
        if fitting[name].shape != own[name].shape:
            del fitting[name]
    missing, unexpected = model.load_state_dict(fitting, strict=False)
    held = len({name.split(".")[1] for name in weights if name.startswith("local.")})
    added = tuple(f"local.{layer}." for layer in range(held, len(model.local)))
    if wrong := [*unexpected, *(name for name in missing if not name.startswith(added))]:
        raise ValueError(f"these weights are of another architecture ({', '.join(wrong[:3])})")
    for layer in model.local[held:]:
        nn.init.zeros_(layer.project.weight)
        nn.init.zeros_(layer.project.bias)


def _widened(fresh: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`weight` in the shape of `fresh`: new rows are those of `fresh`, new columns are zero. As it
    is where `fresh` is narrower."""
    if any(new < old for new, old in zip(fresh.shape, weight.shape, strict=True)):
        return weight
    wider = fresh.clone()
    if wider.ndim == 2:
        wider[:, weight.shape[1] :] = 0.0
    wider[tuple(map(slice, weight.shape))] = weight
    return wider


def _initializers(graph: Path) -> list[NDArray[np.float32]]:
    return [numpy_helper.to_array(tensor) for tensor in onnx.load(str(graph)).graph.initializer]


def _key(value: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(value).tobytes()


def _places(probe: InteractionModel) -> dict[bytes, Place]:
    places: dict[bytes, Place] = {}
    for name, parameter in probe.named_parameters():
        value = parameter.numpy()
        places[_key(value)] = (name, None, False)
        if value.ndim == 2:
            places[_key(value.T)] = (name, None, True)
            if name.endswith("depthwise"):
                places.update({_key(row): (name, at, False) for at, row in enumerate(value)})
    return places


def blend(model: InteractionModel, graph: Path, share: float) -> None:
    """The mean of the weights with those of an exported graph, which count by `share` (0..1): keeps
    what either can do where one was trained on from the other (Wortsman et al. 2022)."""
    other = InteractionModel(model.config)
    missing = load_graph(other, graph)
    theirs = dict(other.named_parameters())
    with torch.no_grad():
        for name, mine in model.named_parameters():
            if name not in missing:
                mine.copy_(theirs[name] * share + mine * (1 - share))
