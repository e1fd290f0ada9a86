"""Recordings of a device, corrected by hand, as material to train on."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("scipy", reason="the factory needs scipy (make train)")
pytest.importorskip("onnx", reason="the factory needs onnx (make train)")
sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from program import edge, needs_espeak, spoken  # noqa: E402

from edge_runtime.errors import InputError  # noqa: E402
from edge_runtime.inference.manifest import load_manifest  # noqa: E402
from edge_runtime.micro_turn import (  # noqa: E402
    TURN_SAMPLES,
    Action,
    Decision,
    Delegation,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.reference_engine import reference_engine_folder  # noqa: E402
from edge_runtime.replay import read  # noqa: E402
from edge_runtime.sinks.recorder import Recorder  # noqa: E402
from engines.reference.corpus.draft import IGNORE, Conversation  # noqa: E402
from engines.reference.corpus.recordings import (  # noqa: E402
    Correction,
    Labels,
    Recordings,
    read_corrections,
)
from engines.reference.losses import Batch, compute  # noqa: E402
from engines.reference.model import InteractionModel, ModelConfig  # noqa: E402
from engines.reference.vocabulary import ACTS, DELEGATE, FLOOR  # noqa: E402
from engines.reference.warm_start import load_graph  # noqa: E402

pytestmark = needs_espeak
MANIFEST = load_manifest(reference_engine_folder())
WINDOW = 40
SILENCE = np.zeros((2, TURN_SAMPLES), np.float32)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s of a device that heard a chirp."""
    here = tmp_path_factory.mktemp("device")
    sound = spoken(here / "talk.wav", 6.0)
    result = edge("run", "--audio", sound, "--speed", "max", "--out", "out", cwd=here)
    assert result.returncode == 0, result.stderr
    return here / "out" / "recording.mcap"


def taken(recording: Path, tmp_path: Path, corrections: str, turns: int = WINDOW) -> Recordings:
    (tmp_path / "lobby.mcap").write_bytes(recording.read_bytes())
    (tmp_path / "lobby.yaml").write_text(corrections)
    return Recordings.load(tmp_path, MANIFEST, turns)


def whole(recordings: Recordings) -> Conversation:
    return Recordings(recordings.takes, recordings.takes[0].turns).compose(0)


def test_what_was_not_corrected_stays_as_it_was_decided(recording: Path, tmp_path: Path) -> None:
    one = whole(taken(recording, tmp_path, ""))
    assert one.audio.shape == (2, 3200 * len(one.floor)) and np.abs(one.audio[0]).max() > 0.1
    assert set(np.unique(one.floor)) <= {IGNORE, *range(len(FLOOR))}
    assert (one.floor != IGNORE).mean() > 0.9
    assert one.texts == ((0, len(one.floor) - 1, ""),), "nothing is known of what was said"


def test_a_correction_counts_and_its_surroundings_do_not(recording: Path, tmp_path: Path) -> None:
    one = whole(
        taken(
            recording,
            tmp_path,
            "- {from_s: 8.0, to_s: 8.4, floor: speak, act: greet}\n"
            "- {from_s: 1.0, to_s: 2.0, said: 'Turn on the light!'}\n",
        )
    )
    speaking = one.status[40:42, 0] > 0
    assert (one.floor[40:42][~speaking] == FLOOR.index("speak")).all() and not speaking.all()
    assert (one.act[40:42] == ACTS.index("greet")).all()
    assert (one.floor[35:40] == IGNORE).all() and (one.floor[42:47] == IGNORE).all()
    assert one.floor_weight[40] > one.floor_weight[0]
    assert (5, 9, "turn on the light") in one.texts


def test_a_silent_device_is_not_taught_to_yield(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="silent there, and can only yield while it speaks"):
        taken(recording, tmp_path, "- {from_s: 0.0, to_s: 1.0, floor: yield}")


def test_a_correction_where_the_device_is_heard_comes_too_late(recording: Path) -> None:
    mouth = VoiceState("utterance-1", 1.0)
    turns = [
        replace(one, turn=replace(one.turn, voice=mouth if number >= 10 else VoiceState()))
        for number, one in enumerate(read(recording))
    ]
    for from_s, problem in ((2.0, "begin before it is heard"), (1.8, None)):
        labels = Labels(turns)
        correction = Correction(from_s=from_s, to_s=2.6, floor="listen")
        labels.correct(correction)
        told = labels.why_useless(correction)
        assert (told is None) if problem is None else (problem in str(told))


def test_a_recording_without_its_pictures_is_refused(tmp_path: Path) -> None:
    sound = spoken(tmp_path / "talk.wav", 2.0)
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(10):
        cv2.imwrite(str(frames / f"{number}.png"), np.full((96, 96, 3), 20 * number, np.uint8))
    config = tmp_path / "device.yaml"
    config.write_text(f"recording: {{path: {tmp_path}/mine/lobby.mcap, frames: false}}\n")
    told = ("--config", config, "--audio", sound, "--video", frames, "--speed", "max")
    assert edge("run", *told, cwd=tmp_path).returncode == 0
    with pytest.raises(InputError, match="has no pictures"):
        Recordings.load(tmp_path / "mine", MANIFEST, WINDOW)


GREET = Decision(0, "speak", say="greet", delegation=Delegation.DELEGATE)
SAFE_STOP = Decision(0, "yield", stop=True, actions=(Action("stop_motion"),))


def test_what_was_not_said_and_what_no_model_decided_is_not_learned(tmp_path: Path) -> None:
    hello = Utterance("utterance-1", "Hello!", "greet")
    mouth = VoiceState("utterance-1", 1.0)
    with Recorder(tmp_path / "lobby.mcap", {}) as recorder:
        for index in range(30):
            decided = replace(SAFE_STOP if index == 29 else GREET, index=index)
            voice = mouth if index == 29 else VoiceState()
            output = EngineOutput(index, {} if index == 29 else {"floor": np.float32([[1]])})
            said = hello if index == 10 else None
            seen = MicroTurn(index, 0, SILENCE, voice=voice)
            recorder.publish(TurnRecord(seen, output, decided, Timings(), said))
    (tmp_path / "lobby.yaml").write_text(
        "- {from_s: 4.0, to_s: 4.2, floor: speak, act: greet}\n"
        "- {from_s: 5.4, to_s: 5.6, act: greet}\n"
    )
    one = whole(Recordings.load(tmp_path, MANIFEST, 30))
    assert np.flatnonzero(one.floor != IGNORE).tolist() == [10, 20]
    assert np.flatnonzero(one.act != IGNORE).tolist() == [10, 20, 27]
    assert (one.floor[[10, 20]] == FLOOR.index("speak")).all()
    assert (one.act[[10, 20, 27]] == ACTS.index("greet")).all()
    assert (one.action != IGNORE).tolist() == [True] * 29 + [False]
    assert one.delegate[0] != IGNORE and one.delegate[29] == IGNORE


def test_full_pictures_are_not_held_in_memory(tmp_path: Path) -> None:
    turns, shape = 60, (480, 640, 3)
    with Recorder(tmp_path / "lobby.mcap", {}) as recorder:
        for index in range(turns):
            seen = MicroTurn(index, 0, SILENCE, frame=np.full(shape, 4 * index, np.uint8))
            decided = Decision(index, "listen")
            recorder.publish(TurnRecord(seen, EngineOutput(index, {}), decided, Timings()))
    tracemalloc.start()
    one = whole(Recordings.load(tmp_path, MANIFEST, WINDOW))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < turns * np.prod(shape) / 2
    assert [int(picture.max()) for picture in one.pictures] == [4 * n for n in range(turns)]


def test_most_windows_hold_a_correction(recording: Path, tmp_path: Path) -> None:
    recordings = taken(recording, tmp_path, "- {from_s: 8.0, to_s: 8.4, floor: speak}", 20)
    shown = [(recordings.compose(seed).floor_weight > 1).any() for seed in range(40)]
    assert np.mean(shown) > 0.7


def test_a_short_recording_is_filled_with_what_is_not_known(
    recording: Path, tmp_path: Path
) -> None:
    recordings = taken(recording, tmp_path, "", 100)
    assert (recordings.compose(0).floor[-20:] == IGNORE).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {from_s: 1, to_s: 2, floor: spek}", "one of listen"),
        ("- {from_s: 1, to_s: 2, flor: speak}", "flor"),
        ("- {from_s: 1, to_s: 2000, floor: speak}", "12.0 s"),
        ("- {from_s: 2, to_s: 1, floor: speak}", "no span"),
        ("- {from_s: 1, to_s: 2}", "corrects nothing"),
        ("- {from_s: 1, to_s: 2, said: turn on light 2}", "as words"),
        ("- {from_s: 1, to_s: 2, said: a café for Jürgen}", "é, ü of .* letters a to z"),
        ("- {from_s: 1, to_s: 2, said: '...'}", "no word"),
        ("- {from_s: 1, to_s: 2, said: ''}", "no word"),
        ("- {from_s: 1, to_s: 1.2, said: turn on the light please}", "so fast"),
        ("- {from_s: .nan, to_s: 2, floor: speak}", "valid number"),
        ("- {from_s: 1, to_s: inf, floor: speak}", "finite"),
        ("from_s: 1", "list"),
        ("- [", "cannot be read"),
    ],
)
def test_a_bad_correction_is_named(recording: Path, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        taken(recording, tmp_path, text)
    assert "lobby.yaml" in str(caught.value)


def test_words_are_words_whatever_yaml_makes_of_them(recording: Path, tmp_path: Path) -> None:
    one = whole(
        taken(
            recording,
            tmp_path,
            "- {from_s: 1.0, to_s: 2.0, said: no}\n- {from_s: 4.0, to_s: 4.2, act: yes}\n",
        )
    )
    assert (5, 9, "no") in one.texts and one.act[20] == ACTS.index("yes")


def test_what_is_said_in_one_breath_is_all_learned(recording: Path, tmp_path: Path) -> None:
    one = whole(
        taken(
            recording,
            tmp_path,
            "- {from_s: 2.1, to_s: 3.0, said: the light}\n"
            "- {from_s: 1.0, to_s: 2.1, said: turn on}\n",
        )
    )
    assert (5, 14, "turn on the light") in one.texts


def test_a_floor_beside_it_does_not_undo_an_act(recording: Path, tmp_path: Path) -> None:
    for order in (1, -1):
        entries = [
            "- {from_s: 4.0, to_s: 4.2, act: greet, delegate: none}\n",
            "- {from_s: 4.6, to_s: 5.0, floor: listen}\n",
        ]
        one = whole(taken(recording, tmp_path, "".join(entries[::order])))
        assert one.act[20] == ACTS.index("greet") and one.delegate[20] == DELEGATE.index("none")


@pytest.mark.parametrize("name", ["lobby.yml", "loby.yaml"])
def test_corrections_of_no_recording_are_named(recording: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("- {from_s: 1.0, to_s: 2.0, said: hello}\n")
    with pytest.raises(InputError, match=name):
        taken(recording, tmp_path, "")


def test_a_folder_without_recordings_says_how_to_make_one(tmp_path: Path) -> None:
    assert read_corrections(tmp_path / "none.yaml") == []
    with pytest.raises(InputError, match="--out DIR"):
        Recordings.load(tmp_path, MANIFEST, WINDOW)


def test_what_is_to_judge_by_is_not_trained_on(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "hall.dev.mcap").write_bytes(recording.read_bytes())
    with pytest.raises(InputError, match="no recording to train on"):
        Recordings.load(tmp_path, MANIFEST, WINDOW)
    assert len(taken(recording, tmp_path, "").takes) == 1


def test_training_on_a_correction_changes_what_is_decided_there(
    recording: Path, tmp_path: Path
) -> None:
    """The shipped model, taught to speak where it was silent."""
    torch.manual_seed(0)
    model = InteractionModel(ModelConfig())
    load_graph(model, reference_engine_folder() / "model.onnx")
    recordings = taken(recording, tmp_path, "- {from_s: 2.0, to_s: 2.6, floor: speak}", 30)
    window = Recordings(recordings.takes, 30).window(recordings.takes[0], 0)

    def chance() -> float:
        with torch.no_grad():
            floor = model(*Batch.of([window]).inputs).floor[0, 10:13]
        return float(floor.softmax(-1)[:, FLOOR.index("speak")].mean())

    before = chance()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for seed in range(12):
        batch = Batch.of([recordings.compose(seed), recordings.compose(seed + 100)])
        loss, _ = compute(model(*batch.inputs), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before < 0.5 < chance()
