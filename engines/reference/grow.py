"""Weights of a smaller network in a larger one, which does the same at first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from engines.reference.model import InteractionModel


def load_grown(model: InteractionModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Fill `model` from the weights of one whose ear may have fewer or narrower layers, and that
    may have known fewer intents. What it has not comes last and adds nothing at first, so that the
    model does what the smaller one did.

    Raises ValueError where anything else differs.
    """
    own = model.state_dict()
    fitting = dict(weights)
    for name in weights.keys() & own.keys():
        in_ear = name.startswith("local.") and (".expand." in name or ".project." in name)
        if in_ear or name.startswith("intent_head."):
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
