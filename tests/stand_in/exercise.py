"""Runs a model folder through the bindings and compares with ONNX Runtime; prints JSON.

exercise.py FOLDER CACHE PRECISION TURNS SMALL_FOLDER CYCLES: turns through the first model, cycles
of loading and unloading the second.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.inference.onnx import OnnxEngine, OnnxOptions
from edge_runtime.inference.tensorrt import TensorRtEngine, TensorRtOptions
from edge_runtime.micro_turn import TURN_SAMPLES, Event, EventKind, MicroTurn, VoiceState


def turns(count: int) -> list[MicroTurn]:
    """Noise, pictures, events and a mouth that speaks now and then, from a seed."""
    rng = np.random.default_rng(5)
    made = []
    for index in range(count):
        sound = (0.1 * rng.standard_normal((2, TURN_SAMPLES))).astype(np.float32)
        frame = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) if index % 3 else None
        events = (Event(EventKind.LINK_UP),) if index % 7 == 0 else ()
        voice = VoiceState("u", 1.0) if index % 20 > 15 else VoiceState()
        made.append(MicroTurn(index, 0, sound, frame=frame, events=events, voice=voice))
    return made


def compare(engine: Any, reference: Any, stream: list[MicroTurn]) -> float:
    """The largest difference of any output or state over the stream, state carried along."""
    worst = 0.0
    for turn in stream:
        ours, theirs = engine.step(turn).tensors, reference.step(turn).tensors
        worst = max([worst, *(float(np.abs(ours[n] - theirs[n]).max()) for n in theirs)])
    ours, theirs = engine.state(), reference.state()
    return max([worst, *(float(np.abs(ours[n] - theirs[n]).max()) for n in theirs)])


class OtherCudaUser(threading.Thread):
    """Copies on the same device with a stream of its own, as another library in the process."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = threading.Event()
        self.copies = 0
        self.problem: BaseException | None = None

    def run(self) -> None:
        import pycuda.driver as cuda

        context = cuda.Device(0).retain_primary_context()
        context.push()
        try:
            stream, there = cuda.Stream(), cuda.mem_alloc(4096)
            here = cuda.pagelocked_empty(1024, np.float32)
            while not self.stop.is_set():
                here.fill(self.copies)
                cuda.memcpy_htod_async(there, here, stream)
                cuda.memcpy_dtoh_async(here, there, stream)
                stream.synchronize()
                assert (here == np.float32(self.copies)).all()
                self.copies += 1
            here.base.free()
            there.free()
            del stream
        except BaseException as error:
            self.problem = error
        finally:
            cuda.Context.pop()
            context.detach()


def in_another_thread(what: Any) -> Any:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(what()))
    thread.start()
    thread.join()
    return result[0]


def main() -> None:
    folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
    precision, count = sys.argv[3], int(sys.argv[4])
    small, cycles = Path(sys.argv[5]), int(sys.argv[6])
    options: Any = TensorRtOptions(precision, cache, 512, 3)  # type: ignore[arg-type]
    objects = ctypes.CDLL(os.environ["STAND_IN_LIBRARY"]).stand_in_live
    memory = ctypes.CDLL(os.environ["LD_PRELOAD"]).stand_in_cuda_live
    objects.restype = memory.restype = ctypes.c_long
    phases: list[str] = []
    engine = TensorRtEngine(folder, options, on_phase=phases.append)
    stream = turns(count)
    reference = OnnxEngine(folder, OnnxOptions(precision=precision))  # type: ignore[arg-type]
    with engine, reference:
        identity = engine.identity
        in_use = [objects(), memory()]
        other = OtherCudaUser()
        other.start()
        worst = in_another_thread(lambda: compare(engine, reference, stream))
        other.stop.set()
        other.join()
        if other.problem is not None:
            raise other.problem
        engine.reset()
        reference.reset()
        after_reset = compare(engine, reference, stream[:5])
    first_phases, phases[:] = list(phases), []
    live = []
    for _ in range(cycles):
        with TensorRtEngine(small, options) as again:
            again.step(stream[0])
        live.append([objects(), memory()])
    with TensorRtEngine(folder, options, on_phase=phases.append):
        pass
    print(
        json.dumps(
            {
                "identity": identity,
                "worst": worst,
                "after_reset": after_reset,
                "copies": other.copies,
                "first_phases": first_phases,
                "later_phases": phases,
                "in_use": in_use,
                "live": live,
            }
        )
    )


if __name__ == "__main__":
    main()
