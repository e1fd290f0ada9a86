"""A camera's thread keeps the latest picture. A video file stands in for the hardware."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import MissingDeviceError, SourceError
from edge_runtime.health import CameraState
from edge_runtime.micro_turn import FrameReading
from edge_runtime.sources import camera as camera_module
from edge_runtime.sources.camera import CameraSource
from edge_runtime.sources.camera_capture import Capture, open_capture
from edge_runtime.sources.camera_devices import (
    CameraDevice,
    cameras,
    find_camera,
    lasting_name,
    shown,
)

RED = (200, 20, 20)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "stand-in.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48), True)
    for number in range(20):  # no two alike
        picture = np.full((48, 64, 3), RED[::-1], np.uint8)
        picture[:4, : 3 * number] = 0
        writer.write(picture)
    writer.release()
    return path


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    root = tmp_path / "video4linux"
    nodes = [
        ("video0", "Integrated Camera: Integrated C", "0"),
        ("video1", "Integrated Camera: Integrated C", "1"),
        ("video2", "Logitech BRIO", "0"),
        ("video10", "Logitech StreamCam", "0"),
    ]
    for node, name, index in nodes:
        (root / node).mkdir(parents=True)
        (root / node / "name").write_text(name + "\n")
        (root / node / "index").write_text(index + "\n")
    (root / "v4l-subdev0").mkdir()
    return root


def wait_for(source: CameraSource, frames: int) -> None:
    with source._changed:
        assert source._changed.wait_for(lambda: source.frames >= frames, timeout=30)


def test_entering_gives_a_picture_in_rgb_with_its_time(video: Path) -> None:
    before_ns = time.monotonic_ns()
    with CameraSource(str(video)) as source:
        reading = source.latest(time.monotonic_ns())
    assert reading is not None
    assert before_ns <= reading.captured_ns <= time.monotonic_ns()
    assert reading.frame.shape == (48, 64, 3)
    assert reading.frame.dtype == np.uint8
    np.testing.assert_allclose(reading.frame[8:].mean(axis=(0, 1)), RED, atol=6)


def test_a_video_in_a_camera_s_place_plays_at_its_own_rate(video: Path) -> None:
    capture, begun_s = open_capture(str(video), (640, 480)), time.monotonic()
    pictures = 0
    while capture.grab():
        pictures += 1
    assert pictures == 20
    assert time.monotonic() - begun_s >= (pictures - 1) / 30
    capture.release()


def test_a_folder_of_pictures_is_no_camera(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(SourceError, match=r"is a folder, and no camera.*--audio a file too"):
        CameraSource(str(tmp_path)).__enter__()


def test_latest_is_the_newest_picture_not_after_now(video: Path) -> None:
    source = CameraSource(str(video))
    assert source.latest(10**18) is None
    frame = np.zeros((2, 2, 3), np.uint8)
    source._frames.extend(FrameReading(frame, captured_ns) for captured_ns in (100, 200, 300))
    found = [source.latest(now_ns) for now_ns in (99, 100, 250, 300, 10**9)]
    assert [reading and reading.captured_ns for reading in found] == [None, 100, 200, 300, 300]


def test_memory_is_a_few_pictures(video: Path) -> None:
    with CameraSource(str(video)) as source:
        wait_for(source, 12)
        assert len(source._frames) == camera_module.KEPT_FRAMES


def test_a_camera_that_stops_is_opened_again(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.001)
    with CameraSource(str(video)) as source:
        wait_for(source, 12)
        assert source.reopened >= 1


def test_a_camera_that_is_gone_is_looked_for_and_comes_back(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(camera_module, "LONGEST_BACKOFF_S", 0.002)
    looked_in_vain = threading.Event()
    find = camera_module.find_camera

    def look(device: str | int) -> str | int:
        try:
            return find(device)
        except SourceError:
            looked_in_vain.set()
            raise

    monkeypatch.setattr(camera_module, "find_camera", look)
    with CameraSource(str(video)) as source:
        unplugged = video.rename(video.with_name("unplugged.avi"))
        assert looked_in_vain.wait(30)
        seen = source.frames
        assert source.latest(time.monotonic_ns()) is not None
        unplugged.rename(video)
        wait_for(source, seen + 1)


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (FileNotFoundError("/dev/v4l/by-id"), "WARNING"),
        (SourceError("it fits several cameras"), "WARNING"),
        (MissingDeviceError("there is no camera"), "DEBUG"),
    ],
)
def test_looking_for_a_camera_goes_on_whatever_is_found(
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: str,
) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.001)
    caplog.set_level(logging.DEBUG, camera_module.__name__)
    find, looked = camera_module.find_camera, threading.Event()

    def look(device: str | int) -> str | int:
        looked.set()
        raise error

    with CameraSource(str(video)) as source:
        source._tell(cv2.error("another failure, told before"))
        monkeypatch.setattr(camera_module, "find_camera", look)
        assert looked.wait(30)
        monkeypatch.setattr(camera_module, "find_camera", find)
        wait_for(source, source.frames + 25)
    told = [one.levelname for one in caplog.records if str(error) in one.getMessage()]
    assert told[0] == level and set(told[1:]) <= {"DEBUG"}


def test_leaving_ends_the_thread_at_once_even_while_it_backs_off(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 3600.0)
    with CameraSource(str(video)) as source:
        deadline = time.monotonic() + 30
        while source.state() is not CameraState.LOST:
            assert time.monotonic() < deadline, "the video never ends"
        thread = source._thread
    assert thread is not None
    assert not thread.is_alive()


class Quick:
    """Stands in for a camera of 60 pictures a second."""

    def __init__(self) -> None:
        self.grabbed = self.retrieved = 0

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        time.sleep(1 / 60)
        self.grabbed += 1
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.retrieved += 1
        return True, np.full((48, 64, 3), self.retrieved % 200, np.uint8)

    def release(self) -> None:
        return None


def test_a_late_turn_still_finds_the_picture_of_its_time(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Quick()
    monkeypatch.setattr(camera_module, "open_capture", lambda target, size: quick)
    with CameraSource(str(video)) as source:
        wait_for(source, 2 * camera_module.KEPT_FRAMES)
        now_ns = time.monotonic_ns()
        for late_ms in (0, 100, 200, 300):
            assert source.latest(now_ns - late_ms * 1_000_000) is not None
        times_ns = [one.captured_ns for one in source._frames]
    assert min(np.diff(times_ns)) >= camera_module.KEEP_EVERY_MS * 1_000_000
    assert quick.retrieved <= quick.grabbed / 2, "what is not kept is not even converted"


class AwaitsKeyframe(Quick):
    """Its first pictures cannot be decoded: they only tell what has changed since a keyframe."""

    def __init__(self, failures: float = 3) -> None:
        super().__init__()
        self.failures = failures

    def grab(self) -> bool:
        self.failures -= 1
        return super().grab() and self.failures < 0


def test_a_stream_is_read_until_its_next_keyframe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "open_capture", lambda target, size: AwaitsKeyframe())
    with CameraSource("rtsp://127.0.0.1/live") as source:
        wait_for(source, 3)
        assert source.reopened == 0


@pytest.mark.parametrize("late", [False, True], ids=["a run", "a service"])
def test_a_stream_without_a_picture_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, late: bool
) -> None:
    capture = AwaitsKeyframe(math.inf)
    monkeypatch.setattr(camera_module, "open_capture", lambda target, size: capture)
    waits = {"STREAM_FRAME_TIMEOUT_S": 0.4, "FIRST_FRAME_TIMEOUT_S": 0.1, "KEYFRAME_S": 0.2}
    for name, seconds in waits.items():
        monkeypatch.setattr(camera_module, name, seconds)
    source = CameraSource("rtsp://127.0.0.1/live", may_be_late=late)
    if not late:
        with pytest.raises(SourceError, match="keyframe interval"):
            source.__enter__()
        return
    with source:
        assert "keyframe interval" in caplog.text
        capture.failures = 0
        wait_for(source, 1)


class Raising(Quick):
    """Its third picture is one that OpenCV refuses."""

    def retrieve(self) -> tuple[bool, np.ndarray]:
        if self.retrieved == 2:
            cv2.cvtColor(np.zeros((0, 0), np.uint8), cv2.COLOR_BGR2RGB)
        return super().retrieve()


def test_a_picture_that_cannot_be_read_is_a_failure_and_not_the_end(
    video: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(camera_module, "open_capture", lambda target, size: Raising())
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.001)
    with CameraSource(str(video)) as source:
        wait_for(source, 5)
    assert source.reopened >= 2
    refused = [entry.levelname for entry in caplog.records if "OpenCV" in entry.getMessage()]
    assert refused[:1] == ["WARNING"] and "WARNING" not in refused[1:]


def test_a_camera_that_cannot_be_opened_again_is_tried_less_and_less_often(
    video: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    openings_s: list[float] = []

    def opening(target: object, size: object) -> Quick:
        openings_s.append(time.monotonic())
        if len(openings_s) > 1:
            raise cv2.error("no such device")
        return Raising()

    monkeypatch.setattr(camera_module, "open_capture", opening)
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.01)
    with CameraSource(str(video)):
        deadline = time.monotonic() + 30
        while len(openings_s) < 6:
            assert time.monotonic() < deadline
    pauses_s = np.diff(openings_s[1:])
    assert all(pause_s >= 0.01 * 2**doubled for doubled, pause_s in enumerate(pauses_s, 1))
    assert caplog.text.count("failed; reopening it") == 1


class Hanging:
    """Stands in for a camera whose driver gives one picture and then never answers again."""

    def __init__(self) -> None:
        self.answers, self.asked, self.released = (threading.Event() for _ in range(3))
        self.grabbed = 0

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        self.grabbed += 1
        if self.grabbed > 1:
            self.asked.set()
            assert self.answers.wait(60)
        return self.grabbed == 1

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.full((48, 64, 3), 100, np.uint8)

    def release(self) -> None:
        self.released.set()


@pytest.mark.parametrize(("stream", "level"), [(False, "ERROR"), (True, "INFO")])
def test_a_driver_that_hangs_does_not_keep_the_program_from_ending(
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
    level: str,
) -> None:
    caplog.set_level(logging.INFO)
    hanging = Hanging()
    monkeypatch.setattr(camera_module, "open_capture", lambda target, size: hanging)
    monkeypatch.setattr(camera_module, "LEAVE_S", 0.05)
    with CameraSource("rtsp://127.0.0.1/live" if stream else str(video)) as source:
        assert hanging.asked.wait(30)
        thread = source._thread
    assert thread is not None and thread.is_alive()
    assert "does not answer and could not be closed" in caplog.text
    assert caplog.records[-1].levelname == level
    hanging.answers.set()
    thread.join(30)
    assert not thread.is_alive()
    assert hanging.released.is_set()


def test_a_camera_that_never_opens_does_not_keep_the_program_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    monkeypatch.setattr(camera_module, "FIRST_OPENING_TIMEOUT_S", 0.3)
    monkeypatch.setattr(camera_module, "LEAVE_S", 0.05)
    source = CameraSource(str(pipe))
    with pytest.raises(SourceError, match=r"did not open in 0 s.*does not answer.*without a cam"):
        source.__enter__()
    opening = next(one for one in threading.enumerate() if one.name == "camera")
    until = time.monotonic() + 30
    while opening.is_alive() and time.monotonic() < until:  # each of OpenCV's back ends tries it
        with suppress(OSError):
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.01)
    assert not opening.is_alive()


def test_a_camera_that_comes_late_is_waited_for(
    video: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(camera_module, "LONGEST_BACKOFF_S", 0.002)
    unplugged = video.rename(video.with_name("unplugged.avi"))
    with CameraSource(str(video), may_be_late=True) as source:
        assert source.state() is CameraState.LOST
        assert source.latest(time.monotonic_ns()) is None
        unplugged.rename(video)
        wait_for(source, 1)
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "There is no camera" in warnings[0] and "as soon as it is there" in warnings[0]


def test_a_camera_that_is_late_can_be_switched_off_and_left() -> None:
    with CameraSource("no such camera", may_be_late=True) as source:
        source.switch(False)
        thread = source._thread
        assert thread is not None and thread.is_alive()
    assert not thread.is_alive()


def test_a_driver_that_answers_late_is_waited_for(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def opening(target: object, size: object) -> Quick:
        assert answers.wait(30)
        return Quick()

    monkeypatch.setattr(camera_module, "open_capture", opening)
    monkeypatch.setattr(camera_module, "FIRST_OPENING_TIMEOUT_S", 0.05)
    with CameraSource(str(video), may_be_late=True) as source:
        assert source.state() is CameraState.LOST
        answers.set()
        wait_for(source, 1)


def test_what_can_never_be_a_camera_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder, and no camera"):
        CameraSource(str(tmp_path), may_be_late=True).__enter__()
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        with pytest.raises(SourceError, match="without GStreamer"):
            CameraSource(PIPELINE, may_be_late=True).__enter__()


@pytest.mark.parametrize("device", [97, "97", "/dev/video97", "no such camera"])
def test_a_missing_camera(device: str | int) -> None:
    with pytest.raises(SourceError) as caught:
        CameraSource(device).__enter__()
    assert f"There is no camera {device!r}" in str(caught.value)
    assert "--video" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_camera_that_cannot_be_opened_may_be_busy(tmp_path: Path) -> None:
    (tmp_path / "device").write_bytes(b"")
    with pytest.raises(SourceError, match=r"cannot be opened.*fuser -v .*device.*usermod"):
        CameraSource(str(tmp_path / "device")).__enter__()


def test_a_camera_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mute.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48), True)
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    capture = cv2.VideoCapture(str(path))
    while capture.grab():
        pass
    monkeypatch.setattr(camera_module, "FIRST_FRAME_TIMEOUT_S", 0.05)
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 3600.0)
    source = CameraSource(str(path))
    monkeypatch.setattr(source, "_open", lambda: capture)
    with pytest.raises(SourceError, match=r"gave no picture.*edge-runtime devices"):
        source.__enter__()
    assert source._thread is None


def test_cameras_are_listed_by_number_without_their_further_nodes(sysfs: Path) -> None:
    assert cameras(sysfs, sysfs) == [
        CameraDevice(0, "Integrated Camera: Integrated C"),
        CameraDevice(2, "Logitech BRIO"),
        CameraDevice(10, "Logitech StreamCam"),
    ]
    assert cameras(sysfs, sysfs)[2].path == "/dev/video10"


@pytest.mark.parametrize(
    ("device", "number"),
    [(0, 0), ("2", 2), ("/dev/video10", 10), ("brio", 2), ("integrated", 0)],
)
def test_a_camera_is_found_by_number_path_or_name(
    sysfs: Path, device: str | int, number: int
) -> None:
    assert find_camera(device, sysfs, sysfs) == number


@pytest.mark.parametrize("address", ["rtsp://camera.local/stream", "/dev/null"])
def test_an_address_or_another_path_is_left_to_opencv(sysfs: Path, address: str) -> None:
    assert find_camera(address, sysfs) == address


def test_an_ambiguous_name_lists_what_it_fits(sysfs: Path) -> None:
    with pytest.raises(SourceError) as caught:
        find_camera("logitech", sysfs, sysfs)
    assert "several cameras: 2 'Logitech BRIO', 10 'Logitech StreamCam'" in str(caught.value)


def test_an_unknown_name_lists_what_there_is(sysfs: Path) -> None:
    with pytest.raises(SourceError, match=r"Cameras found: 0 'Integrated.*, 2 'Logitech BRIO'"):
        find_camera("kinect", sysfs, sysfs)


def test_a_machine_without_cameras(tmp_path: Path) -> None:
    assert cameras(tmp_path / "none", tmp_path) == []
    with pytest.raises(SourceError, match="Cameras found: none"):
        find_camera("brio", tmp_path / "none", tmp_path)


def test_a_camera_that_is_switched_off_is_closed_and_gives_nothing(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.001)
    opened: list[cv2.VideoCapture] = []
    really_open = CameraSource._open

    def noted(source: CameraSource) -> cv2.VideoCapture:
        opened.append(really_open(source))
        return opened[-1]

    monkeypatch.setattr(CameraSource, "_open", noted)
    with CameraSource(str(video)) as source:
        wait_for(source, 5)
        source.switch(False)
        assert source.latest(10**18) is None
        deadline = time.monotonic() + 30
        while any(capture.isOpened() for capture in opened):
            assert time.monotonic() < deadline, "the camera stays open"
        taken, openings = source.frames, len(opened)
        assert source.latest(10**18) is None
        source.switch(True)
        wait_for(source, taken + 3)
        assert source.latest(10**18) is not None
        assert len(opened) > openings


def test_a_camera_that_is_off_can_be_left(video: Path) -> None:
    with CameraSource(str(video)) as source:
        source.switch(False)
        thread = source._thread
        assert thread is not None
    assert not thread.is_alive()


def test_a_camera_that_is_off_before_it_is_entered_is_not_opened(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.001)
    openings: list[object] = []
    really_open = CameraSource._open

    def noted(source: CameraSource) -> Capture:
        openings.append(source)
        return really_open(source)

    monkeypatch.setattr(CameraSource, "_open", noted)
    source = CameraSource(str(video))
    source.switch(False)
    with source:
        assert source.state() is CameraState.OFF
        assert source.latest(10**18) is None and not openings
        source.switch(True)
        wait_for(source, 3)
    assert openings


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """udev's links, to nodes that need not be there."""
    root = tmp_path / "v4l"
    named = {
        "by-id/usb-Logitech_BRIO_8A2B-video-index0": 2,
        "by-path/platform-xhci-usb-0:1.2:1.0-video-index0": 2,
        "by-id/usb-Logitech_StreamCam_77F0-video-index0": 10,
        "by-path/platform-xhci-usb-0:1.3:1.0-video-index0": 10,
    }
    for name, number in named.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"../../video{number}")
    return root


@pytest.mark.parametrize(
    ("device", "number"),
    [("8a2b", 2), ("77F0", 10), ("usb-0:1.3", 10), ("by-id/usb-Logitech_BRIO", 2)],
)
def test_a_camera_is_found_by_serial_number_or_usb_path(
    sysfs: Path, links: Path, device: str, number: int
) -> None:
    assert find_camera(device, sysfs, links) == number


def test_a_number_has_a_name_that_lasts(links: Path) -> None:
    assert lasting_name(2, links) == str(links / "by-id/usb-Logitech_BRIO_8A2B-video-index0")
    assert lasting_name("/dev/video10", links) == str(
        links / "by-id/usb-Logitech_StreamCam_77F0-video-index0"
    )
    assert lasting_name(1, links) is lasting_name("brio", links) is None


def test_the_password_of_an_address_is_not_shown() -> None:
    assert shown("rtsp://me:secret@10.0.0.7/live") == "'rtsp://***@10.0.0.7/live'"
    assert shown("rtsp://10.0.0.7:554/live") == "'rtsp://10.0.0.7:554/live'"
    assert shown(0) == "'0'"


PIPELINE = "videotestsrc is-live=true ! videoconvert ! video/x-raw,format=BGR ! appsink"


def test_a_pipeline_without_gstreamer_says_where_to_get_it() -> None:
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(SourceError, match=r"without GStreamer.*python3-opencv.*system-site"):
        CameraSource(PIPELINE).__enter__()


def test_a_pipeline_longer_than_any_path_that_does_not_open_is_an_input_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(camera_module, "open_capture", lambda target, size: cv2.VideoCapture())
    with pytest.raises(SourceError, match="cannot be opened"):
        CameraSource("videotestsrc ! " + "identity ! " * 100 + "appsink").__enter__()


def test_a_pipeline_is_a_camera() -> None:
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV was built without GStreamer")
    with CameraSource(PIPELINE) as source:
        wait_for(source, 5)
        reading = source.latest(time.monotonic_ns())
    assert reading is not None and reading.frame.ndim == 3
