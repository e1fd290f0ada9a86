"""What the stand-in's library asks: a graph's tensors, whether a plan can be built, a run's result.

ONNX Runtime answers, so a plan gives exactly what ONNX Runtime gives. STAND_IN_FAULT makes one
thing go wrong: `build` (out of memory), or `execute:N` (the N-th run returns False).
STAND_IN_WARNING is what is warned of while a plan loads. STAND_IN_BUILD_LOG is a file that gets a
line for every build; STAND_IN_BUILD_UNTIL one that a build waits for.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any

# TensorRT's DataType by ONNX's element type.
_TYPES = {1: 0, 10: 1, 3: 2, 6: 3, 9: 4, 2: 5, 7: 8}
_NUMPY = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}
_sessions: dict[tuple[int, int], Any] = {}
_runs = 0


def install(library: str) -> ctypes.CDLL:
    """Give the library its callbacks; they live as long as the module."""
    loaded = ctypes.CDLL(library)
    loaded.stand_in_callbacks(_describe, _build, _execute)
    loaded.stand_in_live.restype = ctypes.c_long
    return loaded


def _fault() -> tuple[str, int]:
    name, _, number = os.environ.get("STAND_IN_FAULT", "").partition(":")
    return name, int(number or 0)


def _tell(text: str, into: int, room: int) -> None:
    data = text.encode()[: room - 1] + b"\0"
    ctypes.memmove(into, data, len(data))


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
def _describe(graph: int, size: int, said: int, room: int) -> int:
    """Lines of name|mode|type|dims; or 0 and what is wrong, as the parser would say it."""
    import onnx

    _sessions.pop((graph, size), None)  # another graph may lie where an earlier one did
    try:
        model = onnx.load_from_string(ctypes.string_at(graph, size))
        onnx.checker.check_model(model)
        lines = []
        for mode, values in enumerate((model.graph.input, model.graph.output)):
            for value in values:
                tensor = value.type.tensor_type
                dims = ",".join(str(dim.dim_value) for dim in tensor.shape.dim)
                lines.append(f"{value.name}|{mode}|{_TYPES[tensor.elem_type]}|{dims}")
        _tell("\n".join(lines), said, room)
        return 1
    except Exception as error:
        _tell(f"stand-in parser: {error}", said, room)
        return 0


@ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
def _build(graph: int, size: int, workspace: int, level: int, said: int, room: int) -> int:
    if log := os.environ.get("STAND_IN_BUILD_LOG"):
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {workspace >> 20} MB, level {level}\n")
    if wait_for := os.environ.get("STAND_IN_BUILD_UNTIL"):
        while not os.path.exists(wait_for):
            time.sleep(0.01)
    if _fault()[0] == "build":
        _tell("Requested amount of GPU memory (536870912 bytes) could not be allocated", said, room)
        return 0
    return 1


@ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_char_p),
    ctypes.POINTER(ctypes.c_void_p),
)
def _execute(graph: int, size: int, count: int, names: Any, addresses: Any) -> int:
    global _runs
    _runs += 1
    fault, number = _fault()
    if fault == "execute" and _runs == number:
        return 0
    try:
        session = _session(graph, size)
        at = {names[i].decode(): addresses[i] for i in range(count)}
        feeds = {node.name: _view(at[node.name], node).copy() for node in session.get_inputs()}
        for node, result in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            _view(at[node.name], node)[...] = result
        return 1
    except Exception as error:
        print(f"stand-in execution: {error}", file=sys.stderr)
        return 0


def _session(graph: int, size: int) -> Any:
    import onnxruntime as ort

    if (graph, size) not in _sessions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        data = ctypes.string_at(graph, size)
        made = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        _sessions[graph, size] = made
    return _sessions[graph, size]


def _view(address: int, node: Any) -> Any:
    import numpy as np

    dtype = np.dtype(_NUMPY[node.type])
    size = int(np.prod(node.shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(node.shape)
