"""Muon at the step size of AdamW, in a precision of one's choice, its work shared by the
processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def orthogonalized(matrix: Tensor, group: dict[str, Any], dtype: torch.dtype) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: `ns_steps` quintic Newton-Schulz iterations
    with `ns_coefficients` (Jordan et al. 2024), computed in `dtype`."""
    a, b, c = group["ns_coefficients"]
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.t()).to(dtype)
    x = x / x.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.t()
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.t()).to(matrix.dtype)


class Muon(torch.optim.Muon):
    """Momentum, orthogonalized (Jordan et al. 2024), scaled to the root mean square of AdamW's
    updates (Liu et al. 2025): torch's `adjust_lr_fn="match_rms_adamw"`.

    torch computes in bfloat16 only, which a CPU without the instructions does three times slower
    than float32. In a data-parallel run, where the gradients of all processes are the same, each
    process orthogonalizes a part of the matrices.
    """

    def __init__(self, *args: Any, dtype: torch.dtype, **options: Any) -> None:
        super().__init__(*args, **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("no closure: the gradients are at hand when this is called")
        for group in self.param_groups:
            learning: list[Tensor] = []
            grads: list[Tensor] = []
            means: list[Tensor] = []
            self._init_group(group, learning, grads, means)
            momentum = group["momentum"]
            torch._foreach_lerp_(means, grads, 1 - momentum)
            ahead = torch._foreach_lerp(grads, means, momentum) if group["nesterov"] else means
            for parameter, update in zip(learning, self._updates(ahead, group), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                rms_of_adamw = 0.2 * max(parameter.shape) ** 0.5
                parameter.add_(update, alpha=-group["lr"] * rms_of_adamw)

    def _updates(self, matrices: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        if not dist.is_initialized():
            return [orthogonalized(matrix, group, self.dtype) for matrix in matrices]
        rank, processes = dist.get_rank(), dist.get_world_size()
        by_size = sorted(range(len(matrices)), key=lambda index: matrices[index].numel())
        mine = set(by_size[rank::processes])
        parts = [
            orthogonalized(matrix, group, self.dtype) if index in mine else torch.zeros_like(matrix)
            for index, matrix in enumerate(matrices)
        ]
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        sizes = [matrix.numel() for matrix in matrices]
        return [
            part.view_as(matrix) for part, matrix in zip(flat.split(sizes), matrices, strict=True)
        ]
