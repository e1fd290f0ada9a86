"""espeak-ng, run as a program of its own: text in by stdin, sound out as it is made."""

from __future__ import annotations

import contextlib
import difflib
import shutil
import subprocess
from collections.abc import Iterator
from typing import IO

import numpy as np

from edge_runtime.errors import VoiceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm
from edge_runtime.voice.phoneme_codes import coded
from edge_runtime.voice.silence import SilenceTrimmer

PROGRAM = "espeak-ng"
BLOCK_SAMPLES = 2048
"""Read from the program at a time, at its own rate. Always the same, so that the resampled sound
does not depend on how the pipe happened to be filled."""
END_TIMEOUT_S = 2.0
"""For the program to end after its last sample."""
_HUM = r"[[@mh'@m]]\g<marks>"
_WAV_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8


class EspeakSynthesizer:
    """Speaks with espeak-ng. `voice` is one of its voices, with or without a variant (`en-us+f2`).

    `rate_wpm` is in words a minute (80..450), `pitch` in espeak-ng's steps (0..99).
    """

    def __init__(
        self, voice: str = "en-us+f2", rate_wpm: int = 165, pitch: int = 50, program: str = PROGRAM
    ) -> None:
        self._voice, self._rate_wpm, self._pitch = voice, rate_wpm, pitch
        self._program = program

    def check(self) -> None:
        """Raises VoiceError if the program is missing, or does not know the voice or its variant.

        The program itself says nothing about an unknown variant and speaks without it.
        """
        self._require_program()
        language, _, variant = self._voice.partition("+")
        if language not in (languages := self._column("--voices", 1)):
            raise VoiceError(
                f"espeak-ng has no voice {language!r}. Try one of "
                f"{_some(languages, language)}; `espeak-ng --voices` lists them all."
            )
        if variant and variant not in (variants := self._variants()):
            raise VoiceError(
                f"espeak-ng has no variant {variant!r} (of {self._voice!r}). Try one of "
                f"{_some(variants, variant)}; `espeak-ng --voices=variant` lists them all."
            )

    def synthesize(self, text: str) -> Synthesis:
        """Start speaking; blocks of float32 (n,), 16 kHz, -1..1, come as the program makes them.

        Silence before the speech is left out, and of that after it at most 50 ms are kept.
        Raises VoiceError, here or from the iterator, if the program is missing or fails.
        """
        self._require_program()
        command = [self._program, "-v", self._voice, "-s", str(self._rate_wpm)]
        command += ["-p", str(self._pitch), "-b", "1", "-z", "--stdin", "--stdout"]
        return Synthesis(command, coded(text, _HUM))

    def _require_program(self) -> None:
        if shutil.which(self._program) is None:
            raise VoiceError(
                f"The program {self._program} is not installed. "
                "Install it: sudo apt-get install espeak-ng"
            )

    def _variants(self) -> list[str]:
        return [name.removeprefix("!v/") for name in self._column("--voices=variant", 4)]

    def _column(self, option: str, column: int) -> list[str]:
        listing = subprocess.run(
            [self._program, option], capture_output=True, text=True, check=False, timeout=20
        ).stdout
        return [row.split()[column] for row in listing.splitlines()[1:] if row.strip()]


class Synthesis(Iterator[Pcm]):
    """One text being spoken: blocks of sound, to be iterated to the end.

    `close`, from any thread, kills the program; the iterator then ends at its next block.
    """

    def __init__(self, command: list[str], text: str) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._closed = False
        self._blocks = self._run(text)

    def __next__(self) -> Pcm:
        return next(self._blocks)

    def close(self) -> None:
        self._closed = True
        self._process.kill()

    def _run(self, text: str) -> Iterator[Pcm]:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        trim = SilenceTrimmer()
        with self._process:  # closes the pipes and waits for the end
            try:
                self._write(stdin, text)
                for pcm in _read_pcm(stdout):
                    block = trim.push(pcm)
                    if block.size and not self._closed:
                        yield block
                if not self._closed:
                    self._check_end(stderr)
                    yield trim.finish()
            finally:
                self._process.kill()

    @staticmethod
    def _write(stdin: IO[bytes], text: str) -> None:
        # A program that has ended already says why with its exit status.
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(text.encode("utf-8", "replace"))

    def _check_end(self, stderr: IO[bytes]) -> None:
        """Raises VoiceError if the program failed by itself."""
        message = stderr.read(2000).decode("utf-8", "replace").strip()
        status = self._process.wait(END_TIMEOUT_S)
        if status and not self._closed:
            raise VoiceError(
                f"espeak-ng ended with status {status}: {message.rstrip('.') or 'no message'}. "
                "Check the voice's name with `espeak-ng --voices`."
            )


def _read_pcm(stream: IO[bytes]) -> Iterator[Pcm]:
    """16-bit WAV at any rate -> float32 (n,), 16 kHz, as it comes."""
    import soxr

    rate_hz = _read_wav_header(stream)
    if not rate_hz:
        return
    resample = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
    while len(raw := stream.read(2 * BLOCK_SAMPLES)) >= 2:
        pcm = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / 32768
        yield resample.resample_chunk(pcm)
    yield resample.resample_chunk(np.zeros(0, np.float32), last=True)


def _read_wav_header(stream: IO[bytes]) -> int:
    """Read up to the samples; returns the sampling rate in Hz, 0 where the stream is empty."""
    head = stream.read(_WAV_HEADER_BYTES)
    if not head:
        return 0
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise VoiceError("espeak-ng did not write WAV. Is it the right program?")
    rate_hz = 0
    while len(chunk := stream.read(_CHUNK_HEADER_BYTES)) == _CHUNK_HEADER_BYTES:
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            return rate_hz
        body = stream.read(size + size % 2)
        if name == b"fmt ":
            channels, rate_hz = int.from_bytes(body[2:4], "little"), _u32(body, 4)
            if channels != 1 or int.from_bytes(body[14:16], "little") != 16:
                raise VoiceError("espeak-ng did not write 16-bit mono sound.")
    return 0


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _some(names: list[str], wanted: str) -> str:
    """A few names, those most like `wanted` first."""
    return ", ".join(difflib.get_close_matches(wanted, names, n=8, cutoff=0.0))
