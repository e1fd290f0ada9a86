"""Installing and removing the services: shown first, done once, and nothing of the owner's lost."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import edge_runtime
from edge_runtime.errors import InputError
from edge_runtime.install_plan import Plan, apply_install, apply_removal
from edge_runtime.service_files import (
    FOLDERS_SINCE,
    Service,
    _install_commands,
    plan_install,
    plan_removal,
    systemd_version,
    this_installation,
)

PROGRAM = Path("/srv/edge/bin/edge-runtime")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None, reason="systemd is not installed"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes users in a folder: needs root")


def files_only(plan: Plan) -> Plan:
    return Plan(plan.files, ())


def install(root: Path, service: Service = Service.DEVICE, **options: object) -> Plan:
    instance = options.get("instance")
    assert instance is None or isinstance(instance, str)
    return plan_install(root, service, instance, PROGRAM, now=False)


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    plan = install(tmp_path)
    assert plan.changes
    assert {step.what for step in plan.files} == {"write"}
    assert tree(tmp_path) == {}


def test_what_is_written_runs_this_program(tmp_path: Path) -> None:
    apply_install(files_only(install(tmp_path)))
    written = tree(tmp_path)
    assert set(written) == {
        "etc/systemd/system/edge-runtime.service",
        "etc/systemd/system/edge-runtime@.service",
        "etc/sysusers.d/edge-runtime.conf",
        "etc/tmpfiles.d/edge-runtime.conf",
        "etc/edge-runtime/edge-runtime.yaml",
    }
    unit = written["etc/systemd/system/edge-runtime.service"]
    assert f"ExecStart={PROGRAM} serve --config /etc/edge-runtime/edge-runtime.yaml\n" in unit
    assert "/opt/" not in unit
    for path in tmp_path.rglob("*.service"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_doing_it_twice_is_doing_it_once(tmp_path: Path) -> None:
    apply_install(files_only(install(tmp_path)))
    before = tree(tmp_path)
    again = install(tmp_path)
    assert not again.changes
    apply_install(files_only(again))
    assert tree(tmp_path) == before


def test_an_upgrade_brings_new_units_and_keeps_the_configuration(tmp_path: Path) -> None:
    apply_install(files_only(install(tmp_path)))
    config = tmp_path / "etc/edge-runtime/edge-runtime.yaml"
    config.write_text("device: {name: mine}\n")
    unit = tmp_path / "etc/systemd/system/edge-runtime.service"
    fresh = unit.read_text()
    unit.write_text("[Service]\nExecStart=/old\n")
    plan = install(tmp_path)
    assert {step.path.name: step.what for step in plan.files} == {
        "edge-runtime.service": "update",
        "edge-runtime@.service": "unchanged",
        "edge-runtime.conf": "unchanged",
        "edge-runtime.yaml": "keep",
    }
    apply_install(files_only(plan))
    assert unit.read_text() == fresh
    assert config.read_text() == "device: {name: mine}\n"


def test_removing_leaves_configuration_and_credentials(tmp_path: Path) -> None:
    apply_install(files_only(install(tmp_path)))
    secret = tmp_path / "etc/edge-runtime/credentials/mqtt-password"
    secret.parent.mkdir()
    secret.write_text("geheim")
    apply_removal(files_only(plan_removal(tmp_path, Service.DEVICE)), tmp_path)
    assert set(tree(tmp_path)) == {
        "etc/edge-runtime/edge-runtime.yaml",
        "etc/edge-runtime/credentials/mqtt-password",
    }
    assert plan_removal(tmp_path, Service.DEVICE) == Plan((), ())


def test_what_both_services_need_goes_with_the_last_of_them(tmp_path: Path) -> None:
    apply_install(files_only(install(tmp_path)))
    apply_install(files_only(install(tmp_path, Service.WORKER)))
    apply_removal(files_only(plan_removal(tmp_path, Service.DEVICE)), tmp_path)
    assert "etc/sysusers.d/edge-runtime.conf" in tree(tmp_path)
    apply_removal(files_only(plan_removal(tmp_path, Service.WORKER)), tmp_path)
    assert set(tree(tmp_path)) == {
        "etc/edge-runtime/edge-runtime.yaml",
        "etc/edge-runtime/edge-background.yaml",
    }


def test_an_instance_has_a_configuration_of_its_own(tmp_path: Path) -> None:
    plan = install(tmp_path, instance="left")
    assert plan.files[-1].path == tmp_path / "etc/edge-runtime/left.yaml"
    assert plan.commands[-1][-1] == "edge-runtime@left.service"
    content = plan.files[-1].content
    assert "device: {name: left}\n" in content
    assert "takes effect with: systemctl restart edge-runtime@left\n" in content
    assert "? systemctl reset-failed edge-runtime@left; systemctl restart edge-runtime@left\n" in (
        content
    )


def enabled(root: Path, unit: str) -> None:
    link = root / "etc/systemd/system/multi-user.target.wants" / unit
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"/etc/systemd/system/{unit}")


def test_an_upgrade_where_there_are_only_instances_makes_no_other_device(tmp_path: Path) -> None:
    apply_install(files_only(install(tmp_path, instance="left")))
    enabled(tmp_path, "edge-runtime@left.service")
    plan = install(tmp_path)
    assert not plan.changes and plan.only_instances
    assert not any("enable" in command for command in plan.commands)
    commands = _install_commands(Path("/"), [], ["edge-runtime@left.service"], now=True)
    assert commands[-1] == ("systemctl", "try-restart", "edge-runtime@left.service")


def test_a_first_device_beside_instances_can_be_had_by_its_configuration(tmp_path: Path) -> None:
    enabled(tmp_path, "edge-runtime@left.service")
    config = tmp_path / "etc/edge-runtime/edge-runtime.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("device: {name: mine}\n")
    plan = install(tmp_path)
    assert ("systemctl", f"--root={tmp_path}", "enable", "edge-runtime.service") in plan.commands


def test_one_instance_is_removed_and_the_others_stay(tmp_path: Path) -> None:
    for name in ("left", "right"):
        apply_install(files_only(install(tmp_path, instance=name)))
        enabled(tmp_path, f"edge-runtime@{name}.service")
    plan = plan_removal(tmp_path, Service.DEVICE, "left")
    assert plan.files == ()
    rooted = f"--root={tmp_path}"
    assert plan.commands == (("systemctl", rooted, "disable", "edge-runtime@left.service"),)
    with pytest.raises(InputError, match=r"no instance 'lift' here\. There are: left, right"):
        plan_removal(tmp_path, Service.DEVICE, "lift")
    with pytest.raises(InputError, match="cannot be an instance"):
        plan_removal(tmp_path, Service.WORKER, "left")


def test_one_that_is_disabled_already_is_still_taken_out_of_home_assistant(tmp_path: Path) -> None:
    """Which its configuration is needed for."""
    apply_install(files_only(install(tmp_path, instance="left")))
    assert plan_removal(tmp_path, Service.DEVICE, "left").commands[0][-1] == (
        "edge-runtime@left.service"
    )


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "ä", "x;y", "edge-background"])
def test_an_instance_with_an_impossible_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be an instance"):
        install(tmp_path, instance=name)


def test_an_older_systemd_is_given_each_credential_by_itself(tmp_path: Path) -> None:
    secrets = tmp_path / "etc/edge-runtime/credentials"
    secrets.mkdir(parents=True)
    for name in ("mqtt-password", "ca.pem", ".hidden", "a b", "a:b", "a%b"):
        (secrets / name).write_text("x")
    (secrets / "older").mkdir()
    (secrets / "gone").symlink_to("nowhere")
    plan = plan_install(tmp_path, Service.DEVICE, None, PROGRAM, now=False, systemd=249)
    for step in plan.files[:2]:
        lines = [line for line in step.content.splitlines() if "LoadCredential" in line]
        assert lines == [
            "LoadCredential=edge_ca.pem:/etc/edge-runtime/credentials/ca.pem",
            "LoadCredential=edge_mqtt-password:/etc/edge-runtime/credentials/mqtt-password",
        ]
    newer = plan_install(tmp_path, Service.DEVICE, None, PROGRAM, now=False, systemd=251)
    assert newer.files[0].content.count("LoadCredential=edge:/etc/edge-runtime/credentials\n") == 1


@pytest.mark.parametrize(
    ("library", "version"),
    [
        ("lib/systemd/libsystemd-shared-249.so", 249),
        ("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so", 252),
        ("usr/lib64/systemd/libsystemd-shared-250.3-8.fc36.so", 250),
        ("usr/lib/systemd/libsystemd-shared-254.5-1.so", 254),
        ("usr/lib/systemd/libsystemd-core-249.so", FOLDERS_SINCE),
    ],
)
def test_the_version_is_that_of_the_folder_that_stands_for_the_machine(
    tmp_path: Path, library: str, version: int
) -> None:
    path = tmp_path / library
    path.parent.mkdir(parents=True)
    path.touch()
    assert systemd_version(tmp_path) == version


@needs_systemd
def test_this_machine_tells_its_version() -> None:
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True)
    assert f"systemd {systemd_version()} " in said.stdout


def test_a_worker_has_no_instances(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be an instance"):
        install(tmp_path, Service.WORKER, instance="left")


@pytest.mark.parametrize("place", ["/home/ann/.venv/bin/edge-runtime", "/tmp/x/edge-runtime"])
def test_a_program_that_the_sandbox_hides_is_refused_with_a_remedy(place: str) -> None:
    with pytest.raises(InputError, match=r"venv /opt/edge-runtime.*'\.\[audio,"):
        plan_install(Path("/"), Service.DEVICE, None, Path(place), now=True)


@pytest.mark.parametrize("place", ["/homes/bin/edge-runtime", "/run/users/bin/edge-runtime"])
def test_what_only_begins_like_a_hidden_place_is_none(place: str) -> None:
    plan = plan_install(Path("/"), Service.DEVICE, None, Path(place), now=False)
    assert f"ExecStart={place} serve" in plan.files[0].content


@pytest.mark.parametrize("place", ["/home/ann/checkout/edge_runtime", "/root/.pyenv/bin/python3"])
def test_what_it_runs_from_must_be_reachable_too(place: str) -> None:
    with pytest.raises(InputError, match=f"{place} .* and {PROGRAM} needs it.* without -e"):
        plan_install(Path("/"), Service.DEVICE, None, PROGRAM, now=True, runs_from=[Path(place)])


def test_what_this_program_runs_from_is_its_package_and_its_interpreter() -> None:
    places = this_installation()
    assert Path(edge_runtime.__file__).parent.resolve() in places
    assert any(Path(os.__file__).is_relative_to(place) for place in places)
    assert Path(sys.executable).resolve() in places


def test_an_environment_whose_interpreter_is_hidden_is_refused() -> None:
    """As that of a python3 of root's own; `/dev/shm` is for everybody, and not hidden."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        python = Path(folder) / "bin" / "python"
        python.parent.mkdir()
        python.symlink_to("/root/.local/bin/python3.12")
        with pytest.raises(InputError, match=r"^/root/\.local/bin/python3\.12 .* hides, and "):
            plan_install(Path("/"), Service.DEVICE, None, python.with_name("edge-runtime"), True)


def test_a_relative_program_is_the_one_that_is_there_now(tmp_path: Path) -> None:
    plan = plan_install(tmp_path, Service.DEVICE, None, Path("bin/edge-runtime"), now=False)
    assert f"ExecStart={Path.cwd()}/bin/edge-runtime serve" in plan.files[0].content


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", ["my edge", "100%", "a %i b", "$HOME", "ü"])
def test_a_program_with_an_odd_path_is_found(tmp_path: Path, name: str) -> None:
    program = tmp_path / name / "edge-runtime"
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    plan = plan_install(tmp_path, Service.DEVICE, None, program, now=False)
    unit = tmp_path / "edge-runtime.service"
    unit.write_text(plan.files[0].content.replace("Documentation=man:systemd.exec(5)\n", ""))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a'b", "a\nb"])
def test_a_program_that_systemd_cannot_run_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="takes no quotes and backslashes"):
        plan_install(tmp_path, Service.DEVICE, None, tmp_path / name, now=False)


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot be changed"):
        apply_install(files_only(install(tmp_path)))


def test_a_configuration_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    config = tmp_path / "etc/edge-runtime/edge-runtime.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("device: {name: mine}\n")
    for mode in (0o644, 0o600):
        config.chmod(mode)
        step = install(tmp_path).files[-1]
        assert step.open_to_all == (mode == 0o644)
        apply_install(Plan((step,), (), root=tmp_path))
        assert stat.S_IMODE(config.stat().st_mode) == mode


@needs_systemd
@as_root
def test_systemd_takes_it_all_in_a_folder_that_stands_for_the_machine(tmp_path: Path) -> None:
    """The real systemd-sysusers, systemd-tmpfiles and systemctl."""
    apply_install(install(tmp_path))
    assert "edge-runtime:x:" in (tmp_path / "etc/passwd").read_text()
    groups = (tmp_path / "etc/group").read_text().splitlines()
    members = {line.split(":")[0] for line in groups if line.endswith("edge-runtime")}
    assert {"audio", "video", "render"} <= members
    config = (tmp_path / "etc/edge-runtime/edge-runtime.yaml").stat()
    (group,) = [line.split(":")[2] for line in groups if line.startswith("edge-runtime:")]
    assert (stat.S_IMODE(config.st_mode), config.st_uid, config.st_gid) == (0o640, 0, int(group))
    credentials = tmp_path / "etc/edge-runtime/credentials"
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o700
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    assert (wants / "edge-runtime.service").is_symlink()
    apply_install(install(tmp_path, instance="left"))
    assert (wants / "edge-runtime@left.service").is_symlink()
    apply_removal(plan_removal(tmp_path, Service.DEVICE), tmp_path)
    assert list(tmp_path.rglob("*.wants/*")) == []
