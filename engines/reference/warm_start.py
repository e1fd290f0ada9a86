"""Read the weights of an exported graph back into the network, so that training can go on from it.

An export folds and renames most matrices. They are found again by exporting a probe of the same
architecture: its initializers lie in the same order, and each equals a parameter of the probe, its
transpose or one of its rows. Heads that serve only training are not in the graph and stay as
initialised.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from edge_runtime.errors import InputError
from edge_runtime.inference.lint import load_graph as read_graph
from engines.reference.export import export
from engines.reference.model import InteractionModel, ModelConfig

Place = tuple[str, int | None, bool]
"""Parameter, row of it (None: all), transposed or not."""
EAR_INSIDE = r"model\.local\.\d+\.expand\.bias"
"""What is as long as a layer of the ear is wide inside."""


class ArchitectureError(InputError, ValueError):
    """A graph is of another network than the one that it is read into."""


def config_of_graph(graph: Path) -> ModelConfig:
    """The network's sizes, as large an ear as the exported `graph` has. Raises ManifestError where
    it is none."""
    return _with_its_ear(ModelConfig(), read_graph(graph).graph)


def _with_its_ear(config: ModelConfig, graph: Any) -> ModelConfig:
    """`config` as it is where nothing tells of an ear."""
    states = [one for one in graph.input if one.name.startswith("state_local")]
    inside = [
        one.dims[0] for one in graph.initializer if re.fullmatch(EAR_INSIDE, one.name) is not None
    ]
    if not states or not inside:
        return config
    width = states[0].type.tensor_type.shape.dim[-1].dim_value
    return replace(config, local_layers=len(states), local_expansion=max(1, inside[0] // width))


def load_graph(model: InteractionModel, graph: Path) -> list[str]:
    """Fill `model` from an exported `graph`; returns the parameters that it does not hold.

    Raises ManifestError where it is no graph, and ArchitectureError where it is of another network.
    """
    probe = InteractionModel(model.config)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.normal_()
        with tempfile.TemporaryDirectory() as folder:
            ours = _initializers(export(probe, Path(folder), version="probe"))
        theirs = _initializers(graph)
        if [value.shape for value in ours] != [value.shape for value in theirs]:
            raise ArchitectureError(_difference(model.config, graph))
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


def _difference(own: ModelConfig, graph: Path) -> str:
    theirs = _with_its_ear(own, read_graph(graph).graph)
    if theirs == own:
        return (
            f"{graph} is of another architecture than engines/reference/model.py describes; "
            "start without it, or check out the model.py that made it"
        )
    layers = max(own.local_layers, theirs.local_layers)
    expansion = max(own.local_expansion, theirs.local_expansion)
    return (
        f"{graph} is of another architecture: its ear has {theirs.local_layers} layers, "
        f"{theirs.local_expansion} times as wide inside, and here it has {own.local_layers}, "
        f"{own.local_expansion} times as wide. Make them alike first: train the smaller one on "
        f"with --ear-layers {layers} --ear-expansion {expansion}"
    )


def _initializers(graph: Path) -> list[NDArray[np.float32]]:
    return [numpy_helper.to_array(tensor) for tensor in read_graph(graph).graph.initializer]


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
    what either can do where one was trained on from the other (Wortsman et al. 2022). Raises as
    `load_graph` does."""
    other = InteractionModel(model.config)
    missing = load_graph(other, graph)
    theirs = dict(other.named_parameters())
    with torch.no_grad():
        for name, mine in model.named_parameters():
            if name not in missing:
                mine.copy_(theirs[name] * share + mine * (1 - share))
