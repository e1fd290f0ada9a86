"""The unit files: what systemd makes of them, and what they promise."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_runtime.errors import ConfigError, MisconfiguredServiceError
from edge_runtime.service_files import service_files_folder

DEVICES = ("edge-runtime.service", "edge-runtime@.service")
UNITS = (*DEVICES, "edge-background.service")
OPERATORS = Path(__file__).parents[2] / "docs/service.md"
MODULES = {
    "alsa": "snd",
    "video4linux": "videodev",
    "media": "videodev",  # which needs mc
    "drm": "drm",
}
"""By group of devices, the kernel's module that registers it."""
NVIDIA_MODULE = "nvidia_uvm"
"""It needs `nvidia`; only who has it wants it, in a drop-in."""
OF_A_BOARD = re.compile(r"nvhost|host1x|\[15\]7000000")
"""A Jetson's, which are there before any service."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit files, with a program that is there."""
    for unit in UNITS:
        text = (service_files_folder() / unit).read_text()
        text = text.replace("/opt/edge-runtime/bin/edge-runtime", "/bin/true")
        # Whether manual pages are installed is not the question.
        text = text.replace("Documentation=man:systemd.exec(5)\n", "")
        (tmp_path / unit).write_text(text)
    return tmp_path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
class TestUnits:
    @pytest.mark.parametrize("unit", UNITS)
    def test_systemd_finds_nothing_to_complain_of(self, units: Path, unit: str) -> None:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(units / unit)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize("unit", UNITS)
    def test_the_sandbox_leaves_little_open(self, units: Path, unit: str) -> None:
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(units / unit)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Overall exposure level" in done.stdout
        assert done.returncode == 0, done.stdout[-500:]


@pytest.mark.parametrize("unit", UNITS)
def test_credentials_have_the_name_under_which_they_are_looked_for(unit: str) -> None:
    """`credentials.located` puts `edge_` before a name."""
    text = (service_files_folder() / unit).read_text()
    assert "LoadCredential=edge:/etc/edge-runtime/credentials\n" in text


@pytest.mark.parametrize("unit", DEVICES)
def test_a_configuration_that_cannot_be_does_not_use_up_the_starts(unit: str) -> None:
    text = (service_files_folder() / unit).read_text()
    assert f"\nRestartPreventExitStatus={MisconfiguredServiceError.exit_code}\n" in text


def test_nor_does_that_of_a_worker() -> None:
    text = (service_files_folder() / "edge-background.service").read_text()
    assert f"\nRestartPreventExitStatus={ConfigError.exit_code}\n" in text


def test_a_template_is_the_unit_for_one_of_many() -> None:
    """What is hardened in one is hardened in the other."""
    folder = service_files_folder()
    one = set((folder / "edge-runtime.service").read_text().splitlines())
    many = set((folder / "edge-runtime@.service").read_text().splitlines())
    changed = {line.partition("=")[0] for line in one ^ many if not line.startswith("#")}
    assert changed == {
        *("Description", "ExecStart", "WorkingDirectory"),
        *("StateDirectory", "CacheDirectory", "RuntimeDirectory"),
    }


def settings(text: str, key: str) -> list[str]:
    """The words that all lines of this key have together."""
    return [word for value in re.findall(rf"^{key}=(.*)$", text, re.M) for word in value.split()]


@pytest.mark.parametrize("unit", UNITS)
def test_every_group_of_devices_is_there_when_the_unit_starts(unit: str) -> None:
    """systemd leaves out of DeviceAllow= what the kernel does not know at that moment, and a
    microphone that comes later could not be opened."""
    text = (service_files_folder() / unit).read_text()
    for group in re.findall(r"^DeviceAllow=char-(\S+)", text, re.M):
        if group.startswith("nvidia"):
            told = OPERATORS.read_text()
            assert f"Wants=modprobe@{NVIDIA_MODULE}.service\n" in told
            assert f"After=modprobe@{NVIDIA_MODULE}.service\n" in told
        elif not OF_A_BOARD.match(group):
            module = f"modprobe@{MODULES[group]}.service"
            assert module in settings(text, "Wants") and module in settings(text, "After"), group


def test_a_device_hears_without_waiting_for_a_network() -> None:
    """It may take two minutes to be given up; a worker can do nothing without."""
    for unit in UNITS:
        text = (service_files_folder() / unit).read_text()
        waits = "network-online.target" in settings(text, "After")
        assert waits == (unit not in DEVICES), unit
        assert waits == ("network-online.target" in settings(text, "Wants"))


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_missing_for_some_minutes_does_not_use_up_the_starts(unit: str) -> None:
    text = (service_files_folder() / unit).read_text()
    pause_s, starts, within_s = (
        int(settings(text, key)[0])
        for key in ("RestartSec", "StartLimitBurst", "StartLimitIntervalSec")
    )
    assert 300 <= pause_s * starts < within_s, "and it ends: else the limit would be none"
