"""Piper, an optional neural voice, in this process: a sentence of sound after the other.

The only file with piper. Its package embeds GPL code, so it comes as an extra and never by itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import VoiceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm
from edge_runtime.voice.phoneme_codes import coded
from edge_runtime.voice.silence import SilenceTrimmer

NORMAL_WPM = 165
"""What a voice speaks at by itself, as far as one figure fits them all."""
BLOCK_SAMPLES = 4096
LOUDEST = 0.5
"""Of full scale; about as loud as espeak-ng."""
THREADS = 1
"""The loop needs the other cores more."""
_HUM = "[[əmh\N{MODIFIER LETTER VERTICAL LINE}əm\\g<marks>]]"
"""In the IPA. Piper would speak a mark that follows the brackets as a word, or lose it."""


class PiperSynthesizer:
    """Speaks with a Piper voice: `model` is its .onnx file, with its .onnx.json beside it.

    `rate_wpm` is in words a minute (80..450); `speaker` is a number, for voices with several.
    """

    def __init__(self, model: Path, rate_wpm: int = NORMAL_WPM, speaker: int | None = None) -> None:
        self._model, self._speaker = model, speaker
        self._stretch = NORMAL_WPM / rate_wpm
        self._voice: Any = None
        self._loading = threading.Lock()

    def check(self) -> None:
        """Raises VoiceError if the package or the voice is missing, or no speaker has the number.
        Reads the voice, which takes a second."""
        self._loaded()

    def synthesize(self, text: str) -> PiperSynthesis:
        """Blocks of float32 (n,), 16 kHz, -1..1, sentence by sentence. Silence before the speech is
        left out, and of that after it at most 50 ms are kept. Raises VoiceError, here or from the
        iterator."""
        from piper import SynthesisConfig

        voice = self._loaded()
        length = voice.config.length_scale * self._stretch
        settings = SynthesisConfig(
            speaker_id=self._speaker, length_scale=length, normalize_audio=True, volume=LOUDEST
        )
        return PiperSynthesis(
            voice.synthesize(_written(text, voice), settings), voice.config.sample_rate
        )

    def _loaded(self) -> Any:
        with self._loading:
            if self._voice is None:
                self._voice = self._load()
            return self._voice

    def _load(self) -> Any:
        try:
            from piper import PiperVoice
            from piper.config import PiperConfig
        except ImportError as error:
            raise VoiceError(
                f"Piper is not installed ({error}): pip install 'edge-runtime[piper]'. Or speak "
                "with voice.engine: espeak."
            ) from error
        description = Path(f"{self._model}.json")
        for path in (self._model, description):
            if not path.is_file():
                raise VoiceError(
                    f"The Piper voice {self._model} (voice.model) needs the file "
                    f"{path.absolute()}, which is not there. "
                    "Voices are pairs of an .onnx and an .onnx.json file: python -m "
                    "piper.download_voices en_US-lessac-medium fetches one."
                )
        try:
            config = PiperConfig.from_dict(json.loads(description.read_text(encoding="utf-8")))
            voice = PiperVoice(session=_session(self._model), config=config)
        except Exception as error:  # any of JSON, a missing key, or what ONNX Runtime raises
            raise VoiceError(
                f"{self._model} is no Piper voice, or is damaged: {error!r}. Fetch it again."
            ) from error
        if self._speaker is not None and not 0 <= self._speaker < config.num_speakers:
            raise VoiceError(
                f"voice.speaker: {self._model.name} has {config.num_speakers} speakers, numbered "
                f"from 0; there is no {self._speaker}."
            )
        return voice


def _written(text: str, voice: Any) -> str:
    """`text` as the voice is to be given it."""
    from piper.config import PhonemeType

    # Only where espeak-ng finds the phonemes are there codes; other voices speak them as letters.
    return coded(text, _HUM) if voice.config.phoneme_type == PhonemeType.ESPEAK else text


def _session(model: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class PiperSynthesis:
    """One text being spoken. After `close`, from any thread, the iterator ends soon."""

    def __init__(self, sentences: Iterable[Any], rate_hz: int) -> None:
        self._sentences, self._rate_hz = sentences, rate_hz
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def __iter__(self) -> Iterator[Pcm]:
        import soxr

        resample = soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        trim = SilenceTrimmer()
        for sound in self._blocks():
            block = trim.push(resample.resample_chunk(sound))
            if self._closed:
                return
            if block.size:
                yield block
        if not self._closed:
            last = trim.push(resample.resample_chunk(np.zeros(0, np.float32), last=True))
            yield np.concatenate([last, trim.finish()])

    def _blocks(self) -> Iterator[Pcm]:
        """At the voice's own rate."""
        try:
            for sentence in self._sentences:
                sound = np.nan_to_num(np.asarray(sentence.audio_float_array, np.float32).ravel())
                for start in range(0, len(sound), BLOCK_SAMPLES):
                    yield sound[start : start + BLOCK_SAMPLES]
        except Exception as error:
            raise VoiceError(f"Piper could not speak: {error!r}. Try another voice.") from error
