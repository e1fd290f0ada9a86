"""Where the device writes its recordings and shows its pages: may it, as who runs it?"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

from edge_runtime.doctor.finding import Case, Finding, absent, failed, may_open, ok, read
from edge_runtime.doctor.service import told_by_service
from edge_runtime.errors import ConfigError, RecordingError
from edge_runtime.health import HTTP
from edge_runtime.service_files import UNITS, UNREACHABLE
from edge_runtime.sinks.recording_files import check_place
from edge_runtime.sinks.web import check_listening

USER = "edge-runtime"
"""Of the service."""
_SETTING = re.compile(r"^[ \t]*(ReadWritePaths|ProtectSystem)[ \t]*=[ \t]*(.*?)[ \t]*$", re.M)
ELSEWHERE = "choose another recording.path"


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
    found = _outside_the_sandbox(case, path) or _refused(case, nearest_folder(there))
    return [found or ok("recording", f"it can be written to {path}")]


def nearest_folder(path: Path) -> Path:
    """The first above it that is there, as far as this user can see."""
    return next(above for above in path.parents if os.path.exists(above))


def _refused(case: Case, nearest: Path) -> Finding | None:
    if not nearest.is_dir():
        return failed("recording", f"{nearest} is no folder", f"Remove it, or {ELSEWHERE}.")
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        text = f"{nearest} is on a read-only file system"
        return failed(
            "recording", text, f"Mount it for writing (mount -o remount,rw), or {ELSEWHERE}."
        )
    who = USER if case.service else "this user"
    if not _may_write(case, nearest):
        remedy = f"sudo chown {USER if case.service else '$USER'} {nearest}, or {ELSEWHERE}."
        return failed("recording", f"{who} may not write into {nearest}", remedy)
    return None


def _outside_the_sandbox(case: Case, path: Path) -> Finding | None:
    """A service sees nearly everything read-only, whoever owns it."""
    if case.service is None or _within(path, [case.state, case.cache, *_opened(case)]):
        return None
    text = f"{path} is outside of what the sandbox of {case.service} lets it write"
    choose = f"{ELSEWHERE}, such as {case.state}/last.mcap."
    if any(path.is_relative_to(hidden) for hidden in UNREACHABLE):
        return failed("recording", text, f"{choose[0].upper()}{choose[1:]}")
    folder = path.parent
    make = "" if case.at(str(folder)).is_dir() else f"sudo mkdir -p {folder}; "
    return failed(
        "recording",
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


def _may_write(case: Case, folder: Path) -> bool:
    if case.service is None:
        return may_open(folder, os.W_OK | os.X_OK)
    if any(case.at(str(own)).is_relative_to(folder) for own in (case.state, case.cache)):
        return True  # systemd makes the service's own folders
    try:
        user = pwd.getpwnam(USER)
    except KeyError:  # it is not installed yet
        return True
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        wanted = 0o300
    elif status.st_gid in os.getgrouplist(USER, user.pw_gid):
        wanted = 0o030
    else:
        wanted = 0o003
    return status.st_mode & wanted == wanted


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
