"""No picture is larger than the runtime wants it, wherever it comes from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

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
    topic = TopicCamera(StampClock())
    stamp = SimpleNamespace(sec=1, nanosec=0)
    topic.feed(
        SimpleNamespace(
            header=SimpleNamespace(stamp=stamp),
            encoding="bgr8",
            height=1080,
            width=1920,
            step=3 * 1920,
            data=LARGE.tobytes(),
        )
    )
    fed = topic.latest(2**62)
    assert shown is not None and fed is not None
    seen = View().of(LARGE)
    assert seen.shape == (360, 640, 3)
    np.testing.assert_array_equal(shown, seen)
    np.testing.assert_array_equal(fed.frame, seen)
