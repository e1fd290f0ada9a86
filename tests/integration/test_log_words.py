"""What is heard and said in the room does not get into the log."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from program import needs_espeak
from rich.console import Console

from edge_runtime.config import Config, load_config
from edge_runtime.demo.run import run_demo
from edge_runtime.micro_turn import TurnRecord
from edge_runtime.sinks.statistics import Statistics

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")
pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
SECONDS = 36.0
"""Long enough for a question and its answer."""


def a_conversation(out: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Runs one; what the device said in it, and what it spelled of the person."""
    words: set[str] = set()
    publish = Statistics.publish

    def keep(self: Statistics, record: TurnRecord) -> None:
        if record.said is not None:
            words.add(record.said.text.lower())
        if record.request is not None:
            words.add(" ".join(record.request.transcript.lower().split()))
        publish(self, record)

    monkeypatch.setattr(Statistics, "publish", keep)
    config: Config = load_config(None)
    run_demo(config, out, SECONDS, 1, False, Console(file=io.StringIO()))
    return {text for text in words if text}


def lines(caplog: pytest.LogCaptureFixture, level: int) -> str:
    kept: list[Any] = [one for one in caplog.records if one.levelno >= level]
    return "\n".join(one.getMessage() for one in kept).lower()


@needs_espeak
def test_no_line_of_the_log_holds_what_was_heard_or_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.DEBUG, "edge_runtime"):
        words = a_conversation(tmp_path, monkeypatch)
    assert len(words) >= 3, "a greeting, a question, an answer"
    assert any(text in lines(caplog, logging.DEBUG) for text in words), "it would be noticed"
    assert [text for text in words if text in lines(caplog, logging.INFO)] == []
