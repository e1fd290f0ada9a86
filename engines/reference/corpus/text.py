"""What people and the device say in the corpus: a template grammar, and prose beside it."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

import numpy as np
import yaml
from numpy.typing import NDArray

OPEN = "open"
"""The intent of free text: the floor is taken after it, what is said then is not a target."""
PHRASED, TUNE_PHRASED = "test_phrased", "tune_phrased"
"""The splits whose wishes and questions are in words of their own."""
TUNED_OF = 3
"""The first of so many templates that no training has is for thresholds, the others for reports."""
COMMON = 5
"""Times that a word stands in docstrings before it is taken for one."""
ASKING = frozenset(
    "are can could did do does have how is what when where which who why will would".split()
)
"""A sentence that begins with one of these is a question."""
TALK = 5
"""Times that a line of a dialogue stands in the prose of training: there are few."""
OPENED, CLOSED = 0.25, 0.12
"""Shares of the wishes and questions in training that something is said before, and after."""
OPENERS = frozenset("can could would will please i i'd i'm it's now just robot hey".split())
"""What begins with one of these begins as if something had been said before."""
PHRASINGS = "phrasings.yaml"
"""Beside the grammar: what is said in training, freely."""
KNOWN = "known"
"""A split of phrases that training has, for voices that it has not."""
FREELY = 0.4
"""Share of the wishes and questions in training that are said like this."""
PLAINLY = 0.45
"""Share of them that are in an intent's own templates: what most people say most of the time. Of
fifteen thousand ways "tell me about yourself" would be heard once in a bank, and "how about
yourself" as often."""
FREE_PHRASES = {"backchannel": 0.3, "interruption": 0.25, "cancel": 0.5}
"""Likewise: people say the shortest ones most, and those stand in the grammar as often as that."""
PROSE = 0.3
"""Share of a person's turns that are free text."""
ONE_IN_TESTS = 12
ENDED = "[.?!;]"
"""How a sentence of a manual ends to be a whole one in training: what ends with a colon, or with
nothing, mostly goes on ("the matrix is given by")."""
WORDNET = Path("/usr/share/wordnet")
"""Debian's wordnet-base."""
NOUNS = {"animal": (5,), "object": (6,), "food": (13,), "topic": (9, 17, 19, 20, 26, 27)}
"""WordNet's lexicographer files (lexnames(5WN)) whose nouns may stand in a slot."""
OTHER_NOUN = 0.4
"""Share of such slots in training that have one of these: any thing can be asked for."""
NO_REACTIONS = frozenset("enough quiet silent still wrong false sorry loud mute cool true".split())
"""Adjectives that interrupt; and the last two are what the tests have for "mhm"."""
OPEN_REACTIONS = 0.35
"""Share of the backchannels in training that are in any words: what somebody says for half a second
while the device speaks is no reason to stop because it has not been heard before."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DOCSTRING = re.compile(r'"{3}(.*?)"{3}', re.DOTALL)
_PARAMETER = re.compile(
    r"^(?:(?:a|an|the) )?(?:float|int|bool|str|dict|tuple|list|ndarray|array|sequence|callable|"
    r"dtype|scalar|integer|boolean|string|object|type)\b|\b(?:optional|ndarray|dtype|ndim|bool|str)\b"
)
"""What begins a docstring's line on a parameter, or stands in it: nothing that anybody says."""
_USAGE = re.compile('"([^"]+)"')
_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\ba (?=[aeio]|u(?!ni|s))")


@dataclass(frozen=True)
class IntentLabels:
    """What the device does after a turn; None where that is no training target."""

    act: str | None
    action: str | None
    delegate: str | None


@dataclass(frozen=True)
class Line:
    """A turn as text: pauses go between the segments."""

    segments: tuple[str, ...]
    intent: str
    question: bool = False
    natural: bool = True
    """Whether it is parted where people would pause."""


def normalise(text: str) -> str:
    """Lower case, letters and apostrophes only."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split())


class Grammar:
    """Templates and their labels; `split` chooses the phrasings: `train`, what begins with `tune`,
    or anything else for test; `test_phrased` and `tune_phrased` have other templates, too, and
    `known` has the phrase lists of training without what is said there more freely."""

    def __init__(
        self,
        data: Mapping[str, object],
        prose: Sequence[str] = (),
        nouns: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._data = data
        self.prose = prose
        self._nouns = nouns or {}
        self._intents: dict[str, dict[str, object]] = data["intents"]  # type: ignore[assignment]
        self._slots: dict[str, list[str]] = data["slots"]  # type: ignore[assignment]
        self._more: dict[str, list[str]] = data["training_templates"]  # type: ignore[assignment]
        self._others: dict[str, list[str]] = data["test_templates"]  # type: ignore[assignment]
        self._freely: Mapping[str, Sequence[str]] = data.get("phrasings", {})  # type: ignore[assignment]
        self._dealt: dict[str, list[str]] = {}
        """By intent: phrasings that no turn had yet, shuffled."""
        self._weights = self._shares("weight")
        self._training_weights = self._shares("training_weight")

    @classmethod
    def load(
        cls,
        path: Path,
        prose: Sequence[str] = (),
        nouns: Mapping[str, Sequence[str]] | None = None,
    ) -> Grammar:
        """The grammar in `path`, and the phrasings beside it."""
        loaded = [
            yaml.load(one.read_text(encoding="utf-8"), _LOADER)
            for one in (path, path.with_name(PHRASINGS))
        ]
        return cls({**loaded[0], "phrasings": loaded[1]}, prose, nouns)

    @cached_property
    def _names(self) -> list[str]:
        return list(self._intents)

    @cached_property
    def _of_training_alone(self) -> set[str]:
        """Templates of the intents that are no turn of tests."""
        entries = [entry for entry in self._intents.values() if not entry["weight"]]
        return {text for entry in entries for text in entry["templates"]}  # type: ignore[attr-defined]

    def labels(self, intent: str) -> IntentLabels:
        if intent == OPEN:
            return IntentLabels(None, None, None)
        entry = self._intents[intent]
        return IntentLabels(
            str(entry["act"]), str(entry.get("action", "none")), str(entry.get("delegate", "none"))
        )

    def _shares(self, name: str) -> NDArray[np.float64]:
        """How often each intent comes, (intents,); by `weight` where it has not got that."""
        entries = self._intents.values()
        weights = np.array([float(str(entry.get(name, entry["weight"]))) for entry in entries])
        return weights / weights.sum()

    def _intent(self, rng: np.random.Generator, split: str) -> str:
        shares = self._training_weights if split == "train" else self._weights
        return self._names[int(rng.choice(len(self._names), p=shares))]

    def turn(self, rng: np.random.Generator, split: str) -> Line:
        """A finished turn: from the grammar, or prose."""
        if self.prose and rng.random() < PROSE:
            return self._prose_line(rng)
        intent = self._intent(rng, split)
        question = bool(self._intents[intent].get("question", False))
        free = self._is_free(rng, intent, split)
        parts = self._deal(rng, intent) if free else self._parts(rng, intent, split)
        if intent == "story" and rng.random() < 0.4:
            parts[-1] += f" {self._one(rng, 'continuations')}"
            parts += self._parts(rng, intent, split)
        if not free:
            self._dress(rng, parts, intent, split)
        segments = self._with_pauses(rng, parts, split, always=intent == "story")
        if question is False and intent != "story" and len(parts) > 1 and rng.random() < 0.08:
            again = " ".join(self._parts(rng, intent, split))
            broken_off = " ".join(parts[:-1])
            segments = [broken_off, f"{self._phrase(rng, 'corrections', split)} {again}"]
        return Line(tuple(segments), intent, question)

    def incomplete(self, rng: np.random.Generator, split: str) -> Line:
        """A turn that breaks off at a place where more must come, maybe on a filler."""
        while True:
            intent = self._intent(rng, split)
            parts = self._parts(rng, intent, split, self._is_free(rng, intent, split))
            if len(parts) > 1:
                break
        words = parts[0].split()
        segments = [" ".join(words)]
        if rng.random() < 0.5:
            segments.append(self._phrase(rng, "fillers", split))
        return Line(tuple(segments), OPEN)

    def phrase(self, rng: np.random.Generator, kind: str, split: str) -> Line:
        """One of the phrase lists: backchannel, interruption, cancel."""
        intent = {"interruption": "stop", "cancel": "cancel"}.get(kind, OPEN)
        return Line((self._phrase(rng, kind, split),), intent)

    def device(self, rng: np.random.Generator) -> Line:
        kind = "device_long" if rng.random() < 0.6 else "device_short"
        template = self._one(rng, kind)
        parts = [part.strip() for part in self._fill(rng, template).split("|")]
        if kind == "device_long" and rng.random() < 0.3:
            more = self._fill(rng, self._one(rng, kind))
            parts += [part.strip() for part in more.split("|")]
        return Line(tuple(parts), OPEN)

    def device_backchannel(self, rng: np.random.Generator) -> Line:
        return Line((self._one(rng, "device_backchannel"),), OPEN)

    # -- pieces -----------------------------------------------------------------

    def _one(self, rng: np.random.Generator, key: str) -> str:
        values: Sequence[str] = self._data[key]  # type: ignore[assignment]
        return values[int(rng.integers(len(values)))]

    def _phrase(self, rng: np.random.Generator, key: str, split: str) -> str:
        """A phrase of the split; its slots may make none of the others', and those of tests are
        no template of an intent that training alone has."""
        lists: Mapping[str, Sequence[str]] = self._data[key]  # type: ignore[assignment]
        own = "train" if split == KNOWN else split.split("_")[0]
        own = own if own in lists else "test"
        values = lists[own]
        others = {
            text
            for name in ("train", "test", "tune")
            if name != own
            for text in lists.get(name, ())
        }
        if own != "train":
            others |= self._of_training_alone
        if split == "train":
            if "open" in lists and rng.random() < OPEN_REACTIONS:
                values = lists["open"]
            elif key in self._freely and rng.random() < FREE_PHRASES[key]:
                values = self._freely[key]
        while True:
            phrase = self._fill(rng, values[int(rng.integers(len(values)))])
            if phrase not in others:
                return phrase

    def _fill(self, rng: np.random.Generator, template: str) -> str:
        def choose(match: re.Match[str]) -> str:
            values: Sequence[str] = self._slots[match[1]]
            if match[1] in self._nouns and rng.random() < OTHER_NOUN:
                values = self._nouns[match[1]]
            return values[int(rng.integers(len(values)))]

        return _ARTICLE.sub("an ", _SLOT.sub(choose, template))

    def _is_free(self, rng: np.random.Generator, intent: str, split: str) -> bool:
        """Whether a turn comes from the phrasings."""
        return split == "train" and intent in self._freely and bool(rng.random() < FREELY)

    def _deal(self, rng: np.random.Generator, intent: str) -> list[str]:
        """Each phrasing before any comes again: there are more than a bank has turns."""
        left = self._dealt.setdefault(intent, [])
        if not left:
            freely = self._freely[intent]
            left += [freely[index] for index in rng.permutation(len(freely))]
        return self._filled(rng, left.pop())

    def _filled(self, rng: np.random.Generator, template: str) -> list[str]:
        return [part.strip() for part in self._fill(rng, template).split("|")]

    def _parts(
        self, rng: np.random.Generator, intent: str, split: str, free: bool = False
    ) -> list[str]:
        templates: Sequence[str] = self._intents[intent]["templates"]  # type: ignore[assignment]
        if free:
            templates = self._freely[intent]
        elif split == "train" and rng.random() > PLAINLY / (1 - FREELY):
            templates = [*templates, *self._more.get(intent, ())]
        elif split in (PHRASED, TUNE_PHRASED):
            others = self._others.get(intent, templates)
            templates = others[::TUNED_OF] if split == TUNE_PHRASED else _reported(others)
        return self._filled(rng, templates[int(rng.integers(len(templates)))])

    def _dress(self, rng: np.random.Generator, parts: list[str], intent: str, split: str) -> None:
        """Words before what is said, and in training around wishes and questions, as people have
        them."""
        if len(parts[0].split()) > 1 and rng.random() < 0.12:
            parts[0] = f"{self._one(rng, 'prefixes')} {parts[0]}"
            return
        if split != "train":
            return
        entry = self._intents[intent]
        kind = "question" if entry.get("question") else "command"
        if kind == "command" and not ("action" in entry or "delegate" in entry):
            return
        if rng.random() < OPENED and parts[0].split()[0] not in OPENERS:
            parts[0] = f"{self._one(rng, f'{kind}_openers')} {parts[0]}"
        if rng.random() < CLOSED:
            parts[-1] += f" {self._one(rng, f'{kind}_closers')}"

    def _with_pauses(
        self, rng: np.random.Generator, parts: Sequence[str], split: str, always: bool
    ) -> list[str]:
        segments = [parts[0]]
        for part in parts[1:]:
            if rng.random() < (0.95 if always else 0.5):
                if not always and rng.random() < 0.35:
                    segments.append(self._phrase(rng, "fillers", split))
                segments.append(part)
            else:
                segments[-1] += f" {part}"
        return segments

    def _prose_line(self, rng: np.random.Generator) -> Line:
        words = self.prose[int(rng.integers(len(self.prose)))].split()
        asks = words[0] in ASKING
        if len(words) >= 6 and rng.random() < 0.5:
            at = int(rng.integers(2, len(words) - 2))
            return Line((" ".join(words[:at]), " ".join(words[at:])), OPEN, asks, False)
        return Line((" ".join(words),), OPEN, asks)


def _reported(templates: Sequence[str]) -> Sequence[str]:
    return [one for index, one in enumerate(templates) if index % TUNED_OF] or templates


@cache
def load_prose(split: str) -> Sequence[str]:
    """Plain sentences that are in no grammar, so that words are heard and not only templates: they
    come with Python, its packages and Debian, fewer where these lack. A twelfth of the manuals'
    is for tests alone, drawn by a hash: a sentence stays on its side whatever else there is."""

    def tested(lines: Iterable[str]) -> list[str]:
        return [line for line in lines if crc32(line.encode()) % ONE_IN_TESTS == 0]

    manuals = _sentences(_manuals(), ENDED)
    if split != "train":
        return tested(manuals)
    found = _sentences(_docstrings(), ENDED)
    counted = Counter(word for line in found for word in line.split())
    common = [line for line in found if min(counted[word] for word in line.split()) >= COMMON]
    common = [line for line in common if not _PARAMETER.search(line)]
    talk = _sentences(_dialogues())
    written = {*manuals, *common, *_sentences(_usages())}
    held_out = set(tested(_sentences(_manuals())))
    return sorted({*written, *talk} - held_out) + (TALK - 1) * sorted({*talk} - held_out)


@cache
def load_words(split: str) -> Mapping[str, Sequence[str]]:
    """Words for the slots of the grammar, of those that WordNet has counted in texts: nouns, and
    for `quality` adjectives; none for tests, and none without WordNet."""
    if split != "train" or not (WORDNET / "index.noun").exists():
        return {}
    slot_of = {number: slot for slot, numbers in NOUNS.items() for number in numbers}
    meant = {}
    for offset, file, _ in _entries("data.noun"):
        meant[offset] = slot_of.get(int(file))
    found: dict[str, list[str]] = {slot: [] for slot in NOUNS}
    for word, _, rest in _entries("index.noun"):
        met, first = _senses(rest)
        slot = meant[first]
        if slot and met and re.fullmatch("[a-z]{3,10}", word):
            found[slot].append(word)
    found["quality"] = [
        word
        for word, _, rest in _entries("index.adj")
        if _senses(rest)[0] and re.fullmatch("[a-z]{3,10}", word) and word not in NO_REACTIONS
    ]
    return found


def _senses(entry: str) -> tuple[int, str]:
    """How many senses of a word were met in texts, and where the first is: of a line in an index
    without its first two fields (wndb(5WN))."""
    fields = entry.split()
    met, first = fields[int(fields[1]) + 3 : int(fields[1]) + 5]
    return int(met), first


def _entries(name: str) -> Iterator[tuple[str, str, str]]:
    """First and second field of each line of a file of WordNet's, and the rest (wndb(5WN)); the
    licence is no line."""
    for line in (WORDNET / name).read_text(encoding="latin-1").splitlines():
        if not line.startswith(" "):
            first, second, rest = line.split(" ", 2)
            yield first, second, rest


def _manuals() -> Iterator[str]:
    try:
        from pydoc_data.topics import topics

        yield from topics.values()
    except ImportError:
        pass
    for path in Path("/usr/share/common-licenses").glob("*"):
        yield path.read_text(errors="ignore")


def _docstrings() -> Iterator[str]:
    """Of the standard library and of what numbers are computed with."""
    found = [find_spec(name) for name in ("numpy", "scipy")]
    packages = [Path(spec.origin).parent for spec in found if spec and spec.origin]
    for folder in (Path(sysconfig.get_path("stdlib")), *packages):
        for path in sorted(folder.rglob("*.py")):
            if not set(path.relative_to(folder).parts) & {"tests", "test", "site-packages"}:
                yield from _DOCSTRING.findall(path.read_text(encoding="utf-8", errors="ignore"))


def _usages() -> Iterator[str]:
    """How WordNet's verbs are used, a sentence each."""
    if (WORDNET / "data.verb").exists():
        for _, _, entry in _entries("data.verb"):
            yield from (f"{usage}." for usage in _USAGE.findall(entry.partition("|")[2]))


def _dialogues() -> Iterator[str]:
    """What people and machines say to each other (chatterbot-corpus)."""
    found = find_spec("chatterbot_corpus")
    if found is not None and found.origin:
        for path in sorted(Path(found.origin).parent.glob("data/english/*.yml")):
            for dialogue in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
                yield from map(str, dialogue)


def _sentences(texts: Iterable[str], end: str = "[.?!:;]?") -> list[str]:
    """Those of 4 to 14 words and no other signs, sorted: a longer one would have to be cut, and who
    is cut off has not come to an end."""
    found: set[str] = set()
    for text in texts:
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n\n", text):
            plain = " ".join(sentence.split())
            words = normalise(plain).split()
            stray = re.search(r"\b[b-hj-z]\b", plain.lower())
            if re.fullmatch(rf"[A-Za-z,' ]+{end}", plain) and 4 <= len(words) <= 14 and not stray:
                found.add(" ".join(words))
    return sorted(found)
