"""Where the device keeps what it writes, and shows its pages: may it, as who runs it?"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.doctor import rights
from edge_runtime.doctor.finding import Case, Finding, absent, failed, may_open, ok, read
from edge_runtime.doctor.service import told_by_service
from edge_runtime.errors import ConfigError, RecordingError
from edge_runtime.health import HTTP
from edge_runtime.service_files import UNITS, UNREACHABLE
from edge_runtime.sinks.recording_files import check_place
from edge_runtime.sinks.web import check_listening


@dataclass(frozen=True)
class PlacedFile:
    """A file that the configuration places."""

    name: str
    """Of the finding."""
    key: str
    example: str

    @property
    def elsewhere(self) -> str:
        return f"choose another {self.key}"

    def failed(self, text: str, remedy: str) -> Finding:
        return failed(self.name, text, remedy)


RECORDING = PlacedFile("recording", "recording.path", "last.mcap")
OUTBOX = PlacedFile("outbox", "delegation.outbox", "outbox.db")
_SETTING = re.compile(r"^[ \t]*(ReadWritePaths|ProtectSystem)[ \t]*=[ \t]*(.*?)[ \t]*$", re.M)


def recording(case: Case) -> list[Finding]:
    """Whether one can be written: by this user, or by the service whose configuration it is."""
    if (path := case.recording) is None:
        return [absent("recording", "none is kept")]
    there = case.at(str(path))
    try:
        check_place(there)
    except RecordingError as error:
        return [failed("recording", str(error))]
    except PermissionError:  # only who owns the folder sees what is there
        pass
    except OSError as error:
        return [failed("recording", f"{path} cannot be: {error.strerror}")]
    found = _outside_the_sandbox(case, RECORDING, path)
    found = found or _refused(case, RECORDING, nearest_folder(there))
    return [found or ok("recording", f"it can be written to {path}")]


def outbox(case: Case) -> list[Finding]:
    """Whether questions can be kept, as far as the rights tell: nothing is written."""
    chosen = case.config.delegation.outbox
    if chosen is None or not case.config.asks_workers:
        return []
    path = case.working / chosen
    if found := _outside_the_sandbox(case, OUTBOX, path):
        return [found]
    if not (_made_by_systemd(case, path.parent) or os.path.isdir(case.at(str(path.parent)))):
        remedy = f"Make it (mkdir -p {path.parent}), or {OUTBOX.elsewhere}."
        return [OUTBOX.failed(f"there is no folder {path.parent}", remedy)]
    if found := _refused(case, OUTBOX, nearest_folder(case.at(str(path)))):
        return [found]
    if case.service is None and path.exists() and not may_open(path):
        remedy = f"Give it to this user (sudo chown), or {OUTBOX.elsewhere}."
        return [OUTBOX.failed(f"this user may not write {path}", remedy)]
    return [ok("outbox", f"questions that must not get lost are kept in {path}")]


def nearest_folder(path: Path) -> Path:
    """The first above it that is there, as far as this user can see."""
    return next(above for above in path.parents if os.path.exists(above))


def _refused(case: Case, kept: PlacedFile, nearest: Path) -> Finding | None:
    other = kept.elsewhere
    if not nearest.is_dir():
        return kept.failed(f"{nearest} is no folder", f"Remove it, or {other}.")
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        text = f"{nearest} is on a read-only file system"
        return kept.failed(text, f"Mount it for writing (mount -o remount,rw), or {other}.")
    who = rights.USER if case.service else "this user"
    if not _may_write(case, nearest):
        remedy = f"sudo chown {rights.USER if case.service else '$USER'} {nearest}, or {other}."
        return kept.failed(f"{who} may not write into {nearest}", remedy)
    return None


def _outside_the_sandbox(case: Case, kept: PlacedFile, path: Path) -> Finding | None:
    """A service sees nearly everything read-only, whoever owns it."""
    if case.service is None or _within(path, [case.state, case.cache, *_opened(case)]):
        return None
    text = f"{path} is outside of what the sandbox of {case.service} lets it write"
    choose = f"{kept.elsewhere}, such as {case.state}/{kept.example}."
    if any(path.is_relative_to(hidden) for hidden in UNREACHABLE):
        return kept.failed(text, f"{choose[0].upper()}{choose[1:]}")
    folder = path.parent
    make = "" if case.at(str(folder)).is_dir() else f"sudo mkdir -p {folder}; "
    return kept.failed(
        text,
        f"{make}sudo systemctl edit {case.service}, with the lines [Service] and "
        f"ReadWritePaths={folder}; or {choose}",
    )


def _opened(case: Case) -> list[Path]:
    """What drop-ins of its unit open for writing."""
    service = case.service or ""
    name, at, instance = service.partition("@")
    units = [f"{name}@", service] if at else [name]
    dropped = [case.at(str(UNITS)).glob(f"{unit}.service.d/*.conf") for unit in units]
    opened: list[Path] = []
    for path in (one for found in dropped for one in sorted(found)):
        for key, value in _SETTING.findall(path.read_text(encoding="utf-8")):
            if key == "ProtectSystem":
                opened += [] if value == "strict" else [Path("/")]
            elif not value:
                opened = []  # it takes back what was said before
            else:
                names = (one.strip("\"'").lstrip("-+") for one in value.split())
                opened += [Path(one.replace("%i", instance)) for one in names]
    return opened


def _within(path: Path, folders: list[Path]) -> bool:
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def _made_by_systemd(case: Case, folder: Path) -> bool:
    """It is one of the service's own, or lies in one, where nobody else can look."""
    if case.service is None:
        return False
    hidden = [one for one in (case.state, case.cache) if _is_closed(case.at(str(one)))]
    return folder in (case.state, case.cache) or _within(folder, hidden)


def _is_closed(folder: Path) -> bool:
    return os.path.isdir(folder) and not may_open(folder, os.X_OK)


def _may_write(case: Case, folder: Path) -> bool:
    if case.service is None:
        return may_open(folder, os.W_OK | os.X_OK)
    if any(case.at(str(own)).is_relative_to(folder) for own in (case.state, case.cache)):
        return True  # systemd makes these, and gives them to the service
    return rights.service_may(folder, rights.WRITE | rights.ENTER)


def http(case: Case) -> list[Finding]:
    """Whether health and figures can be shown where the configuration wants them."""
    chosen = case.config.http
    if chosen.port is None:
        return [absent("http", "nothing listens: no http.port")]
    held = [one for one in told_by_service(case, (HTTP,)) if one.values.get("port") == chosen.port]
    if held:
        return held
    if case.service and 0 < chosen.port < _first_free_port(case):
        text = f"the service may not listen at a port below {_first_free_port(case)}"
        return [failed("http", text, "Choose another http.port, such as 9464.")]
    try:
        check_listening(chosen.address, chosen.port)
    except ConfigError as error:
        return [failed("http", str(error))]
    return [ok("http", f"{chosen.address}:{chosen.port} is free")]


def _first_free_port(case: Case) -> int:
    """Those below are root's."""
    return int(read(case.at("/proc/sys/net/ipv4/ip_unprivileged_port_start")) or 1024)
