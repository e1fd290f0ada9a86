"""TensorRT plans on disk: which one belongs to which graph, machine and settings.

A plan runs on one version of TensorRT and one kind of GPU only, and TensorRT notices that late or
not at all. So beside each plan lies a sidecar that says what it was built from and for; a plan
whose sidecar does not match in every field is never loaded, it is built anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_runtime.errors import EngineError, StoppedError
from edge_runtime.inference.manifest import Precision, Tensors
from edge_runtime.whole_file import write_whole

log = logging.getLogger(__name__)
TIMING_CACHE = "timing.cache"
LOOK_AGAIN_S = 0.2
"""While another process builds."""
MODE = 0o644
"""The service may run as another user than who built."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlanKey(_Closed):
    """All that decides whether a plan may run here. Two equal keys may share a plan."""

    model: str
    """Name and version, for people."""
    precision: Precision
    onnx_sha256: str
    """Of the file in the model's folder."""
    graph_sha256: str
    """Of what TensorRT was given: the same, but for fp16, which is converted first."""
    tensorrt: str
    gpu: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    """Boards of one family share a name and a capability, and a power mode switches some off."""
    workspace_mb: int
    optimization_level: int

    @property
    def stem(self) -> str:
        """Of the file's name."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9.-]', '_', self.model)}-{self.precision}-{digest[:12]}"


class PlanTensor(_Closed):
    name: str
    mode: Literal["input", "output"]
    dtype: str
    shape: tuple[int, ...]


def sides(tensors: Iterable[PlanTensor]) -> tuple[Tensors, Tensors]:
    """Inputs and outputs, as `check_tensors` wants them."""
    by_mode: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {"input": {}, "output": {}}
    for tensor in tensors:
        by_mode[tensor.mode][tensor.name] = (tensor.dtype, tensor.shape)
    return by_mode["input"], by_mode["output"]


class Sidecar(_Closed):
    """What `<stem>.json` says of `<stem>.plan`."""

    format: int = 1
    key: PlanKey
    plan_sha256: str
    plan_bytes: int
    build_s: float
    tensors: tuple[PlanTensor, ...]


@dataclass(frozen=True)
class BuiltPlan:
    """A plan as the builder gives it."""

    data: bytes
    tensors: tuple[PlanTensor, ...]


class PlanCache:
    """The folder of plans. Several processes may use it at the same time."""

    def __init__(self, folder: Path, stop: Callable[[], bool] = lambda: False) -> None:
        """Once `stop` says so it no longer waits for another process: StoppedError."""
        self.folder, self._stop = folder, stop

    def plan_path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.stem}.plan"

    def get(self, key: PlanKey, build: Callable[[], BuiltPlan]) -> bytes:
        """The plan for `key`, built where there is none.

        One process builds, others wait for it. A plan that cannot be written is used all the same,
        and built again next time. Raises what `build` raises.
        """
        with self._locked(key):
            kept = self.load(key)
            if kept is not None:
                return kept
            started = time.monotonic()
            built = build()
            try:
                self.store(key, built, time.monotonic() - started)
            except EngineError as error:
                log.warning("%s It runs now, and is built again at the next start.", error)
            return built.data

    def ensure(self, key: PlanKey, build: Callable[[], BuiltPlan], force: bool = False) -> Path:
        """The file of the plan for `key`, built where there is none, or in any case.

        Raises what `build` and `store` raise.
        """
        with self._locked(key):
            if force or self.load(key) is None:
                started = time.monotonic()
                built = build()
                self.store(key, built, time.monotonic() - started)
            return self.plan_path(key)

    def load(self, key: PlanKey) -> bytes | None:
        """The bytes of a plan that matches in every field, or None; the log says why."""
        path = self.plan_path(key)
        sidecar = read_sidecar(path)
        if sidecar is None:
            return None
        different = [name for name, want in key if getattr(sidecar.key, name) != want]
        if different:
            log.warning("%s was built for another %s: not used", path, ", ".join(different))
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            log.warning("%s cannot be read (%s): not used", path, error)
            return None
        if hashlib.sha256(data).hexdigest() != sidecar.plan_sha256:
            log.warning("%s is damaged: its SHA-256 is not that of its sidecar: not used", path)
            return None
        return data

    def store(self, key: PlanKey, built: BuiltPlan, build_s: float) -> Path:
        """Write plan and sidecar, each whole or not at all. Raises EngineError where that fails.

        The sidecar comes last: a plan without one is never loaded.
        """
        path = self.plan_path(key)
        sidecar = Sidecar(
            key=key,
            plan_sha256=hashlib.sha256(built.data).hexdigest(),
            plan_bytes=len(built.data),
            build_s=round(build_s, 1),
            tensors=built.tensors,
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sidecar_path(path).unlink(missing_ok=True)
            write_whole(path, built.data, MODE, durably=True)
            described = sidecar.model_dump_json(indent=1)
            write_whole(sidecar_path(path), described, MODE, durably=True)
        except OSError as error:
            raise EngineError(
                f"The plan ({len(built.data) / 1e6:.0f} MB) could not be kept in {self.folder}: "
                f"{error.strerror}. Make room there, or set engine.cache to another folder."
            ) from error
        return path

    def discard(self, key: PlanKey) -> None:
        """Forget a plan that TensorRT refused although it matched."""
        for path in (sidecar_path(self.plan_path(key)), self.plan_path(key)):
            path.unlink(missing_ok=True)

    def timing_cache(self) -> bytes:
        """What earlier builds measured, empty at first."""
        try:
            return (self.folder / TIMING_CACHE).read_bytes()
        except OSError:
            return b""

    def store_timing_cache(self, data: bytes) -> None:
        """Only makes the next build quicker, so a failure is no error."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / TIMING_CACHE, data, MODE, durably=True)
        except OSError as error:
            log.warning("the timing cache could not be kept in %s: %s", self.folder, error)

    @contextlib.contextmanager
    def _locked(self, key: PlanKey) -> Iterator[None]:
        """Held by whoever builds this plan. Where there can be no lock, nobody shares."""
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock(stack.enter_context((self.folder / f"{key.stem}.lock").open("w")))
            except OSError as error:  # NFS without its lock daemon, for one, has files and no locks
                log.warning("no lock in %s (%s): another process may build too", self.folder, error)
            yield

    def _lock(self, file: TextIO) -> None:
        waits = False
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    log.warning("another process builds this plan; waiting for it")
                waits = True
            if self._stop():
                raise StoppedError("Stopped while another process built the plan.")
            time.sleep(LOOK_AGAIN_S)


def sidecar_path(plan: Path) -> Path:
    return plan.with_suffix(".json")


def read_sidecar(plan: Path) -> Sidecar | None:
    """None when it is missing or not one of ours."""
    try:
        return Sidecar.model_validate(json.loads(sidecar_path(plan).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        log.warning("%s cannot be read (%s): its plan is not used", sidecar_path(plan), error)
        return None


def default_cache() -> Path:
    """systemd's cache folder where a unit has one, else the user's."""
    given = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given) / "plans"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "edge_runtime" / "plans"
