"""Recordings of one's own: what is read of a folder, and what is refused with a remedy."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the corpus needs scipy: pip install 'edge-runtime[evaluate]'")

import soundfile

from edge_runtime.errors import InputError
from edge_runtime.evaluation import material
from engines.reference.corpus import human
from engines.reference.corpus.bank import Bank, Spoken
from engines.reference.corpus.factory import build_composers
from engines.reference.corpus.voices import CHILD

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


@pytest.mark.parametrize(
    ("last", "kind"), [("home", "turn"), ("uh", "incomplete"), ("and", "incomplete")]
)
def test_a_long_one_is_what_its_last_word_makes_it(tmp_path: Path, last: str, kind: str) -> None:
    speak(tmp_path, "a.wav", speech_s=4.0)
    words = [["um", 0.5, 1.0], ["going", 1.0, 2.0], [last, 4.0, 4.5]]
    entry = {"file": "a.wav", "begin_s": 0.5, "end_s": 4.5, "words": words}
    with gzip.open(tmp_path / "alignments.jsonl.gz", "wt") as file:
        file.write(json.dumps(entry) + "\n")
    folder(tmp_path, "a.wav,speech_filler_or_laugh,dev")
    (spoken,) = human.load_speech(tmp_path, "dev")
    assert spoken.kind == kind


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


def aligned(here: Path, **entry: object) -> Path:
    """A folder with one recording of 2 s that this alignment is of."""
    speak(here, "a.wav", speech_s=1.0)
    entry = {"file": "a.wav", "begin_s": 0.5, "end_s": 1.5} | entry
    with gzip.open(here / "alignments.jsonl.gz", "wt") as file:
        file.write(json.dumps(entry) + "\n")
    return folder(here, "a.wav,speech_sentence,dev")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"begin_s": 1.5}, "end_s after it"),
        ({"begin_s": -1}, "begin_s must be 0 or more"),
        ({"end_s": float("nan")}, "end_s after it"),
        ({"natural_gaps_s": [[1.3, 0.9]]}, "begin before they end"),
        ({"natural_gaps_s": [[0.9, 1.1], [1.0, 1.3]]}, "not overlap"),
    ],
)
def test_times_that_cannot_be_are_refused(
    tmp_path: Path, entry: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=f"line 1, is no alignment.*{message}"):
        human.load_speech(aligned(tmp_path, **entry), "dev")


def test_an_alignment_in_milliseconds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.wav ends at 1500 there, and lasts 2\.00 s.*seconds"):
        human.load_speech(aligned(tmp_path, begin_s=500, end_s=1500), "dev")
    (spoken,) = human.load_speech(aligned(tmp_path, end_s=2.05), "dev")
    assert len(spoken.segments[0].pcm) == 1.5 * S, "an aligner rounds up"


def test_a_sentence_whose_last_word_was_not_found_has_no_end(tmp_path: Path) -> None:
    words = [["in", 0.5, 1.0], ["this", 1.0, 1.5]]
    left_out: Counter[str] = Counter()
    cut = aligned(tmp_path, words=words, text="In this hall.")
    assert human.load_speech(cut, "dev", left_out=left_out) == []
    assert left_out == {"speech of which not all words were found": 1}
    for text in ("In this.", "", None):
        (spoken,) = human.load_speech(aligned(tmp_path, words=words, text=text), "dev")
        assert spoken.segments[0].text == "in this"


@pytest.mark.parametrize(
    ("before", "name", "pause_s", "said"),
    [
        ("park", "operator", 0.4, "in the park"),
        ("the", "operator", 0.4, "in the the operator"),  # it leads on
        ("park", "bench", 0.4, "in the park bench"),
        ("park", "operator", 0.1, "in the park operator"),
    ],
)
def test_who_calls_a_name_behind_a_sentence_had_come_to_an_end(
    tmp_path: Path, before: str, name: str, pause_s: float, said: str
) -> None:
    words = [["in", 0.5, 0.6], ["the(2)", 0.6, 0.7], [before, 0.7, 0.95]]
    words += [["<sil>", 0.95, 0.95 + pause_s], [name, 0.95 + pause_s, 1.5]]
    text = f"In the {before} {name}"
    gaps = [[0.95, 0.95 + pause_s]]
    called = aligned(tmp_path, words=words, natural_gaps_s=gaps, text=text)
    (spoken,) = human.load_speech(called, "dev")
    assert " ".join(segment.text for segment in spoken.segments) == said
    length_s = 0.45 if said == "in the park" else 1.0
    assert sum(len(segment.pcm) for segment in spoken.segments) <= length_s * S


def test_who_thresholds_are_chosen_by_is_in_no_report(tmp_path: Path) -> None:
    rows = [f"{speaker}.wav,speech_sentence,dev,{speaker}" for speaker in "abcdefgh"]
    for speaker in "abcdefgh":
        speak(tmp_path, f"{speaker}.wav", 1.0)
    here = folder(tmp_path, *rows, header="file,kind,split,speaker")
    tuned, reported = (material.Recorded.read(here, tuning) for tuning in (True, False))
    who = [{one.voice for one in read.people} for read in (tuned, reported)]
    assert who[0] and not who[0] & who[1] and who[0] | who[1] == set("abcdefgh")
    assert reported.told["left_out"] == {"of speakers for thresholds": len(who[0])}
    assert reported.told["speech"] == len(who[1]) and not reported.told["shared"]
    alone = material.Recorded.read(folder(here, *rows[:1], header="file,kind,split,speaker"), True)
    assert len(alone.people) == 1 and alone.told["shared"]
    assert len(material.Recorded.read(here).people) == 1
    assert "thresholds and reports hear the same" in material.put_read(alone.told)


def test_an_alignment_may_name_its_file_in_another_way(tmp_path: Path) -> None:
    words = [["good", 0.5, 1.0]]
    (spoken,) = human.load_speech(aligned(tmp_path, file="./a.wav", words=words), "dev")
    assert spoken.segments[0].text == "good" and spoken.recording == "a.wav"


def test_cells_may_have_spaces_and_paths_may_be_those_of_windows(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    speak(tmp_path, "sub/a.wav", 1.0)
    folder(tmp_path, "sub\\a.wav , Speech_Sentence, dev", header="file, kind, split")
    (spoken,) = human.load_speech(tmp_path, "dev")
    assert spoken.recording == "sub/a.wav"


MIXED = (
    *(f"{name}.wav,speech_sentence,train" for name in "abc"),
    "d.wav,speech_sentence,test",
    "e.wav,speech_sentense,test",
    "gone.wav,speech_sentence,test",
    "gone.wav,rir,test",
    "short.wav,speech_sentence,test",
    "long.wav,speech_filler_or_laugh,test",
    "gone.png,empty_room,test",
)


def mixed(here: Path) -> Path:
    for name in "abcde":
        speak(here, f"{name}.wav", 1.0)
    speak(here, "short.wav", 0.1, around_s=0)
    speak(here, "long.wav", 3.0)
    return folder(here, *MIXED)


def test_nobody_is_judged_by_who_was_trained_on(tmp_path: Path) -> None:
    found = material.Recorded.read(mixed(tmp_path))
    assert [spoken.recording for spoken in found.people] == ["d.wav"]
    assert material.splits(folder(tmp_path, "d.wav,speech_sentence,")) == [""]
    assert material.splits(folder(tmp_path, "d.wav,speech_sentence", header="file,kind")) == [""]
    assert len(material.Recorded.read(tmp_path).people) == 1
    with pytest.raises(InputError, match=r"for training \(split train\).*Give rows"):
        material.splits(folder(tmp_path, *MIXED[:3]))


def test_rows_that_are_left_out_are_told_with_the_reason(tmp_path: Path) -> None:
    told = material.Recorded.read(mixed(tmp_path)).told
    assert told == {
        "folder": tmp_path.name,
        "splits": ["test"],
        "speech": 1,
        "shared": True,
        "left_out": {
            "of the split train": 3,
            "no such file": 2,
            "of the kind speech_sentense": 1,
            "speech that does not last 0.3 to 15 s": 1,
            "a filler of 3 s and more without words": 1,
            "no picture that can be read": 1,
        },
    }
    words = material.put_read(told)
    assert "split test: 1 utterances of people. Left out: 3 of the split train, 2 no such" in words


def test_training_wants_rows_to_train_on(tmp_path: Path) -> None:
    human.check_trains(mixed(tmp_path))
    with pytest.raises(InputError, match="nothing to train on"):
        human.check_trains(folder(tmp_path, "a.wav,speech_sentence,dev"))


def test_a_folder_without_speech_is_refused_before_anybody_is_synthesized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(material, "_build", lambda *_: pytest.fail("minutes of work"))
    folder(tmp_path, "gone.wav,speech_sentence,dev", "b.wav,music,dev")
    with pytest.raises(InputError, match=r"no usable speech.*split dev.*0\.3 to 15 s"):
        material.load_materials(tmp_path, 0.01, 1, lambda text: None)


def speakers(here: Path, split: str, count: int = 12) -> Path:
    names = [f"{number}.wav" for number in range(count)]
    for name in names:
        speak(here, name, speech_s=0.5)
    return folder(here, *(f"{name},speech_sentence,{split}" for name in names))


def people(bank: Bank) -> list[Spoken]:
    return [spoken for spoken in bank["turn"] if spoken.source == "human"]


@pytest.mark.filterwarnings("ignore:.*the corpus has one synthesizer less")
def test_some_who_train_come_once_more_in_another_voice(tmp_path: Path) -> None:
    pytest.importorskip("pyworld", reason="WORLD is missing: pip install pyworld-prebuilt")
    data, cache = speakers(tmp_path, "train"), tmp_path / "bank"
    first, again = (Bank.build(3, 0.001, data, cache=cache, moved=0.5) for _ in range(2))
    assert 12 < len(people(first)) < 24
    assert len(list(cache.glob("people-*.pickle"))) == 1
    for one, other in zip(people(first), people(again), strict=True):
        assert np.array_equal(one.segments[0].pcm, other.segments[0].pcm)
    (data / human.ALIGNMENTS).write_bytes(gzip.compress(b""))
    Bank.people_into_cache(data, cache, 0.5)
    assert len(list(cache.glob("people-*.pickle"))) == 2, "other alignments, other people"
    without = Bank.build(3, 0.001, data, cache=None, moved=0.5)
    assert len(people(without)) == len(people(first)), "the same ones, kept or not"


@pytest.mark.filterwarnings("ignore:.*the corpus has one synthesizer less")
def test_who_is_measured_can_be_a_child(tmp_path: Path) -> None:
    pytest.importorskip("pyworld", reason="WORLD is missing: pip install pyworld-prebuilt")
    data = speakers(tmp_path, "dev", count=3)
    settings = SimpleNamespace(
        data=data, folder=tmp_path, turns=20, scale=0.001, human_share=1.0, moved=0.5, seed=3
    )
    grown, child = (
        build_composers(settings, split="test_seen", voice=voice)["duplex"].bank
        for voice in (None, CHILD)
    )
    assert len(people(grown)) == len(people(child)) == 3
    for one, other in zip(people(grown), people(child), strict=True):
        assert not np.array_equal(one.segments[0].pcm, other.segments[0].pcm)
    assert all(
        np.array_equal(one.segments[0].pcm, other.segments[0].pcm)
        for one, other in zip(grown["device"], child["device"], strict=True)
    )
