"""Any sound file as a stream of 16 kHz mono, in little memory however long it is."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm
from edge_runtime.sources.ffprobe import Track, first_track

log = logging.getLogger(__name__)
BLOCK_S = 0.5
"""Decoded at a time."""


class AudioFile:
    """Streams a sound file: whatever soundfile reads, and what ffmpeg reads where it is installed.

    Entering opens the file and decodes its beginning. Raises SourceError, with a remedy, when
    there is no file, no sound in it, or nothing that can decode it. A file that turns out to be
    damaged further on ends there, with a warning.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._decoder: _Decoder | None = None
        self._resampler: Any = None
        self._ready: Pcm = np.zeros(0, np.float32)
        self._ended = False
        self.bad_samples = 0
        """NaN and infinite samples so far, each replaced by 0."""

    def __enter__(self) -> Self:
        _check_is_file(self._path)
        self._decoder = _open(self._path)
        if self._decoder.rate_hz != SAMPLE_RATE_HZ:
            import soxr

            self._resampler = soxr.ResampleStream(self._decoder.rate_hz, SAMPLE_RATE_HZ, 1)
        self._fill(1)
        if not self._ready.size:
            self._close()
            raise SourceError(f"{self._path} holds no sound. Give --audio a file with sound in it.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def description(self) -> str:
        """One line: what the file is, and what was done to make it 16 kHz mono."""
        return f"{self._path.name}: {self._opened().description}"

    @property
    def duration_s(self) -> float | None:
        """As the file's header says; None where it says nothing."""
        return self._opened().duration_s

    def read(self, count: int) -> Pcm:
        """The next samples, float32 (<= count,), -1..1, 16 kHz; fewer only at the end."""
        self._opened()
        self._fill(count)
        block, self._ready = self._ready[:count], self._ready[count:]
        return block

    def _fill(self, count: int) -> None:
        blocks, size = [self._ready], self._ready.size
        while size < count and not self._ended:
            block = self._next_block()
            blocks.append(block)
            size += block.size
        if len(blocks) > 1:
            self._ready = np.concatenate(blocks)

    def _next_block(self) -> Pcm:
        """Decode, clean and resample one block; it may be empty before the end too."""
        block = self._opened().read_mono()
        self._ended = block.size == 0
        finite = np.isfinite(block)
        if not finite.all():
            if self.bad_samples == 0:
                log.warning("%s has NaN or infinite samples; each becomes 0", self._path)
            self.bad_samples += int(block.size - np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0))
        if self._resampler is not None:
            block = self._resampler.resample_chunk(block, last=self._ended)
        return np.clip(block, -1.0, 1.0)

    def _opened(self) -> _Decoder:
        if self._decoder is None:
            raise RuntimeError("AudioFile is used outside its `with` block")
        return self._decoder

    def _close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None


class _Decoder(Protocol):
    """One open sound file."""

    rate_hz: int
    """Of what `read_mono` gives."""
    duration_s: float | None
    description: str

    def read_mono(self) -> Pcm:
        """float32 (n,), at most BLOCK_S of it; empty only at the end."""
        ...

    def close(self) -> None: ...


class _SoundFileDecoder:
    """libsndfile: WAV, FLAC, Ogg, MP3, AIFF, ..."""

    def __init__(self, path: Path) -> None:
        """Raises soundfile.SoundFileError for what libsndfile cannot read."""
        import soundfile

        self._error: type[Exception] = soundfile.SoundFileError
        self._path = path
        self._file: Any = soundfile.SoundFile(path)
        self.rate_hz: int = self._file.samplerate
        self.duration_s: float | None = self._file.frames / self.rate_hz
        channels: int = self._file.channels
        self.description = _describe(
            self.rate_hz, channels, self.duration_s, "mean of channels" if channels > 1 else ""
        )

    def read_mono(self) -> Pcm:
        try:
            block = self._file.read(int(BLOCK_S * self.rate_hz), dtype="float32", always_2d=True)
        except self._error as error:
            log.warning("%s is damaged; the sound ends there: %s", self._path, error)
            return np.zeros(0, np.float32)
        mono: Pcm = block.mean(axis=1, dtype=np.float32)
        return mono

    def close(self) -> None:
        self._file.close()


class _FfmpegDecoder:
    """ffmpeg, a program of its own: everything else, and the sound of videos. Sound that begins
    later than its file comes after silence, in step with the pictures."""

    def __init__(self, path: Path, track: Track) -> None:
        self._path = path
        self.rate_hz = SAMPLE_RATE_HZ
        self.duration_s = track.duration_s
        self._channels = max(1, int(track.entries.get("channels", 1)))
        self._silent = round(track.late_s * SAMPLE_RATE_HZ)
        """Samples before the sound begins."""
        how = "by ffmpeg, mean of channels" if self._channels > 1 else "by ffmpeg"
        how += f", after {track.late_s:.1f} s of silence" if self._silent else ""
        rate_hz = int(track.entries.get("sample_rate", 0))
        self.description = _describe(rate_hz, self._channels, track.duration_s, how)
        command = [
            *("ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0"),
            # ffmpeg's own mix to mono is louder than the mean and clips.
            *("-f", "f32le", "-ac", str(self._channels), "-ar", str(SAMPLE_RATE_HZ), "-"),
        ]
        # A file for the messages: a pipe that nobody reads would block ffmpeg once it is full.
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._messages, stdin=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        self._pcm: IO[bytes] = self._process.stdout

    def read_mono(self) -> Pcm:
        if self._silent:
            silence = np.zeros(min(self._silent, int(BLOCK_S * SAMPLE_RATE_HZ)), np.float32)
            self._silent -= silence.size
            return silence
        bytes_a_sample = 4 * self._channels
        data = self._pcm.read(bytes_a_sample * int(BLOCK_S * SAMPLE_RATE_HZ))
        if not data and self._process.wait() != 0:
            log.warning("%s: the sound ends where ffmpeg says: %s", self._path, self._complaint())
        count = len(data) // bytes_a_sample
        block = np.frombuffer(data, "<f4", count * self._channels).reshape(count, self._channels)
        mono: Pcm = block.mean(axis=1, dtype=np.float32)
        return mono

    def _complaint(self) -> str:
        """ffmpeg's last message."""
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no reason given"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pcm.close()
        self._messages.close()


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise SourceError(f"{path} does not exist. Give --audio the path of a sound file.")
    if path.is_dir():
        raise SourceError(f"{path} is a folder. Give --audio one sound file.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Check its rights.") from error
    if empty:
        raise SourceError(f"{path} is empty. Give --audio a file with sound in it.")


def _open(path: Path) -> _Decoder:
    import soundfile

    try:
        return _SoundFileDecoder(path)
    except soundfile.SoundFileError as error:
        if shutil.which("ffmpeg") is None:
            raise SourceError(
                f"{path} is not a sound file that libsndfile reads ({error}). Convert it to WAV, "
                "or install ffmpeg, which reads many more."
            ) from error
    track = first_track(path, "a")
    if track is None:
        raise SourceError(
            f"{path} is not a sound file: neither libsndfile nor ffmpeg finds sound in it. Give "
            "--audio a file with sound, such as WAV, FLAC, Ogg, MP3 or MP4."
        )
    return _FfmpegDecoder(path, track)


def _describe(rate_hz: int, channels: int, duration_s: float | None, how: str) -> str:
    length = "length unknown" if duration_s is None else f"{duration_s:.1f} s"
    was = f"{rate_hz} Hz, {channels} {'channel' if channels == 1 else 'channels'}, {length}"
    if rate_hz == SAMPLE_RATE_HZ and not how:
        return f"{was}, used as it is"
    return f"{was} -> {SAMPLE_RATE_HZ} Hz mono" + (f", {how}" if how else "")
