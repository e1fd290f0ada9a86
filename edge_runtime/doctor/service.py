"""The systemd service: installed, running, and what it says of the devices that it holds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from edge_runtime.device_status import STALE_S, running
from edge_runtime.doctor.finding import Case, Finding, Verdict, absent, failed, ok, warning
from edge_runtime.errors import InputError
from edge_runtime.health import State
from edge_runtime.service_files import CONFIGS, UNITS, Service, enabled_instances
from edge_runtime.systemd_units import parsed, show_units

_VERDICTS = {
    State.OK.value: Verdict.OK,
    State.DEGRADED.value: Verdict.WARNING,
    State.FAILED.value: Verdict.FAILED,
}


def service(case: Case) -> list[Finding]:
    """One line a unit, and one for the health of each device that runs."""
    units = case.at(str(UNITS))
    installed = [one.value for one in Service if (units / f"{one.value}.service").exists()]
    found = [_health(status) for status in statuses(case)]
    if not installed:
        text = "no service is installed"
        return found or [absent("service", text, "sudo edge-runtime install-service --apply")]
    if not case.here or shutil.which("systemctl") is None:
        return [*found, ok("service", f"installed: {', '.join(installed)}")]
    try:
        shown = show_units(_patterns(installed))
    except InputError as error:
        return [*found, warning("service", str(error))]
    return [*found, *_judged(case, shown)]


def unit_findings(shown: str, case: Case) -> list[Finding]:
    """From what `systemctl show` prints."""
    return _judged(case, parsed(shown))


def _judged(case: Case, units: Sequence[dict[str, str]]) -> list[Finding]:
    """Of each, but the unit beside instances that nobody means to run: it comes with theirs."""
    device = Service.DEVICE.value
    configured = case.at(str(CONFIGS / f"{device}.yaml")).exists()
    only_instances = not configured and bool(enabled_instances(case.root, Service.DEVICE))
    return [
        _unit(unit)
        for unit in units
        if not (only_instances and unit["Id"] == f"{device}.service" and _rests(unit))
    ]


def _rests(unit: dict[str, str]) -> bool:
    return (unit.get("ActiveState"), unit.get("UnitFileState")) == ("inactive", "disabled")


def told_by_service(case: Case, kinds: Sequence[str]) -> list[Finding]:
    """Of what a running service holds, so that nobody else can try it; else nothing. With a
    configuration only the service of that device counts."""
    found = []
    for status in statuses(case):
        other = case.configured and status["device"] != case.config.device.name
        if other or status["age_s"] > STALE_S:
            continue
        for kind in kinds:
            part = status.get("parts", {}).get(kind)
            if part is not None:
                said = f": {part['reason']}" if part["reason"] else ""
                text = f"the running service {status['device']} has it, {part['state']}{said}"
                verdict = _VERDICTS[part["state"]]
                found.append(Finding(kind, verdict, text, values=part["values"]))
    return found


def statuses(case: Case) -> list[dict[str, Any]]:
    """Of the devices that run as services here."""
    try:
        return running(case.at("/run"))
    except InputError:
        return []


def _health(status: dict[str, Any]) -> Finding:
    reasons = "; ".join(status["reasons"])
    text = f"{status['device']} runs: {status['state']}" + (f" ({reasons})" if reasons else "")
    remedy = "" if status["state"] == State.OK.value else "journalctl -u 'edge-runtime*' -p warning"
    return Finding("health", _VERDICTS[status["state"]], text, remedy)


def _patterns(installed: Sequence[str]) -> list[str]:
    """`edge-runtime` has instances too; a pattern shows those that are loaded."""
    units = [f"{name}.service" for name in installed]
    return [*units, f"{Service.DEVICE.value}@*.service"]


def _unit(unit: dict[str, str]) -> Finding:
    name = unit["Id"].removesuffix(".service")
    state = f"{unit.get('ActiveState', 'unknown')} ({unit.get('SubState', '')})"
    restarts = int(unit.get("NRestarts") or 0)
    text = f"{name} is {state}, {restarts} restarts"
    if unit.get("ActiveState") == "failed":
        text += f": {unit.get('Result', '')}"
        # Without reset-failed, one that was started too often is refused for ten minutes.
        remedy = (
            f"journalctl -u {name} -e says why; then sudo systemctl reset-failed {name}; sudo "
            f"systemctl restart {name}"
        )
        return failed("service", text, remedy)
    if unit.get("ActiveState") != "active":
        settings = CONFIGS / f"{name.partition('@')[2] or name}.yaml"
        remedy = f"sudo systemctl start {name}; its configuration is {settings}"
        return warning("service", text, remedy, restarts=restarts)
    if restarts:
        return warning("service", text, f"journalctl -u {name} -p warning", restarts=restarts)
    if unit.get("UnitFileState") == "disabled":
        remedy = f"sudo systemctl enable {name}"
        return warning("service", f"{text}; it does not start by itself", remedy)
    return ok("service", text, restarts=restarts)
