"""TensorRT on an NVIDIA GPU: builds plans and runs them. The only file with tensorrt and pycuda.

One code path for TensorRT 10.3 to 11.4: strongly typed networks, tensors by name, execute_async_v3.
TensorRT reports most failures as False or None with the reason in its log, so every such value is
checked, and the log's last errors go into the message.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import (
    ConfigError,
    EdgeRuntimeError,
    EngineError,
    ManifestError,
    StoppedError,
)
from edge_runtime.inference.encode import Encoder
from edge_runtime.inference.engine import (
    INACTIVE,
    WARM_UP_TURNS,
    State,
    finite_output,
    initial_state,
)
from edge_runtime.inference.gpu import Buffer, Gpu
from edge_runtime.inference.manifest import (
    Manifest,
    Precision,
    check_tensors,
    load_manifest,
)
from edge_runtime.inference.plan import BuiltPlan, PlanCache, PlanKey, PlanTensor, sides
from edge_runtime.inference.precision import graph_bytes
from edge_runtime.micro_turn import EngineOutput, MicroTurn

if TYPE_CHECKING:
    import tensorrt as trt

log = logging.getLogger(__name__)
Phase = Literal["inactive", "building", "loading", "ready", "failed"]
Progress = Callable[[str, int, int], None]
"""Called while a plan is built: phase, steps done, steps in all."""
OLDEST = (10, 3)
"""Of TensorRT's versions that have all that is used here."""
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class TensorRtOptions:
    precision: Precision
    cache: Path
    """Where plans are kept."""
    workspace_mb: int
    """The most that one layer may use for itself while it runs."""
    optimization_level: int
    """0 builds quickly .. 5 searches longest."""


class TensorRtEngine:
    """One interaction model as a TensorRT plan. Entering builds it where there is none, and loads.

    Every state has two device buffers that swap each turn, since TensorRT 10 must not read and
    write one. Any thread may use the engine, one at a time: the GPU's primary context is made
    current around each call, and only there.
    """

    def __init__(
        self,
        folder: Path,
        options: TensorRtOptions,
        on_phase: Callable[[Phase], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_phase` is told of every phase, so that health can say "building"; `stop` is asked
        whether to end a build."""
        self.folder, self.options, self._stop = folder, options, stop
        self.cache = PlanCache(options.cache, stop)
        self.phase: Phase = "inactive"
        self._on_phase = on_phase
        self._manifest: Manifest | None = None
        self._key: PlanKey | None = None
        self._resources = ExitStack()
        self._gpu: Gpu | None = None
        self._context: trt.IExecutionContext | None = None
        self._stream: Any = None

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            self._manifest = load_manifest(self.folder)
        return self._manifest

    @property
    def identity(self) -> dict[str, str]:
        """What a recording notes; version and GPU once the engine has been active."""
        known = {
            "name": self.manifest.name,
            "version": self.manifest.version,
            "sha256": self.manifest.graph(self.options.precision).sha256,
            "backend": "tensorrt",
            "precision": self.options.precision,
        }
        if self._key is not None:
            known |= {"tensorrt": self._key.tensorrt, "gpu": self._key.gpu}
        return known

    def __enter__(self) -> Self:
        version, cuda = _vendors()
        graph = graph_bytes(self.manifest, self.options.precision)
        try:
            self._cuda = cuda
            with _as_engine_error("CUDA could not be started"):
                self._gpu = Gpu(cuda)
            self._key = _key(self.manifest, self.options, graph, version, self._gpu)
            with self._current("The engine could not be started"):
                self._activate(graph)
            self.reset()
            with self._current("The plan loads but does not run"):
                for _ in range(WARM_UP_TURNS):
                    self._run()
            self.reset()
        except BaseException:
            self._release()
            self._enter("failed")
            raise
        self._enter("ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()
        self._enter("inactive")

    def _release(self) -> None:
        """In reverse order. A GPU that is broken may refuse; then the process is about to end."""
        gpu, self._gpu = self._gpu, None
        if gpu is None:
            return
        try:
            with gpu.current():
                self._context = self._stream = None
                self._resources.close()
            gpu.release()
        except self._cuda.Error as error:
            log.error("the GPU's memory could not be released: %s", error)

    @contextlib.contextmanager
    def _current(self, what: str) -> Iterator[None]:
        """The GPU's context in this thread; errors of CUDA as EngineError. Raises when inactive."""
        if self._gpu is None:
            raise EngineError(INACTIVE)
        with self._gpu.current(), _as_engine_error(what):
            yield

    def build(self, progress: Progress | None = None, force: bool = False) -> Path:
        """The plan for this machine in the cache, without loading it to run; returns its file.

        Raises as `build_plan`, and EngineError when the plan cannot be kept.
        """
        watch = BuildWatch(self._stop, progress)
        version, cuda = _vendors()
        graph = graph_bytes(self.manifest, self.options.precision)
        self._cuda = cuda
        try:
            with _as_engine_error("CUDA could not be started"):
                self._gpu = Gpu(cuda)
            key = _key(self.manifest, self.options, graph, version, self._gpu)
            with self._current("No plan was built"):
                return self.cache.ensure(
                    key,
                    lambda: build_plan(self.manifest, graph, self.options, self.cache, watch),
                    force,
                )
        finally:
            self._release()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        if self._on_phase is not None:
            self._on_phase(phase)

    def _activate(self, graph: bytes) -> None:
        """Runtime, plan, execution context, stream and buffers, in this order."""
        import tensorrt as trt

        logger = _logger()
        engine = self._load(trt.Runtime(logger), graph, logger)
        described = _tensors(engine)
        check_tensors(self.manifest, f"The plan of {self.folder}", *sides(described))
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(
                f"TensorRT gave no execution context: {logger.said()}. The GPU's memory may be "
                "full: stop other programs that use it."
            )
        self._stream = self._cuda.Stream()
        self._encoder = Encoder(self.manifest)
        shapes = {t.name: (t.shape, np.dtype(t.dtype)) for t in described}

        def buffer(name: str) -> Buffer:
            return Buffer(self._cuda, *shapes[name], self._resources)

        self._inputs = {t.name: buffer(t.name) for t in self.manifest.inputs}
        self._outputs = {t.name: buffer(t.name) for t in self.manifest.outputs}
        self._states = [[buffer(s.input) for s in self.manifest.states] for _ in range(2)]
        for name, made in (self._inputs | self._outputs).items():
            self._bind(name, made)

    def _load(self, runtime: trt.Runtime, graph: bytes, logger: Any) -> trt.ICudaEngine:
        """The plan as an engine; built anew, once, when TensorRT refuses one that matches."""
        assert self._key is not None

        def build() -> BuiltPlan:
            self._enter("building")
            log.warning("building a plan for %s; this can take minutes", self.folder)
            watch = BuildWatch(self._stop)
            return build_plan(self.manifest, graph, self.options, self.cache, watch)

        for _ in range(2):
            plan = self.cache.get(self._key, build)
            self._enter("loading")
            logger.loading = True
            try:
                engine = runtime.deserialize_cuda_engine(plan)
            finally:
                logger.loading = False
            if engine is not None:
                return engine
            log.warning("TensorRT refuses the plan (%s): building it again", logger.said())
            self.cache.discard(self._key)
        raise EngineError(
            f"TensorRT does not load the plan that it has just built: {logger.said()}. Its "
            "libraries do not belong together; install TensorRT again."
        )

    def _bind(self, name: str, buffer: Buffer) -> None:
        assert self._context is not None
        if not self._context.set_tensor_address(name, buffer.address):
            raise EngineError(f"TensorRT refuses the buffer of the tensor {name}.")

    def reset(self) -> None:
        """Back to the initial state, as if nothing had been heard."""
        self.restore(initial_state(self.manifest))

    def state(self) -> State:
        """What the next micro-turn will start from; copies."""
        with self._current("The state could not be read"):
            now = zip(self.manifest.states, self._states[self._turn], strict=True)
            return {state.input: buffer.read() for state, buffer in now}

    def restore(self, state: State) -> None:
        """Let the next micro-turn start from what `state()` gave."""
        with self._current("The state could not be written"):
            self._turn = 0
            for described, buffer in zip(self.manifest.states, self._states[0], strict=True):
                buffer.write(state[described.input])

    def step(self, turn: MicroTurn) -> EngineOutput:
        """One micro-turn. Raises EngineError when the run fails or gives NaN or infinity."""
        with self._current(f"The engine failed in micro-turn {turn.index}"):
            self._encoder.encode(turn, {name: b.host for name, b in self._inputs.items()})
            self._run()
        return finite_output(turn.index, {name: b.host for name, b in self._outputs.items()})

    def _run(self) -> None:
        assert self._context is not None
        read, write = self._states[self._turn], self._states[1 - self._turn]
        for state, before, after in zip(self.manifest.states, read, write, strict=True):
            self._bind(state.input, before)
            self._bind(state.output, after)
        for buffer in self._inputs.values():
            buffer.to_device(self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            said = _the_logger().said()
            raise EngineError(f"TensorRT's execute_async_v3 returned False: {said}")
        for buffer in self._outputs.values():
            buffer.host.fill(np.nan)  # what is not written by this turn must not pass for a result
            buffer.to_host(self._stream)
        self._stream.synchronize()
        self._turn = 1 - self._turn


class BuildWatch:
    """Who is told how far a build is, and who may end it.

    TensorRT calls while it builds, and drops what is raised meanwhile: Ctrl-C is kept here.
    """

    def __init__(self, stop: Callable[[], bool], progress: Progress | None = None) -> None:
        self._stop, self._progress = stop, progress
        self.stopped = False

    def goes_on(self, phase: str, done: int, total: int) -> bool:
        try:
            if self._progress is not None:
                self._progress(phase, done, total)
            self.stopped = self.stopped or self._stop()
        except KeyboardInterrupt:
            self.stopped = True
        return not self.stopped


def build_plan(
    manifest: Manifest,
    graph: bytes,
    options: TensorRtOptions,
    cache: PlanCache,
    watch: BuildWatch,
) -> BuiltPlan:
    """Let TensorRT make a plan of an ONNX graph; takes seconds to minutes.

    Raises ManifestError when its parser refuses the graph or the plan is not what the manifest
    says, StoppedError when `watch` was told to end, EngineError when no plan comes out. Needs the
    GPU's context to be current.
    """
    import tensorrt as trt

    logger = _logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        said = [parser.get_error(i) for i in range(parser.num_errors)]
        lines = [f"  {error.desc()} (node {error.node()})" for error in said]
        raise ManifestError(
            "\n".join(
                [
                    f"TensorRT's parser refuses the graph in {manifest.folder}:",
                    *(lines or [f"  {logger.said()}"]),
                    "`edge-runtime engine lint` shows what TensorRT takes.",
                ]
            )
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = _monitor(watch)
    known = config.create_timing_cache(cache.timing_cache())
    if known is None or not config.set_timing_cache(known, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)
    serialized = builder.build_serialized_network(network, config)
    if watch.stopped:
        raise StoppedError("Stopped while TensorRT built the plan, of which nothing is kept.")
    if serialized is None:
        raise EngineError(
            f"TensorRT could not build a plan: {logger.said()}. If memory ran out, stop other "
            "programs, lower engine.workspace_mb, or build with --optimization 1."
        )
    measured = config.get_timing_cache()
    if measured is not None and (kept := measured.serialize()) is not None:
        cache.store_timing_cache(bytes(kept))
    return _checked(manifest, bytes(serialized), logger)


def inspect_plan(plan: bytes) -> str:
    """Layers with their types and formats, as TensorRT's inspector tells them: JSON."""
    _, cuda = _vendors()
    import tensorrt as trt

    with _as_engine_error("The plan could not be inspected"):
        gpu = Gpu(cuda)
        try:
            with gpu.current():
                logger = _logger()
                engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
                if engine is None:
                    raise EngineError(
                        f"TensorRT does not load this plan: {logger.said()}. Build it again."
                    )
                layers = trt.LayerInformationFormat.JSON
                told: str = engine.create_engine_inspector().get_engine_information(layers)
                del engine
                return told
        finally:
            gpu.release()


def _checked(manifest: Manifest, plan: bytes, logger: Any) -> BuiltPlan:
    """Only what loads and is as described is worth keeping."""
    import tensorrt as trt

    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"TensorRT does not load the plan that it has built: {logger.said()}.")
    tensors = _tensors(engine)
    check_tensors(manifest, f"The plan of {manifest.folder}", *sides(tensors))
    return BuiltPlan(plan, tensors)


def _tensors(engine: trt.ICudaEngine) -> tuple[PlanTensor, ...]:
    import tensorrt as trt

    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return tuple(
        PlanTensor(
            name=name,
            mode="input" if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "output",
            dtype=_DTYPES.get(engine.get_tensor_dtype(name).name, "other"),
            shape=tuple(engine.get_tensor_shape(name)),
        )
        for name in names
    )


def _key(
    manifest: Manifest, options: TensorRtOptions, graph: bytes, version: str, gpu: Gpu
) -> PlanKey:
    return PlanKey(
        model=f"{manifest.name}-{manifest.version}",
        precision=options.precision,
        onnx_sha256=manifest.graph(options.precision).sha256,
        graph_sha256=hashlib.sha256(graph).hexdigest(),
        tensorrt=version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        multiprocessors=gpu.multiprocessors,
        workspace_mb=options.workspace_mb,
        optimization_level=options.optimization_level,
    )


def _vendors() -> tuple[str, Any]:
    """TensorRT's version, and pycuda.driver. Raises ConfigError that says what to install, also
    where TensorRT is too old."""
    try:
        import pycuda.driver
        import tensorrt
    except ImportError as error:
        raise ConfigError(
            f"engine.backend is tensorrt, which cannot be used here: {error}. TensorRT comes with "
            "JetPack (python3-libnvinfer); pycuda with pip install 'edge-runtime[jetson]'. On any "
            "other machine set engine.backend to onnx."
        ) from None
    version = str(tensorrt.__version__)
    if (problem := too_old(version)) is not None:
        raise ConfigError(f"{problem}.")
    return version, pycuda.driver


def too_old(version: str) -> str | None:
    """What is wrong with this version of TensorRT, and what to do; None where it will do."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) >= OLDEST:
        return None
    return (
        f"TensorRT {version} is too old; {OLDEST[0]}.{OLDEST[1]} or later is needed: JetPack 6.1 "
        "or later, or engine.backend onnx"
    )


@contextlib.contextmanager
def _as_engine_error(what: str) -> Iterator[None]:
    """Whatever goes wrong inside as EngineError; what is one of ours already gets its place."""
    try:
        yield
    except EngineError as error:
        raise EngineError(f"{what}: {error}") from error
    except EdgeRuntimeError:
        raise
    except Exception as error:  # pycuda's errors, and those of arrays of another shape
        raise EngineError(f"{what}: {error}") from error


def _logger() -> Any:
    """The log, with nothing said yet."""
    logger = _the_logger()
    logger.errors.clear()
    return logger


@lru_cache(maxsize=1)
def _the_logger() -> Any:
    """TensorRT's log as ours, and its last errors for a message.

    One for the process and for good: TensorRT keeps using the first one that it was given.
    """
    import tensorrt as trt

    errors, warnings = 1, 2  # severities: what is above both is mere detail

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=3)
            self.loading = False  # then it warns, for example, of a plan of another board's

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if int(severity) <= errors:
                self.errors.append(msg)
            if int(severity) <= warnings:
                worth = self.loading and int(severity) == warnings
                log.log(logging.WARNING if worth else logging.INFO, "TensorRT: %s", msg)

        def said(self) -> str:
            return "; ".join(self.errors) or "it gave no reason"

    return Logger()


def _monitor(watch: BuildWatch) -> Any:
    import tensorrt as trt

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            watch.goes_on(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            done = step + 1
            return watch.goes_on(phase_name, done, self._steps.get(phase_name, done))

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, 0)
            watch.goes_on(phase_name, steps, steps)

    return Monitor()
