"""All checks in their order, and the report that support asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from edge_runtime.doctor import accelerator, hearing, link, machine, parts, places, seeing, service
from edge_runtime.doctor.finding import Case, Check, Finding, Verdict, failed

log = logging.getLogger(__name__)
FORMAT = 1
"""Of the JSON report."""

CHECKS: tuple[tuple[str, Check], ...] = (
    ("software", machine.software),
    ("permissions", machine.permissions),
    ("microphone and loudspeaker", hearing.sound),
    ("echo canceller", hearing.echo_canceller),
    ("cameras", seeing.cameras),
    ("voice", parts.voice),
    ("model", parts.model),
    ("actions", parts.actions),
    ("gpu", accelerator.gpu),
    ("tensorrt", accelerator.tensorrt),
    ("broker", link.broker),
    ("outbox", places.outbox),
    ("ros", parts.ros),
    ("clock", machine.clock),
    ("governor", machine.governor),
    ("recording", places.recording),
    ("temperature and disk", machine.disk_and_temperature),
    ("http", places.http),
    ("service", service.service),
)


def examine(
    case: Case,
    checks: Sequence[tuple[str, Check]] = CHECKS,
    on_begin: Callable[[str], None] = lambda name: None,
) -> Iterator[Finding]:
    """Each finding as soon as it is there. A check that breaks is a finding too, and the rest go
    on."""
    for name, check in checks:
        on_begin(name)
        try:
            for finding in check(case):
                yield finding.masked()
        except Exception as error:
            log.debug("the check of %s broke", name, exc_info=True)
            text = f"it could not be checked: {type(error).__name__}: {error}"
            yield failed(name, text).masked()


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """For support: no secret, nothing that was heard and no picture is in it."""
    return {
        "format": FORMAT,
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "ok": not any_failed(findings),
        "findings": [finding.as_dict() for finding in findings],
    }


def any_failed(findings: Sequence[Finding]) -> bool:
    return any(finding.verdict is Verdict.FAILED for finding in findings)
