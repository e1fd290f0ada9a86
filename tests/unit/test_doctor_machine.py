"""What the machine is like, from files that stand for the kernel's; and the outbox's folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_runtime.config import (
    Config,
    DelegationConfig,
    EngineConfig,
    HealthConfig,
    Recording,
    Video,
)
from edge_runtime.doctor import rights
from edge_runtime.doctor.finding import Case, Finding, Verdict, failed
from edge_runtime.doctor.machine import (
    clock,
    clock_error_us,
    clock_finding,
    configuration,
    disk_and_temperature,
    governor,
    permissions,
    software,
)
from edge_runtime.doctor.places import outbox, recording
from edge_runtime.machine_health import free_bytes

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)
NOBODY = 65534


def tree(root: Path, files: Mapping[str, str]) -> Case:
    for path, text in files.items():
        there = root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
    return Case(root=root)


class TestConfiguration:
    def test_the_defaults(self) -> None:
        config, finding = configuration(None)
        assert config == Config()
        assert finding.verdict is Verdict.OK

    def test_a_good_file(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.yaml"
        path.write_text("device: {name: kiosk}")
        config, finding = configuration(path)
        assert config.device.name == "kiosk"
        assert finding == Finding("config", Verdict.OK, str(path))

    def test_a_bad_one_is_examined_by_the_defaults_and_its_values_are_not_told(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "edge.yaml"
        path.write_text("engine: {threads: hunter2}")
        config, finding = configuration(path)
        assert config == Config()
        assert finding.verdict is Verdict.FAILED
        assert "engine.threads" in finding.text
        assert "hunter2" not in finding.text

    def test_what_would_be_logged_is_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        password = tmp_path / "password"
        password.write_text("hunter2")
        password.chmod(0o644)
        path = tmp_path / "edge.yaml"
        secret = f"user: kiosk, password_file: {password}"
        path.write_text(f"delegation: {{broker: 'mqtt://lan', {secret}}}")
        _, finding = configuration(path)
        assert finding.verdict is Verdict.WARNING
        assert "everybody on this machine can read the secret" in finding.text
        assert "chmod 600" in finding.text
        assert not caplog.records


def test_software_names_versions_and_board(tmp_path: Path) -> None:
    case = tree(
        tmp_path,
        {
            "/etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04 LTS"\n',
            "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        },
    )
    (finding,) = software(case)
    assert finding.verdict is Verdict.OK
    assert "Ubuntu 24.04 LTS on NVIDIA Jetson AGX Orin Developer Kit" in finding.text
    assert finding.values["board"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert finding.values["numpy"]
    assert finding.values["python"] in finding.text


class TestClock:
    def test_synchronised(self) -> None:
        finding = clock_finding(NOW, 12_300)
        assert finding.verdict is Verdict.OK
        assert finding.values["error_ms"] == 12.3

    def test_not_synchronised(self) -> None:
        finding = clock_finding(NOW, 16_000_000)
        assert finding.verdict is Verdict.WARNING
        assert "timedatectl set-ntp true" in finding.remedy

    def test_without_a_battery(self) -> None:
        finding = clock_finding(datetime(1970, 1, 1, tzinfo=timezone.utc), 0)
        assert finding.verdict is Verdict.FAILED
        assert "1970-01-01" in finding.text

    def test_a_kernel_that_does_not_tell(self) -> None:
        assert clock_finding(NOW, None).verdict is Verdict.WARNING

    def test_this_kernel_tells(self) -> None:
        error_us = clock_error_us()
        assert error_us is not None
        assert 0 <= error_us <= 16_000_000
        assert clock(Case())[0].verdict in (Verdict.OK, Verdict.WARNING)


class TestGovernor:
    @pytest.mark.parametrize(
        ("driver", "names", "verdict"),
        [
            ("cpufreq-dt", ("schedutil", "schedutil"), Verdict.OK),
            ("cpufreq-dt", ("performance", "powersave"), Verdict.WARNING),
            ("intel_pstate", ("powersave", "powersave"), Verdict.OK),
            ("intel_cpufreq", ("conservative",), Verdict.WARNING),
        ],
    )
    def test_by_driver(
        self, tmp_path: Path, driver: str, names: tuple[str, ...], verdict: Verdict
    ) -> None:
        files = {
            f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor": f"{name}\n"
            for core, name in enumerate(names)
        }
        files["/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"] = driver
        (finding,) = governor(tree(tmp_path, files))
        assert finding.verdict is verdict
        assert f"on {len(names)} cores ({driver})" in finding.text
        assert ("performance" in finding.remedy) == (verdict is Verdict.WARNING)

    def test_a_kernel_without(self, tmp_path: Path) -> None:
        assert governor(Case(root=tmp_path))[0].verdict is Verdict.ABSENT


class TestDiskAndTemperature:
    def found(self, case: Case, name: str) -> Finding:
        return next(one for one in disk_and_temperature(case) if one.name == name)

    @pytest.mark.parametrize(
        ("millidegrees", "verdict"),
        [(45_000, Verdict.OK), (84_000, Verdict.WARNING), (95_000, Verdict.WARNING)],
    )
    def test_near_the_limit_and_above(
        self, tmp_path: Path, millidegrees: int, verdict: Verdict
    ) -> None:
        case = tree(tmp_path, {"/sys/class/thermal/thermal_zone0/temp": str(millidegrees)})
        finding = self.found(case, "temperature")
        assert finding.verdict is verdict
        assert finding.values["hottest_c"] == millidegrees / 1000

    def test_no_zones(self, tmp_path: Path) -> None:
        assert self.found(Case(root=tmp_path), "temperature").verdict is Verdict.ABSENT

    def test_room_for_the_recording(self, tmp_path: Path) -> None:
        config = Config(
            recording=Recording(path=tmp_path / "not" / "yet.mcap", keep_mb=10),
            health=HealthConfig(min_free_mb=0),
        )
        finding = self.found(Case(config), "disk")
        assert finding.verdict is Verdict.OK
        assert str(tmp_path) in finding.text

    def test_too_little_room(self, tmp_path: Path) -> None:
        config = Config(health=HealthConfig(min_free_mb=1e12))
        finding = self.found(Case(config), "disk")
        assert finding.verdict is Verdict.WARNING
        assert "min_free_mb" in finding.remedy

    def test_a_service_writes_into_its_own_folder(self, tmp_path: Path) -> None:
        (tmp_path / "var/lib/edge-runtime/left").mkdir(parents=True)
        case = Case(configured=True, service="edge-runtime@left", root=tmp_path)
        assert f"{tmp_path}/var/lib/edge-runtime/left" in self.found(case, "disk").text

    def test_more_is_to_be_kept_than_there_is_room_for(self, tmp_path: Path) -> None:
        free_mb = free_bytes(tmp_path) / 1e6
        kept = [tmp_path / name for name in ("last.mcap", "last-20231110T000000.mcap")]
        for path in (*kept, tmp_path / "last.mcap.part"):
            with path.open("wb") as file:
                file.truncate(1_000_000_000_000)  # it takes no room

        def found(keep_mb: float) -> Finding:
            recording = Recording(path=kept[0], keep_mb=keep_mb)
            case = Case(Config(recording=recording, health=HealthConfig(min_free_mb=0)))
            return self.found(case, "disk")

        assert found(3e6).verdict is Verdict.OK
        finding = found(3e6 + 2 * free_mb)
        assert finding.verdict is Verdict.WARNING
        assert "recording.keep_mb" in finding.text and "recording.keep_mb" in finding.remedy


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that everybody may enter, seen by a user who owns nothing of it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "dev" / "snd").mkdir(parents=True)
        (root / "dev" / "video0").touch(mode=0o660)
        (root / "dev" / "snd" / "pcmC0D0c").touch(mode=0o660)
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield root
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)


class TestPermissions:
    def test_nothing_to_open(self, tmp_path: Path) -> None:
        assert permissions(Case(root=tmp_path))[0].verdict is Verdict.ABSENT

    def test_all_may_be_opened(self, tmp_path: Path) -> None:
        tree(tmp_path, {"/dev/snd/pcmC0D0c": "", "/dev/dri/renderD128": ""})
        (finding,) = permissions(Case(root=tmp_path))
        assert finding.verdict is Verdict.OK
        assert finding.text == "this user may open: sound"
        config = Config(engine=EngineConfig(provider="cuda"))
        (finding,) = permissions(Case(config, root=tmp_path))
        assert finding.text == "this user may open: sound, GPU"

    def test_what_is_needed_may_not(self, as_nobody: Path) -> None:
        (finding,) = permissions(Case(root=as_nobody))
        assert finding.verdict is Verdict.FAILED
        assert finding.text == "this user may not open: sound, cameras"
        assert "usermod -aG audio,video $USER" in finding.remedy

    def test_what_is_not_needed_is_a_warning(self, as_nobody: Path) -> None:
        os.seteuid(0)
        (as_nobody / "dev" / "snd" / "pcmC0D0c").chmod(0o666)
        os.seteuid(NOBODY)
        (finding,) = permissions(Case(Config(video=Video(source=None)), root=as_nobody))
        assert finding.verdict is Verdict.WARNING
        assert "usermod -aG video $USER" in finding.remedy

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_a_service_is_judged_by_its_own_rights(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And not by those of root, who asks, nor of who is logged in."""
        monkeypatch.setattr(rights, "USER", "nobody")
        node = tmp_path / "dev" / "snd" / "pcmC0D0c"
        node.parent.mkdir(parents=True)
        node.touch()
        case = Case(configured=True, service="edge-runtime@left", root=tmp_path)
        for group, mode, verdict in (
            ("audio", 0o660, Verdict.OK),
            ("daemon", 0o660, Verdict.FAILED),
            ("audio", 0o600, Verdict.FAILED),
            ("root", 0o666, Verdict.OK),
        ):
            shutil.chown(node, "root", group)
            node.chmod(mode)
            (finding,) = permissions(case)
            assert finding.verdict is verdict, (group, mode)
            assert finding.text.startswith("nobody may")
        node.chmod(0o600)
        (finding,) = permissions(case)
        assert "systemctl edit edge-runtime@left" in finding.remedy
        assert "SupplementaryGroups=" in finding.remedy and "usermod" not in finding.remedy

    def test_a_recording_that_cannot_be_written(self, as_nobody: Path) -> None:
        config = Config(recording=Recording(path=as_nobody / "last.mcap"))
        (finding,) = recording(Case(config))
        assert finding.verdict is Verdict.FAILED
        assert str(as_nobody) in finding.text


class TestMasking:
    @pytest.mark.parametrize(
        "address", ["rtsp://user:pa@ss@cam/1", "mqtt:user:secret@lan", "mqtts://user:s w@lan:8883"]
    )
    def test_no_user_and_no_password_is_told(self, address: str) -> None:
        found = failed("x", f"The camera {address!r} is mute", f"See {address}", url=address)
        told = str(found.masked().as_dict())
        assert "***@" in told
        for secret in ("user", "pa@ss", "secret", "s w"):
            assert secret not in told

    def test_the_rest_stays(self) -> None:
        found = failed("x", "edge-runtime@left: at mqtt://lan", "sudo systemctl start edge@left")
        assert found.masked() == found


class TestOutbox:
    @staticmethod
    def kept_in(path: Path | None) -> list[Finding]:
        return outbox(Case(Config(delegation=DelegationConfig(broker="mqtt://lan", outbox=path))))

    def test_none_is_configured(self) -> None:
        assert self.kept_in(None) == []
        assert outbox(Case()) == []

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        (finding,) = self.kept_in(tmp_path / "none" / "outbox.db")
        assert finding.verdict is Verdict.FAILED
        assert f"there is no folder {tmp_path / 'none'}" in finding.text
        assert f"mkdir -p {tmp_path / 'none'}" in finding.remedy

    def test_what_another_user_owns(self, as_nobody: Path) -> None:
        (finding,) = self.kept_in(as_nobody / "outbox.db")
        assert finding.verdict is Verdict.FAILED
        assert finding.text == f"this user may not write into {as_nobody}"
        (finding,) = self.kept_in(as_nobody / "dev" / "video0")
        assert finding.text == f"this user may not write into {as_nobody / 'dev'}"

    def test_one_that_can_be_used_and_stays_as_it_is(self, tmp_path: Path) -> None:
        (finding,) = self.kept_in(tmp_path / "outbox.db")
        assert finding.verdict is Verdict.OK
        assert not list(tmp_path.iterdir())
