"""What people and the device say in the corpus: a template grammar, and prose beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

OPEN = "open"
"""The intent of free text: the floor is taken after it, what is said then is not a target."""
_SLOT = re.compile(r"\{(\w+)\}")


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


def normalise(text: str) -> str:
    """Lower case, letters and apostrophes only."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split())


class Grammar:
    """Templates and their labels; `split` chooses the phrasings (`train`, or anything else:
    test)."""

    def __init__(self, data: Mapping[str, object], prose: Sequence[str] = ()) -> None:
        self._data = data
        self.prose = prose
        self._intents: dict[str, dict[str, object]] = data["intents"]  # type: ignore[assignment]
        self._slots: dict[str, list[str]] = data["slots"]  # type: ignore[assignment]
        weights = np.array([float(i["weight"]) for i in self._intents.values()])  # type: ignore[arg-type]
        self._weights = weights / weights.sum()

    @classmethod
    def load(cls, path: Path, prose: Sequence[str] = ()) -> Grammar:
        return cls(yaml.safe_load(path.read_text(encoding="utf-8")), prose)

    @cached_property
    def _names(self) -> list[str]:
        return list(self._intents)

    def labels(self, intent: str) -> IntentLabels:
        if intent == OPEN:
            return IntentLabels(None, None, None)
        entry = self._intents[intent]
        return IntentLabels(
            str(entry["act"]), str(entry.get("action", "none")), str(entry.get("delegate", "none"))
        )

    def turn(self, rng: np.random.Generator, split: str) -> Line:
        """A finished turn: from the grammar, or prose."""
        if self.prose and rng.random() < 0.3:
            return self._prose_line(rng, split)
        intent = self._names[int(rng.choice(len(self._names), p=self._weights))]
        entry = self._intents[intent]
        question = bool(entry.get("question", False))
        parts = self._parts(rng, entry)
        if intent == "story" and rng.random() < 0.4:
            parts[-1] += f" {self._one(rng, 'continuations')}"
            parts += self._parts(rng, entry)
        if len(parts[0].split()) > 1 and rng.random() < 0.12:
            parts[0] = f"{self._one(rng, 'prefixes')} {parts[0]}"
        segments = self._with_pauses(rng, parts, split, always=intent == "story")
        if question is False and intent != "story" and len(parts) > 1 and rng.random() < 0.08:
            again = " ".join(self._parts(rng, entry))
            broken_off = " ".join(parts[:-1])
            segments = [broken_off, f"{self._phrase(rng, 'corrections', split)} {again}"]
        return Line(tuple(segments), intent, question)

    def incomplete(self, rng: np.random.Generator, split: str) -> Line:
        """A turn that breaks off at a place where more must come, maybe on a filler."""
        while True:
            intent = self._names[int(rng.choice(len(self._names), p=self._weights))]
            parts = self._parts(rng, self._intents[intent])
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
        """A phrase of the split; its slots may make none of the other split's."""
        lists: Mapping[str, Sequence[str]] = self._data[key]  # type: ignore[assignment]
        names = ("train", "test") if split == "train" else ("test", "train")
        values, others = (lists[name] for name in names)
        while True:
            phrase = self._fill(rng, values[int(rng.integers(len(values)))])
            if phrase not in others:
                return phrase

    def _fill(self, rng: np.random.Generator, template: str) -> str:
        def choose(match: re.Match[str]) -> str:
            values = self._slots[match[1]]
            return values[int(rng.integers(len(values)))]

        return _SLOT.sub(choose, template)

    def _parts(self, rng: np.random.Generator, entry: Mapping[str, object]) -> list[str]:
        templates: Sequence[str] = entry["templates"]  # type: ignore[assignment]
        template = templates[int(rng.integers(len(templates)))]
        return [part.strip() for part in self._fill(rng, template).split("|")]

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

    def _prose_line(self, rng: np.random.Generator, split: str) -> Line:
        cut = max(1, len(self.prose) // 12)
        pool = self.prose[cut:] if split == "train" else self.prose[:cut]
        words = pool[int(rng.integers(len(pool)))].split()
        if len(words) >= 6 and rng.random() < 0.5:
            at = int(rng.integers(2, len(words) - 2))
            return Line((" ".join(words[:at]), " ".join(words[at:])), OPEN)
        return Line((" ".join(words),), OPEN)


def stdlib_prose() -> list[str]:
    """Plain sentences of 4 to 14 words that come with Python and Debian; fewer where they lack."""
    texts: list[str] = []
    try:
        from pydoc_data.topics import topics

        texts += list(topics.values())
    except ImportError:
        pass
    texts += [p.read_text(errors="ignore") for p in Path("/usr/share/common-licenses").glob("*")]
    found: set[str] = set()
    for text in texts:
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n\n", text):
            plain = " ".join(sentence.split())
            words = plain.split()
            stray = re.search(r"\b[b-hj-z]\b", plain.lower())
            if re.fullmatch(r"[A-Za-z,' ]+[.?!:;]?", plain) and 4 <= len(words) <= 22 and not stray:
                found.add(normalise(" ".join(words[:14])))
    return sorted(found)
