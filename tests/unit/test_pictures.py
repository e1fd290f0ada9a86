"""No picture is larger than the runtime wants it, wherever it comes from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_runtime.micro_turn import Frame
from edge_runtime.sources.camera_watch import View
from edge_runtime.sources.pictures import MOST_PIXELS, bounded
from edge_runtime.sources.ros_topics import StampClock, TopicCamera
from edge_runtime.sources.video_file import VideoFile

LARGE = np.random.default_rng(1).integers(0, 256, (1080, 1920, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((480, 640), (480, 640)),
        ((640, 480), (640, 480)),
        ((1080, 1920), (360, 640)),
        ((1920, 1080), (640, 360)),
        ((960, 1280), (480, 640)),
        ((201, 1921), (100, 960)),
    ],
)
def test_a_large_picture_keeps_its_proportions(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    scaled = bounded(picture)
    assert scaled.shape == (*wanted, 3)
    assert scaled.shape[0] * scaled.shape[1] <= MOST_PIXELS
    assert bounded(scaled) is scaled


def test_a_camera_a_video_and_a_topic_give_no_larger_one(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), LARGE)
    with VideoFile(tmp_path) as video:
        shown = video.frame_at(0)
        assert "1920x1080" in video.description
    fed = from_a_topic(LARGE, View())
    assert shown is not None
    seen = View().of(LARGE)
    assert seen.shape == (360, 640, 3)
    np.testing.assert_array_equal(shown, seen)
    np.testing.assert_array_equal(fed, seen)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (0.25, 0.0, 1.0, 0.5)])
def test_a_topic_is_turned_and_cropped_as_a_camera_is(
    rotate: int, crop: tuple[float, ...] | None
) -> None:
    """What is cut off, such as a bed, goes no further, compressed or not."""
    view = View(rotate, crop)
    for picture in (LARGE, LARGE[:120, :160]):
        seen = view.of(picture)
        for fed in (from_a_topic(picture, view), from_a_topic(picture, view, compressed=True)):
            np.testing.assert_array_equal(fed, seen)
            assert fed.flags.c_contiguous


def from_a_topic(picture: Frame, view: View, compressed: bool = False) -> Frame:
    """What a camera fed with a BGR `picture` shows."""
    topic = TopicCamera(StampClock(), view)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0))
    if compressed:
        data = cv2.imencode(".png", picture)[1].tobytes()
        topic.feed_compressed(SimpleNamespace(header=header, format="png", data=data))
    else:
        height, width, _ = picture.shape
        size = {"height": height, "width": width, "step": 3 * width}
        data = picture.tobytes()
        topic.feed(SimpleNamespace(header=header, encoding="bgr8", data=data, **size))
    fed = topic.latest(2**62)
    assert fed is not None
    return fed.frame
