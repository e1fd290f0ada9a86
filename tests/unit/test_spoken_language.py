"""A voice for another language than the device's is told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.config import Config
from edge_runtime.voice.spoken_language import doubt


def of(language: str, **voice: object) -> str:
    return doubt(Config.model_validate({"device": {"language": language}, "voice": voice}))


@pytest.mark.parametrize(
    ("language", "voice"),
    [
        ("en", "en-us+f2"),
        ("en", "en"),
        ("de-AT", "de+m3"),
        ("zh", "cmn"),
        ("no", "nb"),
        ("deu", "de"),
    ],
)
def test_a_voice_that_fits(language: str, voice: str) -> None:
    assert of(language, voice=voice) == ""


def test_a_voice_of_another_language() -> None:
    assert of("de") == ("device.language is de, and voice.voice speaks en. Set voice: {voice: de}")


def test_a_piper_voice_is_known_by_its_name(tmp_path: Path) -> None:
    def piper(name: str) -> str:
        return of("de", engine="piper", model=tmp_path / name)

    assert piper("de_DE-thorsten-medium.onnx") == ""
    assert piper("mine.onnx") == ""
    assert "voice.model speaks en" in piper("en_US-lessac-medium.onnx")
    assert "begins with de_" in piper("en_US-lessac-medium.onnx")
