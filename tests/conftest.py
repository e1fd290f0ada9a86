"""What all tests share: one thread for numeric libraries, no window, the checkout's root.

With pytest-xdist (`make test`) the integration tests run one after the other in one process, as
devices that keep real time need it, and what only computes runs beside them with less priority.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

import edge_runtime  # noqa: F401 (before OpenCV, which reads a bound of ours when it is loaded)

# Set before numpy, torch or matplotlib are imported. The tests measure time beside each other on
# small machines; a thread pool per library only adds noise.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# pytest-xdist sets it, and a console keeps the width it begins with.
os.environ.pop("COLUMNS", None)


REAL_TIME = "tests/integration/"
NICENESS_BESIDE = 10


class _OneInRealTime(LoadFileScheduling):
    """A file after the other wherever a process is free, but what runs in real time is one file."""

    def _split_scope(self, nodeid: str) -> str:
        return REAL_TIME if nodeid.startswith(REAL_TIME) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _OneInRealTime:
    config.option.loadscopereorder = False  # by name: the integration tests, the longest, first
    return _OneInRealTime(config, log)


@pytest.fixture(autouse=True, scope="module")
def _beside(request: pytest.FixtureRequest) -> None:
    """What only computes gives way. A process that has begun with it keeps to it: it meets no
    integration tests."""
    if "PYTEST_XDIST_WORKER" in os.environ and not request.node.nodeid.startswith(REAL_TIME):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS_BESIDE, os.getpriority(os.PRIO_PROCESS, 0)))


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
