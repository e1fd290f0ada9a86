"""The service as systemd runs it: what it tells over a real socket, its pages, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from broker import Device, free_port, needs_mosquitto, running_broker, wait_until
from program import assert_refused, edge, needs_espeak, spoken, written

from edge_runtime import device_status
from edge_runtime.errors import InputError

pytest.importorskip("prometheus_client")
no_service_here = pytest.mark.skipif(
    any(Path("/run").glob("edge-runtime*/status.json")),
    reason="a service is running on this machine",
)


RELEASED_SLOWLY = """
import time
from functools import partial
from edge_runtime import cli
from edge_runtime.sinks import self_watchdog
from edge_runtime.voice.mouth import Mouth

self_watchdog.SelfWatchdog = partial(self_watchdog.SelfWatchdog, look_every_s=0.3)
Mouth.__exit__ = lambda *_: time.sleep(6)
cli.main()
"""
"""A service that waits for 3 s where one hangs, and twice as long for its mouth."""


class Service:
    """`edge-runtime serve` with a socket where systemd's would be, on a minute of noise, or on
    `senses`."""

    def __init__(self, folder: Path, senses: str = "") -> None:
        self.folder, self.port = folder, free_port()
        noise = 0.01 * np.random.default_rng(0).standard_normal(60 * 16_000)
        soundfile.write(folder / "noise.wav", noise, 16_000)
        senses = senses or f"audio: {{source: {folder / 'noise.wav'}}}"
        self.config = written(
            folder / "edge.yaml",
            f"device: {{name: kiosk}}\n{senses}\nhttp: {{port: {self.port}, metrics: true}}\n",
        )
        self.run = folder / "edge-runtime"
        self.run.mkdir()
        self.inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.inbox.bind(str(folder / "notify"))
        self.inbox.settimeout(60)
        self.program = ["-m", "edge_runtime.cli"]

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "RUNTIME_DIRECTORY": str(self.run),
            "STATE_DIRECTORY": str(self.folder),
        }
        return subprocess.Popen(
            [sys.executable, *self.program, "serve", "--config", str(self.config)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def told(self) -> str:
        return self.inbox.recv(4096).decode()

    def await_told(self, what: str) -> list[str]:
        """Everything up to this message."""
        found = [self.told()]
        while found[-1] != what:
            found.append(self.told())
        return found

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
            return text


def ended(process: subprocess.Popen[bytes]) -> bytes:
    """Told to end as systemd does it; what it has said."""
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    return output


@contextmanager
def running(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    process = service.start()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        service.inbox.close()


@needs_espeak
def test_it_is_ready_after_a_turn_is_watched_by_turns_and_ends_when_told(tmp_path: Path) -> None:
    service = Service(tmp_path)
    with running(service) as process:
        before = service.await_told("READY=1")
        assert before[0] == "STATUS=starting"
        assert "WATCHDOG=1" not in before
        for _ in range(3):
            service.await_told("WATCHDOG=1")

        health = json.loads(service.page("/health"))
        assert health["device"] == "kiosk"
        assert health["state"] != "failed"  # degraded it may be: the machine is busy with tests
        assert "edge_micro_turns_total" in service.page("/metrics")
        wait_until(lambda: (service.run / "status.json").exists())
        one = device_status.running(tmp_path)[0]
        assert (one["device"], one["pid"]) == ("kiosk", process.pid)
        assert one["state"] != "failed"

        process.send_signal(signal.SIGSTOP)  # the loop is frozen: nothing feeds the watchdog
        service.inbox.settimeout(1)  # five micro-turns
        with pytest.raises(TimeoutError):
            while True:
                service.told()
        service.inbox.settimeout(60)
        process.send_signal(signal.SIGCONT)
        service.await_told("WATCHDOG=1")

        output = ended(process)
        lines = [line for line in output.decode().splitlines() if "missed" not in line]
        assert process.returncode == 0  # it was frozen, and may say so
        assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ", one) for one in lines)
        assert any(" INFO edge-runtime " in one and "broker none" in one for one in lines)
        service.await_told("STOPPING=1")
        assert list(service.run.iterdir()) == []
        with pytest.raises(InputError, match="No service of edge-runtime is running"):
            device_status.running(tmp_path)


@needs_espeak
def test_a_device_that_takes_long_to_be_released_does_not_hang(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.program = ["-c", RELEASED_SLOWLY]
    with running(service) as process:
        service.await_told("WATCHDOG=1")
        output = ended(process)
    assert process.returncode == 0, output.decode()


@needs_espeak
def test_without_its_microphone_and_camera_it_is_up_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("pyaudio")
    none = "no such device"
    service = Service(
        tmp_path,
        f"audio: {{input_device: {none}, output_device: {none}, echo: none}}\n"
        f"video: {{source: {none}}}",
    )
    with running(service) as process:
        service.await_told("READY=1")
        for _ in range(10):
            service.await_told("WATCHDOG=1")
        wait_until(lambda: "camera" in device_status.running(tmp_path)[0]["parts"])
        parts = device_status.running(tmp_path)[0]["parts"]
        states = {name: parts[name]["state"] for name in ("microphone", "loudspeaker", "camera")}
        assert states == {"microphone": "failed", "loudspeaker": "failed", "camera": "degraded"}
        output = ended(process)
    told = " ".join(output.decode().split())
    assert process.returncode == 0
    assert "There is no camera 'no such device'" in told and "Connect one" in told
    assert "the microphone is lost" in told


@needs_espeak
@needs_mosquitto
def test_what_was_switched_off_stays_off_when_it_is_killed_and_started_again(
    tmp_path: Path,
) -> None:
    pytest.importorskip("pyaudio")
    none = "no such device"

    def capture(process: subprocess.Popen[bytes]) -> tuple[str, str]:
        """The mode, and whether the microphone is on, as this process says."""
        wait_until(lambda: (service.run / "status.json").exists())
        wait_until(lambda: device_status.running(tmp_path)[0]["pid"] == process.pid)
        one = device_status.running(tmp_path)[0]
        return one["mode"], one["capture"].get("microphone", "")

    with running_broker(tmp_path) as broker, Device(broker, patterns=("edge/#",)) as home:
        service = Service(
            tmp_path,
            f"audio: {{input_device: {none}, output_device: {none}, echo: none}}\n"
            f"delegation: {{broker: '{broker.url}'}}\nhome_assistant: {{enabled: true}}",
        )
        with running(service) as process:
            service.await_told("READY=1")
            home.await_any(lambda: [one for one in home.messages if b"reasons" in one.payload])
            home.send("edge/kiosk/home/microphone/set", b"OFF")
            home.send("edge/kiosk/home/quiet/set", b"ON")
            wait_until(lambda: capture(process) == ("quiet", "off"))
            process.kill()
            process.wait()
            again = service.start()
            try:
                service.await_told("READY=1")
                wait_until(lambda: capture(again)[1] != "")
                assert capture(again) == ("quiet", "off")
                output = ended(again)
            finally:
                again.kill()
                again.communicate()
    told = " ".join(output.decode().split())
    assert "the microphone is off, the mode is quiet, as before the restart" in told
    assert "the microphone is lost" not in told, "it was looked for"


@needs_espeak
def test_a_reminder_outlives_a_kill_and_is_told_late_by_the_next_run(tmp_path: Path) -> None:
    service = Service(
        tmp_path,
        f"audio: {{source: {tmp_path / 'noise.wav'}}}\n"
        f"recording: {{path: {tmp_path / 'last.mcap'}}}",
    )
    path = tmp_path / "timers.json"
    orders = ("remind me in one second to call my mother", "remind me in one hour to go home")
    setter = [sys.executable, str(Path(__file__).with_name("timer_setter.py")), str(path), *orders]
    with subprocess.Popen(setter, stdout=subprocess.PIPE, text=True) as before:
        assert before.stdout is not None
        answers = [before.stdout.readline() for _ in orders]
        before.kill()
    assert answers[0] == "Okay, I will remind you in one second: call your mother.\n"
    assert "in one hour" in answers[1]
    due_s = min(one["due_s"] for one in json.loads(path.read_text())["timers"])
    wait_until(lambda: time.time() > due_s + 1)

    def waiting() -> list[str]:
        return [one["label"] for one in json.loads(path.read_text())["timers"]]

    with running(service) as process:
        service.await_told("READY=1")
        wait_until(lambda: waiting() == ["go home"])
        ended(process)
    assert waiting() == ["go home"]
    export = edge("export", tmp_path / "last.mcap", "--out", tmp_path / "out", cwd=tmp_path)
    assert export.returncode == 0, export.stderr
    told = (tmp_path / "out" / "transcript.txt").read_text()
    said = r"This is your reminder, [a-z ]+ late: call your mother\."
    assert re.search(rf"s  20\d\d(-\d\d){{2}} [\d:]{{8}}  deliver {said}", told), told


@needs_espeak
@needs_mosquitto
def test_a_broker_for_the_home_alone_is_well_without_a_worker_and_says_when_it_is_gone(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path) as broker:
        port = broker.port
        service = Service(
            tmp_path,
            f"audio: {{source: {tmp_path / 'noise.wav'}}}\n"
            f"delegation: {{broker: '{broker.url}', workers: false}}\n"
            "home_assistant: {enabled: true}\nactions: {wave: {mqtt_topic: arm/wave}}",
        )

        def link() -> tuple[str, str]:
            part = json.loads(service.page("/health"))["parts"].get("link", {})
            return part.get("state", ""), part.get("reason", "")

        with running(service), Device(broker, patterns=("edge/#",)) as home:
            service.await_told("READY=1")
            wait_until(lambda: link() == ("ok", ""))
            home.await_any(lambda: [one for one in home.messages if b"online" in one.payload])
            topics = {one.topic for one in home.messages}
            assert all(topic.startswith("edge/kiosk/home/") for topic in topics), topics
            broker.kill()
            wait_until(lambda: link()[0] == "degraded")
            assert f"no connection to 127.0.0.1:{port}: " in link()[1]
            broker.start()
            wait_until(lambda: link() == ("ok", ""))


@needs_espeak
def test_where_its_outbox_cannot_be_written_it_is_up_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "outbox.db-wal").mkdir()  # nor can root write that
    service = Service(
        tmp_path,
        f"audio: {{source: {tmp_path / 'noise.wav'}}}\n"
        f"delegation: {{broker: 'mqtt://127.0.0.1:9', outbox: {tmp_path / 'outbox.db'}}}",
    )
    with running(service) as process:
        service.await_told("READY=1")
        part = json.loads(service.page("/health"))["parts"]["outbox"]
        assert part["state"] == "degraded"
        assert "nothing is kept, and it is tried again every minute" in part["reason"]
        output = ended(process)
    assert process.returncode == 0
    assert "nothing is kept" in " ".join(output.decode().split())


@needs_espeak
def test_with_its_port_taken_it_is_up_and_says_so(tmp_path: Path) -> None:
    service = Service(tmp_path)
    with socket.create_server(("127.0.0.1", service.port)), running(service) as process:
        service.await_told("READY=1")
        wait_until(lambda: "http" in device_status.running(tmp_path)[0]["parts"])
        part = device_status.running(tmp_path)[0]["parts"]["http"]
        assert part["state"] == "degraded"
        assert f"127.0.0.1:{service.port}: Address already in use" in part["reason"]
        output = ended(process)
    assert process.returncode == 0
    assert "there is no /health page yet" in " ".join(output.decode().split())


def test_a_status_that_is_not_renewed_is_of_no_running_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"device": "kiosk", "state": "ok", "reasons": [], "parts": {}, "written_at_s": 0}
    written(tmp_path / "edge-runtime@left" / "status.json", json.dumps(content))
    one = device_status.running(tmp_path)[0]
    assert one["state"] == "failed"
    assert "no sign" in one["reasons"][0]


def test_a_status_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "edge-runtime" / "status.json", "{")
    with pytest.raises(InputError, match=str(path)):
        device_status.running(tmp_path)


@no_service_here
def test_without_a_service_the_status_says_how_to_get_one(tmp_path: Path) -> None:
    assert_refused(edge("status", cwd=tmp_path), "No service", "install-service --apply")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("audoi: {}", "Did you mean `audio`?"),
        ("audio: {source: t.wav}\nvoice: {phrases: none.yaml}", "none.yaml"),
        ("audio: {source: t.wav}\nengine: {folder: none}", "is not a model folder"),
    ],
)
def test_a_bad_configuration_ends_it_for_good_with_one_message(
    tmp_path: Path, text: str, said: str
) -> None:
    """The units' RestartPreventExitStatus."""
    spoken(tmp_path / "t.wav")
    config = written(tmp_path / "edge.yaml", text)
    assert_refused(edge("serve", "--config", config, cwd=tmp_path), said, code=78)
    assert_refused(edge("run", "--config", config, cwd=tmp_path), said)


def test_what_a_later_start_may_find_is_tried_again(tmp_path: Path) -> None:
    spoken(tmp_path / "t.wav")
    gone = "delegation: {broker: 'mqtt://127.0.0.1', outbox: none/there.db}"
    config = written(tmp_path / "edge.yaml", f"audio: {{source: t.wav}}\n{gone}")
    assert_refused(edge("serve", "--config", config, cwd=tmp_path), "outbox", code=2)


SHOWN = """
Id=edge-runtime.service
ActiveState=inactive
SubState=dead
Result=success
UnitFileState=disabled

Id=edge-runtime@left.service
ActiveState=failed
SubState=failed
Result=exit-code
UnitFileState=enabled

Id=edge-runtime@right.service
ActiveState=active
SubState=running
Result=success
UnitFileState=enabled

Id=edge-runtime@hall.service
ActiveState=inactive
SubState=dead
Result=success
UnitFileState=enabled

Id=edge-runtime@door.service
ActiveState=activating
SubState=auto-restart
Result=watchdog
UnitFileState=enabled

Id=edge-runtime@roof.service
ActiveState=activating
SubState=start
Result=success
UnitFileState=enabled
"""


@pytest.fixture
def systemd(tmp_path: Path) -> Path:
    """A folder for PATH with a program that stands for systemctl, and says what is in `shown`."""
    folder = tmp_path / "bin"
    written(folder / "shown", SHOWN)
    written(folder / "systemctl", f"#!/bin/sh\n/bin/cat {folder / 'shown'}\n").chmod(0o755)
    return folder


def test_a_device_that_systemd_shall_run_and_does_not_is_a_failure(
    tmp_path: Path, systemd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(systemd))
    content = {
        "device": "r",
        "state": "ok",
        "reasons": [],
        "parts": {},
        "written_at_s": time.time(),
    }
    written(tmp_path / "run" / "edge-runtime@right" / "status.json", json.dumps(content))
    found = device_status.services(tmp_path / "run")
    assert [(one["device"], one["state"], one["reasons"]) for one in found] == [
        ("r", "ok", []),
        ("left", "failed", ["service: exit-code"]),
        ("hall", "failed", ["service: stopped"]),
        ("door", "failed", ["service: watchdog, it starts again"]),
        ("roof", "failed", ["service: start, no status yet"]),
    ]
    assert [one["device"] for one in device_status.running(tmp_path / "run")] == ["r"]


@no_service_here
def test_status_says_what_failed_and_where_to_read_why(tmp_path: Path, systemd: Path) -> None:
    environment = {"PATH": str(systemd)}
    told = edge("status", cwd=tmp_path, environment=environment)
    assert told.returncode == 1
    assert "left failed (exit-code)\n  journalctl -u edge-runtime@left -e\n" in told.stdout
    as_json = edge("status", "--json", cwd=tmp_path, environment=environment)
    assert as_json.returncode == 1
    left = json.loads(as_json.stdout)[0]
    assert (left["unit"], left["state"], left["parts"]) == ("edge-runtime@left", "failed", {})


@no_service_here
def test_a_systemd_that_does_not_answer_is_none(tmp_path: Path, systemd: Path) -> None:
    written(systemd / "systemctl", "#!/bin/sh\necho 'not booted with systemd' >&2; exit 1\n")
    told = edge("status", cwd=tmp_path, environment={"PATH": str(systemd)})
    assert_refused(told, "No service", "install-service --apply")


def test_installing_is_shown_first_and_removing_too(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    shown = edge("install-service", "--root", root, cwd=tmp_path)
    assert shown.returncode == 0
    assert f"write      {root}/etc/systemd/system/edge-runtime.service" in shown.stdout
    assert "run        systemd-sysusers" in shown.stdout
    assert "Nothing was changed" in shown.stdout
    asked_for = edge("install-service", "--root", root, "--dry-run", cwd=tmp_path)
    assert asked_for.stdout == shown.stdout
    assert list(root.iterdir()) == []
    removed = edge("uninstall-service", "--root", root, cwd=tmp_path)
    assert "nothing to remove" in removed.stdout


def test_an_older_configuration_that_everybody_can_read_is_named(tmp_path: Path) -> None:
    config = written(tmp_path / "root/etc/edge-runtime/edge-runtime.yaml", "device: {name: mine}")
    for mode, said in ((0o644, True), (0o640, False)):
        config.chmod(mode)
        shown = edge("install-service", "--root", tmp_path / "root", cwd=tmp_path)
        assert (f"sudo chgrp edge-runtime {config}; sudo chmod 640" in shown.stdout) == said


def test_privacy_is_told_from_the_configuration(tmp_path: Path) -> None:
    config = written(tmp_path / "edge.yaml", "delegation: {broker: 'mqtt://10.0.0.2'}")
    told = edge("privacy", "--config", config, cwd=tmp_path)
    assert told.returncode == 0
    assert "to the workers at mqtt://10.0.0.2 (NOT encrypted" in " ".join(told.stdout.split())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mqtt://u:hunter2@192.168.1.10", "it must not hold a user or password"),
        ("u:hunter2@192.168.1.10", "it must not hold a user or password"),
        ("192.168.1.10", "it is no broker: use mqtt://HOST[:PORT]"),
    ],
)
def test_a_broker_that_cannot_be_is_refused_alike_and_its_password_not_told(
    tmp_path: Path, url: str, said: str
) -> None:
    config = written(tmp_path / "edge.yaml", f"delegation: {{broker: '{url}'}}")
    for command, code in (("serve", 78), ("run", 2), ("privacy", 2), ("background", 2)):
        told = edge(command, "--config", config, cwd=tmp_path)
        assert_refused(told, f"{config}: delegation.broker: Value error, {said}", code=code)
        assert "hunter2" not in told.stderr
        assert "command line" not in told.stderr
