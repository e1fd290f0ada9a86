"""Writes a run as MCAP, which Foxglove opens and `edge-runtime replay` runs again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import ENOENT
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from typing_extensions import Self

from edge_runtime import recording_format as fmt
from edge_runtime.micro_turn import Frame, TurnRecord
from edge_runtime.sinks.recording_files import (
    check_place,
    is_unfinished,
    open_unfinished,
    put_aside,
    unfinished,
    unwritable,
)

log = logging.getLogger(__name__)
_OBJECT = {"type": "object"}
_IMAGE = {
    "title": "foxglove.CompressedImage",
    "type": "object",
    "properties": {
        "timestamp": {
            "type": "object",
            "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
        },
        "frame_id": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
    },
}
_CHANNELS = {
    fmt.TURN: ("edge_runtime.MicroTurn", _OBJECT),
    fmt.FRAME: ("foxglove.CompressedImage", _IMAGE),
    fmt.DECISION: ("edge_runtime.Decision", _OBJECT),
    fmt.OUTPUT: ("edge_runtime.EngineOutput", _OBJECT),
    fmt.SPOKEN: ("edge_runtime.Utterance", _OBJECT),
    fmt.TIMINGS: ("edge_runtime.Timings", _OBJECT),
}


class Recorder:
    """One file a run. It is written under a temporary name and renamed when it is whole.

    Pictures are kept losslessly (PNG), as `fit` gives them, and only when they change. A write
    error (a full disk) ends the recording with a warning and leaves the loop alone. What was
    written until then is put aside under a name of its own, as is what a run that was killed has
    left: it reads up to its last whole turns; with `keep_earlier` the file of an earlier run is put
    aside, too. Entering raises RecordingError where it cannot be written, or where another process
    is writing it.

    `failure` is why it has ended early, `written_bytes` what is in the file. `quiet` is set by
    whoever tells of failures: then the log does so at DEBUG.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Any],
        frames: bool = True,
        fit: Callable[[Frame], Frame] = lambda frame: frame,
        keep_earlier: bool = False,
    ) -> None:
        self._path, self._metadata, self._frames, self._fit = path, metadata, frames, fit
        self._keep_earlier = keep_earlier
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        self._channels: dict[str, int] = {}
        self._last: Frame | None = None
        self._empty = True
        self._head_bytes = 0
        self.written_bytes = 0
        self.failure: OSError | None = None
        self.quiet = False

    def __enter__(self) -> Self:
        from mcap.writer import CompressionType, Writer

        check_place(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_unfinished(self._path)
            self._begin(Writer(self._file, compression=CompressionType.ZSTD))
            self._file.flush()
        except OSError as error:
            self._leave_none()
            raise unwritable(self._path, error) from error
        self._head_bytes = self.written_bytes = self._file.tell()
        return self

    def _begin(self, writer: Any) -> None:
        writer.start(profile="", library="edge_runtime")
        for topic, (name, schema) in _CHANNELS.items():
            schema_id = writer.register_schema(name, "jsonschema", json.dumps(schema).encode())
            self._channels[topic] = writer.register_channel(topic, "json", schema_id)
        notes = {key: json.dumps(value, default=str) for key, value in self._metadata.items()}
        writer.add_metadata(
            "run", {"format": fmt.FORMAT, "frames": json.dumps(self._frames)} | notes
        )
        self._writer = writer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        assert self._file is not None
        try:
            self._writer.finish()
            self._file.flush()
            self.written_bytes = self._file.tell()
            if not self.in_place:
                raise FileNotFoundError(ENOENT, "it was removed while it was written")
            if error is not None and self._empty:  # the run never began
                unfinished(self._path).unlink()
            else:
                if self._keep_earlier:
                    put_aside(self._path, self._path)
                os.replace(unfinished(self._path), self._path)
            self._file.close()  # and with it the lock, now that nobody can mistake it for theirs
        except OSError as failure:
            self._give_up(failure)
        self._writer = None

    @property
    def holds_turns(self) -> bool:
        """Whether there is something that can be read, were it cut off now."""
        return self.written_bytes > self._head_bytes

    @property
    def in_place(self) -> bool:
        """Whether what is written is still where it was begun: nobody has removed it."""
        with suppress(OSError):
            return self._file is not None and is_unfinished(self._file, self._path)
        return False

    def publish(self, record: TurnRecord) -> None:
        if self._writer is None:
            return
        self._empty = False
        time_ns = max(0, record.turn.deadline_ns)
        frame = record.turn.frame if self._frames else None
        entry = fmt.turn_to_dict(record.turn)
        entry["has_frame"] = frame is not None
        try:
            if frame is not None and (self._last is None or not np.array_equal(frame, self._last)):
                self._add(fmt.FRAME, _image(self._fit(frame), time_ns), time_ns)
                self._last = frame
            self._write(fmt.TURN, entry, time_ns)
            self._write(fmt.OUTPUT, fmt.output_to_dict(record.output), time_ns)
            self._write(fmt.DECISION, fmt.decision_to_dict(record.decision), time_ns)
            self._write(fmt.TIMINGS, fmt.timings_to_dict(record), time_ns)
            if record.said is not None:
                self._write(fmt.SPOKEN, fmt.utterance_to_dict(record.said), time_ns)
            assert self._file is not None
            self._file.flush()  # whole chunks: a run that is killed loses the last seconds only
            self.written_bytes = self._file.tell()
        except OSError as error:
            self._give_up(error)

    def _write(self, topic: str, value: Mapping[str, Any], time_ns: int) -> None:
        self._add(topic, json.dumps(value, separators=(",", ":")).encode(), time_ns)

    def _add(self, topic: str, data: bytes, time_ns: int) -> None:
        self._writer.add_message(self._channels[topic], time_ns, data, time_ns)

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        kept = None
        if self.holds_turns and self.in_place:
            with suppress(OSError):  # it stays as it is, and the next run puts it aside
                kept = put_aside(unfinished(self._path), self._path)
        self._leave_none()
        log.log(
            logging.DEBUG if self.quiet else logging.WARNING,
            "recording stopped, the run goes on: %s: %s%s",
            self._path,
            error,
            f". Make room; what was written is {kept}" if kept is not None else "",
        )

    def _leave_none(self) -> None:
        """Close the file. What holds no turn is removed: tried again and again on a disk that is
        full, it would leave a file each time."""
        self._writer = None
        if self._file is None:
            return
        if self.in_place and not self.holds_turns:
            with suppress(OSError):
                unfinished(self._path).unlink()
        with suppress(OSError):  # what it still holds does not fit either
            self._file.close()


def _image(frame: Frame, time_ns: int) -> bytes:
    """foxglove.CompressedImage as JSON. Base64 needs no escaping: encoding megabytes of it as a
    string would hold the interpreter from the loop."""
    import base64

    import cv2

    done, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError("the picture could not be coded")
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return b'{"timestamp":{"sec":%d,"nsec":%d},"frame_id":"camera","data":"%s","format":"png"}' % (
        seconds,
        nanoseconds,
        base64.b64encode(data.tobytes()),
    )
