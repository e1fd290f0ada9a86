"""A camera: the latest picture and when it was taken, from a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from types import TracebackType

from typing_extensions import Self

from edge_runtime.errors import MissingDeviceError, SourceError
from edge_runtime.health import CameraState
from edge_runtime.micro_turn import FrameReading
from edge_runtime.sources.camera_capture import Capture, is_stream, open_capture
from edge_runtime.sources.camera_devices import find_camera, lasting_name, shown
from edge_runtime.sources.camera_watch import PictureWatch, View

log = logging.getLogger(__name__)
FIRST_OPENING_TIMEOUT_S, FIRST_FRAME_TIMEOUT_S = 10.0, 5.0
"""A local camera may take seconds to wake up; OpenCV waits up to 10 s for one."""
STREAM_OPENING_TIMEOUT_S, STREAM_FRAME_TIMEOUT_S = 15.0, 12.0
KEYFRAME_S, PAUSE_S = 10.0, 0.05
"""So long a stream may give nothing at first, and is asked again so soon after it has said so."""
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0
LEAVE_S = 3.0
"""For the picture that is being waited for; a stream gives up after 2 s, a driver may never."""
KEEP_EVERY_MS = 45
"""What comes sooner is fetched, so that no picture ages in the driver's queue, and left out. A
little less than the 50 ms of a camera of 20 a second."""
KEPT_FRAMES = 10
"""The sound of a micro-turn ends a little before now, and a turn may come late: its picture is not
the very newest, but one of the last 0.5 s."""


class CameraSource:
    """A FrameSource. Its thread reads the camera, and reopens it with growing pauses when it fails
    or gives the same picture again and again.

    The device is what `find_camera` understands. Entering waits for the first picture; it raises
    SourceError, with a remedy, when the camera is missing, busy or mute, or does not open within
    `FIRST_OPENING_TIMEOUT_S` (a stream: `STREAM_OPENING_TIMEOUT_S`); one that `may_be_late` is lost
    instead, and opened once it is there.
    Switched off, the camera is closed, and before it is entered it is not even opened. A frozen
    picture is not handed out; a black one is, for it may be the night. Leaving takes at most
    `LEAVE_S`: a driver that hangs is left behind in its thread.
    """

    def __init__(
        self,
        device: str | int,
        width: int = 640,
        height: int = 480,
        view: View = View(),  # noqa: B008 (frozen)
        frozen_s: float = 1.5,
        may_be_late: bool = False,
    ) -> None:
        """`width` and `height` are what the camera is asked for; it may give another size, and
        change it. Pictures that are the same for `frozen_s` are frozen; 0: never."""
        self._device = device
        self._size = (width, height)
        self._view = view
        self._may_be_late = may_be_late
        self._watch = PictureWatch(frozen_s)
        """Guarded by `_changed`."""
        self._target: str | int = 0
        self._changed = threading.Condition()
        self._frames: deque[FrameReading] = deque(maxlen=KEPT_FRAMES)
        self._stopping = threading.Event()
        self._on = True
        """Guarded by `_changed`."""
        self._thread: threading.Thread | None = None
        self._told: set[type[Exception]] = set()
        """What it raised and was logged as a warning."""
        self.frames = 0
        """Pictures kept, not all that were fetched."""
        self.reopened = 0
        """Attempts to open the camera again."""

    def __enter__(self) -> Self:
        if (lasting := lasting_name(self._device)) is not None:
            log.info("camera %s may get another number; %s stays its own", self._device, lasting)
        self._watch.forget()
        if not self._on:
            self._begin(partial(self._run, None))
            return self
        opened: Future[None] = Future()
        self._begin(partial(self._open_and_run, opened))
        try:
            self._await_a_picture(opened)
        except SourceError as error:
            if not self._waits_for(error):
                self._stop()
                raise
            log.warning("%s It is opened as soon as it is there.", error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def latest(self, now_ns: int) -> FrameReading | None:
        """The newest picture taken at or before `now_ns` on the monotonic clock; None while it is
        frozen."""
        with self._changed:
            if self._watch.state(now_ns) is CameraState.FROZEN:
                return None
            taken = [reading for reading in self._frames if reading.captured_ns <= now_ns]
        return taken[-1] if taken else None

    def state(self) -> CameraState:
        """What it is worth right now, from any thread."""
        with self._changed:
            if not self._on:
                return CameraState.OFF
            return self._watch.state(time.monotonic_ns())

    def switch(self, on: bool) -> None:
        """Off: no picture is handed out from now on, and the camera is closed at once."""
        with self._changed:
            self._on = on
            self._frames.clear()
            self._watch.forget()
            self._changed.notify_all()

    def _begin(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name="camera", daemon=True)
        self._thread.start()

    def _waits_for(self, error: Exception) -> bool:
        return self._may_be_late and isinstance(error, MissingDeviceError)

    def _await_a_picture(self, opened: Future[None]) -> None:
        """Raises what the thread did when it opened the camera, and MissingDeviceError."""
        stream = is_stream(self._device)
        opening_s, frame_s = FIRST_OPENING_TIMEOUT_S, FIRST_FRAME_TIMEOUT_S
        if stream and not self._may_be_late:
            opening_s, frame_s = STREAM_OPENING_TIMEOUT_S, STREAM_FRAME_TIMEOUT_S
        try:
            opened.result(opening_s)
        except FutureTimeoutError:
            remedy = (
                "Check that it is on and can be reached from this machine (ffplay)"
                if stream
                else "Its driver does not answer. Unplug it and plug it in again, or restart the "
                "machine"
            )
            raise MissingDeviceError(
                f"The camera {shown(self._device)} did not open in {opening_s:.0f} s. {remedy}. "
                "Or run without a camera."
            ) from None
        with self._changed:
            seen = self._changed.wait_for(lambda: bool(self._frames), frame_s)
        if not seen:
            remedy = (
                "Set a keyframe interval (I-frame interval, GOP) of 1 to 2 s in its settings, and "
                "check that ffplay shows it."
                if stream
                else "Unplug it and plug it in again, or choose another: `edge-runtime devices` "
                "lists what there is."
            )
            raise MissingDeviceError(
                f"The camera {shown(self._device)} gave no picture in {frame_s:.0f} s. {remedy}"
            )

    def _stop(self) -> None:
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(LEAVE_S)
            if self._thread.is_alive():
                log.log(
                    logging.INFO if is_stream(self._device) else logging.ERROR,
                    "the camera %s does not answer and could not be closed; it stays in use until "
                    "this program has ended",
                    shown(self._device),
                )
            self._thread = None

    def _why_not_opened(self) -> SourceError:
        if isinstance(self._target, str) and os.path.isdir(self._target):
            return SourceError(
                f"{self._target} is a folder, and no camera. Pictures of a folder go with recorded "
                "sound: give --audio a file too, or --video a camera or a video."
            )
        if isinstance(self._target, str) and not self._target.startswith("/"):
            return MissingDeviceError(
                f"The camera {shown(self._device)} cannot be opened. Check that it is on and can "
                "be reached from this machine (ffplay for an address, gst-launch-1.0 for a "
                "pipeline), with its user and password. Or run without a camera."
            )
        return MissingDeviceError(
            f"The camera {self._device!r} cannot be opened. Close other programs that use it "
            f"(fuser -v {_path(self._target)}), and check your rights: sudo usermod -aG video "
            "$USER. Or run without a camera."
        )

    def _open(self) -> Capture:
        return open_capture(self._target, self._size)

    def _open_first(self) -> Capture:
        """Raises SourceError where it cannot be opened."""
        self._target = find_camera(self._device)
        capture = self._open()
        if not capture.isOpened():
            raise self._why_not_opened()
        return capture

    def _open_and_run(self, opened: Future[None]) -> None:
        """The camera's thread. It ends at once where the camera cannot be opened, and is not waited
        for."""
        capture: Capture | None = None
        try:
            capture = self._open_first()
        except Exception as error:  # raised where it is entered
            opened.set_exception(error)
            if not self._waits_for(error):
                return
        else:
            with self._changed:
                self._watch.opened(time.monotonic_ns(), again=False)
            opened.set_result(None)
        self._run(capture)

    def _run(self, capture: Capture | None) -> None:
        """Read until it fails, then open it again, until told to stop. None: it is not there."""
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            if capture is not None:
                if self._gave(capture):
                    if self._on:
                        log.warning("the camera %s failed; reopening it", shown(self._device))
                    backoff_s = FIRST_BACKOFF_S
                capture.release()
            with self._changed:
                if self._watch.stuck:
                    self._frames.clear()
                self._watch.closed()
            if not self._on:
                self._wait_to_be_switched_on()
            else:
                self._stopping.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            if self._stopping.is_set():
                return
            self.reopened += 1
            capture = self._reopen()
            if capture is not None:
                with self._changed:
                    self._watch.opened(time.monotonic_ns(), again=True)
        if capture is not None:
            capture.release()

    def _wait_to_be_switched_on(self) -> None:
        log.info("the camera is off, and closed")
        with self._changed:
            self._changed.wait_for(lambda: self._on or self._stopping.is_set())

    def _reopen(self) -> Capture | None:
        """A camera that comes back may have another number: it is looked up again. None: it does
        not open."""
        try:
            self._target = find_camera(self._device)
            capture = self._open()
        except MissingDeviceError as error:
            log.debug("%s", error)
            return None
        except Exception as error:  # udev's names may vanish while they are read
            self._tell(error)
            return None
        return capture if capture.isOpened() else None

    def _gave(self, capture: Capture) -> bool:
        """Reads, until it fails or raises; whether it gave anything new before."""
        try:
            self._read_while_it_gives(capture)
        except Exception as error:  # OpenCV's own among them: the thread must not end of it
            self._tell(error)
        with self._changed:
            return self._watch.changed_since_opened and not self._stopping.is_set()

    def _tell(self, error: Exception) -> None:
        log.log(
            logging.DEBUG if type(error) in self._told else logging.WARNING,
            "camera %s: %s",
            shown(self._device),
            error,
        )
        self._told.add(type(error))

    def _read_while_it_gives(self, capture: Capture) -> None:
        """Until it gives no more, or nothing new. A stream shows nothing before its next keyframe,
        and fails to be read until then."""
        frames, patient_s = self.frames, KEYFRAME_S if is_stream(self._target) else 0.0
        until_s = time.monotonic() + patient_s
        while self._on and not self._stopping.is_set():
            if not capture.grab():
                if self.frames > frames or time.monotonic() >= until_s:
                    break
                self._stopping.wait(PAUSE_S)
                continue
            captured_ns = time.monotonic_ns()
            if not self._due(captured_ns):
                continue
            decoded, picture = capture.retrieve()
            if not decoded:
                break
            frame = self._view.of(picture)
            with self._changed:
                if not self._on:
                    break
                self._watch.saw(frame, captured_ns)
                self._frames.append(FrameReading(frame, captured_ns))
                self.frames += 1
                self._changed.notify_all()
                if self._watch.stuck:
                    break

    def _due(self, captured_ns: int) -> bool:
        with self._changed:
            last_ns = self._frames[-1].captured_ns if self._frames else None
        return last_ns is None or captured_ns - last_ns >= KEEP_EVERY_MS * 1_000_000


def _path(target: str | int) -> str:
    return f"/dev/video{target}" if isinstance(target, int) else target
