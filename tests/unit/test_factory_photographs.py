"""People with photographed parts, from a folder of made-up photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("scipy", reason="the factory needs scipy (make train)")

from edge_runtime.demo.renderer import PersonRenderer, Pose
from engines.reference.corpus.photographs import PhotographedPerson, Photographs

GREEN, RED = (0, 200, 0), (200, 30, 30)
HEADER = (
    "file,kind,transcript_or_label,speaker,source_repo,licence,sha256,split,seconds,bytes,notes"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A green room, a striped face, a red hand before a white wall, and a file that is missing."""
    room = np.full((120, 160, 3), GREEN[::-1], np.uint8)
    face = np.full((250, 200, 3), 90, np.uint8)
    face[::8] = 200
    hand = np.full((100, 100, 3), 240, np.uint8)
    cv2.circle(hand, (50, 50), 30, RED[::-1], -1)
    lines = [HEADER]
    for name, kind, picture in (
        ("room.png", "empty_room", room),
        ("face.png", "face_portrait", face),
        ("hand.png", "hand_closeup", hand),
    ):
        cv2.imwrite(str(tmp_path / name), picture)
        lines.append(f"{name},{kind},,,a/b,CC0,0,train,,0,")
    lines.append("gone.png,empty_room,,,a/b,CC0,0,train,,0,")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_folder_is_read_by_split(folder: Path) -> None:
    found = Photographs.load(folder, "train")
    assert (len(found.rooms), len(found.faces), len(found.hands)) == (1, 1, 1)
    picture, mask = found.hands[0]
    assert mask[50, 50] == 255 and mask[5, 5] == 0 and picture.shape == (100, 100, 3)
    assert found and not Photographs.load(folder, "dev")


def test_parts_of_some_people_are_photographs(folder: Path) -> None:
    found = Photographs.load(folder, "train")
    seeds = range(40)
    green = hands = faces = 0
    for seed in seeds:
        person, drawn = PhotographedPerson(seed, 96, found), PersonRenderer(seed, 96, 96)
        corner = person.render(Pose(present=False)).reshape(-1, 3).astype(int)
        green += bool((corner[:, 1] - corner[:, 0] > 60).mean() > 0.95)
        same_face = PhotographedPerson(seed, 96, Photographs([], found.faces, []))
        faces += not np.array_equal(same_face.render(Pose()), drawn.render(Pose()))
        same_hand = PhotographedPerson(seed, 96, Photographs([], [], found.hands))
        raised = Pose(hand_raised=True)
        hands += not np.array_equal(same_hand.render(raised), drawn.render(raised))
        assert np.array_equal(same_hand.render(Pose()), drawn.render(Pose()))
    for count in (green, faces, hands):
        assert 0.25 * len(seeds) < count < 0.9 * len(seeds)


def test_one_seed_one_person(folder: Path) -> None:
    found = Photographs.load(folder, "train")
    one, two = PhotographedPerson(3, 96, found), PhotographedPerson(3, 96, found)
    for pose in (Pose(), Pose(mouth=1.0), Pose(waving=2)):
        np.testing.assert_array_equal(one.render(pose, 1), two.render(pose, 1))
