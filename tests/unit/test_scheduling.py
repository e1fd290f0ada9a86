"""Asking for priority and locked memory: granted where it may be, and no obstacle elsewhere."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import edge_runtime

ASK = """
import os, sys, logging
logging.basicConfig(format="%(message)s")
from edge_runtime.scheduling import ask_for_realtime, lock_memory
print(ask_for_realtime(5), os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR)
print(lock_memory())
"""
NOBODY = 65534
ENVIRONMENT = {"PYTHONPATH": str(Path(edge_runtime.__file__).parent.parent)}


def ask(python: str, allowed: bool) -> subprocess.CompletedProcess[str]:
    def become() -> None:
        limit = resource.RLIM_INFINITY if allowed else 0
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        resource.setrlimit(resource.RLIMIT_RTPRIO, (5 if allowed else 0,) * 2)
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    return subprocess.run(
        [python, "-c", ASK], env=ENVIRONMENT, preexec_fn=become, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def interpreter() -> str | None:
    """One that nobody in particular can run, with this package."""

    def become() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-c", "import edge_runtime.scheduling"], env=ENVIRONMENT,
                preexec_fn=become, capture_output=True, timeout=60, check=False,
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives rights to another user: needs root")
class TestRights:
    def test_without_the_right_it_goes_on_and_says_what_to_do(self) -> None:
        python = interpreter()
        if python is None:
            pytest.skip("this checkout or its interpreter is not readable for others")
        done = ask(python, allowed=False)
        assert done.stdout.split() == ["False", "False", "False"]
        assert "LimitRTPRIO=5" in done.stderr
        assert "LimitMEMLOCK" in done.stderr

    def test_with_the_right_it_is_granted(self) -> None:
        python = interpreter()
        if python is None:
            pytest.skip("this checkout or its interpreter is not readable for others")
        try:
            done = ask(python, allowed=True)
        except subprocess.SubprocessError:
            pytest.skip("root may not raise these limits here")
        if done.stdout.startswith("False"):
            pytest.skip(f"this kernel grants no real-time priority: {done.stderr}")
        assert done.stdout.split() == ["True", "True", "True"]
        assert done.stderr == ""


def test_root_may_have_both() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert len(done.stdout.split()) == 3
