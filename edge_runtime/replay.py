"""Runs the engine again on a recording and compares every decision."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edge_runtime import recording_format as fmt
from edge_runtime.errors import RecordingError
from edge_runtime.inference.encode import fitted
from edge_runtime.inference.manifest import Manifest
from edge_runtime.interfaces import Decider, Engine
from edge_runtime.micro_turn import Decision, EngineOutput, Frame, MicroTurn, Utterance

log = logging.getLogger(__name__)
MAGIC = b"\x89MCAP0\r\n"
"""Begins every MCAP file, and ends a whole one."""
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    turn: MicroTurn
    output: EngineOutput
    decision: Decision
    said: Utterance | None = None
    """The utterance that this decision started."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first micro-turn that came out differently."""

    index: int
    field: str
    recorded: Any
    replayed: Any
    missing: str | None = None
    """What of the run is not in the recording, and may be why."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    turns: int
    difference: Difference | None
    max_output_difference: float
    same_engine: bool
    """The recording was made with a model file of the same hash."""


def metadata(path: Path) -> dict[str, Any]:
    """What the run noted: format, engine, config, version. Raises RecordingError."""
    with _open(path) as file, _damage_named(path):
        whole, reader = _reader(file, path)
        notes = reader.iter_metadata()
        for record in notes if whole else _up_to_the_cut(notes):
            if record.name == "run" and record.metadata.get("format") == fmt.FORMAT:
                return {key: _plain(value) for key, value in record.metadata.items()}
    raise RecordingError(f"{path} is an MCAP file, but not a recording of this runtime.")


def eagerness(noted: Mapping[str, Any]) -> float | None:
    """What the device that recorded was set to, by the recording's metadata; None: not told."""
    config = noted.get("config")
    return float(config["decision"]["eagerness"]) if isinstance(config, dict) else None


def engine_changes(
    noted: Mapping[str, Any], identity: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """What the recording's engine was and what this one is, by the fields of their identities that
    both have and that differ, but for the graph's hash."""
    was = noted.get("engine", {})
    common = [name for name in identity if name in was and name != "sha256"]
    return {n: (was[n], identity[n]) for n in common if was[n] != identity[n]}


def read(path: Path) -> Iterator[RecordedTurn]:
    """The recorded turns in order. Raises RecordingError when the file is damaged.

    One that was cut off, because its run was killed or its disk was full, is read up to the last
    turn that is whole, with a warning.
    """
    frame: Frame | None = None
    parts: dict[str, Mapping[str, Any]] = {}
    whole_turn: RecordedTurn | None = None
    with _open(path) as file, _damage_named(path):
        whole, reader = _reader(file, path)
        messages = reader.iter_messages(log_time_order=False)
        if not whole:
            log.warning("%s was cut off; it is read up to its last whole micro-turn", path)
            messages = _up_to_the_cut(messages)
        for _, channel, message in messages:
            data = json.loads(message.data)
            if channel.topic == fmt.SPOKEN:  # comes last of a turn, if at all
                if whole_turn is not None:
                    whole_turn = replace(whole_turn, said=fmt.utterance_from_dict(data))
                continue
            if whole_turn is not None:
                yield whole_turn
                whole_turn = None
            if channel.topic == fmt.FRAME:
                frame = _picture(data)
                continue
            parts[channel.topic] = data
            if channel.topic == fmt.TIMINGS:
                whole_turn = _turn(parts, frame)
                parts = {}
        if whole_turn is not None:
            yield whole_turn


def read_turns(path: Path, manifest: Manifest) -> list[MicroTurn]:
    """All that a model of this manifest was given, to be kept in memory: its pictures are no larger
    than the model takes them. Raises RecordingError."""
    return list(fitted((recorded.turn for recorded in read(path)), manifest))


def replay(path: Path, engine: Engine, decider: Decider, sha256: str) -> ReplayReport:
    """Compare decisions exactly; only the timing fields of the format are left out, and what the
    device did where its engine failed, which no model decided. Raises RecordingError."""
    noted = metadata(path)
    same_engine = noted.get("engine", {}).get("sha256") == sha256
    engine.reset()
    decider.reset()
    turns, worst, missing, due = 0, 0.0, None, 0
    for recorded in read(path):
        if not recorded.output.tensors:
            continue
        missing = missing or _missing(recorded.turn, due, noted)
        due = recorded.turn.index + 1
        output = engine.step(recorded.turn)
        decision = decider.decide(output, recorded.turn)
        worst = max(worst, _distance(output, recorded.output))
        difference = _compare(recorded.decision, decision)
        turns += 1
        if difference is not None:
            return ReplayReport(turns, replace(difference, missing=missing), worst, same_engine)
    if not turns:
        raise RecordingError(f"{path} holds no whole micro-turn. Give a recording of a longer run.")
    return ReplayReport(turns, None, worst, same_engine)


def _missing(turn: MicroTurn, due: int, noted: Mapping[str, Any]) -> str | None:
    """What is not in the recording of all that the model knew, `due` being the turn after the last
    one; None where all is."""
    if turn.index != due and due == 0:
        return (
            f"it begins with micro-turn {turn.index}, and not with the model's state at that time: "
            "only the first file of a run replays"
        )
    if turn.index != due:
        return (
            f"micro-turns {due} to {turn.index - 1} are not in it: they were dropped because the "
            "disk was too slow"
        )
    if noted.get("frames") is False and turn.frame_age_ms is not None:
        return "the model saw pictures, which recording.frames: false left out"
    return None


def _compare(recorded: Decision, replayed: Decision) -> Difference | None:
    first, second = fmt.decision_to_dict(recorded), fmt.decision_to_dict(replayed)
    for field, value in first.items():
        if value != second[field]:
            return Difference(recorded.index, field, value, second[field])
    return None


def _distance(one: EngineOutput, other: EngineOutput) -> float:
    """Over tensors of the same name and shape: another model may have others."""
    pairs = [(one.tensors[name], other.tensors.get(name)) for name in one.tensors]
    gaps = [float(np.abs(a - b).max()) for a, b in pairs if b is not None and a.shape == b.shape]
    return max(gaps, default=0.0)


def _turn(parts: Mapping[str, Mapping[str, Any]], frame: Frame | None) -> RecordedTurn:
    try:
        entry = parts[fmt.TURN]
        return RecordedTurn(
            fmt.turn_from_dict(entry, frame if entry["has_frame"] else None),
            fmt.output_from_dict(parts[fmt.OUTPUT]),
            fmt.decision_from_dict(parts[fmt.DECISION]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"A recorded micro-turn is incomplete: {error!r}.") from error


def _picture(data: Mapping[str, Any]) -> Frame:
    import cv2

    coded = np.frombuffer(base64.b64decode(data["data"]), np.uint8)
    image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    if image is None:
        raise RecordingError("The recording holds a picture that cannot be read.")
    return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Whatever the MCAP library raises on a damaged file, as RecordingError."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(
            f"{path} is damaged ({error}). Give another copy of it, or another recording."
        ) from error


def _up_to_the_cut(items: Iterator[Read]) -> Iterator[Read]:
    """Whatever the MCAP library raises where the file breaks off is its end."""
    try:
        yield from items
    except Exception as error:
        log.debug("the recording ends there: %s", error)


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise RecordingError(
            f"The recording {path} cannot be opened: {error.strerror}. Give the path of a "
            "recording.mcap that `run --out` or `demo` wrote."
        ) from error


def _reader(file: Any, path: Path) -> tuple[bool, Any]:
    """Whether the file is whole, and what reads it. A file that was cut off has no index at its
    end, and is read from its beginning."""
    from mcap.reader import NonSeekingReader, make_reader

    if file.read(len(MAGIC)) != MAGIC:
        raise RecordingError(
            f"{path} is not an MCAP recording. Give a recording.mcap that `run --out` or `demo` "
            "wrote."
        )
    file.seek(-len(MAGIC), os.SEEK_END)
    whole = file.tell() > 0 and file.read() == MAGIC
    file.seek(0)
    make = make_reader if whole else NonSeekingReader
    return whole, make(file, validate_crcs=True)


def _plain(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
