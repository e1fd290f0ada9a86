"""Silero VAD and smart-turn v3 as `pipecat-ai` ships them: the only file with pipecat."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edge_runtime.errors import InputError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm

MODULES = ("turn.smart_turn.local_smart_turn_v3", "vad.silero", "vad.vad_analyzer")
CHUNK = 512
"""Samples of one decision of Silero: 32 ms."""
HEARD_S = 8
"""What smart-turn looks back at."""
BEFORE_SPEECH = SAMPLE_RATE_HZ * 7 // 10
"""It gets 0.5 s from before the speech, and the 0.2 s in which the detector made sure of it."""


@dataclass(frozen=True)
class Heard:
    """What Silero heard, chunk by chunk."""

    confidence: NDArray[np.float64]
    """(k,) for the chunks that end at 512, 1024, ... samples."""
    talking: NDArray[np.bool_]
    """(k,): what pipecat's detector makes of it at its own settings (0.2 s to start, 0.2 s to
    stop)."""


class Detectors:
    """Both detectors, loaded on entering. Raises InputError where pipecat-ai is missing."""

    def __enter__(self) -> Self:
        try:
            importlib.import_module("loguru").logger.disable("pipecat")
            smart_turn, silero, analyzer = (
                importlib.import_module(f"pipecat.audio.{name}") for name in MODULES
            )
        except ImportError as error:
            raise InputError(
                f"The baselines need pipecat-ai, which ships both detectors ({error}). Install it "
                "with Python 3.11 or later: pip install 'edge-runtime[evaluate]'; or run with "
                "--no-baselines."
            ) from error
        self._silero = silero.SileroVADAnalyzer
        states = analyzer.VADState
        self._talking = (states.SPEAKING, states.STOPPING)
        self._smart_turn = smart_turn.LocalSmartTurnAnalyzerV3()
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.run_until_complete(self._smart_turn.cleanup())
        self._loop.close()

    def listen(self, pcm: Pcm) -> Heard:
        """What is heard in float32 (n,), from silence at its beginning."""
        chunks = np.clip(pcm * 32768, -32768, 32767).astype(np.int16)
        chunks = chunks[: len(chunks) // CHUNK * CHUNK].reshape(-1, CHUNK)
        return self._loop.run_until_complete(self._listen(chunks))

    async def _listen(self, chunks: NDArray[np.int16]) -> Heard:
        silero: Any = self._silero(sample_rate=SAMPLE_RATE_HZ)
        silero.set_sample_rate(SAMPLE_RATE_HZ)
        score, confidence = silero.voice_confidence, []

        def noted(buffer: bytes) -> float:
            confidence.append(float(np.asarray(score(buffer)).reshape(-1)[0]))
            return confidence[-1]

        silero.voice_confidence = noted  # the analyzer tells nobody what it heard
        states = [await silero.analyze_audio(chunk.tobytes()) for chunk in chunks]
        await silero.cleanup()
        return Heard(
            np.array(confidence), np.array([state in self._talking for state in states], bool)
        )

    def complete(self, pcm: Pcm, began: int, now: int) -> float:
        """smart-turn's probability that the turn which began at sample `began` is over at `now`."""
        segment = pcm[max(0, began - BEFORE_SPEECH, now - HEARD_S * SAMPLE_RATE_HZ) : now]
        return float(self._smart_turn._predict_endpoint(segment)["probability"])
