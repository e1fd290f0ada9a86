"""Recordings of one's own device as training material: what it did, and what it should have done.

Beside `lobby.mcap` lies `lobby.yaml`, written by somebody who listened:

    - {from_s: 12.4, to_s: 14.0, floor: listen}                  # I was only thinking
    - {from_s: 31.0, to_s: 31.6, floor: speak, act: greet}       # it should have said hello
    - {from_s: 40.2, to_s: 41.6, said: turn on the light}        # teaches the ear

Times are seconds since the recording began. Where nothing is corrected the device's own decisions
are kept as they were, so that it does not forget what it can; a second around a correction is left
to neither, and so is what it wanted to say and did not: it was mute, or had nothing to deliver.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edge_runtime import strict_yaml
from edge_runtime.errors import InputError
from edge_runtime.inference.encode import Encoder
from edge_runtime.inference.manifest import Manifest
from edge_runtime.micro_turn import TURN_MS
from edge_runtime.replay import RecordedTurn, metadata, read
from engines.reference.corpus.draft import (
    ACT_INDEX,
    ACTION_INDEX,
    DELEGATE_INDEX,
    FLOOR_INDEX,
    IGNORE,
    Conversation,
    Ints,
)
from engines.reference.corpus.text import normalise
from engines.reference.losses import fits, joined
from engines.reference.model import SUBFRAMES, TURN_SAMPLES
from engines.reference.vocabulary import ACTIONS, ACTS, DELEGATE, FLOOR

AROUND = 5
"""Turns on either side of a correction in which what the device did is no example."""
CORRECTED_WEIGHT = 4.0
"""Corrections are few, and are what the training is for."""
ROLES = ("audio", "frame", "frame_valid", "events", "status")
LETTERS = frozenset(string.ascii_lowercase)
SILENT_FLOORS, SPEAKING_FLOORS = ("listen", "backchannel", "speak"), ("yield", "hold")


def _one_of(names: Sequence[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return name

    return AfterValidator(check)


class Correction(BaseModel):
    """What should have been, in a span of a recording."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    from_s: float = Field(ge=0, allow_inf_nan=False)
    to_s: float = Field(allow_inf_nan=False)
    floor: Annotated[str, _one_of(FLOOR)] | None = None
    act: Annotated[str, _one_of(ACTS)] | None = None
    action: Annotated[str, _one_of(ACTIONS)] | None = None
    delegate: Annotated[str, _one_of(DELEGATE)] | None = None
    said: str | None = None
    """Of the person, from their first to their last sound."""

    @property
    def turns(self) -> slice:
        return slice(int(self.from_s * 1000 // TURN_MS), -int(-self.to_s * 1000 // TURN_MS))


@dataclass(frozen=True)
class Take:
    """A whole recording with its labels; arrays as in `Conversation`."""

    audio: NDArray[np.float32]
    pictures: NDArray[np.uint8]
    frame_valid: NDArray[np.float32]
    events: NDArray[np.float32]
    status: NDArray[np.float32]
    floor: Ints
    floor_weight: NDArray[np.float32]
    act: Ints
    action: Ints
    delegate: Ints
    texts: tuple[tuple[int, int, str], ...]
    corrected: tuple[int, ...]
    """The first turn of each correction."""

    @property
    def turns(self) -> int:
        return len(self.floor)


class Recordings:
    """Windows of recordings. One seed, one window; most have a correction in them."""

    def __init__(self, takes: Sequence[Take], turns: int) -> None:
        self.takes, self.turns = takes, turns

    @classmethod
    def load(cls, folder: Path, manifest: Manifest, turns: int) -> Recordings:
        """All `*.mcap` of a folder but `*.dev.mcap`, encoded as the runtime does it for `manifest`.
        Raises InputError for a folder without one, for a damaged recording or correction, and for
        corrections of no recording."""
        paths = [path for path in sorted(folder.glob("*.mcap")) if not is_held_out(path)]
        if not paths:
            raise InputError(
                f"{folder} holds no recording to train on (*.mcap, but not *.dev.mcap, which "
                "are for `python -m engines.reference.judge`). `edge-runtime run --out DIR` writes "
                "one, and so does recording.path in the configuration."
            )
        check_names(folder)
        takes = [_take(path, manifest) for path in paths]
        return cls([_at_least(take, turns) for take in takes], turns)

    @property
    def corrections(self) -> int:
        return sum(len(take.corrected) for take in self.takes)

    def compose(self, seed: int) -> Conversation:
        rng = np.random.default_rng(seed)
        lengths = np.array([take.turns for take in self.takes], float)
        take = self.takes[int(rng.choice(len(self.takes), p=lengths / lengths.sum()))]
        last = take.turns - self.turns
        start = int(rng.integers(0, last + 1))
        if take.corrected and rng.random() < 0.8:
            wanted = int(rng.choice(take.corrected))
            before = int(rng.integers(self.turns // 4, self.turns))
            start = min(max(0, wanted - before), last)
        return self.window(take, start)

    def window(self, take: Take, start: int) -> Conversation:
        """So many turns of a recording from `start` on."""
        stop = start + self.turns
        texts = [
            (first - start, end - start, text)
            for first, end, text in take.texts
            if first >= start and end < stop
        ]
        unknown = np.full(self.turns, IGNORE)
        return Conversation(
            audio=take.audio[:, start * TURN_SAMPLES : stop * TURN_SAMPLES],
            pictures=take.pictures[start:stop],
            picture_of=np.arange(self.turns),
            frame_valid=take.frame_valid[start:stop],
            events=take.events[start:stop],
            status=take.status[start:stop],
            floor=take.floor[start:stop],
            floor_weight=take.floor_weight[start:stop],
            act=take.act[start:stop],
            action=take.action[start:stop],
            delegate=take.delegate[start:stop],
            speech=unknown,
            vision=np.full((self.turns, 5), IGNORE, np.float32),
            end_of_turn=unknown,
            intent=unknown,
            phones=np.full(self.turns * SUBFRAMES, IGNORE),
            texts=tuple(_filled(texts, self.turns)),
            marks=(),
            points=(),
        )


def _filled(texts: Sequence[tuple[int, int, str]], turns: int) -> list[tuple[int, int, str]]:
    """With empty texts in between: what was said there is not known. Those that share a turn are
    one."""
    filled, free = list[tuple[int, int, str]](), 0
    for first, last, text in joined(texts):
        if first > free:
            filled.append((free, first - 1, ""))
        filled.append((first, last, text))
        free = max(free, last + 1)
    return [*filled, (free, turns - 1, "")] if free < turns else filled


def is_held_out(path: Path) -> bool:
    """Whether a recording is to judge by and not to train on: `*.dev.mcap`."""
    return Path(path.stem).suffix == ".dev"


def check_names(folder: Path) -> None:
    """Raises InputError for a file of corrections that no recording has: nobody would read it."""
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        if path.suffix == ".yml" or not path.with_suffix(".mcap").exists():
            raise InputError(
                f"{path} is read by nobody: corrections of NAME.mcap are in NAME.yaml beside it. "
                "Rename it, or move it away."
            )


def corrections_of(recording: Path, turns: int) -> list[Correction]:
    """What was written down beside a recording of so many turns. Raises InputError."""
    path = recording.with_suffix(".yaml")
    corrections = read_corrections(path)
    for one in corrections:
        if one.turns.stop > turns or one.to_s <= one.from_s:
            raise InputError(
                f"{path}: {one.from_s} to {one.to_s} s is no span of {recording.name}, which has "
                f"{turns * TURN_MS / 1000:.1f} s."
            )
    return corrections


def read_corrections(path: Path) -> list[Correction]:
    """None without a file. Raises InputError, which names the entry and what is allowed."""
    if not path.exists():
        return []
    try:
        content = strict_yaml.parse(path.read_text(encoding="utf-8"), typed=False) or []
        return TypeAdapter(list[Correction]).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ", ".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: entry {where}: {first['msg']}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _take(path: Path, manifest: Manifest) -> Take:
    encoder = Encoder(manifest)
    names = {tensor.role: tensor.name for tensor in manifest.inputs}
    inputs: dict[str, list[NDArray[np.generic]]] = {role: [] for role in ROLES}
    turns: list[RecordedTurn] = []
    for recorded in read(path):
        arrays = encoder.arrays()
        encoder.encode(recorded.turn, arrays)
        for role in ROLES:
            inputs[role].append(arrays[names[role]][0])
        turns.append(replace(recorded, turn=replace(recorded.turn, frame=None)))
    labels = labelled(path, turns)
    stacked = {role: np.stack(parts) for role, parts in inputs.items()}
    return Take(
        audio=np.concatenate(list(stacked["audio"]), axis=1),
        pictures=stacked["frame"],
        frame_valid=stacked["frame_valid"].reshape(-1, 1),
        events=stacked["events"],
        status=stacked["status"],
        floor=labels.possible_floor(),
        floor_weight=labels.weight,
        act=labels.act,
        action=labels.action,
        delegate=labels.delegate,
        texts=tuple(labels.texts),
        corrected=tuple(one.turns.start for one in labels.corrections),
    )


def labelled(path: Path, turns: Sequence[RecordedTurn]) -> Labels:
    """What was decided in the turns of a recording, corrected by what lies beside it. Raises
    InputError for one that lacks something, and for a correction that can teach nothing."""
    if not turns:
        raise InputError(f"{path} holds no micro-turn.")
    _check_whole(path, turns)
    labels = Labels(turns)
    corrections = corrections_of(path, len(turns))
    for correction in sorted(corrections, key=lambda one: one.floor is None):  # floors clear
        labels.correct(correction)
    told = ((one, labels.why_useless(one)) for one in corrections)
    found = [(one.from_s, one.to_s, problem) for one, problem in told if problem]
    found += [
        (first * TURN_MS / 1000, (last + 1) * TURN_MS / 1000, f"nobody says {text!r} so fast.")
        for first, last, text in joined(labels.texts)
        if not fits(text, (last + 1 - first) * SUBFRAMES)
    ]
    if found:
        from_s, to_s, problem = found[0]
        raise InputError(f"{path.with_suffix('.yaml')}: {from_s} to {to_s} s: {problem}")
    return labels


def _check_whole(path: Path, turns: Sequence[RecordedTurn]) -> None:
    """Raises InputError for a recording that lacks what the model knew."""
    indices = np.array([one.turn.index for one in turns])
    if (np.diff(indices) != 1).any():
        raise InputError(
            f"{path}: micro-turns are missing in the middle, so that the times of corrections are "
            "not those of the sound. Record to a faster disk."
        )
    seen = any(one.turn.frame_age_ms is not None for one in turns)
    if seen and metadata(path).get("frames") is False:
        raise InputError(
            f"{path} has no pictures (recording.frames: false), but what was decided by them would "
            "be learned. Record with frames: true, or without a camera."
        )


class Labels:
    """What was decided, and then corrected."""

    def __init__(self, turns: Sequence[RecordedTurn]) -> None:
        decided = [one.decision for one in turns]
        self._speaking = np.array([one.turn.voice.speaking for one in turns], bool)
        self.floor = np.array([FLOOR_INDEX.get(one.floor, IGNORE) for one in decided])
        self.act = np.array([ACT_INDEX.get(one.say or "", IGNORE) for one in decided])
        acted = [one.actions[0].name if one.actions else "none" for one in decided]
        self.action = np.array([ACTION_INDEX.get(name, IGNORE) for name in acted])
        self.delegate = np.array([DELEGATE_INDEX[one.delegation.value] for one in decided])
        for labels in (self.floor, self.act):
            labels[[unsaid(one) for one in turns]] = IGNORE
        for labels in (self.floor, self.act, self.action, self.delegate):
            labels[[failed(one) for one in turns]] = IGNORE
        self.weight = np.ones(len(turns), np.float32)
        self._fixed = np.zeros(len(turns), bool)
        self.texts: list[tuple[int, int, str]] = []
        self.corrections: list[Correction] = []

    def correct(self, correction: Correction) -> None:
        span = correction.turns
        self.corrections.append(correction)
        if correction.said is not None:
            self.texts.append((span.start, span.stop - 1, normalise(correction.said)))
        if correction.floor is not None:
            around = np.zeros(len(self.floor), bool)
            around[max(0, span.start - AROUND) : span.stop + AROUND] = True
            for labels in (self.floor, self.act, self.delegate):
                labels[around & ~self._fixed] = IGNORE
            self._fixed[span] = True
            self.floor[span] = FLOOR_INDEX[correction.floor]
            self.weight[span] = CORRECTED_WEIGHT
        for labels, name, known in (
            (self.act, correction.act, ACT_INDEX),
            (self.action, correction.action, ACTION_INDEX),
            (self.delegate, correction.delegate, DELEGATE_INDEX),
        ):
            if name is not None:
                labels[span] = known[name]

    def why_useless(self, correction: Correction) -> str | None:
        """What is wrong with one that teaches nothing."""
        given = (correction.floor, correction.act, correction.action, correction.delegate)
        if correction.said is None and not any(given):
            return "it corrects nothing. Give floor, act, action, delegate or said."
        if correction.said is not None and (problem := _why_unspelled(correction.said)):
            return problem
        floor = correction.floor
        if floor is None or (self.possible_floor()[correction.turns] != IGNORE).any():
            return None
        if floor in SPEAKING_FLOORS:
            return f"the device is silent there, and can only {floor} while it speaks."
        return (
            "the device speaks there already. What it decides is heard 0.2 s later: begin before "
            f"it is heard, or correct it to yield instead of {floor}."
        )

    def possible_floor(self) -> Ints:
        """A device that speaks cannot take the floor, and one that is silent cannot yield it."""
        silent = np.isin(self.floor, [FLOOR_INDEX[name] for name in SILENT_FLOORS])
        spoken = np.isin(self.floor, [FLOOR_INDEX[name] for name in SPEAKING_FLOORS])
        impossible = (self._speaking & silent) | (~self._speaking & spoken)
        return np.where(impossible, IGNORE, self.floor)


def _why_unspelled(said: str) -> str | None:
    """What is wrong with a transcript whose letters cannot be learned as they are."""
    if re.search(r"\d", said):
        return f"write the numbers of {said!r} as words: letters are learned."
    if strange := {letter for letter in said.lower() if letter.isalpha() and letter not in LETTERS}:
        return (
            f"write {', '.join(sorted(strange))} of {said!r} with the letters a to z: the model "
            "has no others."
        )
    if not normalise(said):
        return f"there is no word in {said!r}. Leave `said` out where none was said."
    return None


def unsaid(turn: RecordedTurn) -> bool:
    """It wanted to say something and did not: it was mute, or had nothing to deliver."""
    return turn.decision.say is not None and turn.said is None


def failed(turn: RecordedTurn) -> bool:
    """No model decided this."""
    return not turn.output.tensors


def _at_least(take: Take, turns: int) -> Take:
    """Longer by turns of which nothing is known."""
    more = turns - take.turns
    if more <= 0:
        return take

    def padded(array: NDArray[np.generic], fill: float = 0) -> NDArray[np.generic]:
        widths = [(0, more), *[(0, 0)] * (array.ndim - 1)]
        return np.pad(array, widths, constant_values=fill)

    return Take(
        audio=np.pad(take.audio, [(0, 0), (0, more * TURN_SAMPLES)]),
        pictures=padded(take.pictures),
        frame_valid=padded(take.frame_valid),
        events=padded(take.events),
        status=padded(take.status),
        floor=padded(take.floor, IGNORE),
        floor_weight=padded(take.floor_weight, 1),
        act=padded(take.act, IGNORE),
        action=padded(take.action, IGNORE),
        delegate=padded(take.delegate, IGNORE),
        texts=take.texts,
        corrected=take.corrected,
    )
