"""The picture that shows at a time, from real videos and folders of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import Frame
from edge_runtime.sources.video_file import VideoFile

WIDTH, HEIGHT = 64, 48


def picture(level: int) -> Frame:
    """RGB: the red channel carries the level, green and blue stand still."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0], frame[..., 1], frame[..., 2] = level, 60, 120
    return frame


def write_video(path: Path, levels: list[int], fps: float, fourcc: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (WIDTH, HEIGHT), isColor=True
    )
    assert writer.isOpened()
    for level in levels:
        writer.write(picture(level)[:, :, ::-1])
    writer.release()
    return path


def write_pictures(folder: Path, levels: list[int], name: str = "frame{}.png") -> Path:
    folder.mkdir()
    for index, level in enumerate(levels):
        assert cv2.imwrite(str(folder / name.format(index)), picture(level)[:, :, ::-1])
    return folder


def level_at(video: VideoFile, t_s: float) -> int | None:
    frame = video.frame_at(t_s)
    return None if frame is None else round(float(frame[..., 0].mean()))


def test_a_picture_is_rgb_bytes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", [200] * 5, fps=10)
    with VideoFile(path) as video:
        frame = video.frame_at(0.0)
    assert frame is not None
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.dtype == np.uint8
    np.testing.assert_allclose(frame.mean(axis=(0, 1)), [200, 60, 120], atol=6)


@pytest.mark.parametrize(("name", "fourcc"), [("v.avi", "MJPG"), ("v.mp4", "mp4v")])
@pytest.mark.parametrize("fps", [7.5, 25.0, 30.0])
def test_every_turn_shows_the_newest_picture(
    tmp_path: Path, name: str, fourcc: str, fps: float
) -> None:
    levels = [20 + 60 * (n % 4) for n in range(round(2 * fps))]
    path = write_video(tmp_path / name, levels, fps, fourcc)
    with VideoFile(path) as video:
        assert video.duration_s == pytest.approx(2.0, abs=0.1)
        assert video.description.startswith(f"{name}: 64x48, {fps:.4g} frames/s, 2.0 s")
        for turn in range(9):
            t_s = (turn + 1) * 0.2
            assert level_at(video, t_s) == pytest.approx(levels[int(t_s * fps + 0.02)], abs=15)


def test_none_after_the_end_and_never_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", [10, 20, 30, 40, 50], fps=10)
    with VideoFile(path) as video:
        assert level_at(video, 0.45) == pytest.approx(50, abs=3)
        assert not video.ended_at(0.45)
        assert video.frame_at(0.5) is None
        assert video.ended_at(0.5)
        assert video.frame_at(3600.0) is None


def test_none_before_the_start(tmp_path: Path) -> None:
    with VideoFile(write_video(tmp_path / "v.avi", [10] * 5, fps=10)) as video:
        assert video.frame_at(-0.1) is None
        assert video.frame_at(0.0) is not None


def test_a_time_further_back_keeps_the_picture(tmp_path: Path) -> None:
    with VideoFile(write_video(tmp_path / "v.avi", [10, 20, 30, 40], fps=10)) as video:
        assert level_at(video, 0.2) == pytest.approx(30, abs=3)
        assert level_at(video, 0.0) == pytest.approx(30, abs=3)


def test_the_end_is_found_without_asking_for_pictures(tmp_path: Path) -> None:
    with VideoFile(write_video(tmp_path / "v.avi", [10] * 8, fps=10)) as video:
        assert [video.ended_at(n / 10) for n in range(10)] == [False] * 8 + [True] * 2


def test_a_folder_shows_its_pictures_by_number_at_its_rate(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", [20 * n for n in range(12)])
    (folder / "notes.txt").write_text("not a picture")
    with VideoFile(folder, folder_fps=5.0) as video:
        assert video.description == "frames: 64x48, 12 pictures at 5 frames/s, 2.4 s"
        assert video.duration_s == pytest.approx(2.4)
        assert [level_at(video, n * 0.2) for n in range(13)] == [20 * n for n in range(12)] + [None]


def test_a_folder_of_jpegs_at_another_rate(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", [50, 150], "IMG_{}.JPG")
    with VideoFile(folder, folder_fps=1.0) as video:
        assert level_at(video, 0.9) == pytest.approx(50, abs=3)
        assert level_at(video, 1.9) == pytest.approx(150, abs=3)
        assert video.frame_at(2.0) is None


def test_a_damaged_picture_is_left_out(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", [50, 100, 150])
    (folder / "frame1.png").write_bytes(b"torn")
    with VideoFile(folder) as video:
        assert [level_at(video, t_s) for t_s in (0.0, 0.2, 0.4)] == [50, 50, 150]


def test_a_missing_video(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.mp4 does not exist.*--video"):
        VideoFile(tmp_path / "none.mp4").__enter__()


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no pictures.*\.png or \.jpg"):
        VideoFile(tmp_path).__enter__()


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "README.md"])
def test_text_is_not_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Not a video, but a shopping list.\n" * 50)
    with pytest.raises(SourceError, match=rf"{name} holds no picture.*--video"):
        VideoFile(tmp_path / name).__enter__()


def test_an_empty_file_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SourceError, match=r"empty\.mp4 holds no picture"):
        VideoFile(tmp_path / "empty.mp4").__enter__()


def test_sound_is_not_a_video(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.wav", np.zeros(16_000, np.float32), 16_000)
    with pytest.raises(SourceError, match=r"sound\.wav holds no picture"):
        VideoFile(tmp_path / "sound.wav").__enter__()
