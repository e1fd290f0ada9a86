"""Where the people of the scenarios come from: synthesizers with held-out voices, and recordings.

The utterances, rooms and noises are those of the factory in `engines/reference/corpus`, which a
wheel does not carry: it is imported when it is needed.
"""

from __future__ import annotations

import importlib
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.demo.renderer import PersonRenderer
from edge_runtime.errors import InputError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ

CORPUS = "engines.reference.corpus"
SEEN, UNSEEN, HUMAN = "generated_seen", "generated_unseen", "human"
PHRASED = "generated_phrased"
"""What turns are in templates that no training has; all else is as in SEEN."""
SPLITS = {SEEN: "seen", UNSEEN: "unseen", PHRASED: "phrased"}
LONG = 4 * SAMPLE_RATE_HZ
"""Samples of speech in a long turn, its pauses not counted."""


class Segment(Protocol):
    """Speech without a pause that matters: int16 (n,) at 16 kHz, its text and its phones."""

    @property
    def pcm(self) -> NDArray[np.int16]: ...
    @property
    def text(self) -> str: ...
    @property
    def phones(self) -> Sequence[tuple[int, float, float]]: ...


class Spoken(Protocol):
    """An utterance; pauses go between its segments."""

    @property
    def segments(self) -> tuple[Segment, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def intent(self) -> str: ...
    @property
    def voice(self) -> str: ...
    @property
    def room(self) -> NDArray[np.float32] | None: ...
    @property
    def gap_is_natural(self) -> bool: ...
    @property
    def recording(self) -> str: ...


def speech_samples(spoken: Spoken) -> int:
    """Without the pauses."""
    return sum(len(segment.pcm) for segment in spoken.segments)


def words(spoken: Spoken) -> str:
    """All of it; empty where it is not known."""
    return " ".join(segment.text for segment in spoken.segments if segment.text)


@dataclass(frozen=True)
class Material:
    """One kind of people, none of whom was trained on."""

    name: str
    spoken: Mapping[str, Sequence[Spoken]]
    """By kind: turn, incomplete, backchannel, interruption, cancel."""
    device: Sequence[Spoken]
    """What our own loudspeaker says."""
    noises: Sequence[NDArray[Any]]
    """int16 scale (n,): babble, music, noise."""
    acoustics: Any
    """The corpus's Acoustics."""
    photographs: Any
    """The corpus's Photographs of real faces, hands and rooms; None: people are drawn."""
    labels: Callable[[str], Any]
    fillers: frozenset[str]
    corrections: tuple[str, ...]
    seed: int
    read: Mapping[str, Any] | None = None
    """Of recordings: what was read of which folder (`Recorded.read`)."""
    lacks: tuple[str, ...] = ()
    """Which synthesizers are not here, and what would bring them: others speak in their place."""
    _orders: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def has(self, kind: str) -> bool:
        return bool(self.spoken.get(kind))

    def count(self, kind: str) -> int:
        return len(self.spoken.get(kind, ()))

    def deal(self, kind: str, index: int) -> Spoken:
        """The index-th utterance of a shuffled order; begins anew when all have been used."""
        return self._dealt(kind, self.spoken[kind], index)

    def _dealt(self, name: str, pool: Sequence[Spoken], index: int) -> Spoken:
        if name not in self._orders:
            rng = np.random.default_rng([self.seed, len(name), len(pool)])
            self._orders[name] = rng.permutation(len(pool))
        return pool[int(self._orders[name][index % len(pool)])]

    @property
    def has_long_turns(self) -> bool:
        return bool(self._long)

    def deal_long(self, index: int) -> Spoken:
        """A turn of several parts and of more than 4 s of speech."""
        return self._dealt("long", self._long, index)

    @cached_property
    def _long(self) -> Sequence[Spoken]:
        """Where no words are known it may be more than one turn."""
        turns = [turn for turn in self.spoken.get("turn", ()) if len(turn.segments) > 1]
        return [turn for turn in turns if speech_samples(turn) > LONG and words(turn)]

    @property
    def asks(self) -> bool:
        """It is known what its turns ask for, and there are words to cancel with."""
        return self.has("cancel") and bool(self._asking("delegate") and self._asking("none"))

    def deal_asking(self, delegate: str, index: int) -> Spoken:
        """The index-th turn that is to be handed on (`delegate`) or not (`none`)."""
        return self._dealt(f"asking {delegate}", self._asking(delegate), index)

    def _asking(self, delegate: str) -> Sequence[Spoken]:
        turns = self.spoken.get("turn", ())
        return [turn for turn in turns if self.labels(turn.intent).delegate == delegate]

    def person(self, seed: int, size: int) -> PersonRenderer:
        """Somebody to look at, in a square picture."""
        if not self.photographs:
            return PersonRenderer(seed, size, size)
        person: PersonRenderer = _corpus("photographs").PhotographedPerson(
            seed, size, self.photographs
        )
        return person

    def room_tone(
        self, rng: np.random.Generator, spoken: Spoken, samples: int
    ) -> NDArray[np.float32]:
        """The silence of an utterance's own recording; zeros for a synthesizer."""
        if spoken.room is None:
            return np.zeros(max(0, samples), np.float32)
        tone: NDArray[np.float32] = _corpus("acoustics").room_tone(rng, spoken.room, samples)
        return tone


def load_materials(
    data: Path | None,
    scale: float,
    seed: int,
    progress: Callable[[str], None],
    phrased: bool = False,
    tuning: bool = False,
) -> list[Material]:
    """All materials that this machine can make; that of new phrasings where it is asked for.

    For `tuning` what interrupts, cancels or is a "mhm" is in words that no report has, and so are
    new phrasings; of people there is a quarter of the speakers then, and else the others.

    Raises InputError where the corpus, a synthesizer or the folder of recordings is missing.
    """
    bank_module = _corpus("bank")
    recorded = Recorded()
    if data is not None:  # at once: a folder that cannot be read shall not cost minutes
        progress(f"reading recordings in {data}")
        recorded = Recorded.read(data, tuning)
    banks, lacks = {}, {}
    for name, split in SPLITS.items():
        if name == PHRASED and not phrased:
            continue
        progress(f"synthesizing people of the tests: {name}")
        part = f"{'tune' if tuning else 'test'}_{split}"
        banks[name], lacks[name] = _build(bank_module, seed, scale, part)
    device = banks[SEEN]["device"]
    materials = [
        replace(_material(name, bank, device, Recorded(), seed), lacks=lacks[name])
        for name, bank in banks.items()
    ]
    if recorded.people:
        kinds = ("turn", "backchannel")
        bank = {kind: [s for s in recorded.people if s.kind == kind] for kind in kinds}
        materials.append(_material(HUMAN, bank, device, recorded, seed))
    return materials


def _corpus(name: str) -> Any:
    try:
        return importlib.import_module(f"{CORPUS}.{name}")
    except ImportError as error:
        raise InputError(
            f"The scenarios are rendered by the reference model's factory, which is not complete "
            f"here ({error}). Run from a checkout of the project after `make evaluate`, or install "
            "what is missing: pip install 'edge-runtime[evaluate]'"
        ) from error


def _build(
    module: Any, seed: int, scale: float, split: str
) -> tuple[Mapping[str, Sequence[Spoken]], tuple[str, ...]]:
    """The people of a split, and which synthesizers they lack."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            bank: Mapping[str, Sequence[Spoken]] = module.Bank.build(
                seed=seed, scale=scale, human_dir=None, split=split
            )
        except RuntimeError as error:
            raise InputError(
                f"A synthesizer for the scenarios is missing: {error}. On Debian and Ubuntu: "
                "sudo apt-get install espeak-ng libflite1"
            ) from error
    return bank, tuple(str(one.message) for one in told if one.category is UserWarning)


def splits(data: Path) -> list[str]:
    """`dev` where the manifest has it, otherwise all but `train`. Raises InputError, also where
    that is nothing."""
    found = {row["split"] for row in _corpus("human").listed(data)}
    if found == {"train"}:
        raise InputError(
            f"All rows of {data / 'manifest.csv'} are for training (split train), and nobody is "
            "judged by those who may have been heard in it. Give rows of other speakers `dev` in "
            "the column split, or leave the column out where none of them was trained on."
        )
    return ["dev"] if "dev" in found else sorted(found - {"train"})


@dataclass(frozen=True)
class Recorded:
    """What a folder of recordings has."""

    people: Sequence[Spoken] = ()
    noises: Sequence[NDArray[Any]] = ()
    rooms: Sequence[NDArray[Any]] = ()
    photographs: Any = None
    told: Mapping[str, Any] | None = None
    """As the report tells it: folder, splits, utterances of speech, and rows left out by reason."""

    @classmethod
    def read(cls, data: Path, tuning: bool = False) -> Recorded:
        """Those for thresholds (`tuning`) or for reports. Raises InputError where it cannot be
        read, or nobody speaks in it."""
        human, names, left_out = _corpus("human"), splits(data), _unused(data)

        def read(load: Callable[..., Sequence[Any]]) -> list[Any]:
            return [one for name in names for one in load(data, name, left_out=left_out)]

        people = read(human.load_speech)
        if not any(spoken.kind == "turn" for spoken in people):
            raise InputError(
                f"There is no usable speech in {data} (split {_put(names)}). A turn "
                f"is a row of manifest.csv of the kind {', '.join(human.SPEECH[:-1])}, whose file "
                f"is there and lasts 0.3 to {human.MAX_S:g} s.{_but(left_out)}"
            )
        tuned = _speakers_for_thresholds(people)
        kept = [one for one in people if (_who(one) in tuned) is tuning]
        if tuned:
            whose = "reports" if tuning else "thresholds"
            left_out[f"of speakers for {whose}"] = len(people) - len(kept)
            people = kept
        photographs: Any = None
        for name in names:
            seen = _corpus("photographs").Photographs.load(data, name, left_out=left_out)
            photographs = photographs or seen
        noises, rooms = read(human.load_noises), read(human.load_rirs)
        told = {
            "folder": data.resolve().name,
            "splits": names,
            "speech": len(people),
            "shared": not tuned,
            "left_out": dict(left_out.most_common()),
        }
        return cls(people, noises, rooms, photographs, told)


def _who(spoken: Spoken) -> str:
    return spoken.voice or spoken.recording


def _speakers_for_thresholds(people: Sequence[Spoken]) -> set[str]:
    """Every fourth of those who say a turn, in the order of a hash; nobody of one alone. Where no
    speaker is named, every fourth recording."""
    speakers = {_who(one) for one in people if one.kind == "turn"}
    ranked = sorted(speakers, key=lambda name: (zlib.crc32(name.encode()), name))
    return set(ranked[1::4])


def _put(names: Sequence[str]) -> str:
    return ", ".join(name or "not given" for name in names) or "none"


def _but(left_out: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return f" Left out: {reasons}." if reasons else ""


def _unused(data: Path) -> Counter[str]:
    """Rows of other splits, and of kinds that nothing is made of."""
    human, pictures = _corpus("human"), _corpus("photographs").PARTS
    chosen, found = splits(data), Counter[str]()
    for row in human.listed(data):
        if row["split"] not in chosen:
            found[f"of the split {row['split'] or '(none)'}"] += 1
        elif not human.used(row["kind"]) and row["kind"] not in pictures:
            found[f"of the kind {row['kind'] or '(none)'}"] += 1
    return found


def put_read(told: Mapping[str, Any]) -> str:
    """What was read of a folder, in words."""
    alone = " One speaker alone: thresholds and reports hear the same." * bool(told.get("shared"))
    return (
        f"Of {told['folder']}, split {_put(told['splits'])}: {told['speech']} utterances of "
        f"people.{_but(told['left_out'])}{alone}"
    )


def _material(
    name: str,
    bank: Mapping[str, Sequence[Spoken]],
    device: Sequence[Spoken],
    recorded: Recorded,
    seed: int,
) -> Material:
    acoustics, text = _corpus("acoustics"), _corpus("text")
    grammar_file = Path(str(_corpus("bank").__file__)).parent / "grammar.yaml"
    grammar = text.Grammar.load(grammar_file)
    voices = [segment.pcm for spoken in bank["turn"] for segment in spoken.segments]
    rng = np.random.default_rng([seed, len(name)])
    noises = [*acoustics.generated_beds(rng, voices), *recorded.noises]
    lists = _word_lists(grammar_file)
    return Material(
        name=name,
        spoken=bank,
        device=device,
        noises=noises,
        acoustics=acoustics.Acoustics(noises, list(recorded.rooms)),
        photographs=recorded.photographs,
        labels=grammar.labels,
        fillers=frozenset(lists["fillers"]),
        corrections=tuple(lists["corrections"]),
        seed=seed,
        read=recorded.told,
    )


def _word_lists(path: Path) -> dict[str, list[str]]:
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        key: [str(word) for part in content[key].values() for word in part]
        for key in ("fillers", "corrections")
    }
