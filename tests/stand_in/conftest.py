"""The stand-in, made once and shared; skips with the reason where this machine cannot have it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prepare import BINDINGS, Missing, environment

sys.path.append(str(Path(__file__).parent.parent / "unit"))  # for the tiny model


_reasons: dict[str, str] = {}
"""Why a version cannot be had: without a network, finding out takes a while."""


def made(version: str) -> dict[str, str]:
    if version not in _reasons:
        try:
            return environment(version)
        except Missing as reason:
            _reasons[version] = str(reason)
    pytest.skip(_reasons[version])


@pytest.fixture(scope="session")
def make_environment() -> Callable[[str], dict[str, str]]:
    """For one version of the bindings; skips where it cannot be made."""
    return made


@pytest.fixture(scope="session", params=BINDINGS)
def each_version(request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment for every version of the bindings."""
    return made(request.param)


@pytest.fixture(scope="session")
def stand_in() -> dict[str, str]:
    """An environment for the oldest version."""
    return made(next(iter(BINDINGS)))


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Any]:
    """Run a script of this folder in an environment; its JSON output."""

    def run(environment: dict[str, str], script: str, *arguments: object) -> Any:
        path = Path(__file__).parent / script
        result = subprocess.run(
            [sys.executable, str(path), *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run
