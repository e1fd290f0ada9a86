"""The example configuration of Mosquitto, as shipped: who gets in, and what each may do there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asker import Asker
from broker import MOSQUITTO, PATIENCE_S, Broker, Device, needs_mosquitto, wait_until
from echo_worker import Echo

from edge_runtime.background.worker import Worker
from edge_runtime.config import ActionConfig, Config, DelegationConfig
from edge_runtime.config import Device as DeviceConfig
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.mqtt import MqttConnection
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import MqttBackground
from edge_runtime.doctor import link
from edge_runtime.doctor.finding import Case, Finding, Verdict
from edge_runtime.health import HealthMonitor
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    Decision,
    EngineOutput,
    EventKind,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.pacing import MonotonicClock
from edge_runtime.remote_control import Orders, RemoteControl
from edge_runtime.sinks.home_assistant import HomeAssistant, HomeSettings, forget
from edge_runtime.sinks.mqtt_actions import MqttActions

OPENSSL, PASSWD = shutil.which("openssl"), shutil.which("mosquitto_passwd")
pytestmark = [
    needs_mosquitto,
    pytest.mark.skipif(OPENSSL is None, reason="openssl, which makes certificates, is missing"),
    pytest.mark.skipif(PASSWD is None, reason="mosquitto_passwd is not installed"),
]
INSTALLED = "/etc/mosquitto/edge"
DEVICES, WORKER = ("kiosk", "thief"), "worker-1"
HOME, ZIGBEE = "homeassistant", "zigbee2mqtt"
OBSERVER = "observer"
"""Of the test: it may read everything, so that it sees what the broker lets pass."""


class SecuredBroker(Broker):
    """The shipped files, with another folder and another port."""

    def __init__(self, repository: Path, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"mqtts://localhost:{self.port}"
        self._repository = repository
        self._certificates()
        for user in (*DEVICES, WORKER, HOME, ZIGBEE, OBSERVER):
            password = self._folder / f"{user}.password"
            password.write_text(f"secret of {user}\n")
            create = [] if (folder / "passwords").exists() else ["-c"]
            run(PASSWD, *create, "-b", folder / "passwords", user, f"secret of {user}")
        rights = (repository / "examples" / "mosquitto" / "acl").read_text()
        (folder / "acl").write_text(f"{rights}\nuser {OBSERVER}\ntopic read #\n")

    def settings_text(self) -> str:
        text = (self._repository / "examples" / "mosquitto" / "edge.conf").read_text()
        assert INSTALLED in text and "listener 8883" in text
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        # As root Mosquitto would become another user, who may not read this folder.
        return text.replace(INSTALLED, str(self._folder)) + "user root\n"

    def settings(self, user: str) -> BrokerSettings:
        return BrokerSettings(
            self.url, user, self._folder / f"{user}.password", self._folder / "ca.crt"
        )

    def _certificates(self) -> None:
        at = self._folder
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run(OPENSSL, *new, "-x509", "-subj", "/CN=test", "-keyout", at / "ca.key",
            "-out", at / "ca.crt", "-days", "2")  # fmt: skip
        (at / "names").write_text("subjectAltName = DNS:localhost, IP:127.0.0.1\n")
        for name in ("broker", *DEVICES, WORKER, OBSERVER):
            request = at / f"{name}.csr"
            run(OPENSSL, *new, "-subj", f"/CN={name}", "-keyout", at / f"{name}.key",
                "-out", request)  # fmt: skip
            run(OPENSSL, "x509", "-req", "-in", request, "-CA", at / "ca.crt", "-CAkey",
                at / "ca.key", "-CAcreateserial", "-days", "2", "-extfile", at / "names",
                "-out", at / f"{name}.crt")  # fmt: skip


class BrokerWithCertificates(SecuredBroker):
    """With what the shipped file proposes instead of passwords."""

    def settings_text(self) -> str:
        text = super().settings_text()
        for line in ("require_certificate true", "use_identity_as_username true"):
            assert f"#{line}" in text
            text = text.replace(f"#{line}", line)
        return text

    def settings(self, user: str) -> BrokerSettings:
        certificate, key = self._folder / f"{user}.crt", self._folder / f"{user}.key"
        return BrokerSettings(
            self.url, ca_file=self._folder / "ca.crt", cert_file=certificate, key_file=key
        )


def run(*command: str | Path | None) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def broker(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    assert MOSQUITTO is not None
    broker = SecuredBroker(repository, tmp_path_factory.mktemp("passwords"))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def worker(broker: SecuredBroker) -> Iterator[Echo]:
    echo = Echo()
    with Worker(broker.settings(WORKER), WORKER, echo, slots=2, grace_s=0.1):
        yield echo


def someone(broker: SecuredBroker, user: str, *patterns: str) -> Device:
    """Anything that knows this user's password."""
    return Device(broker, user, patterns or ("#",), broker.settings(user))


def answered(settings: BrokerSettings) -> str:
    remote = MqttBackground(settings, Abilities("kiosk"), MonotonicClock(), PATIENCE_S)
    with remote:
        device = Asker(remote)
        wait_until(lambda: remote.available)
        device.ask("request-1", "tea")
        return device.await_kind("request-1", EventKind.RESULT).text


def test_a_device_and_a_worker_have_all_the_rights_they_need(
    broker: SecuredBroker, worker: Echo
) -> None:
    assert answered(broker.settings("kiosk")) == "kiosk said tea"


def test_certificates_do_instead_of_passwords(repository: Path, tmp_path: Path) -> None:
    broker = BrokerWithCertificates(repository, tmp_path)
    broker.start()
    try:
        with Worker(broker.settings(WORKER), WORKER, Echo(), slots=2, grace_s=0.1):
            assert answered(broker.settings("kiosk")) == "kiosk said tea"
            with someone(broker, "thief") as thief:
                assert_deaf_and_dumb(broker, thief)
    finally:
        broker.kill()


def assert_deaf_and_dumb(broker: SecuredBroker, thief: Device) -> None:
    """What it publishes for others reaches no one, and what others say does not reach it."""
    forbidden = (
        "edge/kiosk/status",
        "edge/kiosk/replies",
        "edge/kiosk/requests",
        "edge/kiosk/cancel",
        "edge/kiosk/probe",
        "background/worker-1/status",
    )
    with someone(broker, OBSERVER) as observer, someone(broker, "kiosk") as kiosk:
        for topic in forbidden:
            thief.send(topic, b"{}", "edge/kiosk/replies", b"forged")
        kiosk.ask("q1", "my secret")
        kiosk.await_reply("q1", "result")
        thief.ask("q2", "hello")
        observer.await_any(lambda: [one for one in observer.messages if one.correlation == b"q2"])
        assert not [one for one in observer.messages if one.correlation == b"forged"]
    assert all(one.topic.startswith(("edge/thief/", "background/")) for one in thief.messages)
    assert b"my secret" not in b"".join(one.payload for one in thief.messages)


def test_a_device_has_its_own_topics_only(broker: SecuredBroker, worker: Echo) -> None:
    with someone(broker, "thief", "#", "edge/+/requests", "edge/kiosk/replies") as thief:
        thief.await_status(WORKER, state="online")
        assert_deaf_and_dumb(broker, thief)
        assert thief.status(WORKER)["state"] == "online"


def asked_for(action: str) -> TurnRecord:
    """A micro-turn in which a background model wants something done."""
    return TurnRecord(
        MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32)),
        EngineOutput(0, {}),
        Decision(0, "listen"),
        Timings(),
        asked_actions=(Action(action),),
    )


def test_a_device_may_appear_in_home_assistant_as_itself_and_leave_it(
    broker: SecuredBroker,
) -> None:
    settings = broker.settings("kiosk")
    control = RemoteControl()
    own = {"homeassistant/device/edge_kiosk/config", "edge/kiosk/home/state"}

    def told(observer: Device, topics: set[str], empty: bool = False) -> bool:
        return topics <= {one.topic for one in observer.messages if bool(one.payload) != empty}

    with someone(broker, OBSERVER) as observer:
        shown = HomeSettings("kiosk", actions=("lamp_on",))
        home = HomeAssistant(settings, shown, control, HealthMonitor())
        with home, someone(broker, "thief") as thief:
            observer.await_any(lambda: told(observer, own))
            home.publish(asked_for("lamp_on"))
            observer.await_any(lambda: told(observer, {"edge/kiosk/home/action"}))
            thief.send("edge/kiosk/home/say/set", b"I am a thief.")
            thief.send("homeassistant/device/edge_kiosk/config", b"{}")
            thief.send("edge/thief/home/state", b"the last word")
            observer.await_any(lambda: told(observer, {"edge/thief/home/state"}))
        assert control.take() == Orders()
        assert b"{}" not in [one.payload for one in observer.messages]
        forget(settings, "kiosk", "homeassistant")
        observer.await_any(lambda: told(observer, own, empty=True))


def test_home_assistant_sees_and_commands_a_device_and_reads_no_question(
    broker: SecuredBroker, worker: Echo
) -> None:
    control = RemoteControl()
    with (
        someone(broker, HOME) as home,
        HomeAssistant(broker.settings("kiosk"), HomeSettings("kiosk"), control, HealthMonitor()),
        someone(broker, "kiosk") as kiosk,
    ):
        needed = {
            "homeassistant/device/edge_kiosk/config",
            "edge/kiosk/home/state",
            "edge/kiosk/home/availability",
        }
        home.await_any(lambda: needed <= {one.topic for one in home.messages})
        kiosk.ask("q1", "my secret")
        kiosk.await_reply("q1", "result")
        home.send("edge/kiosk/replies", b"{}", correlation=b"forged")
        home.send("edge/kiosk/home/say/set", b"Dinner is ready.")
        wait_until(lambda: control.take().say == ("Dinner is ready.",))
        assert not [one for one in kiosk.messages if one.correlation == b"forged"]
    assert all("/home/" in one.topic for one in home.messages if one.topic.startswith("edge/"))


def test_home_assistant_and_zigbee2mqtt_have_what_they_share(broker: SecuredBroker) -> None:
    lamp = "zigbee2mqtt/kitchen_lamp"
    with someone(broker, HOME) as home, someone(broker, ZIGBEE) as zigbee:
        home.send("homeassistant/status", b"online")
        zigbee.await_any(
            lambda: [one for one in zigbee.messages if one.topic == "homeassistant/status"]
        )
        home.send(f"{lamp}/set", b"ON")
        zigbee.await_any(lambda: [one for one in zigbee.messages if one.topic == f"{lamp}/set"])
        zigbee.send("edge/kiosk/home/say/set", b"I am a lamp.")
        zigbee.send("homeassistant/light/kitchen_lamp/config", b"{}")
        zigbee.send(lamp, b"ON")
        home.await_any(lambda: [one for one in home.messages if one.topic == lamp])
        assert "homeassistant/light/kitchen_lamp/config" in [one.topic for one in home.messages]
    assert "edge/kiosk/home/say/set" not in [one.topic for one in home.messages]
    assert not [one for one in zigbee.messages if one.topic.startswith("edge/")]


def test_a_worker_asks_in_no_ones_name_and_is_no_other_worker(broker: SecuredBroker) -> None:
    forbidden = (
        "edge/kiosk/status",
        "edge/kiosk/requests",
        "edge/kiosk/cancel",
        "background/worker-2/status",
    )
    with someone(broker, WORKER) as worker, someone(broker, OBSERVER) as observer:
        for topic in forbidden:
            worker.send(topic, b"{}", "edge/kiosk/replies", b"forged")
        allowed = {"edge/kiosk/replies", "background/worker-1/status"}
        for topic in allowed:
            worker.send(topic, b"{}", correlation=b"allowed")
        observer.await_any(
            lambda: allowed == {one.topic for one in observer.messages if one.correlation}
        )
        assert not [one for one in observer.messages if one.correlation == b"forged"]


@pytest.mark.parametrize("user", [None, "kiosk", "stranger"])
def test_who_is_not_known_does_not_get_in(
    broker: SecuredBroker,
    worker: Echo,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    user: str | None,
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("guessed")
    settings = BrokerSettings(
        broker.url, user, None if user is None else wrong, broker.settings("kiosk").ca_file
    )
    with MqttBackground(settings, Abilities("kiosk"), MonotonicClock()) as remote:
        wait_until(lambda: "Not authorized" in caplog.text)
        device = Asker(remote)
        device.ask("request-1")
        assert device.await_kind("request-1", EventKind.RESULT).text == "from the device itself"
    assert "guessed" not in caplog.text
    assert worker.asked == []


def test_a_password_and_a_certificate_that_are_put_right_are_read_again(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    right = broker.settings("kiosk")
    assert right.password_file is not None and right.ca_file is not None
    password, authority = tmp_path / "password", tmp_path / "ca.crt"
    password.write_text("guessed")
    shutil.copy(right.ca_file.with_name(f"{WORKER}.crt"), authority)
    settings = replace(right, password_file=password, ca_file=authority)
    with MqttConnection(settings, "kiosk") as connection:
        wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in connection.failure)
        shutil.copy(right.ca_file, authority)
        wait_until(lambda: "Not authorized" in connection.failure)
        shutil.copy(right.password_file, password)
        wait_until(lambda: connection.connected)


def test_a_broker_that_no_one_vouches_for_gets_no_question(
    broker: SecuredBroker, caplog: pytest.LogCaptureFixture
) -> None:
    known = broker.settings("kiosk")
    settings = BrokerSettings(broker.url, known.user, known.password_file)
    with MqttBackground(settings, Abilities("kiosk"), MonotonicClock()):
        wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)


def test_an_action_on_a_topic_without_the_right_to_it_is_told(
    broker: SecuredBroker, caplog: pytest.LogCaptureFixture
) -> None:
    lamp = {"lamp_on": ActionConfig(mqtt_topic="zigbee2mqtt/lamp/set")}
    with MqttActions(broker.settings("kiosk"), "kiosk", lamp) as actions:
        wait_until(lambda: actions.connected)
        actions.publish(asked_for("lamp_on"))
        actions.publish(asked_for("lamp_on"))
        wait_until(lambda: "refuses what is published on zigbee2mqtt/lamp/set" in caplog.text)
    assert caplog.text.count("refuses what is published") == 1
    assert "the right to write there" in caplog.text


def examined(broker: Broker, password_file: Path) -> Finding:
    """What the doctor says of it, as the device `kiosk`."""
    assert isinstance(broker, SecuredBroker)
    delegation = DelegationConfig(
        broker=broker.url,
        user="kiosk",
        password_file=password_file,
        ca_file=broker.settings("kiosk").ca_file,
    )
    config = Config(device=DeviceConfig(name="kiosk"), delegation=delegation)
    (finding,) = link.broker(Case(config, configured=True))
    return finding


def test_the_doctor_needs_no_more_rights_than_a_device(broker: Broker) -> None:
    assert isinstance(broker, SecuredBroker)
    password_file = broker.settings("kiosk").password_file
    assert password_file is not None
    with (
        Worker(broker.settings(WORKER), WORKER, Echo(), slots=1, grace_s=0.1),
        Device(broker, OBSERVER, ("#",), settings=broker.settings(OBSERVER)) as watching,
    ):
        watching.await_status(WORKER, state="online")
        finding = examined(broker, password_file)
    assert finding.verdict is Verdict.OK, finding
    assert "with TLS" in finding.text
    assert WORKER in finding.text


def test_the_doctor_says_that_a_password_is_wrong(broker: Broker, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("hunter2")
    wrong.chmod(0o600)
    finding = examined(broker, wrong)
    assert finding.verdict is Verdict.FAILED
    assert "refused" in finding.text
    assert "password_file" in finding.remedy
    assert "hunter2" not in str(finding)
