"""A GPU's context and memory. `cuda` is pycuda.driver, which `tensorrt.py` imports and hands on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Gpu:
    """The first device's primary context, which all of a process's CUDA users share."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        cuda.init()
        device = cuda.Device(0)
        self.name: str = device.name()
        self.compute_capability: tuple[int, int] = device.compute_capability()
        count = cuda.device_attribute.MULTIPROCESSOR_COUNT
        self.multiprocessors: int = device.get_attribute(count)
        self._context = device.retain_primary_context()

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Current in this thread, and what was current before afterwards."""
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def release(self) -> None:
        self._context.detach()


class Buffer:
    """One tensor in page-locked host memory and on the device, freed by `acquired`."""

    def __init__(
        self, cuda: Any, shape: tuple[int, ...], dtype: np.dtype[Any], acquired: ExitStack
    ) -> None:
        self._cuda = cuda
        self.host: NDArray[Any] = cuda.pagelocked_empty(shape, dtype)
        acquired.callback(self.host.base.free)
        self._device = cuda.mem_alloc(self.host.nbytes)
        acquired.callback(self._device.free)
        self.host.fill(0)

    @property
    def address(self) -> int:
        return int(self._device)

    def to_device(self, stream: Any) -> None:
        self._cuda.memcpy_htod_async(self._device, self.host, stream)

    def to_host(self, stream: Any) -> None:
        self._cuda.memcpy_dtoh_async(self.host, self._device, stream)

    def read(self) -> NDArray[np.float32]:
        array: NDArray[np.float32] = np.empty(self.host.shape, self.host.dtype)
        self._cuda.memcpy_dtoh(array, self._device)
        return array

    def write(self, array: NDArray[np.float32]) -> None:
        self._cuda.memcpy_htod(self._device, np.ascontiguousarray(array, self.host.dtype))
