"""ONNX Runtime on the CPU: the engine every machine has."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edge_runtime.errors import EngineError, ManifestError
from edge_runtime.inference.encode import Encoder
from edge_runtime.inference.manifest import Manifest, load_manifest, verify_hash
from edge_runtime.micro_turn import EngineOutput, MicroTurn

WARM_UP_TURNS = 3
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


class OnnxEngine:
    """One interaction model in ONNX Runtime. Entering loads, checks and warms up.

    State tensors live in two sets of buffers that swap each turn: a turn reads one and writes the
    other, so no state is copied and none is allocated. One thread by default: on graphs of this
    size a second one makes the slowest turns slower (measure before you add threads).
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.folder, self.threads = folder, threads
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
            "sha256": self.manifest.model.sha256,
            "backend": "onnx",
            "onnxruntime": str(onnxruntime.__version__),
        }

    def __enter__(self) -> Self:
        import onnxruntime as ort

        manifest = self.manifest
        verify_hash(manifest)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        try:
            session = ort.InferenceSession(
                str(manifest.model_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises bare and generated exception types
            raise ManifestError(
                f"{manifest.model_path} is not a graph that ONNX Runtime can load: {error}. "
                "Export the model again, or update ONNX Runtime."
            ) from error
        _check_tensors(manifest, session)
        self._session = session
        self._encoder = Encoder(manifest)
        self._inputs = self._encoder.arrays()
        self._outputs = {t.name: np.zeros(t.shape, np.float32) for t in manifest.outputs}
        self._states = [
            [np.zeros(state.shape, np.float32) for state in manifest.states] for _ in range(2)
        ]
        self._bindings = [self._bind(session, turn) for turn in range(2)]
        self.reset()
        try:
            for _ in range(WARM_UP_TURNS):
                self._run()
        except Exception as error:
            self.__exit__(None, None, None)
            raise ManifestError(
                f"{manifest.model_path} loads but does not run: {error}. Export the model again."
            ) from error
        self.reset()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bindings, self._session = [], None

    def _bind(self, session: Any, turn: int) -> Any:
        """A binding that reads the states of set `turn` and writes those of the other."""
        binding = session.io_binding()
        read, write = self._states[turn], self._states[1 - turn]
        for name, array in self._inputs.items():
            _bind(binding.bind_input, name, array)
        for name, array in self._outputs.items():
            _bind(binding.bind_output, name, array)
        for state, before, after in zip(self.manifest.states, read, write, strict=True):
            _bind(binding.bind_input, state.input, before)
            _bind(binding.bind_output, state.output, after)
        return binding

    def reset(self) -> None:
        """Back to the initial state, as if nothing had been heard."""
        if self._session is None:
            raise EngineError("The engine is not active: use it inside a `with` block.")
        self._turn = 0
        for arrays in self._states:
            for state, array in zip(self.manifest.states, arrays, strict=True):
                array.fill(state.initial)

    def step(self, turn: MicroTurn) -> EngineOutput:
        """One micro-turn. Raises EngineError when the run fails or gives NaN or infinity."""
        if self._session is None:
            raise EngineError("The engine is not active: use it inside a `with` block.")
        try:
            self._encoder.encode(turn, self._inputs)
            self._run()
        except Exception as error:
            raise EngineError(f"The engine failed in micro-turn {turn.index}: {error}") from error
        tensors = {name: array.copy() for name, array in self._outputs.items()}
        broken = [name for name, array in tensors.items() if not np.isfinite(array).all()]
        if broken:
            names = ", ".join(broken)
            raise EngineError(
                f"The engine gave NaN or infinity in micro-turn {turn.index}: {names}"
            )
        return EngineOutput(turn.index, tensors)

    def _run(self) -> None:
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _check_tensors(manifest: Manifest, session: Any) -> None:
    """Raises ManifestError with every tensor of the graph that is not as described."""
    described_in = {t.name: (t.dtype, tuple(t.shape)) for t in manifest.inputs}
    described_in |= {s.input: (s.dtype, tuple(s.shape)) for s in manifest.states}
    described_out = {t.name: (str(t.dtype), tuple(t.shape)) for t in manifest.outputs}
    described_out |= {s.output: (s.dtype, tuple(s.shape)) for s in manifest.states}
    problems: list[str] = []
    sides = (
        ("input", described_in, session.get_inputs()),
        ("output", described_out, session.get_outputs()),
    )
    for side, described, nodes in sides:
        graph = {n.name: (_DTYPES.get(n.type, n.type), tuple(n.shape)) for n in nodes}
        for name in sorted(described.keys() | graph.keys()):
            want, have = described.get(name), graph.get(name)
            if want != have:
                problems.append(f"  {side} {name}: manifest {_show(want)}, graph {_show(have)}")
    if problems:
        raise ManifestError(
            "\n".join(
                [
                    f"{manifest.model_path} and its manifest do not match:",
                    *problems,
                    "Export the model again so that both come from the same network.",
                ]
            )
        )


def _show(tensor: tuple[str, tuple[Any, ...]] | None) -> str:
    return "has none" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
