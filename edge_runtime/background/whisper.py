"""Speech to text with faster-whisper: many languages, free speech; where there is power for it."""

from __future__ import annotations

import math
import threading
from typing import Any

from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.transcribe import Transcript
from edge_runtime.errors import BackgroundError
from edge_runtime.micro_turn import Letters, Pcm


class WhisperTranscriber:
    """One model for all threads: it does not hold Python's global lock while it works."""

    def __init__(self, model: str, device: str = "auto", language: str | None = None) -> None:
        """`model` is a folder with a converted model, or the name of one to be downloaded once;
        without a `language` it is recognised from the sound."""
        self._name, self._device, self._language = model, device, language
        self._loading = threading.Lock()
        self._model: Any = None

    def load(self) -> None:
        """Raises BackgroundError."""
        with self._loading:
            if self._model is not None:
                return
            try:
                from faster_whisper import WhisperModel
            except ImportError as error:
                raise BackgroundError(
                    "faster-whisper is missing: pip install 'edge-runtime[whisper]'"
                ) from error
            try:
                self._model = WhisperModel(self._name, device=self._device, compute_type="auto")
            except Exception as error:  # Whatever loading or downloading finds wrong.
                raise BackgroundError(
                    f"The whisper model {self._name!r} cannot be loaded: "
                    f"{' '.join(str(error).split())[:200]}. Give recogniser.model the folder of a "
                    "model in CTranslate2's format, or a name such as base.en where there is a "
                    "network to download it."
                ) from error

    def transcribe(
        self,
        pcm: Pcm,
        rough: str = "",
        commands: Commands = NONE,
        letters: Letters | None = None,
    ) -> Transcript:
        """`rough` is not used: as a prompt it would lead the model astray where it is wrong."""
        self.load()
        segments, _ = self._model.transcribe(
            pcm, language=self._language, condition_on_previous_text=False
        )
        heard = list(segments)
        text = " ".join(segment.text.strip() for segment in heard)
        likely = [segment.avg_logprob for segment in heard]
        confidence = math.exp(sum(likely) / len(likely)) if likely else 0.0
        return Transcript(text.strip(), False, min(1.0, confidence))
