"""Recordings of one's own: what is read of a folder, and what is refused with a remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the corpus needs scipy: pip install 'edge-runtime[evaluate]'")

import soundfile

from edge_runtime.errors import InputError
from edge_runtime.evaluation import material
from engines.reference.corpus import human

S = 16_000


def folder(here: Path, *rows: str, header: str = "file,kind,split") -> Path:
    (here / "manifest.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return here


def speak(here: Path, name: str, speech_s: float, around_s: float = 0.5) -> None:
    silence = np.zeros(int(around_s * S), np.float32)
    speech = 0.2 * np.random.default_rng(0).standard_normal(int(speech_s * S))
    soundfile.write(here / name, np.concatenate([silence, speech, silence]), S)


def test_a_sentence_without_an_alignment_is_one_piece_without_words(tmp_path: Path) -> None:
    speak(tmp_path, "a.wav", speech_s=1.0)
    (spoken,) = human.load_speech(folder(tmp_path, "a.wav,speech_sentence,dev"), "dev")
    (segment,) = spoken.segments
    assert spoken.kind == "turn" and segment.text == "" and segment.phones == ()
    assert len(segment.pcm) == pytest.approx(S, abs=0.05 * S), "the silence around it is cut off"


def test_only_a_short_filler_is_a_backchannel(tmp_path: Path) -> None:
    for name, length_s in (("um.wav", 0.6), ("tale.wav", 4.0)):
        speak(tmp_path, name, length_s)
    rows = (f"{name},speech_filler_or_laugh,dev" for name in ("um.wav", "tale.wav"))
    (spoken,) = human.load_speech(folder(tmp_path, *rows), "dev")
    assert spoken.kind == "backchannel"


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    folder(tmp_path, "a.wav,music,dev", header="\ufefffile,kind,split")
    assert material.splits(tmp_path) == ["dev"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,split\na.wav,dev\n", "no column kind"),
        (b"", "no column file, kind, split"),
        ("file,kind,split,speaker\na.wav,music,dev,J\xf6rg\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        material.splits(tmp_path)


@pytest.mark.parametrize("kind", ["speech_sentence", "noise_rain", "rir"])
def test_sound_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    speak(tmp_path, "good.wav", 1.0)
    (tmp_path / "bad.wav").write_bytes(b"no sound at all")
    folder(tmp_path, "good.wav,speech_sentence,dev", f"bad.wav,{kind},dev")
    with pytest.raises(InputError, match=r"bad\.wav cannot be read as sound.*[Cc]onvert"):
        material.Recorded.read(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        '{"file": "a.wav", "begin_s": 0.5}',
        '{"file": "a.wav", "begin_s": "soon", "end_s": 1}',
        '{"file": "a.wav", "begin_s": 0.5, "end_s": 1, "words": [["good", 0.5]]}',
        "[1]",
    ],
)
def test_an_alignment_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    speak(tmp_path, "a.wav", 1.0)
    with gzip.open(tmp_path / "alignments.jsonl.gz", "wt") as file:
        file.write('{"file": "b.wav", "begin_s": 0, "end_s": 1}\n' + line)
    with pytest.raises(InputError, match="line 2, is no alignment"):
        human.load_speech(folder(tmp_path, "a.wav,speech_sentence,dev"), "dev")


def test_a_folder_without_speech_is_refused_before_anybody_is_synthesized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(material, "_build", lambda *_: pytest.fail("minutes of work"))
    folder(tmp_path, "gone.wav,speech_sentence,dev", "b.wav,music,dev")
    with pytest.raises(InputError, match=r"no usable speech.*split dev.*0\.3 to 15 s"):
        material.load_materials(tmp_path, 0.01, 1, lambda text: None)
