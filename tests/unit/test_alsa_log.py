"""ALSA's own library, asked for what there is not."""

from __future__ import annotations

import ctypes
import logging

import pytest

from edge_runtime.sources import alsa_log


@pytest.fixture
def alsa() -> ctypes.CDLL:
    if not alsa_log.take_over():
        pytest.skip("libasound2 is not installed")
    return ctypes.CDLL("libasound.so.2")


def fail(alsa: ctypes.CDLL) -> int:
    """Opening a card that does not exist: ALSA says so in several lines."""
    card = ctypes.c_void_p()
    return int(alsa.snd_pcm_open(ctypes.byref(card), b"no_such_card", 0, 0))


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_its_words_are_in_the_log_and_not_on_standard_error(
    alsa: ctypes.CDLL,
    level: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(level)
    assert fail(alsa) < 0
    assert ("ALSA: snd_pcm_open_noupdate" in caplog.text) == (level == logging.DEBUG)
    assert capfd.readouterr().err == ""
