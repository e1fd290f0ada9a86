"""Where recordings and pages go, as who runs the device: real files, rights, mounts and ports."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edge_runtime.config import Config, DelegationConfig, Device, HttpConfig, Recording
from edge_runtime.doctor import rights
from edge_runtime.doctor.finding import Case, Finding, Verdict
from edge_runtime.doctor.places import http, outbox, recording
from edge_runtime.service_files import service_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away and mounts")


def at(path: str | Path, service: str | None = None, root: Path = Path("/")) -> Case:
    config = Config(recording=Recording(path=Path(path)))
    return Case(config, configured=True, service=service, root=root)


def dropped(root: Path, unit: str, text: str, name: str = "override.conf") -> None:
    folder = root / "etc/systemd/system" / f"{unit}.service.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


class TestRecording:
    def test_none_is_wanted(self) -> None:
        assert recording(Case())[0].verdict is Verdict.ABSENT

    def test_a_folder_that_is_not_there_yet(self, tmp_path: Path) -> None:
        (finding,) = recording(at(tmp_path / "not" / "yet.mcap"))
        assert finding.verdict is Verdict.OK

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        (finding,) = recording(at(tmp_path))
        assert finding.verdict is Verdict.FAILED
        assert "it is a folder" in finding.text and "last.mcap" in finding.text

    def test_a_file_in_the_place_of_its_folder(self, tmp_path: Path) -> None:
        (tmp_path / "usb").write_text("")
        (finding,) = recording(at(tmp_path / "usb" / "last.mcap"))
        assert finding.verdict is Verdict.FAILED
        assert "is no folder" in finding.text

    def test_a_name_that_cannot_be(self, tmp_path: Path) -> None:
        (finding,) = recording(at(tmp_path / ("x" * 300)))
        assert finding.verdict is Verdict.FAILED
        assert "File name too long" in finding.text

    @as_root
    def test_a_file_system_that_is_read_only(self, tmp_path: Path) -> None:
        """`chown` would not help there; a mount of its own namespace."""
        look = (
            "import sys; from pathlib import Path; from edge_runtime.config import *; "
            "from edge_runtime.doctor.finding import Case; "
            "from edge_runtime.doctor.places import recording; "
            "from edge_runtime.sinks.recorder import Recorder; "
            "path = Path(sys.argv[1]) / 'last.mcap'; "
            "print(recording(Case(Config(recording=Recording(path=path))))); "
            "Recorder(path, {}).__enter__()"
        )
        mounted = subprocess.run(
            ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none "$0" && exec "$@"', tmp_path,
             sys.executable, "-c", look, tmp_path],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if "mount:" in mounted.stderr or "unshare:" in mounted.stderr:
            pytest.skip(f"nothing can be mounted here: {mounted.stderr}")
        assert f"{tmp_path} is on a read-only file system" in mounted.stdout
        assert "FAILED" in mounted.stdout
        assert "remount,rw" in mounted.stdout and "chown" not in mounted.stdout
        refused = mounted.stderr.splitlines()[-1]
        assert "RecordingError" in refused and "Read-only file system" in refused
        assert "systemctl edit edge-runtime" in refused
        assert "[Service] and ReadWritePaths=/mnt/usb" in refused
        assert "--out" not in refused


class TestOutboxOfAService:
    """What a service keeps lies in its own folder, and is looked at as the service."""

    @staticmethod
    def kept_in(path: str, root: Path) -> Finding:
        config = Config(delegation=DelegationConfig(broker="mqtt://lan", outbox=Path(path)))
        (finding,) = outbox(Case(config, configured=True, service="edge-runtime", root=root))
        return finding

    @pytest.mark.parametrize("path", ["outbox.db", "/var/lib/edge-runtime/outbox.db"])
    def test_systemd_makes_its_folder(self, tmp_path: Path, path: str) -> None:
        finding = self.kept_in(path, tmp_path)
        assert finding.verdict is Verdict.OK
        assert "/var/lib/edge-runtime/outbox.db" in finding.text

    def test_nobody_makes_a_folder_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "var/lib/edge-runtime").mkdir(parents=True)
        finding = self.kept_in("kept/outbox.db", tmp_path)
        assert finding.verdict is Verdict.FAILED
        assert "there is no folder /var/lib/edge-runtime/kept" in finding.text

    @pytest.mark.parametrize("path", ["/mnt/usb/outbox.db", "/root/outbox.db"])
    def test_elsewhere_it_may_not_write(self, tmp_path: Path, path: str) -> None:
        (tmp_path / path[1:]).parent.mkdir(parents=True)
        finding = self.kept_in(path, tmp_path)
        assert finding.verdict is Verdict.FAILED
        assert "sandbox of edge-runtime" in finding.text
        assert "/var/lib/edge-runtime/outbox.db" in finding.remedy

    @as_root
    def test_what_only_the_service_can_see_is_not_called_missing(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            root.chmod(0o755)
            (root / "var/lib").mkdir(parents=True)
            (root / "var/lib/edge-runtime").mkdir(mode=0o700)
            os.seteuid(65534)
            try:
                assert self.kept_in("kept/outbox.db", root).verdict is Verdict.OK
                assert self.kept_in("outbox.db", root).verdict is Verdict.OK
            finally:
                os.seteuid(0)


class TestSandbox:
    @pytest.mark.parametrize(
        ("service", "path"),
        [
            ("edge-runtime", "last.mcap"),
            ("edge-runtime", "/var/lib/edge-runtime/kept/last.mcap"),
            ("edge-runtime", "/var/cache/edge-runtime/last.mcap"),
            ("edge-runtime@left", "last.mcap"),
            ("edge-runtime@left", "/var/lib/edge-runtime/left/last.mcap"),
        ],
    )
    def test_the_folders_of_the_unit(self, tmp_path: Path, service: str, path: str) -> None:
        (finding,) = recording(at(path, service, tmp_path))
        assert finding.verdict is Verdict.OK, finding

    @pytest.mark.parametrize(
        ("service", "path"),
        [
            ("edge-runtime", "/mnt/usb/last.mcap"),
            ("edge-runtime@left", "/var/lib/edge-runtime/last.mcap"),
        ],
    )
    def test_elsewhere_nothing_can_be_written(
        self, tmp_path: Path, service: str, path: str
    ) -> None:
        (tmp_path / "mnt/usb").mkdir(parents=True)
        (tmp_path / "var/lib/edge-runtime").mkdir(parents=True)
        (finding,) = recording(at(path, service, tmp_path))
        assert finding.verdict is Verdict.FAILED
        assert f"sandbox of {service}" in finding.text
        assert f"systemctl edit {service}, with the lines [Service] and " in finding.remedy
        assert f"ReadWritePaths={Path(path).parent};" in finding.remedy
        assert "mkdir" not in finding.remedy

    def test_a_folder_that_is_not_there_must_be_made(self, tmp_path: Path) -> None:
        """A unit does not start where ReadWritePaths names nothing."""
        (finding,) = recording(at("/mnt/usb/last.mcap", "edge-runtime", tmp_path))
        assert finding.remedy.startswith("sudo mkdir -p /mnt/usb; sudo systemctl edit")

    def test_a_place_that_it_does_not_see_cannot_be_opened(self, tmp_path: Path) -> None:
        (finding,) = recording(at("/home/ann/last.mcap", "edge-runtime", tmp_path))
        assert finding.verdict is Verdict.FAILED
        assert "ReadWritePaths" not in finding.remedy
        assert "Choose another recording.path, such as /var/lib/edge-runtime/" in finding.remedy

    @pytest.mark.parametrize(
        "text",
        [
            "[Service]\nReadWritePaths=/mnt/usb\n",
            "[Service]\nReadWritePaths = /srv -/mnt\n",
            "[Service]\nProtectSystem=full\n",
        ],
    )
    def test_a_drop_in_opens_it(self, tmp_path: Path, text: str) -> None:
        dropped(tmp_path, "edge-runtime", text)
        assert recording(at("/mnt/usb/last.mcap", "edge-runtime", tmp_path))[0].verdict is (
            Verdict.OK
        )

    @pytest.mark.parametrize(
        "text",
        [
            "[Service]\n# ReadWritePaths=/mnt/usb\n",
            "[Service]\nReadWritePaths=/mnt/usb2\n",
            "[Service]\nReadWritePaths=/mnt/usb\nReadWritePaths=\n",
            "[Service]\nProtectSystem=strict\n",
        ],
    )
    def test_one_that_does_not(self, tmp_path: Path, text: str) -> None:
        dropped(tmp_path, "edge-runtime", text)
        assert recording(at("/mnt/usb/last.mcap", "edge-runtime", tmp_path))[0].verdict is (
            Verdict.FAILED
        )

    def test_instances_have_those_of_all_and_their_own(self, tmp_path: Path) -> None:
        dropped(tmp_path, "edge-runtime@", "[Service]\nReadWritePaths=/mnt/%i\n")
        dropped(tmp_path, "edge-runtime@left", "[Service]\nReadWritePaths=/srv\n")
        for path in ("/mnt/left/last.mcap", "/srv/last.mcap"):
            (finding,) = recording(at(path, "edge-runtime@left", tmp_path))
            assert finding.verdict is Verdict.OK
        (finding,) = recording(at("/mnt/left/last.mcap", "edge-runtime@right", tmp_path))
        assert finding.verdict is Verdict.FAILED

    @as_root
    def test_rights_are_those_of_the_service_and_not_of_root(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rights, "USER", "nobody")
        dropped(tmp_path, "edge-runtime", "[Service]\nReadWritePaths=/mnt/usb\n")
        usb = tmp_path / "mnt/usb"
        usb.mkdir(parents=True, mode=0o755)
        case = at("/mnt/usb/last.mcap", "edge-runtime", tmp_path)
        (finding,) = recording(case)
        assert finding.verdict is Verdict.FAILED
        assert f"nobody may not write into {usb}" in finding.text
        assert f"sudo chown nobody {usb}" in finding.remedy
        shutil.chown(usb, "nobody")
        assert recording(case)[0].verdict is Verdict.OK
        shutil.chown(usb, "root")
        usb.chmod(0o777)
        assert recording(case)[0].verdict is Verdict.OK

    @pytest.mark.parametrize(
        ("config", "service"),
        [
            ("/etc/edge-runtime/edge-runtime.yaml", "edge-runtime"),
            ("/etc/edge-runtime/left.yaml", "edge-runtime@left"),
            ("/etc/edge-runtime/edge-background.yaml", None),
            ("/etc/edge-runtime/more/left.yaml", None),
            ("device.yaml", None),
        ],
    )
    def test_whose_configuration_it_is(self, config: str, service: str | None) -> None:
        assert service_of(Path(config)) == service


def shown_at(port: int, address: str = "127.0.0.1", root: Path = Path("/")) -> Case:
    config = Config(device=Device(name="kiosk"), http=HttpConfig(port=port, address=address))
    return Case(config, configured=True, root=root)


class TestHttp:
    def test_nothing_is_wanted(self) -> None:
        assert http(Case())[0].verdict is Verdict.ABSENT

    def test_a_free_one_is_left_free(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        for _ in range(2):
            assert http(shown_at(port))[0].verdict is Verdict.OK

    def test_a_taken_one(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            (finding,) = http(shown_at(server.getsockname()[1]))
        assert finding.verdict is Verdict.FAILED
        assert "Address already in use" in finding.text and "http.port" in finding.text

    def test_an_address_of_another_machine(self) -> None:
        (finding,) = http(shown_at(9464, "192.0.2.7"))
        assert finding.verdict is Verdict.FAILED
        assert "192.0.2.7:9464" in finding.text

    @pytest.mark.parametrize(("device", "verdict"), [("kiosk", "ok"), ("other", "failed")])
    def test_what_the_service_itself_holds_is_its_own(
        self, tmp_path: Path, device: str, verdict: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            part = {"state": "ok", "reason": "", "values": {"port": port}}
            content = {"device": device, "state": "ok", "reasons": [], "parts": {"http": part}}
            folder = tmp_path / "run" / "edge-runtime"
            folder.mkdir(parents=True)
            (folder / "status.json").write_text(
                json.dumps(content | {"written_at_s": time.time() + 60})
            )
            assert http(shown_at(port, root=tmp_path))[0].verdict.value == verdict

    def test_a_port_of_root_is_none_for_the_service(self, tmp_path: Path) -> None:
        case = Case(shown_at(80).config, configured=True, service="edge-runtime", root=tmp_path)
        (finding,) = http(case)
        assert finding.verdict is Verdict.FAILED
        assert "below 1024" in finding.text
