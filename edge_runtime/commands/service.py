"""`edge-runtime serve` and `status`, and what installs and removes the systemd services."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from edge_runtime import __version__
from edge_runtime.commands.common import (
    ConfigOption,
    console,
    log_as_a_service,
    stop_on_signals,
    tell_doubts,
)
from edge_runtime.config import Config, load_config
from edge_runtime.device_status import DeviceStatus, StatusFile, services, status_path
from edge_runtime.errors import (
    ConfigError,
    EdgeRuntimeError,
    ManifestError,
    MisconfiguredServiceError,
    StoppedError,
    UnavailableError,
)
from edge_runtime.health import HealthMonitor, State
from edge_runtime.install_plan import Plan, apply_install, apply_removal
from edge_runtime.interfaces import Sink
from edge_runtime.scheduling import ask_for_realtime, lock_memory
from edge_runtime.service_files import (
    CONFIGS,
    CREDENTIALS,
    FOLDERS_SINCE,
    Service,
    plan_install,
    plan_removal,
    systemd_version,
    this_installation,
)

log = logging.getLogger(__name__)
Apply = Annotated[
    bool, typer.Option("--apply/--dry-run", help="Do it, or only show what it would do.")
]
Instance = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="One of several devices here: edge-runtime@NAME."),
]
Root = Annotated[Path, typer.Option(help="A folder that stands for /: nothing else is touched.")]
Worker = Annotated[bool, typer.Option("--background", help="The worker, not the device.")]


def serve(config: ConfigOption = None) -> None:
    """Run as a service: silent, watched by systemd, with what the configuration opens. Exit 78:
    its configuration cannot be, and no other start will help."""
    try:
        _serve(config)
    except StoppedError as stopped:
        log.info("%s", stopped)
    except UnavailableError:
        raise
    except (ConfigError, ManifestError) as error:
        raise MisconfiguredServiceError(str(error)) from error


def _serve(config: Path | None) -> None:
    from edge_runtime.app import device
    from edge_runtime.background import kept_timers
    from edge_runtime.kept_control import KeptControl, kept_path
    from edge_runtime.senses import senses_for
    from edge_runtime.sinks.conversation_log import ConversationLog
    from edge_runtime.sinks.self_watchdog import SelfWatchdog
    from edge_runtime.sinks.service_notify import ServiceNotifier

    log_as_a_service()
    faulthandler.enable()  # the watchdog's SIGABRT leaves a trace of every thread in the journal
    settings = load_config(config)
    tell_doubts(settings)
    stop = stop_on_signals()
    health = HealthMonitor()
    control = KeptControl(kept_path(settings.device.name), health).load()
    timers = kept_path(settings.device.name, file=kept_timers.FILE)
    with ExitStack() as stack:
        notifier = stack.enter_context(ServiceNotifier(health.snapshot))
        if (path := status_path()) is not None:
            status = DeviceStatus(settings.device.name, health, control)
            stack.enter_context(StatusFile(path, status))
        senses = senses_for(settings, realtime=True, may_be_late=True)
        talks = stack.enter_context(ConversationLog(lambda: control.mode))
        watchdog = SelfWatchdog()
        sinks: list[Sink] = [notifier, talks, watchdog]
        ready = stack.enter_context(
            device(
                settings,
                senses,
                sinks,
                control=control,
                health=health,
                timers=timers,
                stop=stop.is_set,
            )
        )
        stack.enter_context(watchdog)  # left first: a device may take its time to be released
        log.info("edge-runtime %s: %s", __version__, _made_of(settings, ready.engine))
        if settings.loop.lock_memory:
            lock_memory()
        if settings.loop.realtime_priority is not None:
            ask_for_realtime(settings.loop.realtime_priority)
        ready.loop.run(stop.is_set)


def _made_of(settings: Config, engine: Mapping[str, Any]) -> str:
    """What the device is made of, for the log."""
    delegation, recording = settings.delegation, settings.recording.path
    parts = {
        "model": " ".join(str(engine[name]) for name in ("name", "version") if name in engine),
        "broker": delegation.broker or "none",
        "recording": recording or "none",
    }
    return ", ".join(f"{name} {what}" for name, what in parts.items())


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with all figures.")] = False,
) -> None:
    """How the services here are; exit 1 unless all are ok or degraded, 2 where there are none."""
    found = services()
    if as_json:
        console.print_json(json.dumps(found))
    colours = {"ok": "green", "degraded": "yellow", "failed": "red"}
    for one in [] if as_json else found:
        colour = colours[one["state"]]
        title = f"[bold]{escape(one['device'])}[/bold] [{colour}]{one['state']}[/{colour}]"
        if "unit" in one:
            why = "; ".join(one["reasons"]).removeprefix("service: ")
            console.print(f"{title} ({escape(why)})")
            console.print(f"  journalctl -u {escape(one['unit'])} -e")
            continue
        console.print(title)
        for name, part in one["parts"].items():
            values = ", ".join(f"{key} {value}" for key, value in part["values"].items())
            said = "; ".join(text for text in (part["reason"], values) if text)
            console.print(f"  {name}: {part['state']}" + (f" ({escape(said)})" if said else ""))
        capture = "".join(f", {name} {state}" for name, state in one.get("capture", {}).items())
        console.print(f"  mode {one['mode']}{capture}")
    if any(one["state"] == State.FAILED.value for one in found):
        raise typer.Exit(1)


def install_service(
    apply: Apply = False,
    now: Annotated[bool, typer.Option("--now", help="Start it too, or start it again.")] = False,
    instance: Instance = None,
    worker: Worker = False,
    root: Root = Path("/"),
    executable: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="What the service runs; default: this program."),
    ] = None,
) -> None:
    """Install the systemd service. A configuration that is there stays as it is."""
    program, version = executable or this_program(), systemd_version(root)
    service = Service.WORKER if worker else Service.DEVICE
    runs_from = this_installation() if executable is None else ()
    plan = plan_install(root, service, instance, program, now, version, runs_from)
    for step in plan.files:
        console.print(f"{step.what:<10} {escape(str(step.path))}", soft_wrap=True)
    _show_commands(plan)
    for step in plan.files:
        if step.open_to_all:
            there = escape(str(step.path))
            console.print(
                f"{there} stays as it is, and everybody on this machine can read it. If a password "
                f"is in it: sudo chgrp {step.group} {there}; sudo chmod 640 {there}",
                soft_wrap=True,
            )
    if plan.only_instances:
        console.print(
            f"Only instances are installed here, and they are brought up to date. For a device "
            f"beside them give --instance NAME, or write {CONFIGS / 'edge-runtime.yaml'} first.",
            soft_wrap=True,
        )
    if version < FOLDERS_SINCE:
        console.print(
            f"systemd {version} takes credentials one by one, and names of letters, digits, `.`, "
            f"`_` and `-` only. After adding, renaming or removing a file in {CREDENTIALS}, run "
            "install-service --apply --now once more: where one is missing, nothing starts.",
            soft_wrap=True,
        )
    if apply:
        if plan.starts:
            console.print(
                "A start may take minutes, as where an engine is built first. Ctrl-C does not stop "
                f"it; look with: systemctl status '{service.value}*'",
                soft_wrap=True,
            )
        apply_install(plan)
    _say_how_it_ended(apply)


def uninstall_service(
    apply: Apply = False,
    instance: Instance = None,
    worker: Worker = False,
    root: Root = Path("/"),
) -> None:
    """Stop and remove the systemd service, with all its instances, or one of them. Configuration,
    credentials and data stay."""
    plan = plan_removal(root, Service.WORKER if worker else Service.DEVICE, instance)
    _show_commands(plan)
    for step in plan.files:
        console.print(f"{'remove':<10} {escape(str(step.path))}", soft_wrap=True)
    if plan == Plan((), ()):
        console.print("There is nothing to remove.")
        return
    if apply:
        apply_removal(plan, root)
        if not worker and root == Path("/"):
            _leave_home_assistant(sorted(CONFIGS.glob(f"{instance or '*'}.yaml")))
    _say_how_it_ended(apply)


def _leave_home_assistant(configs: Sequence[Path]) -> None:
    """Every device that was configured here is removed there. What does not work is said."""
    from edge_runtime.app import broker_for
    from edge_runtime.sinks.home_assistant import forget

    os.environ.setdefault("CREDENTIALS_DIRECTORY", str(CREDENTIALS))
    for path in configs:
        try:
            config = load_config(path)
            if config.home_assistant.enabled:
                forget(broker_for(config), config.device.name, config.home_assistant.prefix)
                console.print(f"{config.device.name} is removed from Home Assistant.")
        except EdgeRuntimeError as error:
            if path.name != f"{Service.WORKER.value}.yaml":
                console.print(f"[yellow]{escape(str(error))}[/yellow]", soft_wrap=True)


def this_program() -> Path:
    """The `edge-runtime` beside this interpreter: what a service shall run."""
    beside = Path(sys.executable).parent / "edge-runtime"
    found = shutil.which("edge-runtime")
    return beside if beside.exists() or found is None else Path(found)


def _show_commands(plan: Plan) -> None:
    for command in plan.commands:
        console.print(f"{'run':<10} {escape(' '.join(command))}", soft_wrap=True)


def _say_how_it_ended(applied: bool) -> None:
    console.print("Done." if applied else "Nothing was changed. To do it, add --apply.")
