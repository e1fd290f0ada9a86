"""What the processes of a data-parallel run tell one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor summed over all processes, in one exchange; all give the same shapes."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
