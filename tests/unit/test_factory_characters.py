"""The character model is counted of what is said in training, and of nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("scipy", reason="the factory needs scipy (make train)")

from edge_runtime.errors import ManifestError
from edge_runtime.inference.character_model import CharacterModel
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.reference_engine import reference_engine_folder
from engines.reference import characters
from engines.reference.corpus.factory import GRAMMAR
from engines.reference.corpus.text import Grammar, normalise
from engines.reference.vocabulary import SYMBOLS


def coded(text: str) -> list[int]:
    return [SYMBOLS.index(c) for c in text]


def chance(model: CharacterModel, text: str) -> float:
    """Mean logarithm of the chance of its characters."""
    symbols = [0] * model.looks_back + coded(text)
    each = [
        model.chances(symbols[at - model.looks_back : at])[symbols[at]]
        for at in range(model.looks_back, len(symbols))
    ]
    return float(np.log(each).mean())


def test_every_character_is_counted_after_those_before_it() -> None:
    keys, counts = characters.count(["no", "no no"], order=3)
    model = CharacterModel(keys, counts, len(SYMBOLS))
    assert [int(c.sum()) for c in counts] == [9, 9, 9], "a line ends in a space"
    assert int(counts[0][keys[0].tolist().index(SYMBOLS.index("n"))]) == 3
    assert model.chances([0, 0]).argmax() == SYMBOLS.index("n")
    assert model.chances(coded("no")).argmax() == SYMBOLS.index(" ")


def test_another_alphabet_is_counted_for_itself(tmp_path: Path) -> None:
    alphabet = [*SYMBOLS, "ö", "ü"]
    keys, counts = characters.count(["schöne grüße"] * 2, order=3, alphabet=alphabet)
    model = CharacterModel(keys, counts, len(alphabet))
    after = [alphabet.index(letter) for letter in "ch"]
    assert model.chances(after).argmax() == alphabet.index("ö")
    shutil.copytree(reference_engine_folder(), tmp_path / "mine")
    characters.write(tmp_path / "mine", keys, counts, alphabet)
    with pytest.raises(ManifestError, match="of 29 symbols: it was counted for 31 other ones"):
        CharacterModel.load(load_manifest(tmp_path / "mine"))


def test_rare_long_ones_are_left_out() -> None:
    keys, counts = characters.count(["abcd", "abcd", "dcba"], order=4)
    assert len(keys[0]) == 5 and min(counts[0]) == 1 + 1 + 1
    assert min(counts[3]) > characters.RARE and min(counts[2]) == 1


def test_no_phrasing_of_the_tests_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(characters, "TURNS", 300)
    monkeypatch.setattr(characters, "PHRASES", 300)
    lines = list(characters.texts())
    assert len(lines) >= 300 + 4 * 300 and all(line == normalise(line) for line in lines)
    rng, grammar = np.random.default_rng(1), Grammar.load(GRAMMAR)
    for kind in ("interruption", "cancel"):
        drawn = (grammar.phrase(rng, kind, "test") for _ in range(300))
        held_out = {normalise(" ".join(line.segments)) for line in drawn}
        assert len(held_out) > 3 and not held_out & set(lines)


def test_the_manifest_names_it(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "engines" / "reference" / "manifest.yaml", tmp_path)
    before = load_manifest(tmp_path)
    characters.write(tmp_path, *characters.count(["what time is it", "what is that"]))
    manifest = load_manifest(tmp_path)
    assert manifest.language_model != before.language_model
    assert manifest.model_copy(update={"language_model": before.language_model}) == before
    model = CharacterModel.load(manifest)
    assert model is not None and model.looks_back == characters.ORDER - 1


def test_the_one_that_ships_knows_english(repository: Path) -> None:
    model = CharacterModel.load(load_manifest(repository / "engines" / "reference"))
    assert model is not None
    for right, wrong in (
        ("what time is it ", "wat tim iz it "),
        ("turn the radio off ", "tern thu radio of "),
        ("nobody had seen her ", "nobuddy hat seen er "),
    ):
        assert chance(model, right) > chance(model, wrong)
