"""Piper as the voice: the real package, on a voice made for the test that hums one tone.

A real voice is tens of megabytes from elsewhere; what it is asked and what it gives is the same.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.app import synthesizer_for
from edge_runtime.config import load_config
from edge_runtime.errors import ConfigError, VoiceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm, Utterance
from edge_runtime.voice.mouth import Mouth
from edge_runtime.voice.piper import PiperSynthesizer

pytest.importorskip("piper", reason="piper-tts is not installed")
onnx = pytest.importorskip("onnx", reason="the voice of the test is made with onnx")
RATE_HZ, TONE_HZ, SAMPLES_A_PHONEME = 22_050, 440, 1200
HUM = "əmh\N{MODIFIER LETTER VERTICAL LINE}əm"
TEXT = "It is noon. The soup is ready. Come and eat."


def written_voice(path: Path, speakers: int = 1, fails: bool = False) -> Path:
    """Takes phonemes and scales as a VITS voice does; hums as long as there are phonemes, and
    `length_scale` times that."""
    helper, types = onnx.helper, onnx.TensorProto
    constants = {
        "step": np.array(2 * np.pi * TONE_HZ / RATE_HZ, np.float32),
        "per": np.array(SAMPLES_A_PHONEME, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "at": np.array([1], np.int64),
        "loud": np.array(0.3, np.float32),
        "shape": np.array([1, 1, 1, 7 if fails else -1], np.int64),
        "none": np.array([], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["input_lengths"], ["count"], to=types.FLOAT),
        helper.make_node("Gather", ["scales", "at"], ["length"]),
        helper.make_node("Mul", ["count", "length"], ["long"]),
        helper.make_node("Mul", ["long", "per"], ["samples"]),
        helper.make_node("Reshape", ["samples", "none"], ["end"]),
        helper.make_node("Range", ["zero", "end", "one"], ["index"]),
        helper.make_node("Mul", ["index", "step"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["wave"]),
        helper.make_node("Mul", ["wave", "loud"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["output"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input", types.INT64, [1, "n"]),
        helper.make_tensor_value_info("input_lengths", types.INT64, [1]),
        helper.make_tensor_value_info("scales", types.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", types.INT64, [1]))
    output = helper.make_tensor_value_info("output", types.FLOAT, [1, 1, 1, "m"])
    initial = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "hum", inputs, [output], initial)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    description = {
        "audio": {"sample_rate": RATE_HZ},
        "espeak": {"voice": "en-us"},
        "inference": {"length_scale": 1.0},
        "num_symbols": 0x300,
        "num_speakers": speakers,
        "phoneme_id_map": {chr(code): [code] for code in range(0x20, 0x300)},
    }
    Path(f"{path}.json").write_text(json.dumps(description))
    return path


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_voice(tmp_path_factory.mktemp("voice") / "hum.onnx")


def said(synthesizer: PiperSynthesizer, text: str = TEXT) -> Pcm:
    return np.concatenate(list(synthesizer.synthesize(text)))


def test_it_speaks_at_the_rate_of_the_runtime(voice: Path) -> None:
    pcm = said(PiperSynthesizer(voice))
    assert pcm.dtype == np.float32 and 0.4 < np.abs(pcm).max() < 0.6
    strongest = np.argmax(np.abs(np.fft.rfft(pcm[:SAMPLE_RATE_HZ])))
    assert strongest == pytest.approx(TONE_HZ, abs=2)


def test_a_faster_voice_takes_less_time(voice: Path) -> None:
    normal, fast = said(PiperSynthesizer(voice)), said(PiperSynthesizer(voice, rate_wpm=330))
    assert len(fast) == pytest.approx(len(normal) / 2, rel=0.02)


def phonemes(synthesizer: PiperSynthesizer, text: str) -> list[str]:
    """What the voice speaks, sentence by sentence."""
    return ["".join(chunk.phonemes) for chunk in synthesizer.synthesize(text)._sentences]


@pytest.mark.parametrize(("text", "mark"), [("Mhm.", "."), ("Mm-hmm?", "?"), ("mhm", "")])
def test_a_mhm_is_hummed_and_not_spelled(voice: Path, text: str, mark: str) -> None:
    assert phonemes(PiperSynthesizer(voice), text) == [f"{HUM}{mark}"]


def test_what_follows_a_mhm_is_spoken_as_without_it(voice: Path) -> None:
    synthesizer = PiperSynthesizer(voice)
    rest = phonemes(synthesizer, "I see. Go on.")
    assert phonemes(synthesizer, "Mhm, I see. Go on.") == [f"{HUM}, {rest[0]}", *rest[1:]]


@pytest.mark.parametrize("brackets", ["[[Vienna]]", "[[[Vienna]]]", "[Vienna]"])
def test_a_text_in_brackets_is_read_and_not_taken_for_phonemes(voice: Path, brackets: str) -> None:
    (sentence,) = phonemes(PiperSynthesizer(voice), f"See {brackets} now.")
    assert "ɛnə" in sentence


def test_a_voice_without_espeaks_phonemes_is_given_the_text_as_it_is(tmp_path: Path) -> None:
    path = written_voice(tmp_path / "letters.onnx")
    description = json.loads(Path(f"{path}.json").read_text()) | {"phoneme_type": "text"}
    Path(f"{path}.json").write_text(json.dumps(description))
    assert phonemes(PiperSynthesizer(path), "Mhm [[a]].") == ["Mhm [[a]]."]


def test_the_first_sentence_is_there_before_the_last_is_thought_of(voice: Path) -> None:
    synthesizer = PiperSynthesizer(voice)
    synthesizer.check()
    asked: list[int] = []
    run = synthesizer._voice.session.run
    synthesizer._voice.session = type(
        "Counted", (), {"run": lambda _, *given: asked.append(1) or run(*given)}
    )()
    synthesis = iter(synthesizer.synthesize(TEXT))
    next(synthesis)
    assert len(asked) == 1
    list(synthesis)
    assert len(asked) == 3


def test_a_closed_one_ends(voice: Path) -> None:
    synthesis = PiperSynthesizer(voice).synthesize(TEXT)
    blocks = iter(synthesis)
    next(blocks)
    synthesis.close()
    assert list(blocks) == []


def test_the_mouth_speaks_with_it(voice: Path, tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text(f"voice: {{engine: piper, model: {voice}}}")
    spoken = []
    with Mouth(synthesizer_for(load_config(path)), block=True) as mouth:
        mouth.say(Utterance("u1", TEXT, "deliver"))
        while True:
            pcm = mouth.next_turn()
            spoken.append(pcm)
            if not mouth.state().speaking:
                break
    assert all(pcm.shape == (TURN_SAMPLES,) for pcm in spoken)
    assert np.abs(np.concatenate(spoken)).max() > 0.25


def test_a_voice_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="download_voices"):
        PiperSynthesizer(tmp_path / "none.onnx").check()


@pytest.mark.parametrize("damaged", ["model", "description", "empty"])
def test_a_damaged_voice_is_refused(tmp_path: Path, damaged: str) -> None:
    path = written_voice(tmp_path / "hum.onnx")
    if damaged == "model":
        path.write_bytes(path.read_bytes()[:100])
    else:
        Path(f"{path}.json").write_text("{" if damaged == "description" else "{}")
    with pytest.raises(VoiceError, match="damaged"):
        PiperSynthesizer(path).check()


def test_a_speaker_who_is_not_there_is_refused(tmp_path: Path) -> None:
    path = written_voice(tmp_path / "choir.onnx", speakers=4)
    assert len(said(PiperSynthesizer(path, speaker=3))) > 0
    with pytest.raises(VoiceError, match="4 speakers"):
        PiperSynthesizer(path, speaker=4).check()


def test_a_voice_that_breaks_while_speaking_is_told(tmp_path: Path) -> None:
    path = written_voice(tmp_path / "hum.onnx", fails=True)
    with pytest.raises(VoiceError, match="could not speak"):
        said(PiperSynthesizer(path))


def test_the_configuration_wants_a_voice_for_piper(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text("voice: {engine: piper}")
    with pytest.raises(ConfigError, match="needs `model`"):
        load_config(path)
