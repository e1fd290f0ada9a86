"""Whisper as a choice: what is missing is named, with what to do about it.

No model file is at hand here, so what it understands is not tested.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_runtime.background.whisper import WhisperTranscriber
from edge_runtime.background.worker_config import RecogniserConfig, WorkerConfig
from edge_runtime.commands.background import able
from edge_runtime.config import load
from edge_runtime.errors import BackgroundError


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(BackgroundError, match=r"pip install 'edge-runtime\[whisper\]'"):
        WhisperTranscriber("base").load()


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper", reason="whisper is an extra: edge-runtime[whisper]")
    with pytest.raises(BackgroundError, match=r"recogniser\.model") as refused:
        WhisperTranscriber(str(tmp_path), "cpu").load()
    assert str(tmp_path) in str(refused.value)


def test_it_is_chosen_in_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "worker.yaml"
    path.write_text("recogniser: {engine: whisper, model: /models/small, language: de}")
    chosen = load(path, WorkerConfig).recogniser
    assert chosen == RecogniserConfig(engine="whisper", model="/models/small", language="de")


AGENT = {"model": "qwen3", "base_url": "http://localhost:8080/v1"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, ["understands English", "no language model", "does not know"]),
        ({"recogniser": {"engine": "whisper"}}, ["free speech", "no language model"]),
        ({"agent": AGENT}, ["qwen3 at http://localhost:8080/v1", "from pocketsphinx"]),
        (
            {"agent": {**AGENT, "base_url": "http://me:word@lan/v1?key=word"}},
            ["qwen3 at http://***@lan/v1?***,"],
        ),
        ({"agent": {**AGENT, "sound": True}}, ["hears the question"]),
        ({"agent": {**AGENT, "mcp_servers": {"house": {"command": "x"}}}}, ["tools: house"]),
    ],
)
def test_a_worker_says_in_one_line_what_it_can_do(
    config: dict[str, object], words: list[str]
) -> None:
    line = able(WorkerConfig.model_validate(config))
    assert "\n" not in line
    for word in words:
        assert word in line
