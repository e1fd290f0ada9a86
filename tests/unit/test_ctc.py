"""Reading the transcript: what is likely of the sound, and what of the language."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_model import write_tiny_model

from edge_runtime import ctc
from edge_runtime.ctc import APART, QUIET, SETTLES_AFTER, BeamSearch, Greedy
from edge_runtime.errors import ManifestError
from edge_runtime.inference.character_model import CharacterModel, Numbers, pack
from edge_runtime.inference.manifest import load_manifest

SYMBOLS = "_abc"
SURE = 20.0
Logits = NDArray[np.float32]


def counted(lines: Sequence[str], order: int = 3) -> tuple[list[Numbers], list[Numbers]]:
    """The n-grams of some lines over `SYMBOLS`, counted by hand."""
    keys, counts = [], []
    for n in range(1, order + 1):
        found: Counter[int] = Counter()
        for line in lines:
            padded = "_" * (order - 1) + line
            for end in range(order, len(padded) + 1):
                digits = (SYMBOLS.index(c) for c in padded[end - n : end])
                found[sum(d * 4**at for at, d in enumerate(reversed(list(digits))))] += 1
        keys.append(np.array(sorted(found), np.uint64))
        counts.append(np.array([found[key] for key in sorted(found)], np.uint64))
    return keys, counts


def knowing(*lines: str, weight: float = 1.0, bonus: float = 0.0) -> CharacterModel:
    return CharacterModel(*counted(lines), len(SYMBOLS), weight, bonus)


INDIFFERENT = knowing("a", weight=0.0)


def steps(*chances: dict[str, float]) -> Logits:
    """Logits of one step each; what is not named is impossible."""
    rows = np.full((len(chances), len(SYMBOLS)), -SURE, np.float32)
    for row, given_ in zip(rows, chances, strict=True):
        for symbol, chance in given_.items():
            row[SYMBOLS.index(symbol)] = np.log(chance)
    return rows


def surely(text: str) -> Logits:
    return steps(*({symbol: 1.0} for symbol in text))


def spelled(symbols: Sequence[int]) -> str:
    return "".join(SYMBOLS[symbol] for symbol in symbols)


def read(decoder: ctc.CtcDecoder, *turns: Logits) -> str:
    return "".join(spelled(decoder.add(turn)) for turn in turns) + spelled(decoder.settle())


def likeliest(logits: Logits) -> str:
    """By adding up every path there is."""
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found: Counter[str] = Counter()
    for path in itertools.product(range(len(SYMBOLS)), repeat=len(logits)):
        merged = [s for at, s in enumerate(path) if s and (at == 0 or s != path[at - 1])]
        weight = np.prod([chances[at, symbol] for at, symbol in enumerate(path)])
        found[spelled(merged)] += float(weight)
    return found.most_common(1)[0][0]


class TestBeamSearch:
    def test_paths_of_one_reading_are_added_up(self) -> None:
        """Blank is the best of each step, and yet that something was said is likelier."""
        unsure = steps({"_": 0.4, "a": 0.35, "b": 0.25}, {"_": 0.4, "a": 0.35, "b": 0.25})
        assert read(Greedy(), unsure) == ""
        assert read(BeamSearch(INDIFFERENT), unsure) == "a" == likeliest(unsure)

    @pytest.mark.parametrize("seed", range(40))
    def test_without_pruning_it_finds_the_likeliest(
        self, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ctc, "BEAMS", 10_000)
        monkeypatch.setattr(ctc, "LEAST_CHANCE", 0.0)
        monkeypatch.setattr(ctc, "LEAST_SHARE", 0.0)
        logits = np.random.default_rng(seed).normal(0, 2, (5, len(SYMBOLS))).astype(np.float32)
        assert read(BeamSearch(INDIFFERENT), logits) == likeliest(logits)

    def test_the_language_tells_apart_what_sounds_alike(self) -> None:
        heard = steps({"a": 1.0}, {"b": 0.55, "c": 0.45})
        assert read(Greedy(), heard) == "ab"
        assert read(BeamSearch(knowing("ac", "ac", "ac")), heard) == "ac"
        assert read(BeamSearch(knowing("ab", "ab", "ac")), heard) == "ab"

    def test_what_comes_later_corrects_what_was_heard_before(self) -> None:
        characters = knowing(*["ab"] * 5, *["bc"] * 5)
        first, then = steps({"a": 0.55, "b": 0.45}), surely("c")
        assert read(BeamSearch(characters), first) == "a"
        by = BeamSearch(characters)
        assert by.add(first) == []
        assert read(by, then) == "bc"

    def test_a_bonus_keeps_what_the_language_finds_odd(self) -> None:
        odd = steps({"_": 0.3, "b": 0.7})
        assert read(BeamSearch(knowing("a", "a", "a", "a")), odd) == ""
        assert read(BeamSearch(knowing("a", "a", "a", "a", bonus=6.0)), odd) == "b"

    @given(
        st.lists(st.sampled_from(SYMBOLS), max_size=40),
        st.lists(st.integers(1, 12), min_size=1, max_size=6),
    )
    def test_what_is_sure_is_read_as_it_stands(self, text: list[str], lengths: list[int]) -> None:
        """However it is cut into turns, and whatever the language says."""
        turns, at = [], 0
        for length in itertools.cycle(lengths):
            if at >= len(text):
                break
            turns.append(surely("".join(text[at : at + length])))
            at += length
        assert read(BeamSearch(knowing("ab", "ca")), *turns) == read(Greedy(), *turns)

    def test_single_characters_are_a_model_too(self) -> None:
        """It looks back at nothing, and yet a symbol that goes on is no second one."""
        by = BeamSearch(CharacterModel(*counted(["abc"], order=1), len(SYMBOLS)))
        assert read(by, *[surely("aaab")] * 3, surely("bbcc")) == "ababab" + "c"
        assert len(by._settled) == 1

    def test_what_was_heard_is_settled_a_turn_later(self) -> None:
        """However torn it stays between two readings that begin differently."""
        characters = knowing("ab", "ab", "cb", "cb")
        by, silence = BeamSearch(characters), surely("____")
        assert by.add(steps({"a": 0.5, "c": 0.5}, {"b": 1.0})) == []
        for _ in range(SETTLES_AFTER - 1):
            assert by.add(silence) == []
        assert spelled(by.add(silence)) in ("ab", "cb")
        assert spelled(by.add(surely("c"))) + spelled(by.settle()) == "c"

    def test_after_silence_a_sentence_begins(self) -> None:
        """ "b" begins no line; right after an "a" it is likely."""
        characters = knowing("ab", "ab", "ab", "ca", "ca", "ca")
        torn = steps({"b": 0.55, "c": 0.45})
        pause, silence = ([surely("____")] * count for count in (APART - 1, APART))
        assert read(BeamSearch(characters), surely("a"), torn) == "ab"
        assert read(BeamSearch(characters), surely("a"), *pause, torn) == "ab"
        assert read(BeamSearch(characters), surely("a"), *silence, torn) == "ac"

    def test_in_a_pause_it_settles_what_was_heard(self) -> None:
        by = BeamSearch(knowing("ab", "cb"))
        assert by.add(steps({"a": 0.5, "c": 0.5}, {"b": 0.3, "_": 0.7})) == []
        heard = [spelled(by.add(surely("____"))) for _ in range(QUIET + 1)]
        assert "".join(heard) and not spelled(by.settle())


class TestCharacterModel:
    def test_chances_are_interpolated(self) -> None:
        """After "a", of 4 symbols: "b" twice and "c" once, two kinds."""
        model = CharacterModel(*counted(["ab", "ab", "ac"], order=2), len(SYMBOLS))
        single = (np.array([0, 3, 2, 1]) + 3 / 4) / (6 + 3)
        expected = (np.array([0, 0, 2, 1]) + 2 * single) / (3 + 2)
        assert model.chances([SYMBOLS.index("a")]) == pytest.approx(expected)

    @given(st.lists(st.integers(0, 3), max_size=6))
    def test_they_are_chances_after_anything(self, past: list[int]) -> None:
        model = knowing("abc", "aab", "c")
        weights = np.array(model.weights(past))
        assert weights.sum() == pytest.approx(1.0) and (weights > 0).all()

    def test_little_was_said_yet(self) -> None:
        model = knowing("abc", "abc", "cab")
        assert model.weights([]) == model.weights([0, 0])
        assert model.weights([3, 1, 2, 1, 2]) == model.weights([1, 2])


def folder_with(path: Path, content: bytes, **changes: Any) -> Path:
    digest = sha256(content).hexdigest()
    outputs = [
        {"name": "floor", "role": "floor", "shape": [1, 5], "dtype": "float32"},
        {"name": "letters", "role": "transcript", "shape": [1, 4, 4], "dtype": "float32"},
    ]
    described = {"file": "characters.npz", "sha256": digest, **changes}
    words = {"vocabularies.symbols": ["", "a", "b", "c"]}
    folder = write_tiny_model(path, {"language_model": described, "outputs": outputs, **words})
    (folder / "characters.npz").write_bytes(content)
    return folder


def arrays(**some: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **some)
    return file.getvalue()


class TestFile:
    def test_it_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        lines = ["abc", "abca", "cab"]
        folder = folder_with(tmp_path, pack(*counted(lines)), weight=1.0, bonus=0.0)
        model = CharacterModel.load(load_manifest(folder))
        assert model is not None and model.looks_back == 2
        for past in ([], [1], [1, 2], [2, 3, 1]):
            assert model.weights(past) == pytest.approx(knowing(*lines).weights(past))

    def test_a_model_without_one(self, tmp_path: Path) -> None:
        assert CharacterModel.load(load_manifest(write_tiny_model(tmp_path))) is None

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"no archive", "no character model of 4 symbols"),
            (arrays(), "0 arrays make no model"),
            (arrays(keys1=np.array([1], np.uint8), other=np.array([1])), "counts1"),
            (arrays(keys1=np.array([1.5]), counts1=np.array([1])), "keys must be rows of unsigned"),
            (arrays(keys1=np.array([[1]], np.uint8), counts1=np.array([1], np.uint8)), "rows"),
            (arrays(keys1=np.array(["x"], object), counts1=np.array([1])), "pickle"),
            (
                arrays(keys1=np.array([2, 1], np.uint8), counts1=np.array([1, 1], np.uint8)),
                "keys1 must be sorted",
            ),
            (
                arrays(keys1=np.array([4], np.uint8), counts1=np.array([1], np.uint8)),
                "keys1 must be sorted n-grams",
            ),
            (
                arrays(keys1=np.array([1, 2], np.uint8), counts1=np.array([1], np.uint8)),
                "one for each of counts1",
            ),
            (
                arrays(keys1=np.array([1], np.uint8), counts1=np.array([0], np.uint8)),
                "never seen",
            ),
        ],
        ids=[
            "no archive", "empty", "no counts", "fractions", "a table", "objects", "unsorted",
            "a symbol too many", "a count too few", "a count of zero",
        ],
    )  # fmt: skip
    def test_a_file_that_is_none(self, tmp_path: Path, content: bytes, problem: str) -> None:
        manifest = load_manifest(folder_with(tmp_path, content))
        with pytest.raises(ManifestError) as refused:
            CharacterModel.load(manifest)
        said = str(refused.value)
        assert problem in said
        assert str(tmp_path / "characters.npz") in said
        assert "Copy the whole folder again" in said

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        folder = folder_with(tmp_path, pack(*counted(["abc"])))
        (folder / "characters.npz").write_bytes(b"other")
        with pytest.raises(ManifestError, match="is not the file its manifest describes"):
            CharacterModel.load(load_manifest(folder))

    def test_there_must_be_a_transcript(self, tmp_path: Path) -> None:
        described = {"file": "characters.npz", "sha256": "0" * 64}
        folder = write_tiny_model(tmp_path, {"language_model": described})
        with pytest.raises(ManifestError, match="there is no transcript to read with it"):
            load_manifest(folder)
