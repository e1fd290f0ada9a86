"""The optimizer of the matrices, against torch's own."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the factory needs torch (make train)")

from torch import Tensor  # noqa: E402
from torch import distributed as dist  # noqa: E402
from torch import multiprocessing as mp  # noqa: E402

from engines.reference.muon import Muon  # noqa: E402

SHAPES = ((96, 24), (24, 96), (32, 32), (8, 80), (48, 16))
OPTIONS = {"lr": 0.02, "weight_decay": 0.1}


def matrices() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def moved(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Where the matrices are after three steps with always the same gradients."""
    generator = torch.Generator().manual_seed(2)
    parameters = optimizer.param_groups[0]["params"]
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")
def test_it_moves_matrices_as_torch_does() -> None:
    theirs = moved(torch.optim.Muon(matrices(), adjust_lr_fn="match_rms_adamw", **OPTIONS))
    for dtype, tolerance in ((torch.bfloat16, 1e-6), (torch.float32, 2e-3)):
        ours = moved(Muon(matrices(), dtype=dtype, **OPTIONS))
        for mine, other, before in zip(ours, theirs, matrices(), strict=True):
            assert (mine - before).norm() > 0.05, "nothing has moved"
            torch.testing.assert_close(mine, other, rtol=0, atol=tolerance)


def in_one_of_two(rank: int, port: int, folder: Path) -> None:
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.save(moved(Muon(matrices(), dtype=torch.float32, **OPTIONS)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_come_to_what_one_does(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    mp.start_processes(in_one_of_two, (port, tmp_path), nprocs=2, start_method="spawn")
    alone = moved(Muon(matrices(), dtype=torch.float32, **OPTIONS))
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(together, alone)
