"""What listens to a question in a worker, as its configuration chooses."""

from __future__ import annotations

from edge_runtime.background.answerer import Ears
from edge_runtime.background.worker_config import RecogniserConfig


def ears_for(chosen: RecogniserConfig) -> Ears:
    """Not loaded yet."""
    from edge_runtime.background.transcribe import ProcessTranscriber
    from edge_runtime.background.whisper import WhisperTranscriber

    if chosen.engine == "whisper":
        whisper = WhisperTranscriber(chosen.model, chosen.device, chosen.language)
        return Ears(lambda: whisper)
    return Ears(ProcessTranscriber)
