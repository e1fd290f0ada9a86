"""What a camera is worth is judged by its pictures; and which part of them is seen."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.errors import SourceError
from edge_runtime.health import CameraState
from edge_runtime.micro_turn import Frame
from edge_runtime.sources.camera_watch import BLACK_S, PROVED_S, STALE_S, PictureWatch, View

FRAME_S = 0.04
FROZEN_S = 1.5
STILL = np.full((12, 16, 3), 100, np.uint8)


class Camera:
    """Gives pictures 25 times a second, on a clock of its own."""

    def __init__(self, frozen_s: float = FROZEN_S) -> None:
        self.watch = PictureWatch(frozen_s)
        self.now_s = 100.0
        self.number = 0
        self.watch.opened(self.now_ns, again=False)

    @property
    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    @property
    def state(self) -> CameraState:
        return self.watch.state(self.now_ns)

    def moving(self) -> Frame:
        self.number += 1
        return np.full((12, 16, 3), 60 + self.number % 100, np.uint8)

    def gives(self, picture: Frame | None, for_s: float) -> None:
        """None: a new one every time."""
        for _ in range(round(for_s / FRAME_S)):
            self.now_s += FRAME_S
            self.watch.saw(self.moving() if picture is None else picture, self.now_ns)

    def is_opened_again(self, after_s: float = 0.5) -> None:
        self.watch.closed()
        self.now_s += after_s
        self.watch.opened(self.now_ns, again=True)


@pytest.fixture
def camera() -> Camera:
    camera = Camera()
    camera.gives(None, 1)
    assert camera.state is CameraState.PRESENT
    return camera


def test_before_the_first_picture_there_is_no_camera() -> None:
    assert Camera().state is CameraState.LOST


@pytest.mark.parametrize(
    ("picture", "state"),
    [(STILL, CameraState.FROZEN), (np.zeros_like(STILL), CameraState.BLACK)],
)
def test_frozen_and_black_are_told_within_two_seconds_and_not_at_once(
    camera: Camera, picture: Frame, state: CameraState
) -> None:
    camera.gives(picture, 1.0)
    assert camera.state is CameraState.PRESENT
    camera.gives(picture, 0.8)
    assert camera.state is state
    camera.gives(None, FRAME_S)
    assert camera.state is CameraState.PRESENT


def test_a_camera_that_gives_nothing_is_lost_within_two_seconds(camera: Camera) -> None:
    camera.now_s += STALE_S - 0.1
    assert camera.state is CameraState.PRESENT
    camera.now_s += 0.2
    assert camera.state is CameraState.LOST


def test_one_that_was_closed_is_lost_at_once_and_proves_itself_when_it_is_back(
    camera: Camera,
) -> None:
    camera.is_opened_again()
    assert camera.state is CameraState.LOST
    camera.gives(None, FRAME_S)
    assert camera.state is CameraState.RECOVERING
    camera.gives(None, PROVED_S + 0.1)
    assert camera.state is CameraState.PRESENT


def test_one_that_was_frozen_stays_so_until_its_picture_changes(camera: Camera) -> None:
    camera.gives(STILL, 2)
    assert camera.watch.stuck
    camera.is_opened_again()
    assert camera.state is CameraState.FROZEN
    camera.gives(STILL, 1)
    assert camera.state is CameraState.FROZEN
    assert not camera.watch.stuck, "it has its time before it is opened yet again"
    assert not camera.watch.changed_since_opened
    camera.gives(None, 2 * FRAME_S)
    assert camera.state is CameraState.RECOVERING
    assert camera.watch.changed_since_opened


def test_one_that_was_frozen_and_cannot_be_opened_is_lost(camera: Camera) -> None:
    camera.gives(STILL, 2)
    camera.watch.closed()
    assert camera.state is CameraState.FROZEN
    camera.watch.closed()
    assert camera.state is CameraState.LOST


def test_where_a_picture_may_stand_still_it_is_never_frozen() -> None:
    camera = Camera(frozen_s=0)
    camera.gives(STILL, 10)
    assert camera.state is CameraState.PRESENT
    camera.is_opened_again()
    camera.gives(STILL, 1)
    assert camera.state is CameraState.PRESENT


def test_a_black_picture_that_never_changes_is_a_covered_lens(camera: Camera) -> None:
    camera.gives(np.zeros_like(STILL), 10)
    assert camera.state is CameraState.BLACK
    assert not camera.watch.stuck


def test_a_lamp_in_the_night_is_not_black(camera: Camera) -> None:
    night = np.zeros((120, 160, 3), np.uint8)
    night[40:60, 40:60] = 200
    for number in range(100):
        night = night.copy()
        night[0, 0] = number
        camera.gives(night, FRAME_S)
    assert camera.state is CameraState.PRESENT


def test_a_size_that_changes_is_a_new_picture(camera: Camera) -> None:
    camera.gives(STILL, BLACK_S)
    camera.gives(np.full((24, 32, 3), 100, np.uint8), FRAME_S)
    assert camera.state is CameraState.PRESENT


def corners() -> Frame:
    """BGR, 4 wide and 2 high; blue says the column, green the row, red is 7."""
    picture = np.full((2, 4, 3), 7, np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(4), np.arange(2)[:, None]
    return picture


@pytest.mark.parametrize(
    ("rotate", "shape", "top_left"),
    [(0, (2, 4), (0, 0)), (90, (4, 2), (1, 0)), (180, (2, 4), (1, 3)), (270, (4, 2), (0, 3))],
)
def test_turned_clockwise_and_in_rgb(
    rotate: int, shape: tuple[int, int], top_left: tuple[int, int]
) -> None:
    seen = View(rotate).of(corners())
    row, column = top_left
    assert seen.shape == (*shape, 3)
    assert seen.flags.c_contiguous
    assert seen[0, 0].tolist() == [7, row, column]


def test_cropped_after_it_was_turned() -> None:
    seen = View(90, (0.5, 0.0, 1.0, 0.5)).of(corners())
    assert [[pixel.tolist() for pixel in row] for row in seen] == [[[7, 0, 0]], [[7, 0, 1]]]


@pytest.mark.parametrize("rotate", [0, 90])
def test_gray_and_transparent_pictures_become_rgb(rotate: int) -> None:
    gray = np.arange(8, dtype=np.uint8).reshape(2, 4)
    wanted = View(rotate).of(np.dstack([gray] * 3))
    np.testing.assert_array_equal(View(rotate).of(gray), wanted)
    np.testing.assert_array_equal(View(rotate).of(gray[..., None]), wanted)
    bgra = np.dstack([corners(), np.full((2, 4), 99, np.uint8)])
    np.testing.assert_array_equal(View(rotate).of(bgra), View(rotate).of(corners()))


@pytest.mark.parametrize(
    ("picture", "named"),
    [
        (np.zeros((2, 4, 2), np.uint8), "2x4x2 uint8"),
        (np.zeros((2, 4), np.uint16), "2x4 uint16"),
        (np.zeros((0, 4, 3), np.uint8), "0x4x3 uint8"),
        (np.zeros(8, np.uint8), "8 uint8"),
    ],
)
def test_another_kind_of_picture_is_refused_by_name(picture: np.ndarray, named: str) -> None:
    with pytest.raises(SourceError, match=rf"of {named}.*format=BGR"):
        View().of(picture)


def test_a_crop_leaves_at_least_a_pixel() -> None:
    assert View(0, (0.99, 0.99, 1.0, 1.0)).of(corners()).shape == (1, 1, 3)
