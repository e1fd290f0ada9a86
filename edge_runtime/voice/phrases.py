"""The words for each act, by language: shipped in phrases.yaml, changed without training."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from pathlib import Path

import yaml

from edge_runtime import strict_yaml
from edge_runtime.errors import ConfigError

log = logging.getLogger(__name__)
FALLBACK_LANGUAGE = "en"
WORDLESS = frozenset({"none", "deliver"})
"""Acts without words of their own: nothing to say, and a result's text."""
Table = Mapping[str, Mapping[str, tuple[str, ...]]]
"""language -> act -> variants."""


class Phrases:
    """Words by act. The variants take turns, in an order that depends on the seed only."""

    def __init__(
        self, variants: Mapping[str, Collection[str]], device_name: str, seed: int = 0
    ) -> None:
        self._next: dict[str, Iterator[str]] = {}
        for act, texts in variants.items():
            filled = [text.replace("{name}", device_name) for text in texts]
            random.Random(f"{seed}/{act}").shuffle(filled)
            self._next[act] = itertools.cycle(filled)

    @classmethod
    def load(
        cls,
        path: Path | None,
        language: str,
        device_name: str,
        acts: Collection[str] | None = None,
        seed: int = 0,
    ) -> Phrases:
        """The owner's words from `path`, and the shipped ones for every act it leaves out.

        `acts` is the manifest's vocabulary; None stands for the shipped acts. Raises ConfigError if
        the file cannot be used or an act has no words anywhere.
        """
        shipped = _shipped()
        wanted = frozenset(shipped[FALLBACK_LANGUAGE] if acts is None else acts) - WORDLESS
        base = shipped.get(language, shipped[FALLBACK_LANGUAGE])
        given = {} if path is None else _read(path, wanted | frozenset(base)).get(language, {})
        if language not in shipped and not given:
            raise ConfigError(
                f"There are no phrases for the language {language!r}. Shipped are "
                f"{', '.join(sorted(shipped))}; add yours under the key {language!r} to a file of "
                "your own."
            )
        if path is not None and (missing := sorted(wanted & base.keys() - given.keys())):
            log.warning(
                "%s has no words in %r for %s: the shipped ones are used",
                *(path, language, ", ".join(missing)),
            )
        if lacking := sorted(wanted - given.keys() - base.keys()):
            raise ConfigError(
                f"No words for {', '.join(lacking)}, which this model can say. "
                f"Add a list of texts for each under {language!r} to your phrases file."
            )
        return cls({**base, **given}, device_name, seed)

    def words(self, act: str) -> str:
        """The next variant. Raises KeyError for an act that `load` was not asked for."""
        return next(self._next[act])


def shipped_text() -> str:
    """The file of the shipped phrases, which can be copied and changed."""
    return resources.files("edge_runtime.voice").joinpath("phrases.yaml").read_text("utf-8")


def _shipped() -> Table:
    return _parse(shipped_text(), "phrases.yaml", None)


def _read(path: Path, known: frozenset[str]) -> Table:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"Cannot read the phrases in {path.absolute()} (voice.phrases): {reason}."
        ) from error
    return _parse(text, str(path), known)


def _parse(text: str, source: str, known: frozenset[str] | None) -> Table:
    """Closed: every act must be in `known` (None: any), every variant a text with words."""
    try:
        # `yes` and `no` are acts here, not truth.
        raw = strict_yaml.parse(text, typed=False)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}") from error
    table: dict[str, dict[str, tuple[str, ...]]] = {}
    for language, acts in _mapping(raw, source, "languages").items():
        table[language] = {}
        for act, variants in _mapping(acts, f"{source}: {language}", "acts").items():
            place = f"{source}: {language}.{act}"
            if known is not None and act not in known:
                raise ConfigError(f"{place} is not an act. Known are {', '.join(sorted(known))}.")
            table[language][act] = _variants(variants, place)
    return table


def _mapping(value: object, place: str, of_what: str) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(
            f"{place} must be a mapping of {of_what}; see the shipped phrases.yaml, which "
            "`edge-runtime config --phrases` prints."
        )
    return value


def _variants(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{place} must be a list with at least one text, like [Hello!, Hi!].")
    for text in value:
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{place} holds {text!r}, which is not a text with words.")
        if {"{", "}"} & set(text.replace("{name}", "")):
            raise ConfigError(f"{place} holds {text!r}; only {{name}} can be filled in.")
    return tuple(value)
