"""The machine: software, configuration, clock, governor, heat, disk, rights."""

from __future__ import annotations

import ctypes
import importlib.metadata
import logging
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from edge_runtime import __version__
from edge_runtime.config import Config, load_config
from edge_runtime.doctor import rights
from edge_runtime.doctor.finding import (
    Case,
    Finding,
    Value,
    absent,
    failed,
    may_open,
    ok,
    read,
    warning,
)
from edge_runtime.errors import ConfigError
from edge_runtime.health import DISK, TEMPERATURE, HealthMonitor, State
from edge_runtime.machine_health import MachineHealth
from edge_runtime.sinks.recording_files import finished, unfinished

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "paho-mqtt",
    "pyaudio",
    "soxr",
    "pocketsphinx",
    "piper-tts",
    "cyclonedds",
    "tensorrt",
    "pycuda",
)
"""Whose versions a report for support names."""
UNSYNCHRONISED_US = 16_000_000
"""From this error on the kernel's clock counts as not set by anything; as systemd has it."""
TOO_EARLY = datetime(2025, 1, 1, tzinfo=timezone.utc)
"""A clock that is behind this has lost its battery: no certificate is valid there."""
SLOW_GOVERNORS = ("powersave", "conservative", "userspace")
OWN_GOVERNING = ("intel_pstate", "amd-pstate-epp")
"""With these drivers `powersave` is the name of what adapts to the load."""
WARM_C = 10.0
"""So close to the limit is worth a word."""


class _Timex(ctypes.Structure):
    """The beginning of Linux' `struct timex`, and more room than the rest of it takes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * 512),
    )


def configuration(path: Path | None) -> tuple[Config, Finding]:
    """The configuration, or the defaults where it cannot be used, and what is to be said of it."""
    with _warnings() as said:
        try:
            config = load_config(path)
        except ConfigError as error:
            return Config(), failed("config", re.sub(r"; given: .*", ".", str(error)))
    if said:
        return config, warning("config", "; ".join(said))
    text = "the defaults: --config FILE examines yours" if path is None else str(path)
    return config, ok("config", text)


def software(case: Case) -> list[Finding]:
    """Always ok: what a report for support begins with."""
    system = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', read(case.at("/etc/os-release")), re.M))
    versions: dict[str, Value] = {
        "edge_runtime": __version__,
        "python": platform.python_version(),
        "system": system.get("PRETTY_NAME", platform.system()),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "board": read(case.at("/proc/device-tree/model")),
        "cores": os.cpu_count(),
    }
    for name in PACKAGES:
        versions[name] = version(name)
    text = (
        f"edge-runtime {__version__}, Python {versions['python']}, {versions['system']} on "
        f"{versions['board'] or versions['architecture']}"
    )
    return [ok("software", text, **versions)]


def version(package: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def clock(case: Case) -> list[Finding]:
    """Whether the time is right, as far as the kernel knows."""
    return [clock_finding(datetime.now(timezone.utc), clock_error_us())]


def clock_error_us() -> int | None:
    """The most that the system's clock is wrong, as the kernel says; None where it does not."""
    state = _Timex()
    try:
        told = ctypes.CDLL(None).adjtimex(ctypes.byref(state))
    except (AttributeError, OSError):  # another kernel than Linux
        return None
    return None if told < 0 else int(state.maxerror)


def clock_finding(now: datetime, error_us: int | None) -> Finding:
    remedy = "Let it be set by the network: sudo timedatectl set-ntp true; see timedatectl."
    if now < TOO_EARLY:
        text = f"it says {now:%Y-%m-%d}: certificates and reminders do not work"
        return failed("clock", text, remedy)
    if error_us is None:
        return warning("clock", "the kernel does not tell whether it is synchronised", remedy)
    if error_us >= UNSYNCHRONISED_US:
        return warning("clock", "it is not synchronised", remedy, synchronised=False)
    error_ms = round(error_us / 1000, 1)
    text = f"synchronised, at most {error_ms:g} ms wrong"
    return ok("clock", text, synchronised=True, error_ms=error_ms)


def governor(case: Case) -> list[Finding]:
    """How the processor's clock is chosen."""
    cpus = case.at("/sys/devices/system/cpu")
    chosen = [read(path) for path in sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"))]
    if not chosen:
        return [absent("governor", "the kernel does not say how the processor's clock is chosen")]
    driver = read(cpus / "cpu0/cpufreq/scaling_driver")
    names = ", ".join(sorted(set(chosen)))
    text = f"{names} on {len(chosen)} cores ({driver or 'driver unknown'})"
    slow = {name for name in chosen if name in SLOW_GOVERNORS}
    if driver in OWN_GOVERNING:
        slow.discard("powersave")
    if slow:
        remedy = (
            "Micro-turns may come late. sudo cpupower frequency-set -g performance; on a Jetson "
            "sudo nvpmodel -m with MAXN's number (nvpmodel -p --verbose) && sudo jetson_clocks."
        )
        return [warning("governor", text, remedy, governor=names)]
    return [ok("governor", text, governor=names)]


def disk_and_temperature(case: Case) -> list[Finding]:
    """By the limits of the configuration, as a running device is judged."""
    limits, recording = case.config.health, case.recording
    folder = case.at(str(recording.parent if recording else case.working))
    monitor = HealthMonitor()
    thermal = case.at("/sys/class/thermal")
    MachineHealth(
        monitor, folder, limits.min_free_mb, limits.max_temperature_c, thermal=thermal
    ).look()
    return [_disk(case, monitor, folder), _temperature(case, monitor)]


def _disk(case: Case, monitor: HealthMonitor, folder: Path) -> Finding:
    part = monitor.snapshot().part(DISK)
    assert part is not None
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if part.state is not State.OK:
        remedy = "Make room, or lower recording.keep_mb or health.min_free_mb."
        return warning("disk", f"{part.reason} ({there})", remedy, **part.values)
    room_mb = _room_for_recordings_mb(case, float(part.values["free_mb"]))
    if room_mb is not None and room_mb < case.config.recording.keep_mb:
        text = (
            f"there is room for {room_mb:.0f} MB of recordings in {there}, and recording.keep_mb "
            f"is {case.config.recording.keep_mb:g}: older ones are removed sooner"
        )
        remedy = "Make room, or lower recording.keep_mb or health.min_free_mb."
        return warning("disk", text, remedy, **part.values)
    return ok("disk", f"{part.values['free_mb']} MB are free in {there}", **part.values)


def _room_for_recordings_mb(case: Case, free_mb: float) -> float | None:
    """For those that are there, and more; None where none are wanted, or nobody else can look."""
    if (path := case.recording) is None:
        return None
    there = case.at(str(path))
    try:
        kept_bytes = sum(status.st_size for _, status in finished(there))
        if (written := unfinished(there)).exists():
            kept_bytes += written.stat().st_size
    except FileNotFoundError:
        kept_bytes = 0
    except OSError:
        return None
    return max(0.0, free_mb + kept_bytes / 1e6 - case.config.health.min_free_mb)


def _temperature(case: Case, monitor: HealthMonitor) -> Finding:
    part = monitor.snapshot().part(TEMPERATURE)
    if part is None:
        return absent("temperature", "the kernel has no thermal zones")
    remedy = "Give it air, clean its fan, or choose a lower power mode: hot chips slow down."
    hottest_c = float(part.values["hottest_c"])
    limit_c = case.config.health.max_temperature_c
    if part.state is not State.OK:
        return warning("temperature", part.reason, remedy, **part.values)
    text = f"{hottest_c:.0f} °C at the hottest place; {limit_c:.0f} are the limit"
    if hottest_c > limit_c - WARM_C:
        return warning("temperature", text, remedy, **part.values)
    return ok("temperature", text, **part.values)


def permissions(case: Case) -> list[Finding]:
    """Whether this user, or the service whose configuration it is, may open the devices that are
    there."""
    config = case.config
    kinds = [
        ("sound", "/dev/snd", "pcm*", "audio", config.audio.source == "microphone"),
        ("cameras", "/dev", "video[0-9]*", "video", config.video.source is not None),
    ]
    if case.on_gpu:
        kinds.append(("GPU", "/dev/dri", "renderD*", "render", True))
    may, may_not, groups, any_needed = [], [], [], False
    for what, folder, pattern, group, needed in kinds:
        nodes = list(case.at(folder).glob(pattern))
        if nodes and any(_may_use(case, node) for node in nodes):
            may.append(what)
        elif nodes:
            may_not.append(what)
            groups.append(group)
            any_needed = any_needed or needed
    who = rights.USER if case.service else "this user"
    if may_not:
        text = f"{who} may not open: {', '.join(may_not)}"
        remedy = f"sudo usermod -aG {','.join(groups)} $USER, and log in again."
        if case.service:
            remedy = (
                f"It is in the groups {', '.join(rights.GROUPS)}: let udev give the devices to "
                f"{' and '.join(groups)} (MODE=0660), or sudo systemctl edit {case.service}, with "
                "the lines [Service] and SupplementaryGroups= with the group that they have."
            )
        return [(failed if any_needed else warning)("permissions", text, remedy)]
    if not may:
        return [absent("permissions", "there are no devices that need any")]
    return [ok("permissions", f"{who} may open: {', '.join(may)}")]


def _may_use(case: Case, node: Path) -> bool:
    if case.service is None:
        return may_open(node)
    return rights.service_may(node, rights.READ | rights.WRITE)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is logged as a warning inside, and not printed."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, keep = logging.getLogger("edge_runtime"), Keep(logging.WARNING)
    propagated = logger.propagate
    logger.addHandler(keep)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.propagate = propagated
        logger.removeHandler(keep)
