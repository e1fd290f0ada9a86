"""Voice, model, GPU, TensorRT, ROS and services: the real ones where there are any."""

from __future__ import annotations

import importlib.machinery
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from edge_runtime.config import (
    ActionConfig,
    Audio,
    Config,
    Device,
    EngineConfig,
    HealthConfig,
    RosConfig,
    VoiceConfig,
)
from edge_runtime.device_status import DeviceStatus, StatusFile
from edge_runtime.doctor import accelerator, parts
from edge_runtime.doctor.finding import Case, Finding, Verdict
from edge_runtime.doctor.service import service, told_by_service, unit_findings
from edge_runtime.health import CAMERA, MICROPHONE, HealthMonitor, State
from edge_runtime.reference_engine import reference_engine_folder
from edge_runtime.remote_control import RemoteControl
from edge_runtime.service_files import Service, plan_install

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)
LAMP = {"lamp": ActionConfig(phrases=["lamp on"])}
ON_TENSORRT = Config(engine=EngineConfig(backend="tensorrt"))


def package(monkeypatch: pytest.MonkeyPatch, name: str, there: bool) -> None:
    """A package as the import system knows it; None in its place refuses to be imported."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module if there else None)


class TestVoice:
    @needs_espeak
    def test_it_speaks(self) -> None:
        (finding,) = parts.voice(Case())
        assert finding.verdict is Verdict.OK
        assert "espeak en-us+f2: 1.5 s of speech" in finding.text

    @needs_espeak
    def test_an_unknown_voice(self) -> None:
        (finding,) = parts.voice(Case(Config(voice=VoiceConfig(voice="xx"))))
        assert finding.verdict is Verdict.FAILED
        assert "no voice 'xx'" in finding.text

    @needs_espeak
    def test_a_voice_of_another_language(self) -> None:
        (finding,) = parts.voice(Case(Config(device={"language": "de"})))
        assert finding.verdict is Verdict.WARNING
        assert "device.language is de, and voice.voice speaks en" in finding.text
        assert finding.remedy == "Set voice: {voice: de}"

    @needs_espeak
    def test_a_voice_that_is_too_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts, "SLOW_SHARE", 0.0)
        (finding,) = parts.voice(Case())
        assert finding.verdict is Verdict.WARNING
        assert "answers will be torn" in finding.text and "smaller voice" in finding.remedy

    def test_a_piper_voice_that_is_not_there(self, tmp_path: Path) -> None:
        voice = VoiceConfig(engine="piper", model=tmp_path / "none.onnx")
        (finding,) = parts.voice(Case(Config(voice=voice)))
        assert finding.verdict is Verdict.FAILED
        assert "iper" in finding.text

    def test_without_the_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        (finding,) = parts.voice(Case())
        assert finding.verdict is Verdict.FAILED
        assert "sudo apt-get install espeak-ng" in finding.text


class TestModel:
    def test_the_reference_model_runs(self) -> None:
        # The limits of a busy machine are none of this test's.
        (finding,) = parts.model(Case())
        assert finding.verdict is not Verdict.ABSENT
        assert finding.values["name"]
        assert len(str(finding.values["sha256"])) == 64
        longest_ms, compute_ms = finding.values["longest_ms"], finding.values["compute_ms"]
        assert isinstance(longest_ms, float)
        assert isinstance(compute_ms, float)
        assert longest_ms >= compute_ms > 0

    def test_a_slow_one(self) -> None:
        (finding,) = parts.model(Case(Config(health=HealthConfig(compute_p99_ms=1e-3))))
        assert finding.verdict in (Verdict.WARNING, Verdict.FAILED)
        assert "slow" in finding.text

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        for name in ("manifest.yaml", "model.onnx"):
            shutil.copy(reference_engine_folder() / name, tmp_path)
        with (tmp_path / "model.onnx").open("ab") as file:
            file.write(b"\0")
        (finding,) = parts.model(Case(Config(engine=EngineConfig(folder=tmp_path))))
        assert finding.verdict is Verdict.FAILED
        assert "damaged or was replaced" in finding.text

    def test_words_that_are_not_there(self, tmp_path: Path) -> None:
        voice = VoiceConfig(phrases=tmp_path / "none.yaml")
        (finding,) = parts.model(Case(Config(voice=voice)))
        assert finding.verdict is Verdict.FAILED
        assert "Cannot read the phrases" in finding.text


class TestActions:
    def test_phrases_that_lead_nowhere(self) -> None:
        (finding,) = parts.actions(Case(Config(actions=LAMP)))
        assert finding.verdict is Verdict.WARNING
        assert "actions.lamp" in finding.text and "nothing is done" in finding.text

    def test_where_nothing_is_wrong_nothing_is_said(self) -> None:
        assert parts.actions(Case()) == []
        assert parts.actions(Case(Config(actions=LAMP, ros=RosConfig(dds=True)))) == []

    def test_in_the_ros_node_every_action_goes_out(self) -> None:
        assert parts.actions(Case(Config(actions=LAMP, audio=Audio(source="ros")))) == []


class TestGpu:
    def test_none_is_no_failure_unless_it_is_needed(self, tmp_path: Path) -> None:
        assert accelerator.gpu(Case(root=tmp_path))[0].verdict is Verdict.ABSENT
        needed = Case(ON_TENSORRT, configured=True, root=tmp_path)
        (finding,) = accelerator.gpu(needed)
        assert finding.verdict is Verdict.FAILED
        assert "backend: onnx" in finding.remedy

    def test_a_jetson(self, tmp_path: Path) -> None:
        (tmp_path / "proc" / "device-tree").mkdir(parents=True)
        (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson AGX Orin\0")
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/nv_tegra_release").write_text(
            "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
        )
        (finding,) = accelerator.gpu(Case(root=tmp_path))
        assert finding.verdict is Verdict.OK
        assert finding.text == "NVIDIA Jetson AGX Orin, L4T 36.4.3"

    def test_a_driver(self, tmp_path: Path) -> None:
        path = tmp_path / "proc/driver/nvidia/version"
        path.parent.mkdir(parents=True)
        path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\n")
        (finding,) = accelerator.gpu(Case(root=tmp_path))
        assert finding.verdict is Verdict.OK
        assert finding.values["driver"] == "580.65.06"

    def test_a_card_without_its_driver(self, tmp_path: Path) -> None:
        card = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
        card.mkdir(parents=True)
        (card / "vendor").write_text("0x10de\n")
        (card / "class").write_text("0x030000\n")
        (finding,) = accelerator.gpu(Case(root=tmp_path))
        assert finding.verdict is Verdict.ABSENT
        assert "driver does not run" in finding.text
        needed = Case(ON_TENSORRT, configured=True, root=tmp_path)
        assert accelerator.gpu(needed)[0].verdict is Verdict.FAILED

    @pytest.mark.parametrize(
        ("answer", "code", "verdict", "text"),
        [
            ("NVIDIA H100 80GB HBM3, 580.65.06, 81559 MiB, 31", 0, Verdict.OK, "81559 MiB, 31 °C"),
            ("", 0, Verdict.FAILED, "no GPU"),
            (
                "Failed to initialize NVML: Driver/library version mismatch",
                18,
                Verdict.FAILED,
                "NVML",
            ),
        ],
    )
    def test_what_the_driver_answers(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        answer: str,
        code: int,
        verdict: Verdict,
        text: str,
    ) -> None:
        """A program stands for nvidia-smi, and with it for the GPU."""
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        found = accelerator.ask_driver(Case(ON_TENSORRT, configured=True), "580.65.06")
        assert found.verdict is verdict
        assert text in found.text


class TestTensorRt:
    def test_it_is_wanted_and_not_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        package(monkeypatch, "tensorrt", False)
        package(monkeypatch, "pycuda", False)
        assert accelerator.tensorrt(Case())[0].verdict is Verdict.ABSENT
        (finding,) = accelerator.tensorrt(Case(ON_TENSORRT, configured=True))
        assert finding.verdict is Verdict.FAILED
        assert finding.text.startswith("tensorrt and pycuda")
        assert "JetPack" in finding.remedy

    def test_pycuda_alone_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        package(monkeypatch, "tensorrt", True)
        package(monkeypatch, "pycuda", False)
        (finding,) = accelerator.tensorrt(Case(ON_TENSORRT, configured=True))
        assert finding.verdict is Verdict.FAILED
        assert finding.text.startswith("pycuda cannot")

    def test_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        package(monkeypatch, "tensorrt", True)
        package(monkeypatch, "pycuda", True)
        assert accelerator.tensorrt(Case())[0].verdict is Verdict.OK

    @pytest.mark.parametrize(
        ("found", "verdict"), [("8.6.2", Verdict.FAILED), ("10.3.0", Verdict.OK)]
    )
    def test_versions(self, monkeypatch: pytest.MonkeyPatch, found: str, verdict: Verdict) -> None:
        package(monkeypatch, "tensorrt", True)
        package(monkeypatch, "pycuda", True)
        monkeypatch.setattr(accelerator, "version", lambda name: found)
        (finding,) = accelerator.tensorrt(Case(ON_TENSORRT, configured=True))
        assert finding.verdict is verdict
        if verdict is Verdict.FAILED:
            assert "8.6.2 is too old; 10.3 or later is needed: JetPack 6.1" in finding.text


class TestRos:
    @pytest.fixture(autouse=True)
    def no_ros(self, monkeypatch: pytest.MonkeyPatch) -> None:
        package(monkeypatch, "rclpy", False)

    def test_none(self, tmp_path: Path) -> None:
        assert parts.ros(Case(root=tmp_path))[0].verdict is Verdict.ABSENT

    def test_senses_that_need_it(self, tmp_path: Path) -> None:
        config = Config(audio=Audio(source="ros"))
        assert parts.ros(Case(config, root=tmp_path))[0].verdict is Verdict.FAILED

    def test_one_that_is_not_sourced(self, tmp_path: Path) -> None:
        (tmp_path / "opt/ros/jazzy").mkdir(parents=True)
        (tmp_path / "opt/ros/jazzy/setup.bash").touch()
        (finding,) = parts.ros(Case(root=tmp_path))
        assert finding.verdict is Verdict.ABSENT
        assert finding.remedy == "source /opt/ros/jazzy/setup.bash"

    def test_topics_without_cyclone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package(monkeypatch, "cyclonedds", False)
        (finding,) = parts.ros(Case(Config(ros=RosConfig(dds=True)), root=tmp_path))
        assert finding.verdict is Verdict.FAILED
        assert "edge-runtime[dds]" in finding.remedy

    def test_ros_without_our_messages(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package(monkeypatch, "rclpy", True)
        package(monkeypatch, "edge_interaction_msgs", False)
        monkeypatch.setenv("ROS_DISTRO", "jazzy")
        (finding,) = parts.ros(Case(root=tmp_path))
        assert finding.verdict is Verdict.WARNING
        assert "jazzy" in finding.text


UNITS = """\
Id=edge-runtime.service
ActiveState=active
SubState=running
Result=success
NRestarts=0
UnitFileState=enabled

Id=edge-runtime@left.service
ActiveState=failed
SubState=failed
Result=watchdog
NRestarts=10
UnitFileState=enabled

Id=edge-background.service
ActiveState=inactive
SubState=dead
Result=success
NRestarts=0
UnitFileState=disabled
"""


class TestService:
    def test_none_is_installed(self, tmp_path: Path) -> None:
        (finding,) = service(Case(root=tmp_path))
        assert finding.verdict is Verdict.ABSENT
        assert "install-service --apply" in finding.remedy

    def test_the_real_units(self, tmp_path: Path) -> None:
        program = Path("/opt/edge-runtime/bin/edge-runtime")
        for step in plan_install(tmp_path, Service.DEVICE, None, program, now=False).files:
            step.path.parent.mkdir(parents=True, exist_ok=True)
            step.path.write_text(step.content)
        (finding,) = service(Case(root=tmp_path))
        assert finding.verdict is Verdict.OK
        assert finding.text == "installed: edge-runtime"

    def test_what_systemd_shows(self) -> None:
        runs, failed, stopped = unit_findings(UNITS, Case())
        assert runs.verdict is Verdict.OK
        assert failed.verdict is Verdict.FAILED
        assert "edge-runtime@left" in failed.text and "watchdog" in failed.text
        assert "journalctl -u edge-runtime@left" in failed.remedy
        assert "reset-failed edge-runtime@left; sudo systemctl restart edge-runtime@left" in (
            failed.remedy
        )
        assert stopped.verdict is Verdict.WARNING
        assert "/etc/edge-runtime/edge-background.yaml" in stopped.remedy

    def test_the_unit_that_only_comes_with_instances_is_not_missed(self, tmp_path: Path) -> None:
        """`install-service --instance left` brings both."""
        shown = "Id=edge-runtime.service\nActiveState=inactive\nUnitFileState=disabled\n\n" + UNITS

        def of_the_unit(state: str = "disabled") -> list[Finding]:
            found = unit_findings(shown.replace("=disabled", f"={state}", 1), Case(root=tmp_path))
            return [one for one in found if one.text.startswith("edge-runtime is inactive")]

        assert len(of_the_unit()) == 1
        wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True)
        (wants / "edge-runtime@left.service").symlink_to(
            "/etc/systemd/system/edge-runtime@.service"
        )
        assert of_the_unit() == []
        assert len(of_the_unit("enabled")) == 1
        config = tmp_path / "etc/edge-runtime/edge-runtime.yaml"
        config.parent.mkdir()
        config.write_text("")
        assert len(of_the_unit()) == 1

    def test_a_running_device_tells_of_what_it_holds(self, tmp_path: Path) -> None:
        folder = tmp_path / "run" / "edge-runtime"
        folder.mkdir(parents=True)
        monitor = HealthMonitor()
        monitor.report(MICROPHONE, State.OK, values={"device": "ReSpeaker"})
        monitor.report(CAMERA, State.DEGRADED, "no picture for 4 s")
        status = DeviceStatus("kiosk", monitor, RemoteControl())
        StatusFile(folder / "status.json", status)._write()
        case = Case(root=tmp_path)
        microphone, camera = told_by_service(case, ("microphone", "loudspeaker", "camera"))
        assert microphone.verdict is Verdict.OK
        assert microphone.values["device"] == "ReSpeaker"
        assert camera.verdict is Verdict.WARNING
        assert "kiosk has it, degraded: no picture for 4 s" in camera.text
        other = Case(Config(device=Device(name="other")), configured=True, root=tmp_path)
        assert told_by_service(other, ("microphone",)) == []
        (health,) = service(case)
        assert health.name == "health"
        assert health.verdict is Verdict.WARNING

    def test_without_a_service_nobody_holds_a_device(self, tmp_path: Path) -> None:
        assert told_by_service(Case(root=tmp_path), ("camera",)) == []

    def test_a_service_that_gives_no_sign_holds_none(self, tmp_path: Path) -> None:
        folder = tmp_path / "run" / "edge-runtime"
        folder.mkdir(parents=True)
        content = {"device": "kiosk", "state": "ok", "reasons": [], "written_at_s": 0.0}
        parts = {"camera": {"state": "ok", "reason": "", "values": {}}}
        (folder / "status.json").write_text(json.dumps(content | {"parts": parts}))
        case = Case(root=tmp_path)
        assert told_by_service(case, ("camera",)) == []
        (health,) = service(case)
        assert health.verdict is Verdict.FAILED
        assert "no sign" in health.text

    @pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemd is not installed")
    def test_the_properties_are_real_ones(self) -> None:
        asked = subprocess.run(
            ["systemctl", "show", "edge-runtime.service"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode:
            pytest.skip("systemd does not run here")
        assert {"Id", "ActiveState", "NRestarts"} <= {
            line.split("=")[0] for line in asked.stdout.splitlines()
        }
