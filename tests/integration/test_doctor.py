"""`edge-runtime doctor` with the real broker, the real PortAudio on a virtual card, and as a
program."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Broker, Device, free_port, needs_mosquitto, running_broker
from echo_worker import Echo
from program import assert_refused, edge, needs_espeak, spoken, written
from virtual_sound import VirtualSound, needs_virtual_sound, virtual_sound

from edge_runtime.background.worker import Worker
from edge_runtime.config import Audio, Config, DelegationConfig
from edge_runtime.config import Device as DeviceConfig
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.doctor.examine import any_failed, examine
from edge_runtime.doctor.finding import Case, Finding, Verdict, failed, ok
from edge_runtime.doctor.hearing import sound
from edge_runtime.doctor.link import broker
from edge_runtime.doctor.machine import configuration


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as there:
        yield there


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualSound]:
    with virtual_sound(tmp_path_factory.mktemp("sound"), "kiosk") as there:
        yield there


def at(url: str) -> Case:
    delegation = DelegationConfig(broker=url)
    return Case(Config(device=DeviceConfig(name="kiosk"), delegation=delegation), configured=True)


class TestBroker:
    def test_none_is_configured(self) -> None:
        assert broker(Case())[0].verdict is Verdict.ABSENT

    def test_nobody_listens(self) -> None:
        (finding,) = broker(at(f"mqtt://127.0.0.1:{free_port()}"))
        assert finding.verdict is Verdict.FAILED
        assert "refused" in finding.text
        assert "delegation.broker" in finding.remedy

    def test_no_address(self, tmp_path: Path) -> None:
        text = "delegation: {broker: 'http://user:hunter2@lan'}"
        _, finding = configuration(written(tmp_path / "edge.yaml", text))
        assert finding.verdict is Verdict.FAILED
        assert "delegation.broker" in finding.text
        assert "hunter2" not in finding.text

    @needs_mosquitto
    def test_without_a_worker(self, mosquitto: Broker) -> None:
        (finding,) = broker(at(mosquitto.url))
        assert finding.verdict is Verdict.WARNING
        assert "no worker is online" in finding.text
        assert "edge-runtime background" in finding.remedy

    @needs_mosquitto
    def test_with_a_worker(self, mosquitto: Broker) -> None:
        settings = BrokerSettings(mosquitto.url)
        worker = Worker(settings, "house", Echo(), model="echo", slots=1, grace_s=0.1)
        with Device(mosquitto) as watching, worker:
            watching.await_status("house", state="online")
            (finding,) = broker(at(mosquitto.url))
        assert finding.verdict is Verdict.OK
        assert "house (echo)" in finding.text
        assert finding.values["workers"] == 1

    @needs_mosquitto
    def test_with_a_worker_that_is_only_retained(self, mosquitto: Broker) -> None:
        """It died together with the broker, which has kept that it was online."""
        topic, online = "background/ghost/status", b'{"state": "online", "model": "echo"}'
        with Device(mosquitto) as witness:
            witness.send(topic, online, retain=True)
            (finding,) = broker(at(mosquitto.url))
            witness.send(topic, b"", retain=True)
        assert finding.verdict is Verdict.WARNING
        assert "said to be online, but nobody listens: ghost (echo)" in finding.text
        assert "mosquitto_pub -r -n -t background/NAME/status" in finding.remedy

    @needs_mosquitto
    def test_the_rights_that_this_configuration_needs_are_named(self, mosquitto: Broker) -> None:
        own = "edge/kiosk/status, edge/kiosk/requests, edge/kiosk/cancel, edge/kiosk/probe"
        answers = "edge/kiosk/replies, background/+/status"
        (finding,) = broker(at(mosquitto.url))
        assert f"the right to write {own}, and to read {answers}" in finding.text
        home = "homeassistant/device/edge_kiosk/config, edge/kiosk/home/#"
        lamps = {"on": {"mqtt_topic": "lamp/set"}, "off": {"mqtt_topic": "lamp/set"}}
        config = Config.model_validate(
            at(mosquitto.url).config.model_dump()
            | {"home_assistant": {"enabled": True}, "actions": lamps}
        )
        (finding,) = broker(Case(config, configured=True))
        assert f"to write {own}, {home}, lamp/set, and" in finding.text
        assert f"to read {answers}, {home}, homeassistant/status" in finding.text
        (finding,) = broker(at(f"mqtt://127.0.0.1:{free_port()}"))
        assert f"the right to write {own}, and to read {answers}" in finding.remedy

    @needs_mosquitto
    def test_where_no_worker_is_asked_none_is_missing(self, mosquitto: Broker) -> None:
        config = Config.model_validate(
            {
                "device": {"name": "kiosk"},
                "delegation": {"broker": mosquitto.url, "workers": False},
                "actions": {"on": {"mqtt_topic": "lamp/set"}},
            }
        )
        (finding,) = broker(Case(config, configured=True))
        assert finding.verdict is Verdict.OK
        assert finding.text.endswith(
            "no worker is asked; its user there needs the right to write lamp/set"
        )

    @needs_mosquitto
    def test_a_device_that_runs_is_left_alone_and_nothing_stays(self, mosquitto: Broker) -> None:
        with Device(mosquitto, patterns=("edge/#",)) as running:
            running.send("edge/kiosk/status", b"online", retain=True)
            broker(at(mosquitto.url))
        with Device(mosquitto, patterns=("edge/#",)) as later:
            later.await_any(lambda: later.messages)
            assert {(one.topic, one.payload) for one in later.messages} == {
                ("edge/kiosk/status", b"online")
            }
            later.send("edge/kiosk/status", b"", retain=True)


@needs_virtual_sound
class TestSound:
    @pytest.fixture
    def case(self, server: VirtualSound, tmp_path: Path) -> Iterator[Case]:
        audio = Audio(input_device="kiosk_mic", output_device="kiosk", block_ms=20)
        yield Case(Config(audio=audio), configured=True, root=tmp_path, tone=True)
        server.unplug_all()

    def test_a_room_with_sound_and_a_tone_that_is_heard(
        self, server: VirtualSound, case: Case
    ) -> None:
        server.plug("kiosk", tone_hz=440)
        microphone, loudspeaker = sound(case)
        assert microphone.verdict is Verdict.OK, microphone
        assert "kiosk_mic" in microphone.text
        assert loudspeaker.verdict is Verdict.OK, loudspeaker
        heard_dbfs = loudspeaker.values["tone_heard_dbfs"]
        assert isinstance(heard_dbfs, float)
        assert heard_dbfs == pytest.approx(-23, abs=6), "gaps of a busy machine blur it"

    def test_a_microphone_that_gives_zeros(self, server: VirtualSound, case: Case) -> None:
        server.plug("kiosk", tone_hz=None)
        microphone, _ = sound(case)
        assert microphone.verdict is Verdict.FAILED
        assert "nothing but zeros" in microphone.text

    def test_one_that_is_unplugged(self, case: Case) -> None:
        found = sound(case)
        assert found[0].verdict is Verdict.FAILED


class TestExamining:
    def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(self) -> None:
        def breaks(case: Case) -> list[Finding]:
            raise RuntimeError("rtsp://me:hunter2@cam")

        begun: list[str] = []
        checks = (("first", breaks), ("second", lambda case: [ok("second", "well")]))
        first, second = examine(Case(), checks, begun.append)
        assert begun == ["first", "second"]
        assert first.verdict is Verdict.FAILED
        assert "RuntimeError" in first.text and "hunter2" not in first.text
        assert second.verdict is Verdict.OK

    def test_only_a_failure_counts(self) -> None:
        assert not any_failed([ok("a", ""), Finding("b", Verdict.WARNING)])
        assert any_failed([ok("a", ""), failed("b", "")])


class TestProgram:
    @needs_espeak
    def test_a_device_on_recordings_is_well(self, tmp_path: Path) -> None:
        config = written(tmp_path / "edge.yaml", f"audio: {{source: {spoken(tmp_path / 't.wav')}}}")
        ran = edge("doctor", "--config", config, "--json", "--out", "o", cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout
        told = json.loads(ran.stdout)
        assert told["ok"] is True
        named = {one["name"]: one for one in told["findings"]}
        assert {"config", "software", "voice", "model", "clock", "disk"} <= set(named)
        assert named["model"]["values"]["backend"] == "onnx"
        assert named["microphone"]["verdict"] == "not here"
        kept = json.loads((tmp_path / "o" / "doctor.json").read_text())
        assert kept["findings"] == told["findings"]

    def test_what_has_failed_gives_1_and_a_remedy(self, tmp_path: Path) -> None:
        url = f"mqtt://127.0.0.1:{free_port()}"
        config = written(
            tmp_path / "edge.yaml", f"audio: {{source: none.wav}}\ndelegation: {{broker: '{url}'}}"
        )
        ran = edge("doctor", "--config", config, cwd=tmp_path)
        assert ran.returncode == 1
        lines = ran.stdout.splitlines()
        assert any(line.split()[:2] == ["FAILED", "microphone"] for line in lines)
        place = next(
            at for at, line in enumerate(lines) if line.split()[:2] == ["FAILED", "broker"]
        )
        assert "-> Does the broker run" in lines[place + 1]
        assert "Traceback" not in ran.stderr

    def test_places_that_serve_would_refuse(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            config = written(
                tmp_path / "edge.yaml",
                f"audio: {{source: {spoken(tmp_path / 't.wav')}}}\n"
                f"recording: {{path: {tmp_path}}}\nhttp: {{port: {server.getsockname()[1]}}}",
            )
            ran = edge("doctor", "--config", config, cwd=tmp_path)
        assert ran.returncode == 1
        wrong = {line.split()[1]: line for line in ran.stdout.splitlines() if "FAILED" in line}
        assert "it is a folder" in wrong["recording"]
        assert "Address already in use" in wrong["http"]

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        sound = f"audio: {{source: {spoken(tmp_path / 't.wav')}}}"
        config = written(tmp_path / "edge.yaml", sound)
        ran = edge("doctor", "--config", config, "--out", config / "o", cwd=tmp_path)
        assert ran.returncode == 2
        assert "Give --out another path" in " ".join(ran.stderr.split())

    def test_what_run_refuses_is_refused_here_too(self, tmp_path: Path) -> None:
        config = written(tmp_path / "edge.yaml", "home_assistant: {enabled: true}")
        why = "home_assistant.enabled needs a broker"
        ran = edge("doctor", "--config", config, "--json", cwd=tmp_path)
        assert ran.returncode == 1
        assert why in json.loads(ran.stdout)["findings"][0]["text"]
        for command in ("privacy", "run"):
            assert_refused(edge(command, "--config", config, cwd=tmp_path), why)

    def test_a_bad_configuration_is_a_line_and_the_rest_is_examined(self, tmp_path: Path) -> None:
        config = written(tmp_path / "edge.yaml", "delegation: {pasword: hunter2}")
        ran = edge("doctor", "--config", config, "--json", cwd=tmp_path)
        assert ran.returncode == 1
        findings = json.loads(ran.stdout)["findings"]
        assert findings[0]["verdict"] == "failed"
        assert "delegation.pasword" in findings[0]["text"]
        assert "hunter2" not in ran.stdout + ran.stderr
        assert len(findings) > 10
