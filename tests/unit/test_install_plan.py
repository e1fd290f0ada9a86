"""A plan is done to its end, whatever fails on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_runtime import install_plan, service_files
from edge_runtime.commands import service
from edge_runtime.errors import InputError
from edge_runtime.install_plan import Plan, apply_install, apply_removal
from edge_runtime.service_files import Service, _install_commands, plan_removal

STAND_IN = """#!/bin/sh
echo "$@" >> {asked}
case "$*" in
  show*) printf 'Id=edge-runtime@left.service\\nActiveState=failed\\n\\n'
         printf 'Id=edge-runtime@right.service\\nActiveState=active\\n' ;;
  *broken*) echo "$1 does not work" >&2; exit 1 ;;
  reset-failed*) echo "Unit is not loaded." >&2; exit 1 ;;
  *slow*) exec sleep {sleep_s} ;;
esac
"""


class Systemctl:
    """A program that stands for it, on PATH: a unit that is `broken` fails, a `slow` one takes
    `sleep_s`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._asked, self._program = folder / "asked", folder / "systemctl"
        self.takes(0)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def takes(self, sleep_s: float) -> None:
        self._program.write_text(STAND_IN.format(asked=self._asked, sleep_s=sleep_s))
        self._program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines()


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    return Systemctl(tmp_path, monkeypatch)


def commands(*lines: str) -> tuple[tuple[str, ...], ...]:
    return tuple(("systemctl", *line.split()) for line in lines)


def test_all_is_run_and_all_that_failed_is_told_at_once(systemctl: Systemctl) -> None:
    lines = ("daemon-reload", "enable broken", "restart broken", "try-restart left right")
    with pytest.raises(InputError) as told:
        apply_install(Plan((), commands(*lines)))
    assert systemctl.asked == list(lines)
    assert str(told.value) == (
        "`systemctl enable broken` failed: enable does not work\n"
        "`systemctl restart broken` failed: restart does not work"
    )


def test_what_is_not_stopped_keeps_its_unit(systemctl: Systemctl, tmp_path: Path) -> None:
    unit = tmp_path / "edge-runtime.service"
    unit.write_text("")
    plan = Plan(
        (install_plan.FileStep(unit, ""),), commands("disable --now broken", "disable --now left")
    )
    with pytest.raises(InputError, match="disable does not work"):
        apply_removal(plan, tmp_path)
    assert systemctl.asked[-1] == "disable --now left"
    assert unit.exists()


def test_a_unit_that_was_never_started_has_nothing_to_reset(systemctl: Systemctl) -> None:
    apply_install(Plan((), commands("reset-failed left", "restart left")))
    assert systemctl.asked == ["reset-failed left", "restart left"]


def test_a_start_may_take_its_time_and_nothing_else(
    systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_plan, "TIMEOUT_S", 0.3)
    systemctl.takes(1)
    apply_install(Plan((), commands("restart slow", "try-restart slow")))
    systemctl.takes(60)
    with pytest.raises(InputError, match=r"`systemctl enable slow` did not end in 0.3 s"):
        apply_install(Plan((), commands("enable slow", "daemon-reload")))
    assert systemctl.asked[-1] == "daemon-reload"


def test_an_upgrade_starts_instances_that_systemd_has_given_up(systemctl: Systemctl) -> None:
    instances = [f"edge-runtime@{name}.service" for name in ("left", "right")]
    found = _install_commands(Path("/"), ["edge-runtime.service"], instances, now=True)
    assert [" ".join(command) for command in found[-3:]] == [
        "systemctl reset-failed edge-runtime.service edge-runtime@left.service",
        "systemctl restart edge-runtime.service edge-runtime@left.service",
        "systemctl try-restart edge-runtime@right.service",
    ]
    assert Plan((), found).starts
    later = _install_commands(Path("/"), ["edge-runtime.service"], instances, now=False)
    assert not Plan((), later).starts


def test_what_runs_without_starting_by_itself_is_stopped_too(systemctl: Systemctl) -> None:
    stopped = plan_removal(Path("/"), Service.DEVICE).commands
    assert ("systemctl", "disable", "--now", "edge-runtime@right.service") in stopped
    assert plan_removal(Path("/"), Service.DEVICE, "right") == Plan((), stopped[-1:])


@pytest.mark.parametrize(("instance", "left"), [("right", ["right"]), (None, ["left", "right"])])
def test_home_assistant_forgets_the_devices_that_are_removed(
    systemctl: Systemctl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instance: str | None,
    left: list[str],
) -> None:
    for name in ("left", "right"):
        (tmp_path / f"{name}.yaml").write_text("")
    forgotten: list[Path] = []
    monkeypatch.setattr(service, "CONFIGS", tmp_path)
    monkeypatch.setattr(service, "_leave_home_assistant", forgotten.extend)
    monkeypatch.setattr(service_files, "UNITS", tmp_path / "units")
    monkeypatch.setattr(service_files, "_users_and_folders", lambda root, source: [])
    service.uninstall_service(apply=True, instance=instance)
    assert [path.stem for path in forgotten] == left
    assert "disable --now edge-runtime@right.service" in systemctl.asked
