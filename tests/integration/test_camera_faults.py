"""A camera on the network that fails in every way it can, read by the real decoder."""

from __future__ import annotations

import gc
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from broker import wait_until
from mjpeg_camera import MjpegCamera
from talking_device import assert_hardly_missed

from edge_runtime.app import device
from edge_runtime.config import Config, Video
from edge_runtime.errors import SourceError
from edge_runtime.health import CAMERA, CameraState, HealthMonitor
from edge_runtime.micro_turn import FrameReading
from edge_runtime.pacing import MonotonicClock
from edge_runtime.senses import Senses, senses_for
from edge_runtime.sinks.statistics import resident_mb
from edge_runtime.sources import camera as camera_module
from edge_runtime.sources.camera import CameraSource
from edge_runtime.sources.camera_watch import View
from edge_runtime.sources.recording import RecordingSource

SYSTEM_PYTHON = Path("/usr/bin/python3")
DISCONNECTS = 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "FIRST_BACKOFF_S", 0.05)
    monkeypatch.setattr(camera_module, "LONGEST_BACKOFF_S", 0.2)


@pytest.fixture
def network() -> Iterator[MjpegCamera]:
    with MjpegCamera() as camera:
        yield camera


def wait_for(source: CameraSource, state: CameraState) -> None:
    wait_until(lambda: source.state() is state)


def newest(source: CameraSource) -> FrameReading | None:
    return source.latest(time.monotonic_ns())


def wait_for_a_new_picture(source: CameraSource) -> None:
    seen = source.frames
    wait_until(lambda: source.frames > seen)


def test_a_frozen_picture_is_told_withheld_and_the_camera_is_opened_again(
    network: MjpegCamera,
) -> None:
    with CameraSource(network.address) as source:
        assert source.state() is CameraState.PRESENT
        network.fault = "frozen"
        wait_for(source, CameraState.FROZEN)
        assert newest(source) is None
        wait_until(lambda: network.connections >= 3)
        assert source.state() is CameraState.FROZEN, "the same picture again proves nothing"
        network.fault = None
        wait_for(source, CameraState.RECOVERING)
        wait_for(source, CameraState.PRESENT)
        assert newest(source) is not None


def test_a_stream_that_may_stand_still_is_left_alone(network: MjpegCamera) -> None:
    network.fault = "frozen"
    with CameraSource(network.address, frozen_s=0) as source:
        wait_until(lambda: source.frames > 50)
        assert source.state() is CameraState.PRESENT
        assert network.connections == 1


def test_a_black_picture_is_told_and_handed_out(network: MjpegCamera) -> None:
    with CameraSource(network.address) as source:
        network.fault = "black"
        wait_for(source, CameraState.BLACK)
        reading = newest(source)
        assert reading is not None and reading.frame.max() < 30
        network.fault = None
        wait_for(source, CameraState.PRESENT)
        assert network.connections == 1, "a covered lens is no reason to open it again"


def test_a_stream_that_falls_silent_is_lost_long_before_its_connection(
    network: MjpegCamera,
) -> None:
    with CameraSource(network.address) as source:
        network.fault = "silent"
        wait_for(source, CameraState.LOST)
        assert network.connections == 1
        network.fault = None
        wait_for(source, CameraState.PRESENT)


def test_a_camera_that_is_unplugged_and_comes_back(network: MjpegCamera) -> None:
    with CameraSource(network.address) as source:
        network.unplug()
        wait_for(source, CameraState.LOST)
        wait_until(lambda: source.reopened >= 3)
        assert source.state() is CameraState.LOST
        network.plug_in()
        wait_for(source, CameraState.RECOVERING)
        wait_for(source, CameraState.PRESENT)


def test_switched_off_is_a_state_of_its_own(network: MjpegCamera) -> None:
    with CameraSource(network.address) as source:
        source.switch(False)
        assert source.state() is CameraState.OFF
        source.switch(True)
        wait_for(source, CameraState.PRESENT)


def test_a_size_that_changes_stops_nothing(network: MjpegCamera) -> None:
    """OpenCV scales to the size at the opening; a new connection has the new size."""
    with CameraSource(network.address) as source:
        network.size = (320, 200)
        for _ in range(10):
            wait_for_a_new_picture(source)
        assert source.state() is CameraState.PRESENT
        network.disconnect()
        wait_until(lambda: (seen := newest(source)) is not None and seen.frame.shape[1] == 320)
        assert network.connections == 2


def test_the_picture_is_turned_and_cropped(network: MjpegCamera) -> None:
    view = View(rotate=90, crop=(0.0, 0.25, 0.5, 1.0))
    with CameraSource(network.address, view=view) as source:
        reading = newest(source)
    assert reading is not None and reading.frame.shape == (120, 60, 3)


def test_the_configuration_reaches_the_camera(network: MjpegCamera) -> None:
    video = Video(source=network.address, rotate=270, crop=[0.0, 0.0, 1.0, 0.5], frozen_s=0)
    senses = senses_for(Config(video=video), realtime=True)
    network.fault = "frozen"
    assert isinstance(senses.frames, CameraSource)
    with senses.frames as source:
        wait_until(lambda: source.frames > 50)
        reading = newest(source)
        assert reading is not None and reading.frame.shape == (80, 120, 3)
        assert source.state() is CameraState.PRESENT


def test_a_pipeline_longer_than_any_path_is_still_a_camera() -> None:
    pipeline = "videotestsrc ! " + "identity ! " * 100 + "appsink"
    senses = senses_for(Config(video=Video(source=pipeline)), realtime=True)
    assert isinstance(senses.frames, CameraSource)


def test_an_address_that_nobody_answers_says_what_to_check() -> None:
    with pytest.raises(SourceError) as caught, CameraSource("http://me:secret@127.0.0.1:9/x"):
        pass
    assert "can be reached" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16_000 * 120, np.int16), 16_000)
    return path


def test_twenty_disconnects_cost_the_loop_no_turn_and_no_memory(
    network: MjpegCamera, silence: Path
) -> None:
    clock, stop = MonotonicClock(), threading.Event()
    camera = CameraSource(network.address)
    senses = Senses(RecordingSource(silence, None, True, clock), camera, clock, True)
    health = HealthMonitor()
    with ExitStack() as stack:
        ready = stack.enter_context(device(Config(), senses, health=health))
        loop = threading.Thread(target=ready.loop.run, kwargs={"stop": stop.is_set})
        loop.start()
        stack.callback(loop.join)
        stack.callback(stop.set)

        def camera_is(state: CameraState) -> bool:
            part = health.snapshot().part(CAMERA)
            return part is not None and part.values.get("state") == state.value

        begun_mb = 0.0
        for count in range(DISCONNECTS):
            wait_until(lambda: camera_is(CameraState.PRESENT))
            if count == DISCONNECTS // 2:
                begun_mb = settled_mb()
            network.disconnect()
            wait_until(lambda: not camera_is(CameraState.PRESENT))
        wait_until(lambda: camera_is(CameraState.PRESENT))
        grown_mb = settled_mb() - begun_mb
    assert network.connections == DISCONNECTS + 1
    print(f"{ready.statistics.turns} turns, {grown_mb:+.1f} MB over the last ten disconnects")
    assert_hardly_missed(ready.statistics.missed, ready.statistics.turns)
    assert grown_mb < 10


def settled_mb() -> float:
    gc.collect()
    return resident_mb()


def why_no_rtsp() -> str | None:
    if not SYSTEM_PYTHON.exists():
        return f"there is no {SYSTEM_PYTHON}"
    wanted = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0'); "
        "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
        "assert all(map(Gst.ElementFactory.find, ('openh264enc', 'h264parse', 'rtph264pay')))"
    )
    asked = subprocess.run([SYSTEM_PYTHON, "-c", wanted], capture_output=True, check=False)
    if asked.returncode == 0:
        return None
    return (
        "no RTSP server: apt install python3-gi gir1.2-gst-rtsp-server-1.0 "
        "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
    )


@contextmanager
def rtsp_camera(port: int, keyframe_s: int = 1) -> Iterator[subprocess.Popen[str]]:
    program = Path(__file__).with_name("rtsp_server.py")
    command = [str(SYSTEM_PYTHON), str(program), str(port), str(keyframe_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield server
        finally:
            server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_rtsp_camera_that_hangs_dies_and_starts_again() -> None:
    if (missing := why_no_rtsp()) is not None:
        pytest.skip(missing)
    port = free_port()
    with ExitStack() as stack:
        with rtsp_camera(port) as server:
            source = stack.enter_context(CameraSource(f"rtsp://127.0.0.1:{port}/live"))
            reading = newest(source)
            assert reading is not None and reading.frame.shape == (120, 160, 3)
            server.send_signal(signal.SIGSTOP)
            wait_for(source, CameraState.LOST)
            server.send_signal(signal.SIGCONT)
            wait_for(source, CameraState.PRESENT)
        wait_for(source, CameraState.LOST)
        wait_until(lambda: source.reopened >= 2)
        with rtsp_camera(port):
            wait_for(source, CameraState.RECOVERING)
            wait_for(source, CameraState.PRESENT)


def test_an_rtsp_camera_with_rare_keyframes_is_waited_for() -> None:
    if (missing := why_no_rtsp()) is not None:
        pytest.skip(missing)
    port = free_port()
    # Opening takes FFmpeg 5 s of them, and the keyframe of the beginning.
    with rtsp_camera(port, keyframe_s=12), CameraSource(f"rtsp://127.0.0.1:{port}/live") as source:
        assert newest(source) is not None
        assert source.reopened == 0
