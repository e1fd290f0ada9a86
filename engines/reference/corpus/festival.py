"""Festival as a program of its own, with the time of every phone. Only the factory runs it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import soundfile
from numpy.typing import NDArray

from engines.reference.corpus.espeak import Phones
from engines.reference.corpus.phones import from_flite

VOICES = ("kal_diphone", "cmu_us_slt_arctic_hts")
HELD_OUT = ("ked_diphone",)
"""Never trained on."""
FOLDERS = (Path("/usr/share/festival/voices/english"), Path("/usr/share/festival/voices/us"))
PACKAGES = "festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts"
_DONE = "spoken"
_PROGRAM = f"""
(define (edge_say text file stretch)
  (Parameter.set 'Duration_Stretch stretch)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text))))
        (out (fopen "/dev/stdout" "w")))
    (utt.save.wave utt file 'riff)
    (mapcar (lambda (s) (format out "%s %f\\n" (item.name s) (item.feat s "end")))
            (utt.relation.items utt 'Segment))
    (format out "{_DONE}\\n")
    (fclose out)))
"""


class Festival:
    """Raises RuntimeError where the program or one of `voices` is missing."""

    def __init__(self, voices: tuple[str, ...] = VOICES) -> None:
        installed = {path.name for folder in FOLDERS for path in folder.glob("*")}
        if missing := set(voices) - installed:
            raise RuntimeError(
                f"festival's {', '.join(sorted(missing))} is missing: apt-get install {PACKAGES}"
            )
        self.voices = voices
        self._folder = tempfile.TemporaryDirectory()
        try:
            self._process = subprocess.Popen(
                ["festival", "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
                start_new_session=True,  # Ctrl-C has it drop a sentence, and it would be waited for
            )  # fmt: skip
        except OSError as error:
            raise RuntimeError(f"festival is missing: apt-get install {PACKAGES}") from error
        self._voice = ""
        self._tell(_PROGRAM)

    def _tell(self, command: str) -> None:
        self._pipe(self._process.stdin).write(command + "\n")
        self._pipe(self._process.stdin).flush()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe

    def say(self, text: str, voice: str, stretch: float) -> tuple[NDArray[np.float32], Phones, int]:
        """float32 (n,) on int16 scale, (phone, start_s, end_s), and its sample rate in Hz."""
        if voice != self._voice:
            self._tell(f"(voice_{voice})")
            self._voice = voice
        wave = Path(self._folder.name) / "utterance.wav"
        quoted = text.replace("\\", " ").replace('"', " ")
        self._tell(f'(edge_say "{quoted}" "{wave}" {stretch:.3f})')
        phones, start = [], 0.0
        while (line := self._pipe(self._process.stdout).readline().strip()) != _DONE:
            if not line:
                raise RuntimeError("festival has ended")
            name, end = line.split()
            phones.append((from_flite(name), start, float(end)))
            start = float(end)
        pcm, rate_hz = soundfile.read(wave, dtype="int16")
        return pcm.astype(np.float32), tuple(phones), int(rate_hz)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()
