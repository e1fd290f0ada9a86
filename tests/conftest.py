"""What all tests share: one thread for numeric libraries, no window, the checkout's root."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

import edge_runtime  # noqa: F401 (before OpenCV, which reads a bound of ours when it is loaded)

# Set before numpy, torch or matplotlib are imported. The tests measure time beside each other on
# small machines; a thread pool per library only adds noise.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True, scope="module")
def _settled_heap() -> None:
    """What is there before a module's tests is not looked through again by the garbage collector:
    with every test imported that takes half a second, in which no thread moves, and a device that
    is being tested misses micro-turns."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent
