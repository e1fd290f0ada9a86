"""Puts the stand-in together: NVIDIA's Python bindings and pycuda, with our libraries behind them.

The bindings are downloaded and pycuda is built by pip, once, into a cache folder outside the
checkout (`~/.cache/edge_runtime/stand_in`, or EDGE_RUNTIME_STAND_IN); pycuda takes about a minute.
Nothing of theirs belongs to this project. `Missing` says why a machine cannot have it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
BINDINGS = {
    "10.3.0": "tensorrt-cu12-bindings",  # JetPack 6.1 and 6.2
    "10.13.3.9": "tensorrt-cu12-bindings",  # JetPack 7.0
    "11.4.0.106": "tensorrt-cu13-bindings",  # JetPack 7.2.2 and desktops
}
PYCUDA = "pycuda==2026.1"
CUDA_HEADERS = "nvidia-cuda-runtime-cu12==12.6.77"
PROFILER_HEADER = """\
#pragma once
#include <cuda.h>
#ifdef __cplusplus
extern "C" {
#endif
typedef enum { CU_OUT_KEY_VALUE_PAIR = 0, CU_OUT_CSV = 1 } CUoutput_mode;
CUresult cuProfilerInitialize(const char *config, const char *output, CUoutput_mode mode);
CUresult cuProfilerStart(void);
CUresult cuProfilerStop(void);
#ifdef __cplusplus
}
#endif
"""
"""The one header that pycuda includes and the package above lacks."""
GPU = "Stand-in GPU"
PIP = (sys.executable, "-m", "pip", "--retries", "1", "--timeout", "30")


class Missing(Exception):
    """Something that the stand-in needs is not here, and why."""


def environment(version: str) -> dict[str, str]:
    """For a process in which `import tensorrt` and `import pycuda.driver` give the stand-in."""
    for tool in ("gcc", "g++", "nm"):
        if shutil.which(tool) is None:
            raise Missing(f"the stand-in is compiled: there is no {tool}")
    pycuda = folder_for("pycuda", _build_pycuda)
    site = folder_for(f"tensorrt-{version}", lambda to: _unpack_bindings(version, to))
    driver = _compile_driver(pycuda, _cache() / f"driver-{_tag()}")
    _compile_libraries(version, site / "tensorrt")
    path = [str(HERE), str(site), str(pycuda), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": ":".join(filter(None, path)),
        "LD_PRELOAD": str(driver),
        "STAND_IN_LIBRARY": str(site / "tensorrt" / f"libnvinfer.so.{version.split('.')[0]}"),
        "STAND_IN_GPU": GPU,
    }


def folder_for(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this interpreter's in the cache, made by `make`, whole or not at all."""
    return _once(_cache() / f"{name}-{_tag()}", make)


def _cache() -> Path:
    given = os.environ.get("EDGE_RUNTIME_STAND_IN")
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(given) if given else Path(home) / "edge_runtime" / "stand_in"


def _tag() -> str:
    return f"py{sys.version_info[0]}{sys.version_info[1]}"


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made whole or not at all."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            make(made)
            try:
                made.rename(folder)
            except OSError:  # another process was quicker
                if not folder.is_dir():
                    raise
    return folder


def _run(*command: str | Path, environment: dict[str, str] | None = None, what: str) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
        check=False,
    )
    if result.returncode:
        said = (result.stderr or result.stdout).strip().splitlines() or ["it said nothing"]
        raise Missing(f"{what}: {said[-1]}")
    return result.stdout


def _download(package: str, to: Path) -> Path:
    """A wheel, unpacked into `to`."""
    with tempfile.TemporaryDirectory() as temporary:
        pip = (*PIP, "download", "-q", "--no-deps")
        _run(*pip, "--only-binary", ":all:", "-d", temporary, package, what=f"no {package}")
        wheel = next(Path(temporary).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(to)
    return to


def _unpack_bindings(version: str, to: Path) -> None:
    _download(f"{BINDINGS[version]}=={version}", to)
    (to / "tensorrt_bindings").rename(to / "tensorrt")


def _build_pycuda(to: Path) -> None:
    """Built against CUDA's headers and an empty driver; the symbols come from ours when it runs."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        headers = _download(CUDA_HEADERS, work / "headers") / "nvidia" / "cuda_runtime"
        (headers / "include" / "cudaProfiler.h").write_text(PROFILER_HEADER)
        empty = work / "empty.c"
        empty.touch()
        _run("gcc", "-shared", "-o", work / "libcuda.so", empty, what="gcc")
        settings = {
            "CUDA_ROOT": str(headers),
            "CUDA_INC_DIR": [str(headers / "include")],
            "CUDADRV_LIB_DIR": [str(work)],
            "CUDART_LIB_DIR": [str(headers / "lib")],
            "CUDA_ENABLE_CURAND": False,
        }
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        (work / ".aksetup-defaults.py").write_text("".join(lines))
        config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        flags = {"CFLAGS": "-O0 -w", "CXXFLAGS": "-O0 -w"}
        env = {**os.environ, **flags, "HOME": temporary, "XDG_CONFIG_HOME": config}
        build = (*PIP, "wheel", "-q", "--no-deps", "--no-binary", "pycuda", "-w", work, PYCUDA)
        _run(*build, environment=env, what="pycuda does not build here")
        wheel = next(work.glob("pycuda*.whl"))
        install = (*PIP, "install", "-q", "--no-deps", "--target", to, wheel)
        _run(*install, what="pycuda does not install")


def _compile_driver(pycuda: Path, to: Path) -> Path:
    """libcuda.so.1 with all that pycuda links against; what cuda.c does not model refuses."""
    library = to / "libcuda.so.1"
    source = HERE / "cuda.c"
    if _is_newer(library, source):
        return library
    to.mkdir(parents=True, exist_ok=True)
    module = next((pycuda / "pycuda").glob("_driver*.so"))
    listing = _run("nm", "-D", "--undefined-only", module, what="nm")
    wanted = {line.split()[-1] for line in listing.splitlines() if " cu" in line}
    text = source.read_text()
    rest = [f"int {name}(void) {{ return 801; }}\n" for name in wanted if f" {name}(" not in text]
    (to / "rest.c").write_text("".join(sorted(rest)))
    _compile(library, source, to / "rest.c")
    return library


def _compile_libraries(version: str, beside: Path) -> None:
    major = version.split(".")[0]
    source = HERE / "nvinfer.c"
    target = beside / f"libnvinfer.so.{major}"
    if _is_newer(target, source):
        return
    empty = beside / "empty.c"
    empty.touch()
    for name in ("nvonnxparser", "nvinfer_plugin"):
        library = f"lib{name}.so.{major}"
        _compile(beside / library, empty, flags=(f"-Wl,-soname,{library}",))
    flags = (f"-DMAJOR={major}", f'-DVERSION="{version}"', f"-Wl,-soname,{target.name}")
    _compile(target, source, flags=flags)


def _is_newer(target: Path, source: Path) -> bool:
    return target.is_file() and target.stat().st_mtime > source.stat().st_mtime


def _compile(to: Path, *sources: Path, flags: tuple[str, ...] = ()) -> None:
    made = to.with_name(f"{to.name}.{os.getpid()}")
    options = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-D_GNU_SOURCE")
    _run("gcc", *options, *flags, "-o", made, *sources, what=f"{to.name} does not compile")
    made.replace(to)
