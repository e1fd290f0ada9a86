"""Train the reference model: `python -m engines.reference.train --minutes 60`.

Resumes from its folder when that holds a checkpoint. One process is one thread on a CPU (two
threads under load fight for the cores); `--processes 2` trains data-parallel. The weights that ship
are an exponential average, so a run may be stopped at any time. `--start-from
engines/reference/model.onnx` goes on from exported weights where there is no checkpoint.

The curriculum is one number: `--dense` is the share of steps that learn from speech upon speech
(words, phones, ends of turns) instead of conversations. Begin with 1, then go on with about 0.3.
`--own` is the share of the conversations in which the device does what the model would have done.
`--recordings DIR` adds recordings of one's own device and corrections to them, in `--recorded` of
the steps (`corpus/recordings.py` says how they look). `--last N` keeps the ear and the eye as they
are, bit for bit, and teaches only the last N blocks and the heads: twice as fast, and little
to distribute. `--tick` is for the tick ablation.
"""

from __future__ import annotations

import argparse
import copy
import csv
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from rich.console import Console
from torch import Tensor, nn

from edge_runtime.errors import EdgeRuntimeError, InputError
from edge_runtime.inference.manifest import load_manifest
from engines.reference.checkpoint import config_of, fill, read_checkpoint
from engines.reference.children import end_with_parent
from engines.reference.command import command
from engines.reference.corpus import human, voices
from engines.reference.corpus.bank import Bank
from engines.reference.corpus.conversation import Composer
from engines.reference.corpus.factory import bank_folder, build_composers
from engines.reference.corpus.recordings import Recordings
from engines.reference.grow import load_grown
from engines.reference.losses import Batch, compute
from engines.reference.model import InteractionModel, ModelConfig
from engines.reference.muon import Muon
from engines.reference.processes import summed
from engines.reference.rollout import led_by
from engines.reference.warm_start import config_of_graph, load_graph

console = Console(highlight=False)
STAGES = ("dense", "duplex", "recorded")
SHIPPED = Path(__file__).parent
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
LEAVE_S = 60.0
"""For ranks that were interrupted to save."""
GRACE_S = 10.0
"""For the other ranks to end by themselves where one has failed; as long again to save."""
SYNTHESIS_LIMIT = timedelta(hours=2)
"""How long the other processes wait for the bank: it takes some minutes on two cores."""
DECAY = 0.03
"""Of the weights of matrices, per step and rate."""
FILTERBANK_RATE = 0.01
"""Of the learning rate: at the full rate the filters blur."""
DISTANCE_RATE = 10.0
"""Likewise: a step moves a weight by the rate at most, and how much less a turn counts that lies
twenty turns back is a single weight."""


@dataclass(frozen=True)
class Settings:
    folder: Annotated[Path, "for the checkpoint, log.csv and the bank"] = Path("training")
    data: Annotated[Path | None, "human speech, noise, rooms, photographs (manifest.csv)"] = None
    start_from: Annotated[Path | None, "model.onnx to go on from where is no checkpoint"] = None
    minutes: Annotated[float, "how long to train"] = 60.0
    processes: Annotated[int, "data-parallel, one thread each on a CPU"] = 1
    device: Annotated[str, "cpu or cuda"] = "cpu"
    batch: Annotated[int, "conversations in a step, for each process"] = 8
    turns: Annotated[int, "micro-turns of 200 ms in a conversation"] = 150
    learning_rate: Annotated[float, "at its highest"] = 1.2e-3
    warmup: Annotated[int, "steps until then"] = 200
    anneal: Annotated[
        bool,
        "let the rate fall to zero over these minutes; what comes of it is in FOLDER/annealed. One "
        "that was interrupted does not go on: the next begins at FOLDER/checkpoint.pt and replaces "
        "FOLDER/annealed/checkpoint.pt",
    ] = False
    scale: Annotated[float, "of the bank of synthesized utterances; 1 is 21 h of speech"] = 1.0
    human_share: Annotated[float, "share of the turns that are recordings of people (--data)"] = (
        0.35
    )
    moved: Annotated[
        float,
        "share of the voices that are moved to another pitch and throat; of the people of --data "
        "so many are there once more",
    ] = 0.5
    dense: Annotated[float, "share of the steps on speech upon speech instead of conversations"] = (
        0.3
    )
    own: Annotated[float, "share of the conversations that the model leads itself"] = 0.25
    last: Annotated[
        int, "only so many of the last blocks learn, and what reads them; 0: all does"
    ] = 0
    ear_layers: Annotated[
        int,
        "of the ear; what the weights have not is added and does nothing at first; 0: as they are",
    ] = 0
    ear_expansion: Annotated[
        int, "width inside the ear's layers, in widths of the ear, likewise; 0: as the weights are"
    ] = 0
    fixed_filters: Annotated[
        bool,
        "the filterbank does not learn, which saves a tenth of the time: in 250 hours of "
        "conversation it moved by half a percent",
    ] = False
    recordings: Annotated[Path | None, "recordings (.mcap) of one's own device, corrected"] = None
    recorded: Annotated[float, "share of the steps on these"] = 0.3
    seed: Annotated[int, "also of the bank: another seed, other sentences and voices"] = 0
    checkpoint_s: Annotated[float, "seconds from one checkpoint to the next"] = 180.0
    log_every: Annotated[int, "steps from one line of the log to the next"] = 25
    average: Annotated[float, "of the averaged weights, which ship: what a step keeps of them"] = (
        0.998
    )
    tick: Annotated[
        int, "micro-turns from one decision to the next; 2 and 5 are for `evaluate --ticks`"
    ] = 1
    port: Annotated[int, "for the processes to meet at; 0 takes a free one"] = 0


def parse() -> Settings:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        kind, text = get_args(hint)
        flag, default = "--" + name.replace("_", "-"), getattr(Settings, name)
        if kind is bool:
            parser.add_argument(flag, action="store_true", help=text)
        else:
            told = text if default is None else f"{text} (default: {default})"
            typed = (
                {"type": kind} if kind in (str, int, float) else {"type": Path, "metavar": "PATH"}
            )
            parser.add_argument(flag, default=default, help=told, **typed)
    settings = Settings(**vars(parser.parse_args()))
    for name in ("processes", "batch", "turns", "log_every", "warmup", "tick"):
        if getattr(settings, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    for name in ("dense", "own", "recorded", "human_share", "moved", "average"):
        if not 0 <= getattr(settings, name) <= 1:
            parser.error(f"--{name.replace('_', '-')} is a share, 0 to 1")
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(
            "--device cuda: this PyTorch sees no GPU; install one with CUDA, or leave it out"
        )
    if settings.start_from is not None and not settings.start_from.is_file():
        parser.error(
            f"--start-from {settings.start_from}: no such file; give an exported model.onnx"
        )
    return settings


def freeze_all_but_last(model: InteractionModel, blocks: int) -> None:
    """Lets only the last `blocks` blocks learn, and the heads that read the turn vectors."""
    readers = (model.head_norm, model.head_hidden, model.head, model.intent_head)
    words = (model.unfold, model.text_hidden, model.text_phones, model.text_out)
    model.requires_grad_(False)
    for part in (*model.blocks[-blocks:], *readers, *words):
        part.requires_grad_(True)


def optimizers_for(
    model: InteractionModel, rate: float, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """The matrices inside the network are moved by their orthogonalised momentum (Muon, computed in
    `dtype`), all else by AdamW."""
    filters = model.filterbank.weight
    distances = [block.distance_bias for block in model.blocks if block.distance_bias.requires_grad]
    edge = (model.context, model.head, model.intent_head, model.vision_head, model.phone_head)
    matrices = [
        layer.weight
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
        and layer.weight.requires_grad
        and layer not in (*edge, model.text_out)
    ]
    apart = {id(filters), *map(id, distances), *map(id, matrices)}
    learning = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": DECAY, "share": 1.0},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0, "share": 1.0},
        {"params": distances, "weight_decay": 0.0, "share": DISTANCE_RATE},
    ]
    if filters.requires_grad:
        groups.append({"params": [filters], "weight_decay": 0.0, "share": FILTERBANK_RATE})
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    ]
    if matrices:
        group = {"params": matrices, "weight_decay": DECAY, "share": 1.0}
        optimizers.append(Muon([group], lr=rate, dtype=dtype))
    return optimizers


def _shares(states: list[dict[str, Any]]) -> list[list[tuple[int, float]]]:
    """How many parameters learn at which share of the rate, for each optimizer."""
    return [
        [(len(group["params"]), group["share"]) for group in state["param_groups"]]
        for state in states
    ]


@cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth it: a CPU without the instructions computes it several times
    slower than float32, so it is measured, in time of the CPU: others may keep it busy."""
    if device.type != "cpu":
        return True

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(256, 256, dtype=dtype)
        best = float("inf")
        for _ in range(4):
            started = time.process_time()
            _ = matrix @ matrix
            best = min(best, time.process_time() - started)
        return best

    return seconds(torch.bfloat16) < seconds(torch.float32)


class Trainer:
    """One rank of a training run."""

    def __init__(self, settings: Settings, rank: int = 0) -> None:
        self.settings, self.rank = settings, rank
        self.device = torch.device(settings.device)
        torch.manual_seed(settings.seed)
        self.model = InteractionModel(self._config()).to(self.device)
        if settings.last:
            freeze_all_but_last(self.model, settings.last)
        if settings.fixed_filters:
            self.model.filterbank.weight.requires_grad_(False)
        self.bfloat16 = has_fast_bfloat16(self.device)
        self.average = copy.deepcopy(self.model)
        dtype = torch.bfloat16 if self.bfloat16 else torch.float32
        self.optimizers = optimizers_for(self.model, settings.learning_rate, dtype)
        self.step, self.hours, self.seconds = 0, 0.0, 0.0
        self._begun = 0
        """The step from which the optimizer knows the gradients."""
        self._warned: set[Path] = set()
        self.recent: dict[str, deque[dict[str, float]]] = {
            stage: deque(maxlen=settings.log_every) for stage in STAGES
        }

    @property
    def checkpoint(self) -> Path:
        return self.settings.folder / "checkpoint.pt"

    def _config(self) -> ModelConfig:
        """As the checkpoint has it, or the graph to start from, or as it ships; with as large an
        ear as wanted."""
        config = ModelConfig()
        if self.checkpoint.exists():
            config = config_of(read_checkpoint(self.checkpoint, mmap=True), self.checkpoint)
        elif self.settings.start_from is not None:
            config = config_of_graph(self.settings.start_from)
        return replace(
            config,
            local_layers=max(config.local_layers, self.settings.ear_layers),
            local_expansion=max(config.local_expansion, self.settings.ear_expansion),
        )

    def resume(self) -> None:
        if self.settings.anneal and self.written.exists():
            self._tell(f"{self.written} will be replaced; move it away to keep it")
        if not self.checkpoint.exists():
            if self.settings.start_from is not None:
                self._start_from(self.settings.start_from)
            return
        saved = read_checkpoint(self.checkpoint, self.device)
        for model, weights in ((self.model, saved["model"]), (self.average, saved["average"])):
            fill(model, weights, self.checkpoint)
        self.step, self.hours, self.seconds = saved["step"], saved["hours"], saved["seconds"]
        self._tell(f"resumed at step {self.step}, {self.hours:.0f} h of conversation heard")
        states = saved.get("optimizers", [])
        shapes = [
            {name: weight.shape for name, weight in weights.items()}
            for weights in (saved["model"], self.model.state_dict())
        ]
        learned = [_shares(some) for some in (states, [o.state_dict() for o in self.optimizers])]
        if shapes[0] == shapes[1] and learned[0] == learned[1]:
            for one, state in zip(self.optimizers, states, strict=True):
                one.load_state_dict(state)
        else:
            self._begun = self.step
            self._tell("other parts learn than before, or otherwise: the optimizer starts anew")

    def _start_from(self, graph: Path) -> None:
        """With an ear as large as wanted. Raises InputError."""
        exported = InteractionModel(config_of_graph(graph))
        fresh = load_graph(exported, graph)
        load_grown(self.model, exported.state_dict())
        self.average.load_state_dict(self.model.state_dict())
        heard = load_manifest(graph.parent).evaluation.get("training", {})
        self.hours = float(heard.get("hours", 0.0)) if isinstance(heard, dict) else 0.0
        new = f"; new: {', '.join(fresh)}" if fresh else ""
        self._tell(f"started from {graph}, {self.hours:.0f} h heard{new}")

    @property
    def written(self) -> Path:
        """Annealed weights are kept apart: whoever trains on goes on from those before."""
        folder = self.settings.folder
        return folder / "annealed" / "checkpoint.pt" if self.settings.anneal else self.checkpoint

    def save(self) -> None:
        """Atomically: a run that is cut off leaves the checkpoint before it. Raises InputError."""
        temporary = self.written.with_suffix(".tmp")
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "config": self.model.config.as_dict(),
            "step": self.step,
            "hours": self.hours,
            "seconds": self.seconds,
        }
        try:
            self.written.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, temporary)
            os.replace(temporary, self.written)
        except (OSError, RuntimeError) as error:  # torch's own where the disk is full
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise InputError(
                f"{self.written} cannot be saved: {_why(error, self.settings.folder)}. Make room "
                f"there: it takes about {_size(state) / 1e6:.0f} MB beside the one before it."
            ) from error

    def _keep(self) -> None:
        """A checkpoint on the way: without it training goes on, and another is tried later."""
        try:
            self.save()
        except InputError as error:
            self._warn(self.written, f"{error} Training goes on, and will try again.")
        else:
            self._warned.discard(self.written)

    def _save_last(self) -> None:
        try:
            self.save()
        except InputError as error:
            raise InputError(
                f"{error} Then train again: it goes on from the checkpoint before, if there is one."
            ) from error

    def _warn(self, path: Path, text: str) -> None:
        """Once for a file: it stays as it is until somebody does something."""
        if path not in self._warned:
            self._tell(text)
        self._warned.add(path)

    def run(self) -> None:
        try:
            self.resume()
            composers = self._composers()
        except KeyboardInterrupt:
            self._tell("stopped before the first step: nothing is learned, nothing is saved")
            return
        end = "done"
        try:
            self._train(composers)
        except KeyboardInterrupt:
            end = "stopped"
        if self.rank == 0:
            self._save_last()
        self._tell(f"{end}: step {self.step}, {self.hours:.1f} h heard, in {self.written}")

    def _train(self, composers: dict[str, Composer | Recordings]) -> None:
        settings = self.settings
        begun = settings.seed * 1000 + 7919 * (self.step + 1)
        rng = random.Random(begun + 1 + self.rank)
        # All processes take steps of one kind, or one would wait for the other.
        kinds = random.Random(begun)
        started = saved = time.monotonic()
        base_s, total_s = self.seconds, settings.minutes * 60
        # Of a processor, not of the day: others may have it, or the run may be paused.
        clock = time.process_time if self.device.type == "cpu" else time.monotonic
        first = clock()
        while (elapsed := self._elapsed(started)) < total_s:
            stage = "dense" if kinds.random() < settings.dense else "duplex"
            if "recorded" in composers and kinds.random() < settings.recorded:
                stage = "recorded"
            composer = composers[stage]
            count = settings.batch * settings.turns // composer.turns
            seeds = [rng.getrandbits(48) for _ in range(count)]
            if stage == "duplex" and kinds.random() < settings.own:
                leads = self.average, composer, seeds, self.device, settings.tick
                conversations = led_by(*leads, self.bfloat16)
            else:
                conversations = [composer.compose(seed) for seed in seeds]
            batch = Batch.of(conversations, self.device)
            self.recent[stage].append(self._update(batch, elapsed / total_s))
            self.seconds = base_s + (clock() - first) * settings.processes
            if self.rank == 0 and self.step % settings.log_every == 0:
                self._log()
            if self.rank == 0 and time.monotonic() - saved > settings.checkpoint_s:
                self._keep()
                saved = time.monotonic()

    def _composers(self) -> dict[str, Composer | Recordings]:
        settings = self.settings
        recorded = self._recordings()  # before minutes of synthesis: there may be mistakes in them
        if settings.processes > 1:  # the others find the bank that the first one synthesizes
            if self.rank == 0:
                folder, moved = bank_folder(settings), settings.moved if voices.is_there() else 0.0
                Bank.into_cache(
                    settings.seed, settings.scale, folder, progress=self._tell, moved=moved
                )
                if settings.data is not None and moved:
                    Bank.people_into_cache(settings.data, folder, moved)
            dist.barrier()
        composers: dict[str, Composer | Recordings] = {**build_composers(settings, self._tell)}
        if recorded is not None:
            composers["recorded"] = recorded
        return composers

    def _recordings(self) -> Recordings | None:
        settings = self.settings
        if settings.recordings is None:
            return None
        manifest = load_manifest(settings.start_from.parent if settings.start_from else SHIPPED)
        recorded = Recordings.load(settings.recordings, manifest, settings.turns)
        self._tell(f"{len(recorded.takes)} recordings, {recorded.corrections} corrections")
        return recorded

    def _elapsed(self, started: float) -> float:
        """Seconds so far, agreed between the ranks so that all stop at the same step."""
        if self.settings.processes == 1:
            return time.monotonic() - started
        clock = torch.tensor([time.monotonic() - started])
        dist.broadcast(clock, 0)
        return float(clock)

    def _update(self, batch: Batch, progress: float) -> dict[str, float]:
        settings = self.settings
        rate = settings.learning_rate * min(1.0, (self.step + 1 - self._begun) / settings.warmup)
        if settings.anneal:
            rate *= max(0.02, 1.0 - progress)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            outputs = self.model(*batch.inputs)
        loss, parts = compute(outputs, batch.asked_every(settings.tick))
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=False)
        loss.backward()
        if settings.processes > 1:
            self._share_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.hours += settings.batch * settings.processes * settings.turns * 0.2 / 3600
        decay = min(settings.average, 1 - 1 / (self.step + 1))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), 1 - decay
            )
        return parts | {"loss": float(loss.detach())}

    def _share_gradients(self) -> None:
        grads: list[Tensor] = []
        learning = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            grads.append(parameter.grad)
        for grad, total in zip(grads, summed(grads), strict=True):
            torch.div(total, self.settings.processes, out=grad)

    def _log(self) -> None:
        """A line for each stage that has been trained lately."""
        path = self.settings.folder / "log.csv"
        for stage, recent in self.recent.items():
            if not recent:
                continue
            mean = {k: float(np.mean([r[k] for r in recent])) for k in recent[0]}
            so_far = {
                "step": self.step, "hours": self.hours, "core_minutes": self.seconds / 60
            }  # fmt: skip
            row = {"stage": stage} | {k: round(v, 4) for k, v in (so_far | mean).items()}
            try:
                _append(path, row)
            except OSError as error:
                self._warn(path, f"{path} cannot be written: {error}. Training goes on without.")
            parts = " ".join(f"{k} {v:.3f}" for k, v in mean.items())
            self._tell(
                f"{self.seconds / 60:6.1f} core-min  step {self.step:6d}  {self.hours:7.1f} h  "
                f"{stage:6s} {parts}"
            )

    def _tell(self, text: str) -> None:
        if self.rank == 0:
            console.print(text, soft_wrap=True, markup=False)


def _append(path: Path, row: dict[str, Any]) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _why(error: Exception, folder: Path) -> str:
    """Torch says no more than that it could not write."""
    if isinstance(error, OSError):
        return str(error)
    said = str(error).partition("\n")[0].rpartition("] . ")[2]
    return f"{said}; {shutil.disk_usage(folder).free / 1e6:.0f} MB are free on its disk"


def _size(state: object) -> int:
    """Bytes of the tensors in it."""
    if isinstance(state, Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return sum(map(_size, parts))


def _interrupt(*_: object) -> None:
    """Once only: whoever is impatient must not keep it from saving."""
    for number in INTERRUPTIONS:
        signal.signal(number, _ignore)
    raise KeyboardInterrupt


def _ignore(*_: object) -> None:
    """Python complains where SIG_IGN comes between a signal and its handler."""


@contextmanager
def _heed_interruptions() -> Iterator[None]:
    """Also where a shell in the background has it ignore Ctrl-C."""
    before = {number: signal.signal(number, _interrupt) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _fast_arithmetic() -> Iterator[None]:
    """One thread, and what is too small for a normal float is zero. Both hold in the whole
    process, which may have more to do than to train."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def worker(rank: int, settings: Settings, told: SimpleQueue[EdgeRuntimeError]) -> None:
    """One process of several; what goes wrong in it on purpose is `told` to the one that waits."""
    try:
        train(rank, settings)
    except EdgeRuntimeError as error:
        told.put(error)
        sys.exit(error.exit_code)


def train(rank: int, settings: Settings) -> None:
    end_with_parent()
    with _heed_interruptions(), _fast_arithmetic(), _group(rank, settings):
        Trainer(settings, rank).run()


@contextmanager
def _group(rank: int, settings: Settings) -> Iterator[None]:
    """Of the processes that train together."""
    if settings.processes == 1:
        yield
        return
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{settings.port}",
        rank=rank,
        world_size=settings.processes,
        timeout=SYNTHESIS_LIMIT,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


@command
def main() -> None:
    run(parse())


def run(settings: Settings) -> None:
    if settings.data is not None:
        human.check_trains(settings.data)  # before minutes of synthesis
    if settings.processes == 1:
        train(0, settings)
    else:
        _train_together(settings)


def _train_together(settings: Settings) -> None:
    if settings.port == 0:
        with socket.create_server(("127.0.0.1", 0)) as server:
            settings = replace(settings, port=server.getsockname()[1])
    told: SimpleQueue[EdgeRuntimeError] = mp.get_context("spawn").SimpleQueue()
    with _heed_interruptions():
        ranks = mp.start_processes(
            worker, (settings, told), nprocs=settings.processes, start_method="spawn", join=False
        )
        try:
            while not ranks.join(grace_period=GRACE_S):
                pass
        except (mp.ProcessRaisedException, mp.ProcessExitedException):
            if told.empty():
                raise
            raise told.get() from None  # the others ended because of it
        except KeyboardInterrupt:
            for rank in ranks.processes:
                rank.terminate()  # they save, and end
            for rank in ranks.processes:
                rank.join(LEAVE_S)


if __name__ == "__main__":
    main()
