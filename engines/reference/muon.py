"""Muon at the step size of AdamW, in a precision of one's choice, its work shared by the
processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from engines.reference.processes import summed

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that brings all singular values near one, `ITERATIONS` times over."""
ITERATIONS = 5
EPSILON = 1e-7
RMS_OF_ADAMW = 0.2
"""Root mean square of its updates, in learning rates."""


def orthogonalized(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly, by Newton-Schulz iterations in `dtype`."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.t()).to(dtype)
    x = x / x.norm().clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.t()
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.t()).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Matrices move by their Nesterov momentum, orthogonalized (Jordan et al. 2024) and scaled to
    the root mean square of AdamW's updates, with decoupled weight decay (Liu et al. 2025).

    The same as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, which torch has from 2.9 on and
    in bfloat16 only: three times slower than float32 on a CPU without the instructions. In a
    data-parallel run, where the gradients of all processes are the same, each process
    orthogonalizes a part of the matrices.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        dtype: torch.dtype,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move all that have gradients."""
        for group in self.param_groups:
            learning = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in learning]
            means = [self._mean(p) for p in learning]
            torch._foreach_lerp_(means, grads, 1 - MOMENTUM)
            updates = self._updates(torch._foreach_lerp(grads, means, MOMENTUM))
            for parameter, update in zip(learning, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                scale = RMS_OF_ADAMW * max(parameter.shape) ** 0.5
                parameter.add_(update, alpha=-group["lr"] * scale)

    def _mean(self, parameter: Tensor) -> Tensor:
        """Of its gradients so far."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean: Tensor = state["momentum_buffer"]
        return mean

    def _updates(self, matrices: tuple[Tensor, ...]) -> list[Tensor]:
        if not dist.is_initialized():
            return [orthogonalized(matrix, self.dtype) for matrix in matrices]
        rank, processes = dist.get_rank(), dist.get_world_size()
        by_size = sorted(range(len(matrices)), key=lambda index: matrices[index].numel())
        mine = set(by_size[rank::processes])
        parts = [
            orthogonalized(matrix, self.dtype) if index in mine else torch.zeros_like(matrix)
            for index, matrix in enumerate(matrices)
        ]
        return summed(parts)
