"""The real recogniser on real synthetic speech: the skills' questions, and everything else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heard_letters import heard_as

from edge_runtime.background.commands import NONE, Commands
from edge_runtime.background.transcribe import (
    PocketSphinxTranscriber,
    ProcessTranscriber,
    SpellingTranscriber,
    Transcript,
)
from edge_runtime.errors import BackgroundError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Letters, Pcm
from edge_runtime.voice.espeak import EspeakSynthesizer

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)
QUESTIONS = (
    "what time is it",
    "what day is it today",
    "what is twelve plus thirty",
    "how many metres are in three miles",
    "set a timer for five minutes",
    "tell me about yourself",
)


@pytest.fixture(scope="module")
def transcriber() -> PocketSphinxTranscriber:
    """One for all tests, as the device has one for all questions."""
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    recogniser = PocketSphinxTranscriber()
    recogniser.load()
    return recogniser


def speech(text: str) -> Pcm:
    """Spoken by espeak-ng, with digital silence before and after it."""
    blocks = EspeakSynthesizer("en-us").synthesize(text)
    pause = np.zeros(SAMPLE_RATE_HZ // 4, np.float32)
    return np.concatenate([pause, *blocks, pause])


def noise(seconds: float, level: float) -> Pcm:
    count = round(seconds * SAMPLE_RATE_HZ)
    return level * np.random.default_rng(1).standard_normal(count, np.float32)


@pytest.mark.parametrize(
    "pcm",
    [
        pytest.param(np.zeros(0, np.float32), id="nothing at all"),
        pytest.param(np.zeros(1, np.float32), id="one sample of silence"),
        pytest.param(np.ones(1, np.float32), id="one loud sample"),
        pytest.param(np.zeros(8000, np.float32), id="digital silence"),
        pytest.param(noise(0.5, 1e-6), id="noise too quiet to hear"),
        pytest.param(noise(0.5, 0.1), id="noise"),
        pytest.param(noise(0.5, 50.0), id="noise far beyond full scale"),
    ],
)
def test_where_no_one_speaks_no_words_are_made_up(
    transcriber: PocketSphinxTranscriber, pcm: Pcm
) -> None:
    assert transcriber.transcribe(pcm) == Transcript("", in_grammar=False, confidence=0.0)


@needs_espeak
def test_typical_questions_are_recognised_word_for_word(
    transcriber: PocketSphinxTranscriber,
) -> None:
    """After the sounds above: what cannot be decoded must not spoil what comes next."""
    heard = [transcriber.transcribe(speech(question)) for question in QUESTIONS]
    right = [
        transcript.in_grammar and transcript.text == question
        for question, transcript in zip(QUESTIONS, heard, strict=True)
    ]
    assert sum(right) >= 5, heard
    assert all(0.4 < transcript.confidence <= 1 for transcript in heard if transcript.in_grammar)


@needs_espeak
def test_what_the_skills_do_not_expect_is_written_down_freely(
    transcriber: PocketSphinxTranscriber,
) -> None:
    sentence = "the old painter sold his house near the harbor last summer"
    transcript = transcriber.transcribe(speech(sentence))
    assert not transcript.in_grammar
    assert len(set(transcript.text.split()) & set(sentence.split())) >= 3, transcript
    assert transcript.confidence == 0.5


class Stubborn:
    """Stands for a recogniser that dies, or says where it works."""

    def load(self) -> None: ...

    def transcribe(
        self, pcm: Pcm, rough: str = "", commands: Commands = NONE, letters: Letters | None = None
    ) -> Transcript:
        if rough == "die":
            os._exit(3)
        return Transcript(f"{rough} {len(pcm)} {os.getpid()}", False, 1.0)


def test_a_recogniser_in_a_process_of_its_own_hears_the_same_and_survives_its_death() -> None:
    with ProcessTranscriber(Stubborn) as transcriber:
        transcriber.load()
        words = transcriber.transcribe(np.zeros(7, np.float32), "tea").text.split()
        assert words[:2] == ["tea", "7"] and int(words[2]) != os.getpid()
        with pytest.raises(BackgroundError, match="process"):
            transcriber.transcribe(np.zeros(7, np.float32), "die")
        again = transcriber.transcribe(np.zeros(8, np.float32), "tea").text.split()
        assert again[1] == "8" and again[2] != words[2]
    with pytest.raises(ProcessLookupError):
        os.kill(int(again[2]), 0)


PARENT = """
import sys, time
sys.path.insert(0, {folder!r})
import numpy as np
from edge_runtime.background.transcribe import ProcessTranscriber
from test_transcribe import Stubborn

if __name__ == "__main__":
    transcriber = ProcessTranscriber(Stubborn)
    print(transcriber.transcribe(np.zeros(1, np.float32), "here").text.split()[-1], flush=True)
    time.sleep(600)
"""


def test_a_killed_device_leaves_no_recogniser_behind(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT.format(folder=str(Path(__file__).parent)))
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        # The child holds the other end of the pipe: it closes when the child is gone.
        assert parent.communicate(timeout=60) == ("", None)


def test_a_spelling_alone_is_taken_for_the_nearest_question() -> None:
    silence: Pcm = np.zeros(SAMPLE_RATE_HZ, np.float32)
    heard = SpellingTranscriber().transcribe(silence, "wha time is itt")
    assert heard.in_grammar and heard.text == "what time is it"


def test_a_spelling_near_to_no_question_is_handed_on_as_it_is() -> None:
    silence: Pcm = np.zeros(SAMPLE_RATE_HZ, np.float32)
    rough = "the oranges were cold yesterday"
    assert SpellingTranscriber().transcribe(silence, rough) == Transcript(rough, False, 0.0)


def test_where_there_are_letters_they_decide_and_not_their_likeliest_reading() -> None:
    """As it is spelled, `tell me a jory` is as near to a story as to a joke."""
    silence: Pcm = np.zeros(SAMPLE_RATE_HZ, np.float32)
    ear = SpellingTranscriber()
    for other, meant in (
        ("tell me a joke", "tell me a joke"),
        ("tell me a stor", "tell me a story"),
    ):
        letters = heard_as("tell me a jory"[: len(other)], other)
        heard = ear.transcribe(silence, "tell me a jory", letters=letters)
        assert (heard.text, heard.in_grammar) == (meant, True)
    strange = heard_as("the oranges were cold yesterday")
    assert ear.transcribe(silence, "as spelled", letters=strange) == Transcript(
        "as spelled", False, 0.0
    )


def test_a_model_that_writes_more_than_letters_is_read_by_its_transcript() -> None:
    pieces = ("", " ", "what", "time", "is", "it", "how")
    letters = Letters(pieces, np.log(np.full((20, 7), 1 / 7, np.float32)))
    silence: Pcm = np.zeros(SAMPLE_RATE_HZ, np.float32)
    heard = SpellingTranscriber().transcribe(silence, "what time iz it", letters=letters)
    assert heard.in_grammar and heard.text == "what time is it"


def test_sure_letters_need_no_recogniser(transcriber: PocketSphinxTranscriber) -> None:
    loud = noise(1.0, 0.1)
    heard = transcriber.transcribe(loud, "", letters=heard_as("what time is it"))
    assert heard.in_grammar and heard.text == "what time is it"


def test_unsure_letters_that_were_spelled_so_need_none_either(
    transcriber: PocketSphinxTranscriber,
) -> None:
    unsure = heard_as("set a timer for five minutes", *4 * ["sex o tizen fog bike linuxes"])
    loud = noise(1.0, 0.1)
    spelled = transcriber.transcribe(loud, "Set a timer for five minutes.", letters=unsure)
    assert spelled.in_grammar and spelled.text == "set a timer for five minutes"
    assert 1.0 - spelled.confidence > PocketSphinxTranscriber.BY_LETTERS.sure


@needs_espeak
def test_what_letters_leave_open_the_recogniser_decides(
    transcriber: PocketSphinxTranscriber,
) -> None:
    """By the letters one is as likely as the other, and neither sure."""
    unsure = heard_as("sex a tizer for five minutes", "sex a tizer for nine minutes")
    for said in ("set a timer for five minutes", "set a timer for nine minutes"):
        heard = transcriber.transcribe(speech(said), letters=unsure)
        assert (heard.text, heard.in_grammar) == (said, True)


def test_letters_of_another_matter_are_not_believed(transcriber: PocketSphinxTranscriber) -> None:
    letters = heard_as("the oranges were cold yesterday")
    heard = transcriber.transcribe(noise(0.5, 0.1), "", letters=letters)
    assert heard == Transcript("", in_grammar=False, confidence=0.0)
