"""NVIDIA's GPU and TensorRT: what there is of them. That they run the model, its check tells."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec

from edge_runtime.doctor.finding import Case, Finding, failed, ok, read
from edge_runtime.doctor.machine import version
from edge_runtime.inference.tensorrt import too_old

NVIDIA = "0x10de"
"""Its number on the PCI bus."""
DISPLAY = "0x03"
"""How the PCI class of a display or 3D controller begins."""
ASK = ("--query-gpu=name,driver_version,memory.total,temperature.gpu", "--format=csv,noheader")
TIMEOUT_S = 20.0


def gpu(case: Case) -> list[Finding]:
    """A Jetson's own, or one on the PCI bus with its driver."""
    board = read(case.at("/proc/device-tree/model"))
    if release := read(case.at("/etc/nv_tegra_release")):
        return [_jetson(board, release)]
    driver = re.search(r"\d+\.\d+(\.\d+)?", read(case.at("/proc/driver/nvidia/version")))
    if driver is None:
        if _on_the_bus(case):
            text = "there is an NVIDIA GPU, and its driver does not run"
            remedy = "Install it (Ubuntu: sudo ubuntu-drivers install), and start again."
            return [case.missing("gpu", text, remedy, case.on_gpu)]
        remedy = "Choose engine: {backend: onnx, provider: cpu}." if case.on_gpu else ""
        return [case.missing("gpu", "no NVIDIA GPU", remedy, case.on_gpu)]
    if not case.here or shutil.which("nvidia-smi") is None:
        return [ok("gpu", f"driver {driver[0]}", driver=driver[0])]
    return [ask_driver(case, driver[0])]


def tensorrt(case: Case) -> list[Finding]:
    needed = case.config.engine.backend == "tensorrt"
    missing = [name for name in ("tensorrt", "pycuda") if find_spec(name) is None]
    versions = {name: version(name) or "unknown" for name in ("tensorrt", "pycuda")}
    if (problem := too_old(versions["tensorrt"])) is not None:
        return [case.missing("tensorrt", problem, "", needed)]
    if not missing:
        text = f"TensorRT {versions['tensorrt']}, pycuda {versions['pycuda']}"
        return [ok("tensorrt", text, **versions)]
    remedy = (
        "TensorRT comes with JetPack (sudo apt-get install python3-libnvinfer; the virtual "
        "environment needs --system-site-packages), pycuda with pip install 'edge-runtime[jetson]'."
    )
    text = f"{' and '.join(missing)} cannot be imported"
    return [case.missing("tensorrt", text, remedy if needed else "", needed)]


def _jetson(board: str, release: str) -> Finding:
    """`# R36 (release), REVISION: 4.3, GCID: ...` is L4T 36.4.3."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    l4t = f"{found[1]}.{found[2]}" if found else "unknown"
    return ok("gpu", f"{board or 'Jetson'}, L4T {l4t}", board=board, l4t=l4t)


def _on_the_bus(case: Case) -> bool:
    devices = case.at("/sys/bus/pci/devices").glob("*")
    return any(
        read(device / "vendor") == NVIDIA and read(device / "class").startswith(DISPLAY)
        for device in devices
    )


def ask_driver(case: Case, driver: str) -> Finding:
    """What nvidia-smi says of the GPUs."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", *ASK], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failed("gpu", f"nvidia-smi does not answer: {error}", "Start the machine again.")
    if asked.returncode:
        said = (asked.stdout + asked.stderr).strip().splitlines()
        text = f"nvidia-smi says: {said[0] if said else asked.returncode}"
        remedy = "After an update of the driver, start the machine again."
        return failed("gpu", text, remedy, driver=driver)
    gpus = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    if not gpus:
        return case.missing("gpu", f"driver {driver}, and no GPU", "", case.on_gpu)
    return ok("gpu", "; ".join(f"{line} °C" for line in gpus), driver=driver, gpus=len(gpus))
