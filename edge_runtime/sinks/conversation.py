"""The conversation as a sound file: left the microphone, right what the device played."""

from __future__ import annotations

import logging
import wave
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import RecordingError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TurnRecord

log = logging.getLogger(__name__)


class ConversationFile:
    """Writes `path` as it goes: WAV, 16 kHz, stereo, 16 bit. A full disk stops it, not the loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: wave.Wave_write | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.open("wb").close()  # where this fails, wave.open fails with noise of its own
        except OSError as error:
            raise RecordingError(
                f"{self._path} cannot be written: {error.strerror}. Give another folder with "
                "--out, or check its rights."
            ) from error
        self._file = wave.open(str(self._path), "wb")
        self._file.setnchannels(2)
        self._file.setsampwidth(2)
        self._file.setframerate(SAMPLE_RATE_HZ)
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
            self._file.writeframesraw(pcm.astype("<i2").tobytes())
        except OSError as error:
            log.warning("%s: recording stopped: %s", self._path, error)
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                log.warning("%s could not be finished: %s", self._path, error)
