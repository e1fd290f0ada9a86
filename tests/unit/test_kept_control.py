"""What was switched off stays off over a restart, also where its file is damaged."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from edge_runtime.health import HealthMonitor, State
from edge_runtime.kept_control import SWITCHES, KeptControl, kept_path
from edge_runtime.remote_control import Mode, RemoteControl


class Service:
    """One that is started anew with each `start`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.health = HealthMonitor()
        self.control = RemoteControl()

    def start(self) -> RemoteControl:
        self.health = HealthMonitor()
        self.control = KeptControl(self.path, self.health).load()
        self.control.connect(microphone=lambda on: None, camera=lambda on: None)
        return self.control

    @property
    def is_how(self) -> tuple[Mode, bool, bool]:
        return self.control.mode, self.control.microphone_on, self.control.camera_on

    @property
    def trouble(self) -> str:
        part = self.health.snapshot().part(SWITCHES)
        return "" if part is None or part.state is State.OK else part.reason


ALL_ON = (Mode.NORMAL, True, True)
ALL_OFF = (Mode.QUIET, False, False)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "state" / "control.json")


def test_a_new_device_has_everything_on_and_writes_nothing(service: Service) -> None:
    service.start()
    assert service.is_how == ALL_ON
    assert not service.path.parent.exists()
    assert service.trouble == ""


def test_a_volume_is_kept_and_one_that_was_never_set_is_not(service: Service) -> None:
    service.start().switch_camera(False)
    service.start().connect_loudspeaker(lambda volume: None, 0.3)
    assert service.control.volume == 0.3
    service.control.set_volume(0.5)
    service.start().connect_loudspeaker(lambda volume: None, 0.3)
    assert service.control.volume == 0.5 and not service.control.camera_on


def test_the_file_of_an_earlier_version_is_read(service: Service) -> None:
    service.path.parent.mkdir(parents=True)
    service.path.write_text('{"mode": "quiet", "microphone_on": false, "camera_on": true}')
    service.start().connect_loudspeaker(lambda volume: None, 0.3)
    assert service.is_how == (Mode.QUIET, False, True) and service.control.volume == 0.3
    assert service.trouble == ""


def test_what_is_off_is_off_after_a_restart_and_what_is_on_is_on(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.start().switch_microphone(False)
    service.control.set_mode(Mode.QUIET)
    service.start()
    assert service.is_how == (Mode.QUIET, False, True)
    told = "the microphone is off, the mode is quiet, as before the restart"
    assert told in caplog.text and str(service.path) in caplog.text
    assert service.control.take().mode is Mode.QUIET
    service.control.set_mode(Mode.NORMAL)
    service.control.switch_microphone(True)
    service.control.switch_camera(False)
    service.start()
    assert service.is_how == (Mode.NORMAL, True, False)


def test_whoever_captures_is_told_before_anything_is_opened(service: Service) -> None:
    service.start().switch_microphone(False)
    control = KeptControl(service.path, HealthMonitor()).load()
    told: list[bool] = []
    control.connect(microphone=told.append)
    assert told == [False]


DAMAGED = {
    "nothing": b"",
    "half of it": b'{"mode":"normal","microphone_on":tr',
    "an unknown mode": b'{"mode":"loud","microphone_on":true,"camera_on":true}',
    "a switch that is neither": b'{"mode":"normal","microphone_on":"yes","camera_on":true}',
    "a switch too few": b'{"mode":"normal","microphone_on":true}',
    "no text": b"\xff\x00\xff",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_where_the_file_is_damaged_everything_is_off_until_it_is_switched_on(
    service: Service, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    service.path.parent.mkdir()
    service.path.write_bytes(DAMAGED[case])
    service.start()
    assert service.is_how == ALL_OFF
    assert "is damaged" in service.trouble
    assert caplog.text.count("it is damaged") == 1 and f"remove {service.path}" in caplog.text
    service.control.switch_microphone(True)
    assert service.trouble == ""
    service.start()
    assert service.is_how == (Mode.QUIET, True, False)


def test_a_file_that_cannot_be_read_counts_as_damaged(service: Service) -> None:
    service.path.mkdir(parents=True)
    service.start()
    assert service.is_how == ALL_OFF
    assert "Is a directory" in service.trouble


def test_a_switch_that_cannot_be_kept_is_obeyed_and_told(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.path.parent.write_text("a file where the folder should be")
    # Nothing can be read there either.
    assert service.start().mode is Mode.QUIET
    service.path.parent.unlink()
    service.control.set_mode(Mode.NORMAL)
    assert service.trouble == ""
    service.path.unlink()
    service.path.mkdir()
    service.control.switch_microphone(False)
    assert not service.control.microphone_on
    assert "a restart undoes" in service.trouble
    assert any(one.levelno == logging.WARNING for one in caplog.records)


def test_the_last_change_of_many_is_kept(service: Service) -> None:
    control = service.start()
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        for number in range(50):
            control.switch_microphone(number % 2 == 0)
            control.set_mode(Mode.QUIET if number % 2 else Mode.NORMAL)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = service.is_how
    service.start()
    assert service.is_how == last


def test_the_file_is_in_the_service_s_folder_or_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"STATE_DIRECTORY": "/var/lib/edge-runtime/left:/x", "XDG_STATE_HOME": "/s"}
    assert kept_path("kiosk", given) == Path("/var/lib/edge-runtime/left/control.json")
    own = kept_path("kiosk", {"XDG_STATE_HOME": "/s"})
    assert own == Path("/s/edge_runtime/kiosk.control.json")
    assert kept_path("kiosk", given, "timers.json").name == "timers.json"
    other = kept_path("kiosk", {"XDG_STATE_HOME": "/s"}, "timers.json")
    assert other == own.with_name("kiosk.timers.json")
    assert kept_path("a/../b", {"XDG_STATE_HOME": "/s"}).parent == own.parent
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kept_path("kiosk", {}) == tmp_path / ".local/state/edge_runtime/kiosk.control.json"
