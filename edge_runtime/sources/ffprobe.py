"""What ffprobe says of a track in a media file."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAST_LATE_S = 0.05
"""A track that begins less later than its file begins with it: encoders delay by a few samples or
pictures what nobody hears or sees."""


@dataclass(frozen=True)
class Track:
    entries: Mapping[str, Any]
    """Of the stream, by ffprobe's names."""
    late_s: float
    """How long after the file's beginning it begins."""
    duration_s: float | None
    """Of the file."""


def first_track(path: Path, kind: str) -> Track | None:
    """The first of a kind, `a` or `v`; None: there is none, or it is no media file, or ffprobe is
    not installed."""
    if shutil.which("ffprobe") is None:
        return None
    command = [
        *("ffprobe", "-v", "error", "-select_streams", f"{kind}:0", "-of", "json"),
        *("-show_entries", "stream=sample_rate,channels,start_time:format=start_time,duration"),
        f"file:{path}",
    ]
    result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    found = json.loads(result.stdout or b"{}")
    if result.returncode != 0 or not found.get("streams"):
        return None
    stream, file = found["streams"][0], found.get("format", {})
    late_s = float(stream.get("start_time", 0.0)) - float(file.get("start_time", 0.0))
    return Track(
        stream,
        late_s if late_s >= LEAST_LATE_S else 0.0,
        float(file["duration"]) if "duration" in file else None,
    )
