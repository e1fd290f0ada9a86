"""The words for each act: shipped for all of them, changed by the owner, checked when read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edge_runtime.errors import ConfigError
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.voice.phrases import Phrases

LANGUAGES = ["en", "de"]


def own(folder: Path, text: str) -> Path:
    """A phrases file of the owner's."""
    path = folder / "phrases.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def turns(phrases: Phrases, act: str, count: int) -> list[str]:
    return [phrases.words(act) for _ in range(count)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_act_of_the_reference_model_has_words(repository: Path, language: str) -> None:
    manifest = load_manifest(repository / "engines" / "reference")
    acts = [*manifest.vocabularies.act, "backchannel"]
    phrases = Phrases.load(None, language, "Robin", acts)
    assert {"greet", "yes", "no"} < set(acts)
    for act in set(acts) - {"none", "deliver"}:
        assert phrases.words(act).strip(), act
        assert "{" not in phrases.words(act), act


@pytest.mark.parametrize("act", ["none", "deliver"])
def test_nothing_to_say_and_a_result_have_no_words_of_their_own(act: str) -> None:
    with pytest.raises(KeyError):
        Phrases.load(None, "en", "Robin", ["greet", act]).words(act)


def test_all_shipped_languages_know_the_same_acts(repository: Path) -> None:
    table = yaml.load(
        (repository / "edge_runtime/voice/phrases.yaml").read_text("utf-8"), yaml.BaseLoader
    )
    assert sorted(table) == sorted(LANGUAGES)
    assert set(table["de"]) == set(table["en"])


def test_yes_and_no_are_acts_and_not_truth_values() -> None:
    phrases = Phrases.load(None, "de", "Robin")
    assert phrases.words("yes").startswith("Ja")
    assert phrases.words("no").startswith("Nein")


@pytest.mark.parametrize("name", ["Robin", "Ä-7 {name}", "100 %"])
def test_the_device_says_its_own_name(name: str) -> None:
    for said in turns(Phrases.load(None, "en", name), "name", 2):
        assert said in (f"My name is {name}.", f"I am {name}.")


def test_the_variants_take_turns_before_any_comes_again() -> None:
    said = turns(Phrases.load(None, "en", "Robin"), "greet", 6)
    assert set(said[:3]) == {"Hello!", "Hi there!", "Hello, nice to see you."}
    assert said[3:] == said[:3]


def test_the_order_depends_on_the_seed_only() -> None:
    def greetings(seed: int) -> tuple[str, ...]:
        return tuple(turns(Phrases.load(None, "en", "Robin", seed=seed), "greet", 3))

    assert greetings(7) == greetings(7)
    assert len({greetings(seed) for seed in range(20)}) > 1


def test_saying_one_act_does_not_change_what_another_says_next() -> None:
    plain, mixed = Phrases.load(None, "en", "Robin"), Phrases.load(None, "en", "Robin")
    turns(mixed, "goodbye", 2)
    assert turns(mixed, "greet", 3) == turns(plain, "greet", 3)


def test_the_owners_words_replace_an_act_and_the_shipped_ones_fill_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = own(tmp_path, "en:\n  greet:\n    - Ahoy from {name}!\n")
    phrases = Phrases.load(path, "en", "Robin", ["greet", "thanks", "none"])
    assert turns(phrases, "greet", 2) == ["Ahoy from Robin!"] * 2
    assert phrases.words("thanks") in ("You are welcome.", "My pleasure.")
    assert "no words in 'en' for thanks" in caplog.text
    assert "greet" not in caplog.text


def test_words_in_another_language_leave_the_chosen_one_as_shipped(tmp_path: Path) -> None:
    path = own(tmp_path, "de:\n  greet: [Moin!]\n")
    assert Phrases.load(path, "en", "Robin").words("greet").startswith("H")
    assert Phrases.load(path, "de", "Robin").words("greet") == "Moin!"


def test_a_language_of_the_owners_falls_back_to_english_for_what_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phrases = Phrases.load(own(tmp_path, "fr:\n  greet: [Bonjour !]\n"), "fr", "Robin")
    assert phrases.words("greet") == "Bonjour !"
    assert phrases.words("no") in ("No.", "No, sorry.")
    assert "no words in 'fr' for" in caplog.text


def test_an_act_of_the_model_that_is_not_shipped_takes_its_words_from_the_owner(
    tmp_path: Path,
) -> None:
    path = own(tmp_path, "en:\n  juggle: [Watch this!]\n")
    phrases = Phrases.load(path, "en", "Robin", ["greet", "juggle"])
    assert phrases.words("juggle") == "Watch this!"


def test_an_act_without_words_anywhere_is_named_with_where_to_add_them() -> None:
    with pytest.raises(ConfigError, match=r"No words for dance, juggle.*'en'.*phrases file"):
        Phrases.load(None, "en", "Robin", ["greet", "juggle", "dance"])


def test_a_language_that_nobody_has_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'xx'.*de, en.*add yours"):
        Phrases.load(None, "xx", "Robin")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("en:\n  gret: [Hello]", r"en.gret is not an act.*greet"),
        ("de:\n  gret: [Hallo]", r"de.gret is not an act"),
        ("en:\n  greet: Hello", r"en.greet must be a list with at least one text"),
        ("en:\n  greet: []", r"en.greet must be a list with at least one text"),
        ("en:\n  greet:", r"en.greet must be a list with at least one text"),
        ("en:\n  greet: ['']", r"en.greet holds '', which is not a text with words"),
        ("en:\n  greet: ['  ']", r"which is not a text with words"),
        ("en:\n  greet: [[Hello]]", r"which is not a text with words"),
        ("en:\n  greet: [{say: Hello}]", r"which is not a text with words"),
        ("en: [greet]", r"en must be a mapping of acts; see the shipped phrases.yaml"),
        ("- greet", r"must be a mapping of languages; see the shipped phrases.yaml"),
        ("", r"must be a mapping of languages"),
        ("en:\n  greet: ['Hi {person}']", r"en.greet holds .*person.*only {name} can be filled in"),
        ("en:\n  greet: ['Hi {}']", r"only {name} can be filled in"),
        ("en:\n  greet: ['Hi {name.first}']", r"only {name} can be filled in"),
        ("en:\n  greet: ['Hi {name!r}']", r"only {name} can be filled in"),
        ("en:\n  greet: ['Hi {name:>9}']", r"only {name} can be filled in"),
        ("en:\n  greet: ['Hi {{name}}']", r"only {name} can be filled in"),
        ("en:\n  greet: ['Hi {name']", r"en.greet holds 'Hi {name'"),
        ("en:\n  greet: ['Hi name}']", r"en.greet holds 'Hi name}'"),
        ("en: {greet: [Hello", r"is not YAML"),
        ("en:\n  greet: [Hi]\n  greet: [Ho]", r"`greet` is given twice"),
        ("en:\n  greet: [\x07]", r"is not YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    path = own(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        Phrases.load(path, "en", "Robin")
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read the phrases in .*missing\.yaml"):
        Phrases.load(tmp_path / "missing.yaml", "en", "Robin")
    with pytest.raises(ConfigError, match="Cannot read"):
        Phrases.load(tmp_path, "en", "Robin")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("de:\n  greet: [Tschüss]\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="Cannot read"):
        Phrases.load(latin, "de", "Robin")
