"""ONNX Runtime: the engine every machine has, on its CPU or on a desktop's GPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edge_runtime.errors import EdgeRuntimeError, EngineError, ManifestError
from edge_runtime.inference.encode import Encoder
from edge_runtime.inference.engine import (
    INACTIVE,
    WARM_UP_TURNS,
    State,
    finite_output,
    initial_state,
)
from edge_runtime.inference.manifest import (
    Manifest,
    Precision,
    Tensors,
    check_tensors,
    load_manifest,
)
from edge_runtime.inference.precision import graph_bytes
from edge_runtime.micro_turn import EngineOutput, MicroTurn

Provider = Literal["cpu", "cuda", "tensorrt"]
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


@dataclass(frozen=True)
class OnnxOptions:
    threads: int = 1
    """One by default: on graphs of this size a second one makes the slowest turns slower."""
    provider: Provider = "cpu"
    precision: Precision = "fp32"
    cache: Path | None = None
    """Where the provider `tensorrt` keeps its engines and timings; nowhere if None."""
    workspace_mb: int = 512


class OnnxEngine:
    """One interaction model in ONNX Runtime. Entering loads, checks and warms up.

    State tensors live in two sets of buffers on the provider's device that swap each turn: a turn
    reads one and writes the other, so no state is copied and none is allocated.
    """

    def __init__(self, folder: Path, options: OnnxOptions | None = None) -> None:
        self.folder, self.options = folder, options or OnnxOptions()
        self._session: Any = None
        self._bindings: list[Any] = []
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            self._manifest = load_manifest(self.folder)
        return self._manifest

    @property
    def identity(self) -> dict[str, str]:
        """What a recording notes, so that a replay knows whether it runs the same engine."""
        import onnxruntime

        return {
            "name": self.manifest.name,
            "version": self.manifest.version,
            "sha256": self.manifest.graph(self.options.precision).sha256,
            "backend": "onnx",
            "provider": self.options.provider,
            "precision": self.options.precision,
            "onnxruntime": str(onnxruntime.__version__),
        }

    def __enter__(self) -> Self:
        manifest = self.manifest
        session = _session(manifest, self.options)
        what = str(manifest.folder / manifest.graph(self.options.precision).file)
        inputs, outputs = _tensors(session.get_inputs()), _tensors(session.get_outputs())
        check_tensors(manifest, what, inputs, outputs)
        self._session = session
        self._encoder = Encoder(manifest)
        self._inputs = self._encoder.arrays()
        self._outputs = {t.name: np.zeros(t.shape, np.float32) for t in manifest.outputs}
        try:
            self._states = [self._allocate() for _ in range(2)]
            self._bindings = [self._bind(session, turn) for turn in range(2)]
            self.reset()
            for _ in range(WARM_UP_TURNS):
                self._run()
        except Exception as error:
            self.__exit__(None, None, None)
            raise _no_start(self.options, f"{what} loads but does not run", error) from error
        self.reset()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bindings, self._states, self._session = [], [], None

    def _allocate(self) -> list[Any]:
        """One set of state tensors on the provider's device, OrtValues."""
        import onnxruntime as ort

        device = "cpu" if self.options.provider == "cpu" else "cuda"
        make = ort.OrtValue.ortvalue_from_numpy
        return [make(np.zeros(s.shape, np.float32), device, 0) for s in self.manifest.states]

    def _bind(self, session: Any, turn: int) -> Any:
        """A binding that reads the states of set `turn` and writes those of the other."""
        binding = session.io_binding()
        read, write = self._states[turn], self._states[1 - turn]
        self._bind_inputs(binding)
        for name, array in self._outputs.items():
            _bind(binding.bind_output, name, array)
        for state, before, after in zip(self.manifest.states, read, write, strict=True):
            binding.bind_ortvalue_input(state.input, before)
            binding.bind_ortvalue_output(state.output, after)
        return binding

    def _bind_inputs(self, binding: Any) -> None:
        for name, array in self._inputs.items():
            _bind(binding.bind_input, name, array)

    def reset(self) -> None:
        """Back to the initial state, as if nothing had been heard."""
        self.restore(initial_state(self.manifest))

    def state(self) -> State:
        """What the next micro-turn will start from; copies."""
        self._check_active()
        now = self._states[self._turn]
        return {
            s.input: value.numpy().copy()
            for s, value in zip(self.manifest.states, now, strict=True)
        }

    def restore(self, state: State) -> None:
        """Let the next micro-turn start from what `state()` gave."""
        self._check_active()
        self._turn = 0
        for described, value in zip(self.manifest.states, self._states[0], strict=True):
            value.update_inplace(np.ascontiguousarray(state[described.input], np.float32))

    def step(self, turn: MicroTurn) -> EngineOutput:
        """One micro-turn. Raises EngineError when the run fails or gives NaN or infinity."""
        self._check_active()
        try:
            self._encoder.encode(turn, self._inputs)
            self._run()
        except Exception as error:
            raise EngineError(f"The engine failed in micro-turn {turn.index}: {error}") from error
        return finite_output(turn.index, self._outputs)

    def _run(self) -> None:
        binding = self._bindings[self._turn]
        if self.options.provider != "cpu":
            self._bind_inputs(binding)  # a binding copies to the device once: when it is made
        self._session.run_with_iobinding(binding)
        self._turn = 1 - self._turn

    def _check_active(self) -> None:
        if self._session is None:
            raise EngineError(INACTIVE)


def _session(manifest: Manifest, chosen: OnnxOptions) -> Any:
    import onnxruntime as ort

    name = _PROVIDERS[chosen.provider]
    if name not in ort.get_available_providers():
        raise ManifestError(
            f"engine.provider is {chosen.provider}, but this ONNX Runtime has no {name}. Install "
            "onnxruntime-gpu in place of onnxruntime, or choose the provider cpu."
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = chosen.threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    if chosen.precision == "int8" and chosen.provider == "cpu":
        # Quantize and dequantize as they stand: the fused integer kernels are several times slower.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    graph = graph_bytes(manifest, chosen.precision)
    try:
        session = ort.InferenceSession(graph, options, providers=_providers(chosen))
    except Exception as error:  # ONNX Runtime raises bare and generated exception types
        file = manifest.folder / manifest.graph(chosen.precision).file
        what = f"{file} is not a graph that ONNX Runtime can load"
        raise _no_start(chosen, what, error) from error
    if session.get_providers()[0] != name:  # it goes on with the CPU instead
        raise EngineError(
            f"ONNX Runtime has {name} but could not start it: its CUDA or TensorRT libraries are "
            "missing or of another version, or the GPU is not there yet. Install those it names "
            "above, or choose cpu."
        )
    return session


def _no_start(chosen: OnnxOptions, what: str, error: Exception) -> EdgeRuntimeError:
    """On a CPU it is the graph's fault. A GPU may be full, which a later start may find changed."""
    if chosen.provider == "cpu":
        remedy = "Export the model again, or update ONNX Runtime."
        return ManifestError(f"{what}: {error}. {remedy}")
    remedy = "Where its memory is used up (nvidia-smi, tegrastats), free it; or export it again."
    return EngineError(f"{what} on the GPU: {error}. {remedy}")


def _providers(chosen: OnnxOptions) -> list[tuple[str, dict[str, str]]]:
    """The chosen provider first, then those that take what it does not."""
    cuda = (_PROVIDERS["cuda"], {"device_id": "0"})
    cpu: tuple[str, dict[str, str]] = (_PROVIDERS["cpu"], {})
    if chosen.provider == "cpu":
        return [cpu]
    if chosen.provider == "cuda":
        return [cuda, cpu]
    options = {"device_id": "0", "trt_max_workspace_size": str(chosen.workspace_mb << 20)}
    if chosen.cache is not None:
        chosen.cache.mkdir(parents=True, exist_ok=True)
        for kind in ("engine", "timing"):
            options[f"trt_{kind}_cache_enable"] = "True"
            options[f"trt_{kind}_cache_path"] = str(chosen.cache)
    return [(_PROVIDERS["tensorrt"], options), cuda, cpu]


def _tensors(nodes: Iterable[Any]) -> Tensors:
    return {node.name: (_DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes}


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
