"""Reading what training has saved; what can be wrong with it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from edge_runtime.errors import InputError
from engines.reference.grow import load_grown
from engines.reference.model import InteractionModel, ModelConfig

HOLDS = ("config", "average", "step", "hours", "seconds")
"""What every checkpoint has, also one that is only exported."""


def read_checkpoint(
    path: Path, device: torch.device | str = "cpu", mmap: bool = False
) -> dict[str, Any]:
    """What `Trainer.save` wrote. Raises InputError where it is missing, damaged or something else.

    `mmap` reads only what is looked at.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint. Training writes it into its --folder.")
    try:
        saved = torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except Exception as error:  # torch and pickle raise types of their own
        why = str(error).partition("\n")[0].partition(". ")[0]
        raise InputError(
            f"{path} cannot be read as a checkpoint ({why}). It is damaged, or is none: put a copy "
            "in its place, or move it away and begin from an exported graph (train --start-from)."
        ) from error
    if not isinstance(saved, dict) or (lacking := [n for n in HOLDS if n not in saved]):
        what = "" if not isinstance(saved, dict) else f": it lacks {', '.join(lacking)}"
        raise InputError(f"{path} is no checkpoint of this factory{what}. Give one that it wrote.")
    return saved


def config_of(saved: dict[str, Any], path: Path) -> ModelConfig:
    """The network's sizes. Raises InputError where this version does not know one."""
    known = {field.name for field in fields(ModelConfig)}
    if unknown := sorted(saved["config"].keys() - known):
        raise InputError(
            f"{path} is of another version: its network has {', '.join(unknown)}, which this "
            "version does not know. Use the version that wrote it, or move it away."
        )
    return ModelConfig(**saved["config"])


def fill(model: InteractionModel, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """`load_grown` from the checkpoint at `path`. Raises InputError where they do not fit."""
    try:
        load_grown(model, weights)
    except ValueError as error:
        raise InputError(
            f"{path}: {error}. Use the version that wrote it, or move it away."
        ) from error
