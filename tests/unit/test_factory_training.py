"""A tiny training run, so that the factory never rots."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("onnx", reason="the factory needs onnx (make train)")
pytest.importorskip("scipy", reason="the factory needs scipy (make train)")

from tiny_model import write_tiny_model  # noqa: E402

from edge_runtime.errors import InputError  # noqa: E402
from edge_runtime.inference.manifest import Decoding, load_manifest, read_graph  # noqa: E402
from engines.reference.corpus.bank import Bank  # noqa: E402
from engines.reference.corpus.conversation import Composer  # noqa: E402
from engines.reference.corpus.factory import build_composers  # noqa: E402
from engines.reference.losses import Batch  # noqa: E402
from engines.reference.train import Settings, Trainer  # noqa: E402

if TYPE_CHECKING:
    from engines.reference.losses import Batch
ROOT = Path(__file__).parents[2]
TINY = (
    "--moved 0 --scale 0.01 --turns 30 --batch 2 --log-every 1 --minutes 0.03 --checkpoint-s 1000"
).split()


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "is missing: apt-get install" in done.stderr:
        pytest.skip("no synthesizer library for the corpus")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of scale 0.01, for all: what they train with is not what they test."""
    folder = tmp_path_factory.mktemp("bank")
    try:
        Bank.into_cache(seed=0, scale=0.01, cache=folder)
    except RuntimeError as error:
        pytest.skip(f"no synthesizer: {error}")
    return folder


@pytest.fixture
def training(tmp_path: Path, bank: Path) -> Path:
    """A folder to train in."""
    folder = tmp_path / "training"
    folder.mkdir()
    (folder / "bank").symlink_to(bank)
    return folder


@pytest.fixture(scope="module")
def composer(bank: Path) -> Composer:
    """Of 30 turns."""
    folder = bank.parent / "composer"
    folder.mkdir()
    (folder / "bank").symlink_to(bank)
    return build_composers(Settings(folder=folder, scale=0.01, moved=0.0, turns=30))["duplex"]


def steps(folder: Path) -> list[int]:
    with (folder / "log.csv").open() as file:
        return sorted({int(float(row["step"])) for row in csv.DictReader(file)})


@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGINT, "1"), (signal.SIGTERM, "1"), (signal.SIGTERM, "2")]
)
def test_an_interrupted_run_keeps_what_it_has_learned(
    training: Path, number: signal.Signals, processes: str
) -> None:
    command = [sys.executable, "-m", "engines.reference.train", "--folder", str(training), *TINY]
    with subprocess.Popen(
        [*command, "--minutes", "10", "--processes", processes],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As a shell starts what runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:
        assert process.stdout is not None
        assert any("step      2" in line for line in process.stdout)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert re.search(r"stopped: step \d+", rest)
    assert (training / "checkpoint.pt").exists()


def test_a_full_disk_keeps_the_checkpoint_before_and_does_not_end_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(Settings(folder=tmp_path))
    trainer.save()
    before = trainer.checkpoint.read_bytes()
    temporary = tmp_path / "checkpoint.tmp"
    for _ in range(2):
        temporary.symlink_to("/dev/full")
        trainer._keep()
        assert not temporary.is_symlink()
    told = capsys.readouterr().out
    assert told.count("cannot be saved") == 1 and "Training goes on" in told
    temporary.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"Make room there: .* \d\d MB .* Then train again"):
        trainer._save_last()
    assert trainer.checkpoint.read_bytes() == before
    assert not temporary.is_symlink()
    (tmp_path / "log.csv").symlink_to("/dev/full")
    trainer.recent["duplex"].append({"loss": 1.0})
    trainer._log()
    assert "log.csv cannot be written" in capsys.readouterr().out
    trainer.step = 7
    trainer._keep()
    assert torch.load(trainer.checkpoint, weights_only=True)["step"] == 7


def test_annealing_tells_what_it_replaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(Settings(folder=tmp_path, anneal=True))
    trainer.resume()
    assert "will be replaced" not in capsys.readouterr().out
    trainer.save()
    trainer.resume()
    assert f"{trainer.written} will be replaced; move it away" in capsys.readouterr().out
    Trainer(Settings(folder=tmp_path)).resume()
    assert "will be replaced" not in capsys.readouterr().out


def test_ctrl_c_before_the_first_step_leaves_the_checkpoint_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Trainer) -> None:
        raise KeyboardInterrupt  # while the bank is synthesized

    monkeypatch.setattr(Trainer, "_composers", interrupted)
    trainer = Trainer(Settings(folder=tmp_path))
    trainer.run()
    assert "stopped before the first step" in capsys.readouterr().out
    assert not trainer.checkpoint.exists()


def test_ctrl_c_does_not_reach_the_programs_that_synthesize() -> None:
    """festival drops its sentence then, and whoever waits for it waits for ever."""
    from engines.reference.children import out_of_reach_of_ctrl_c
    from engines.reference.corpus.festival import Festival

    told = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('goes on')"
    with out_of_reach_of_ctrl_c():
        program = subprocess.Popen([sys.executable, "-c", told], stdout=subprocess.PIPE, text=True)
    assert program.communicate(timeout=60)[0] == "goes on\n"
    try:
        festival = Festival()
    except RuntimeError as error:
        pytest.skip(str(error))
    try:
        assert os.getpgid(festival._process.pid) != os.getpgrp()
    finally:
        festival.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_is_one_error_and_leaves_the_process_as_it_was(
    tmp_path: Path, processes: int
) -> None:
    from engines.reference import train

    def process() -> tuple[object, ...]:
        signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return (*signals, torch.get_num_threads(), float(torch.tensor([1e-40]) * 1.0))

    before = process()
    (tmp_path / "checkpoint.pt").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        train.run(train.Settings(folder=tmp_path, processes=processes))
    assert process() == before and before[-1] > 0


def test_another_architecture_is_told_before_any_work(tmp_path: Path) -> None:
    graph = write_tiny_model(tmp_path / "tiny") / "model.onnx"
    with pytest.raises(InputError, match="of another architecture"):
        Trainer(Settings(folder=tmp_path / "training", start_from=graph)).resume()


def test_training_resumes_and_its_weights_ship(training: Path, tmp_path: Path) -> None:
    run("engines.reference.train", "--folder", str(training), *TINY)
    first = steps(training)
    assert first and (training / "checkpoint.pt").exists()
    told = run("engines.reference.train", "--folder", str(training), *TINY)
    assert f"resumed at step {first[-1]}" in told
    assert steps(training) == list(range(1, steps(training)[-1] + 1))
    assert steps(training)[-1] > first[-1]
    out = tmp_path / "engine"
    checkpoint = str(training / "checkpoint.pt")
    run("engines.reference.export", "--checkpoint", checkpoint, "--out", str(out))
    manifest = load_manifest(out)
    read_graph(manifest)
    assert manifest.model_path.stat().st_size < 130e6


def test_two_processes_train_one_network_from_one_bank(tmp_path: Path) -> None:
    two = (*TINY, "--processes", "2", "--moved", "0.3")
    run("engines.reference.train", "--folder", str(tmp_path), *two)
    assert steps(tmp_path)
    (bank,) = (tmp_path / "bank").iterdir()
    moved = "-moved-0.3" if find_spec("pyworld") else ""
    assert re.fullmatch(rf"train-0-0\.01-[0-9a-f]{{8}}{moved}\.pickle", bank.name)


def test_a_conversation_led_by_the_model_has_its_answers_where_it_gave_them(
    training: Path,
) -> None:
    import numpy as np

    from engines.reference.corpus.choices import Moment
    from engines.reference.rollout import led_by

    settings = Settings(folder=training, scale=0.01, moved=0.0, turns=80)
    composer = build_composers(settings)["duplex"]
    model = Trainer(settings).model.eval()
    floor_at_speak = 2
    with torch.no_grad():
        model.head.bias[floor_at_speak] = 50.0  # it takes the floor whenever it can
    led = led_by(model, composer, range(6), torch.device("cpu"))
    answers = 0
    for one in led:
        first = next((p for p in one.points if p.key[1] is Moment.TAKE), None)
        if first is not None and first.first + 3 < settings.turns:
            answers += 1
            assert one.status[first.first + 1 : first.first + 3, 0].any()
    assert answers > 1
    shapes = {np.shape(one.audio) for one in led}
    assert shapes == {(2, 80 * 3200)}


def test_a_slower_tick_learns_its_decisions_only_where_it_is_asked(composer: Composer) -> None:
    from engines.reference.corpus.draft import IGNORE

    batch = a_batch(composer, of=3)
    slow = batch.asked_every(5)
    for name in ("floor", "act", "action", "delegate"):
        asked, before = slow.labels[name], batch.labels[name]
        assert torch.equal(asked[:, 4::5], before[:, 4::5])
        assert (asked[:, [t for t in range(30) if t % 5 != 4]] == IGNORE).all()
    assert torch.equal(slow.labels["speech"], batch.labels["speech"])


def test_updates_reduce_the_loss(tmp_path: Path, composer: Composer) -> None:
    settings = Settings(folder=tmp_path, turns=30, batch=2, warmup=1)
    batch = a_batch(composer, of=2)
    trainer = Trainer(settings)
    losses = [trainer._update(batch, 0.0)["loss"] for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]


def test_only_the_last_blocks_and_the_heads_learn(tmp_path: Path, composer: Composer) -> None:
    """Those who distribute an update want all else to be the same file, bit for bit."""
    settings = Settings(folder=tmp_path, turns=30, batch=2, warmup=1, last=2)
    batch = a_batch(composer, of=6)
    trainer = Trainer(settings)
    before = {name: value.clone() for name, value in trainer.average.state_dict().items()}
    for _ in range(3):
        trainer._update(batch, 0.0)
    after = trainer.average.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    learned = ("blocks.4.", "blocks.5.", "head", "intent_head.", "unfold.", "text_")
    assert {name for name in before if name.startswith(learned)} == changed

    trainer.save()
    other = Trainer(replace(settings, last=0))
    other.resume()
    assert other.step == 3 and not any(one.state for one in other.optimizers)
    assert all(
        torch.equal(after[name], value) for name, value in other.average.state_dict().items()
    )
    fixed = Trainer(replace(settings, last=0, fixed_filters=True))
    fixed._update(batch, 0.0)
    for name, value in fixed.model.state_dict().items():
        if name.startswith("filterbank."):
            assert torch.equal(value, before[name]) is (name == "filterbank.weight")
    again = Trainer(settings)
    again.resume()
    assert sum(len(one.state) for one in again.optimizers) == len(changed)


def test_a_larger_ear_begins_as_the_smaller_one_did(tmp_path: Path, composer: Composer) -> None:
    settings = Settings(folder=tmp_path, turns=30, batch=2)
    batch = a_batch(composer, of=2)
    small = Trainer(settings)
    small._update(batch, 0.0)
    small.save()
    larger = Trainer(replace(settings, ear_layers=6, ear_expansion=3))
    larger.resume()
    config = larger.model.config
    assert (config.local_layers, config.local_expansion) == (6, 3)
    inputs = some_inputs(turns=4)
    for one, other in ((small.model, larger.model), (small.average, larger.average)):
        for mine, theirs in zip(one.eval()(*inputs), other.eval()(*inputs), strict=True):
            torch.testing.assert_close(mine, theirs)
    larger.model(*inputs).transcript.sum().backward()
    for layer in larger.model.local:
        new = layer.project.weight.grad[:, 2 * config.local_width :]
        assert new.abs().max() > 0
    larger._update(batch, 0.0)
    larger.save()
    again = Trainer(settings)  # without being told: the checkpoint knows
    again.resume()
    assert again.model.config == config


def test_an_exported_larger_ear_is_gone_on_with_as_it_is(tmp_path: Path) -> None:
    from engines.reference.export import export
    from engines.reference.model import InteractionModel, ModelConfig

    grown = InteractionModel(ModelConfig(local_layers=5, local_expansion=3)).eval()
    for parameter in grown.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    graph = export(grown, tmp_path / "grown", version="0.0.0")
    inputs = some_inputs(turns=3)
    for layers, expansion in ((0, 0), (6, 4)):
        wanted = Settings(
            folder=tmp_path, start_from=graph, ear_layers=layers, ear_expansion=expansion
        )
        trainer = Trainer(wanted)
        trainer.resume()
        config = trainer.model.config
        assert (config.local_layers, config.local_expansion) == (layers or 5, expansion or 3)
        torch.testing.assert_close(trainer.model.eval()(*inputs).floor, grown(*inputs).floor)


def test_a_checkpoint_that_knew_fewer_intents_is_gone_on_with(
    tmp_path: Path, composer: Composer
) -> None:
    from engines.reference.export import load

    settings = Settings(folder=tmp_path, turns=30, batch=2, learning_rate=1e-3)
    before = Trainer(settings)
    batch = a_batch(composer, 2)
    before._update(batch, 0.0)
    before.save()
    saved = torch.load(before.checkpoint, weights_only=True)
    for weights in (saved["model"], saved["average"]):
        for name in ("intent_head.weight", "intent_head.bias"):
            weights[name] = weights[name][:-2]
    torch.save(saved, before.checkpoint)
    after = Trainer(settings)
    after.resume()
    inputs = some_inputs(turns=4)
    outputs = [one.model.eval()(*inputs) for one in (before, after)]
    torch.testing.assert_close(outputs[0].floor, outputs[1].floor)
    torch.testing.assert_close(outputs[0].intent[..., :-2], outputs[1].intent[..., :-2])
    after._update(batch, 0.0)
    assert after._begun == before.step, "the optimizer starts anew"
    average = load(before.checkpoint)[0](*inputs)
    torch.testing.assert_close(average.floor, before.average.eval()(*inputs).floor)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    from engines.reference.grow import load_grown
    from engines.reference.model import InteractionModel, ModelConfig

    small, larger = InteractionModel(), InteractionModel(ModelConfig(local_layers=6))
    with pytest.raises(ValueError, match=r"of another architecture \(local\.4"):
        load_grown(small, larger.state_dict())
    wider = InteractionModel(ModelConfig(local_expansion=3))
    with pytest.raises(ValueError, match=r"of another architecture \(local\.\d\.(expand|project)"):
        load_grown(small, wider.state_dict())
    weights = small.state_dict()
    del weights["local.2.bias"]
    with pytest.raises(ValueError, match="of another architecture"):
        load_grown(InteractionModel(), weights)


def a_batch(composer: Composer, of: int) -> Batch:
    return Batch.of([composer.compose(seed) for seed in range(of)])


def some_inputs(turns: int) -> tuple[torch.Tensor, ...]:
    """What a model takes, for one conversation."""
    generator = torch.Generator().manual_seed(1)
    return (
        0.1 * torch.randn(1, 2, turns * 3200, generator=generator),
        torch.randint(0, 256, (turns, 96, 96, 3), dtype=torch.uint8, generator=generator),
        torch.arange(turns)[None],
        torch.ones(1, turns, 1),
        torch.zeros(1, turns, 8),
        torch.zeros(1, turns, 5),
    )


def test_the_shipped_model_is_measured_on_held_out_conversations(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    graph = str(ROOT / "engines" / "reference" / "model.onnx")
    small = ("--count", "12", "--scale", "0.01")
    told = run("engines.reference.measure", "--graph", graph, *small, "--out", str(out))
    seen = json.loads(out.read_text())["generated_seen"]
    assert "takeover_rate" in told and seen["takeover_rate"]["n"] >= 10
    ends, pauses = seen["takeover_rate"]["value"], seen["pauses_at_90pct_of_ends"]["value"]
    assert ends > 0.6 and pauses < 0.6, "a model that cannot tell an end from a pause"


def test_who_hesitates_leads_by_what_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from engines.reference import rollout

    chances = np.array([0.3, 0.3, 0.3, 0.0, 0.6], np.float32)
    monkeypatch.setattr(rollout, "AT", Decoding.model_validate({"yield": 0.5}))
    assert rollout.yields(chances).tolist() == [0, 0, 0, 0, 1]
    monkeypatch.setattr(rollout, "AT", Decoding.model_validate({"yield": 0.5, "hesitate": 0.2}))
    assert rollout.yields(chances).tolist() == [0, 1, 0, 0, 1]
