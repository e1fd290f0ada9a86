"""The files of the systemd services, and what installing and removing them does.

A plan is made first and shown; applying it changes only what differs, so doing it twice is doing it
once. Configuration and credentials are written once and never touched again.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from edge_runtime.errors import InputError
from edge_runtime.install_plan import FileStep, Plan
from edge_runtime.systemd_units import show_units

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = _PACKAGE.parent / "systemd"
_IN_PACKAGE = _PACKAGE / "systemd_files"
DEFAULT_EXECUTABLE = Path("/opt/edge-runtime/bin/edge-runtime")
"""As the unit files name it."""
UNITS = Path("/etc/systemd/system")
CONFIGS = Path("/etc/edge-runtime")
CREDENTIALS = CONFIGS / "credentials"
FOLDERS_SINCE = 251
"""The version of systemd that LoadCredential= takes a folder from; Ubuntu 22.04 has 249."""
LIBRARIES, LIBRARY = ("lib/systemd", "usr/lib*/systemd", "usr/lib/*/systemd"), "libsystemd-shared-"
"""Where distributions keep it; what follows its name is the version."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
"""Of a credential that needs a line of its own, which means other things by `:`, `%` and spaces."""
UNREACHABLE = ("/home", "/root", "/tmp", "/var/tmp", "/run/user")
"""The services' sandbox hides these."""


class Service(str, Enum):
    DEVICE = "edge-runtime"
    WORKER = "edge-background"


def service_files_folder() -> Path:
    """Where the unit files lie, in a checkout and in an installed package. Raises InputError."""
    for folder in (_IN_CHECKOUT, _IN_PACKAGE):
        if (folder / "edge-runtime.service").is_file():
            return folder
    raise InputError("This installation has no unit files: install edge-runtime again.")


def service_of(config: Path) -> str | None:
    """The unit of the device that runs this configuration; None: no service does."""
    if config.absolute().parent != CONFIGS or config.stem == Service.WORKER.value:
        return None
    device = Service.DEVICE.value
    return device if config.stem == device else f"{device}@{config.stem}"


def plan_install(
    root: Path,
    service: Service,
    instance: str | None,
    executable: Path,
    now: bool,
    systemd: int = FOLDERS_SINCE,
    runs_from: Sequence[Path] = (),
) -> Plan:
    """What installing would do. `root` is `/`, or a folder that stands for it; `systemd` is the
    version that is to run it. Below FOLDERS_SINCE each credential that is there has a line of its
    own in the units. `runs_from` is what the executable needs besides what lies around it.

    Without an `instance` it also goes for those that are there: an upgrade is one for all devices.
    Where there are only instances no other device is made.

    Raises InputError where the service could not run the executable.
    """
    executable = executable.absolute()
    if root == Path("/"):
        _check_reachable(executable, runs_from)
    _check_instance(service, instance)
    units = [f"{service.value}.service"]
    if service is Service.DEVICE:
        units.append("edge-runtime@.service")
    source = service_files_folder()
    default = (source / f"{service.value}.yaml").read_text(encoding="utf-8")
    if instance is not None:  # two of one name would throw each other off the broker
        default = default.replace("device: {name: edge}", f"device: {{name: {instance}}}")
        for command in ("restart", "reset-failed"):
            default = default.replace(
                f"{command} edge-runtime", f"{command} edge-runtime@{instance}"
            )
    place = _at(root, CONFIGS / f"{instance or service.value}.yaml")
    config = FileStep(place, default, kept=True, group=service.value)
    others = enabled_instances(root, service) if instance is None else []
    wanted = [] if others and not config.path.exists() else [_unit_name(service, instance)]
    files = [
        *(
            FileStep(_at(root, UNITS / unit), _unit(source / unit, executable, root, systemd))
            for unit in units
        ),
        *_users_and_folders(root, source),
        *([config] if wanted else []),
    ]
    return Plan(tuple(files), _install_commands(root, wanted, others, now), not wanted, root)


def this_installation() -> tuple[Path, ...]:
    """What this program runs from: its package, its interpreter, and that one's library."""
    return (_PACKAGE, Path(sys.executable).resolve(), Path(sys.base_prefix))


def _check_reachable(executable: Path, runs_from: Sequence[Path]) -> None:
    """Raises InputError where the sandbox hides the program, or what it needs."""
    program = executable.resolve()
    for place in (executable, program, (program.parent / "python").resolve(), *runs_from):
        if any(place.is_relative_to(hidden) for hidden in UNREACHABLE):
            needed = "" if place == executable else f", and {executable} needs it"
            raise InputError(
                f"{place} is in a place that the service's sandbox hides{needed}. Install "
                "edge-runtime in one that it can reach, without -e and with the system's python3: "
                "sudo python3 -m venv /opt/edge-runtime && sudo /opt/edge-runtime/bin/pip install "
                "'.[audio,background,metrics]' in a checkout, or the path of a wheel in place of "
                "the dot. Then run install-service from there."
            )


def plan_removal(root: Path, service: Service, instance: str | None = None) -> Plan:
    """What removing would do: `files` are those to be removed, if they are there. An `instance` is
    stopped and disabled alone, and the units stay. Raises InputError where there is no such."""
    _check_instance(service, instance)
    disable = ("systemctl", *_rooted(root), "disable", *(("--now",) if root == Path("/") else ()))
    instances = list(dict.fromkeys(enabled_instances(root, service) + _running(root, service)))
    if instance is not None:
        return Plan((), ((*disable, _removable(root, instance, instances)),))
    units = [f"{service.value}.service"]
    if service is Service.DEVICE:
        units.append("edge-runtime@.service")
    there = [path for unit in units if (path := _at(root, UNITS / unit)).exists()]
    others = [other for other in Service if other is not service]
    last = not any(_at(root, UNITS / f"{other.value}.service").exists() for other in others)
    if last:
        shared = [step.path for step in _users_and_folders(root, service_files_folder())]
        there += [path for path in shared if path.exists()]
    itself = [units[0]] if _at(root, UNITS / units[0]).exists() else []
    commands = [(*disable, unit) for unit in itself + instances]
    return Plan(tuple(FileStep(path, "") for path in there), tuple(commands))


def _removable(root: Path, instance: str, known: list[str]) -> str:
    """The unit of an instance that is known, or has a configuration, by which Home Assistant may
    know it. Raises InputError."""
    unit = _unit_name(Service.DEVICE, instance)
    if unit not in known and not _at(root, CONFIGS / f"{instance}.yaml").exists():
        names = (one.removeprefix("edge-runtime@").removesuffix(".service") for one in known)
        there = ", ".join(names) or "none"
        raise InputError(f"There is no instance {instance!r} here. There are: {there}.")
    return unit


def _users_and_folders(root: Path, source: Path) -> list[FileStep]:
    found = []
    for kind in ("sysusers", "tmpfiles"):
        content = (source / f"edge-runtime.{kind}.conf").read_text(encoding="utf-8")
        found.append(FileStep(_at(root, Path(f"/etc/{kind}.d/edge-runtime.conf")), content))
    return found


def _install_commands(
    root: Path, units: list[str], others: list[str], now: bool
) -> tuple[tuple[str, ...], ...]:
    rooted = _rooted(root)
    commands: list[tuple[str, ...]] = [
        ("systemd-sysusers", *rooted),
        ("systemd-tmpfiles", "--create", *rooted, "edge-runtime.conf"),
    ]
    if root == Path("/"):
        commands.append(("systemctl", "daemon-reload"))
    commands += [("systemctl", *rooted, "enable", unit) for unit in units]
    if now and root == Path("/"):
        failed = _failed(others)
        if begun := [*units, *failed]:
            commands += [("systemctl", "reset-failed", *begun), ("systemctl", "restart", *begun)]
        if running := [unit for unit in others if unit not in failed]:
            commands.append(("systemctl", "try-restart", *running))
    return tuple(commands)


def _failed(units: list[str]) -> list[str]:
    """Those that systemd has given up: what is installed may mend them."""
    try:
        shown = show_units(units) if units else []
    except InputError:
        return []
    return [unit["Id"] for unit in shown if unit["ActiveState"] == "failed"]


def enabled_instances(root: Path, service: Service) -> list[str]:
    """The units of those that start by themselves."""
    links = _at(root, UNITS).glob(f"*.wants/{service.value}@*.service")
    return sorted({link.name for link in links})


def _running(root: Path, service: Service) -> list[str]:
    """Instances that run, or are to be started again, also such as do not start by themselves."""
    if root != Path("/"):
        return []
    try:
        shown = show_units([f"{service.value}@*.service"])
    except InputError:  # no systemd: nothing runs
        return []
    return [unit["Id"] for unit in shown if unit["ActiveState"] not in ("inactive", "failed")]


def _rooted(root: Path) -> tuple[str, ...]:
    return () if root == Path("/") else (f"--root={root}",)


def _at(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _unit(source: Path, executable: Path, root: Path, systemd: int) -> str:
    content = source.read_text(encoding="utf-8")
    if systemd < FOLDERS_SINCE:
        there = sorted(_at(root, CREDENTIALS).glob("*"))
        names = [one.name for one in there if one.is_file() and PLAIN_NAME.fullmatch(one.name)]
        lines = [f"LoadCredential=edge_{name}:{CREDENTIALS / name}\n" for name in names]
        content = content.replace(f"LoadCredential=edge:{CREDENTIALS}\n", "".join(lines))
    return content.replace(str(DEFAULT_EXECUTABLE), _quoted(executable))


def _quoted(program: Path) -> str:
    """As a word in a unit, without specifiers; see systemd.service(5), "Command lines"."""
    text = str(program)
    if not text.isprintable() or re.search(r"[\"'\\]", text):
        raise InputError(f"{text!r} cannot be run by systemd: it takes no quotes and backslashes.")
    return f'"{text.replace("%", "%%")}"' if " " in text else text.replace("%", "%%")


def systemd_version(root: Path = Path("/")) -> int:
    """Of the machine that `root` stands for; FOLDERS_SINCE where there is none. There nothing can
    be run, but systemd's own library has the version in its name."""
    said: list[str] = []
    if root == Path("/"):
        with suppress(OSError, subprocess.TimeoutExpired):
            said = subprocess.run(
                ("systemctl", "--version"), capture_output=True, text=True, timeout=10, check=False
            ).stdout.split()[1:2]
    else:
        said = [one.name for place in LIBRARIES for one in root.glob(f"{place}/{LIBRARY}*.so")]
    found = re.match(rf"(?:{LIBRARY})?(\d+)", max(said, default=""))
    return FOLDERS_SINCE if found is None else int(found.group(1))


def _unit_name(service: Service, instance: str | None) -> str:
    return f"{service.value}.service" if instance is None else f"edge-runtime@{instance}.service"


def _check_instance(service: Service, name: str | None) -> None:
    """Raises InputError. The names of services are those of their configurations, too."""
    if name is None:
        return
    taken = [one.value for one in Service]
    if service is Service.WORKER or name in taken or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(
            f"{name!r} cannot be an instance: only edge-runtime has instances, and their names are "
            f"letters, digits, `-` and `_`, but not {' or '.join(taken)}."
        )
