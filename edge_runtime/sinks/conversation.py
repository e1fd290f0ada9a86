"""The conversation as a sound file: left the microphone, right what the device played."""

from __future__ import annotations

import logging
import wave
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import RecordingError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_MS, TurnRecord
from edge_runtime.sinks.recording_files import put_aside

log = logging.getLogger(__name__)
HEADER_TURNS = 5_000 // TURN_MS
"""So often the header is told how long the sound is: what comes after is lost to a kill."""
LONGEST_TURNS = 18 * 3_600_000 // TURN_MS
"""4.1 GB: a WAV counts its bytes up to 4.3."""


class ConversationFile:
    """Writes `path` as it goes: WAV, 16 kHz, stereo, 16 bit. A full disk stops it, not the loop.

    What comes after `LONGEST_TURNS` goes into files of their own beside it: `conversation-2.wav`.
    With `keep_earlier` a file of an earlier run is renamed, with the time of its end.
    """

    def __init__(self, path: Path, keep_earlier: bool = False) -> None:
        self._path, self._keep_earlier = path, keep_earlier
        self._file: wave.Wave_write | None = None
        self._turns = 0
        self.paths: list[Path] = []
        """Of all files that were begun."""

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._begin(self._path)
        except OSError as error:
            raise RecordingError(
                f"{self._path} cannot be written: {error.strerror}. Give another folder with "
                "--out, or check its rights."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def publish(self, record: TurnRecord) -> None:
        if self._file is None:
            return
        pcm = np.clip(np.rint(record.turn.audio.T * 32768), -32768, 32767)
        try:
            self._write(pcm.astype("<i2").tobytes())
        except OSError as error:
            log.warning("%s: recording stopped: %s", self._path, error)
            self._close()

    def _begin(self, path: Path) -> None:
        """Raises OSError."""
        if self._keep_earlier:
            put_aside(path, path)
        path.open("wb").close()  # where this fails, wave.open fails with noise of its own
        self._file = wave.open(str(path), "wb")  # noqa: SIM115 - closed by `_close`
        self._file.setnchannels(2)
        self._file.setsampwidth(2)
        self._file.setframerate(SAMPLE_RATE_HZ)
        self.paths.append(path)

    def _write(self, pcm: bytes) -> None:
        part, place = divmod(self._turns, LONGEST_TURNS)
        if part and not place:
            self._close()
            self._begin(self._path.with_stem(f"{self._path.stem}-{part + 1}"))
        assert self._file is not None
        told = (place + 1) % HEADER_TURNS == 0
        (self._file.writeframes if told else self._file.writeframesraw)(pcm)
        self._turns += 1

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                log.warning("%s could not be finished: %s", self._path, error)
