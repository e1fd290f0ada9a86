"""The same scenarios through the whole runtime: sources, loop, engine, mouth, background, sinks.

Here the device speaks by its own decision, hears itself, and is measured where sound enters the
loudspeaker. Where a scenario needs it to be speaking, it is given something to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_runtime.app import device
from edge_runtime.config import Config
from edge_runtime.dialogue import BACKCHANNEL, answers
from edge_runtime.evaluation import figures
from edge_runtime.evaluation.clip import MS, Clip, Cue, first
from edge_runtime.evaluation.figures import Figure, Item
from edge_runtime.evaluation.live import Kept, World, silent_from, sound_from
from edge_runtime.evaluation.material import SEEN
from edge_runtime.evaluation.metrics import (
    AFTERMATH,
    EDGE,
    JUST_BEFORE,
    MINUTE,
    MURMURS_FOR,
    SPEAKS_FOR,
    STOPPED_WITHIN,
    TAKEN_WITHIN,
    Span,
    mid_speech,
    spells,
)
from edge_runtime.evaluation.plan import QUICK_SHARE
from edge_runtime.evaluation.scenarios import Casting, Render, clips
from edge_runtime.evaluation.scenarios.others import side_talk
from edge_runtime.evaluation.scenarios.speaking import backchannel, interruption
from edge_runtime.evaluation.scenarios.turns import turn
from edge_runtime.interfaces import Clock
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm, TurnRecord, Utterance
from edge_runtime.pacing import MonotonicClock, VirtualClock
from edge_runtime.senses import Senses
from edge_runtime.sinks.timeline import Timeline

SECONDS_A_CHARACTER = 0.05
"""At most: so that what it is given to say lasts long enough."""
SHOWN = 3
PARTS: Mapping[Render, int] = {turn: 24, interruption: 16, backchannel: 16, side_talk: 8}
"""Clips of each scenario for each material in a full run."""
IN_REAL_TIME: Mapping[Render, int] = {turn: 4, interruption: 4}
"""For the first material, in runs that are more than quick."""


@dataclass(frozen=True)
class Played:
    """One clip as it went."""

    clip: Clip
    records: Sequence[TurnRecord]
    heard: Pcm
    played: Pcm
    late_ms: Sequence[float]
    timeline: Timeline

    @property
    def takes(self) -> list[int]:
        """The decisions that began to say something other than a backchannel: the ends of their
        turns. The next part of a long answer is no decision."""
        return self._begun(answers)

    @property
    def backchannels(self) -> list[int]:
        return self._begun(lambda said: said.act == BACKCHANNEL)

    def _begun(self, counts: Callable[[Utterance], bool]) -> list[int]:
        ends = (((r.turn.index + 1) * TURN_SAMPLES, r.said) for r in self.records)
        return [at for at, said in ends if said is not None and counts(said)]

    def spoke_into(self, pause: Cue) -> bool:
        """Whether it took the floor in a pause, or still had it when that began."""
        begun = first(self.takes, pause.start, pause.end) is not None
        return begun or self._speaks_on(pause.start)

    def _speaks_on(self, sample: int) -> bool:
        """Whether an utterance of its own other than a backchannel goes on after the turn in which
        a sample lies."""
        own = {r.said.id for r in self.records if r.said and r.said.act != BACKCHANNEL}
        voice = self.records[sample // TURN_SAMPLES].turn.voice
        return voice.utterance_id in own and not voice.paused

    def spoke_before(self, end: Cue) -> bool:
        """Whether it took the floor before the person's turn was over, or had it all along."""
        into_pause = any(self.spoke_into(pause) for pause in self.clip.of("pause"))
        over_speech = (first(self.takes, *span) for span in mid_speech(self.clip))
        cut_in = into_pause or any(at is not None for at in over_speech)
        return cut_in or self._speaks_on(end.start - JUST_BEFORE)

    def answered(self, end: Cue) -> int | None:
        """The decision that took a turn after its end; None where it had spoken before, which
        makes it another conversation."""
        if self.spoke_before(end):
            return None
        return first(self.takes, end.start - EDGE, end.end)

    def stopped(self, start: int, end: int) -> int | None:
        ends = ((r.turn.index + 1) * TURN_SAMPLES for r in self.records if r.decision.stop)
        return next((at for at in ends if start < at <= end), None)

    def hesitated(self, start: int, end: int) -> bool:
        ends = ((r.turn.index + 1) * TURN_SAMPLES for r in self.records if r.decision.hesitate)
        return any(start < at <= end for at in ends)

    def late(self, decided: int) -> float:
        """How much later than the end of its turn the sound of a decision was handed over, ms."""
        return self.late_ms[decided // TURN_SAMPLES - 1]

    def audible(self, start: int, end: int) -> bool:
        found = sound_from(self.played[:end], max(0, start))
        return found is not None

    def silent_before(self, cue: Cue) -> bool:
        """Whether it did not speak any more when something began, or had just decided to stop."""
        since = silent_from(self.played, cue.start)
        just_before = cue.start - JUST_BEFORE, cue.start
        decided = self.stopped(*just_before) is not None
        still = self.audible(*just_before) and (since is None or since > cue.start)
        return decided or not still


@dataclass
class Ledger:
    """Adds up what happened at the loudspeaker."""

    shares: dict[str, list[Item]] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)
    said: tuple[str, str, str] = "", "", ""
    """In the clip: what, with which voice, in which recording."""

    def share(self, name: str, value: bool) -> None:
        self.shares.setdefault(name, []).append(Item(int(value), 1, *self.said))

    def often(self, name: str, moments: Sequence[int], span: Span, lasts: int = SPEAKS_FOR) -> None:
        minutes = (span[1] - span[0]) / MINUTE
        self.minutes[name] = self.minutes.get(name, 0.0) + minutes
        self.counts[name] = self.counts.get(name, 0) + spells(moments, *span, lasts)

    def add(self, run: Played) -> None:
        self.said = run.clip.whose
        if run.clip.scenario == "turns":
            for span in mid_speech(run.clip):
                self.often("speech_cut_ins_per_min", run.takes, span)
                self.often("speech_backchannels_per_min", run.backchannels, span, MURMURS_FOR)
        for cue in run.clip.cues:
            if cue.kind == "pause":
                self.share("false_takeover_rate", run.spoke_into(cue))
            elif cue.kind == "end":
                self._end(cue, run)
            elif cue.kind in ("interruption", "backchannel"):
                self._while_speaking(cue, run)
            elif cue.kind == "side talk":
                span, murmurs = (cue.start, cue.end), run.backchannels
                self.often("side_talk_answers_per_min", run.takes, span)
                self.often("side_talk_backchannels_per_min", murmurs, span, MURMURS_FOR)

    def _end(self, cue: Cue, run: Played) -> None:
        self.share("spoke_before_rate", run.spoke_before(cue))
        decided = run.answered(cue)
        sounded = None if decided is None else sound_from(run.played, decided)
        in_time = decided is not None and decided <= cue.start + TAKEN_WITHIN
        self.share("takeover_rate", in_time and sounded is not None)
        if decided is not None and sounded is not None:
            latency_ms = (sounded - cue.start) / MS + run.late(decided)
            self.values.setdefault("response_latency_ms", []).append(latency_ms)

    def _while_speaking(self, cue: Cue, run: Played) -> None:
        before = run.silent_before(cue)
        self.share("fell_silent_by_itself", before)
        if before:
            return
        if cue.kind == "backchannel":
            span = cue.start, cue.end + AFTERMATH
            stopped = run.stopped(*span) is not None
            self.share("selectivity_backchannel", not stopped)
            if not stopped:
                self.share("hesitation_rate", run.hesitated(*span))
            return
        decided = run.stopped(cue.start, cue.start + STOPPED_WITHIN)
        silent = None if decided is None else silent_from(run.played, decided)
        self.share("stop_miss_rate", silent is None)
        if decided is not None and silent is not None:
            latency_ms = (silent - cue.start) / MS + run.late(decided)
            self.values.setdefault("stop_latency_ms", []).append(latency_ms)

    def figures(self, seed: int) -> dict[str, Figure]:
        found = {name: figures.ratio(items, seed) for name, items in sorted(self.shares.items())}
        for name, percents in (("response_latency_ms", (50, 90)), ("stop_latency_ms", (50, 95))):
            for percent in percents:
                values = self.values.get(name, [])
                found[f"{name}_p{percent}"] = figures.percentile(values, percent, seed)
        for name, count in self.counts.items():
            found[name] = figures.rate(count, self.minutes[name])
        return found


def run_clip(config: Config, clip: Clip, text: str, seed: int, realtime: bool) -> Played:
    """One clip through a device of its own; `text` is what it is given to say."""
    clock: Clock = MonotonicClock() if realtime else VirtualClock()
    world, kept, timeline = World(clip, seed, clock, realtime), Kept(), Timeline(clip.minutes * 60)
    speaks = {cue.start // TURN_SAMPLES for cue in clip.of("device")}
    senses = Senses(world, world, clock, realtime, staged=True)
    with device(config.unrecorded(), senses, [kept, timeline]) as ready:

        def speak(index: int) -> None:
            if index in speaks:
                ready.voice.say(Utterance("given", text, "deliver"))

        world.before_turn = speak
        ready.loop.run()
    heard, played = (np.concatenate(parts) for parts in (world.heard, world.played))
    return Played(clip, kept.records, heard, played, world.late_ms, timeline)


def text_for(casting: Casting, clip: Clip, index: int) -> str:
    """What our voice shall say, long enough for the clip's script; empty where there is none."""
    needed = sum(cue.end - cue.start for cue in clip.of("device")) / SAMPLE_RATE_HZ
    rng, words = casting.rng("what we say", index), ""
    while len(words) * SECONDS_A_CHARACTER < needed:
        spoken = casting.material.device[int(rng.integers(len(casting.material.device)))]
        words += " ".join(segment.text for segment in spoken.segments) + ", "
    return words.rstrip(", ")


@dataclass
class SystemLevel:
    """All of it: figures by material on the virtual clock, some in real time, three to look at."""

    config: Config
    seed: int
    share: float
    shown: list[Played] = field(default_factory=list)

    def run(self, casts: Sequence[Casting], advance: Callable[[str], None]) -> dict[str, Any]:
        """Figures by clock and material; `advance` is told what comes next."""
        virtual = {
            casting.material.name: self._material(casting, self._counts, advance, realtime=False)
            for casting in casts
        }
        found: dict[str, Any] = {"virtual_clock": virtual}
        if self._in_real_time:
            real = self._material(casts[0], self._in_real_time, advance, realtime=True)
            found["real_time"] = {casts[0].material.name: real}
        return found

    @property
    def _counts(self) -> Mapping[Render, int]:
        return {render: max(1, round(full * self.share)) for render, full in PARTS.items()}

    @property
    def _in_real_time(self) -> Mapping[Render, int]:
        return IN_REAL_TIME if self.share > QUICK_SHARE else {}

    def steps(self, casts: Sequence[Casting]) -> int:
        """Clips that `run` will play."""
        return len(casts) * sum(self._counts.values()) + sum(self._in_real_time.values())

    def _material(
        self,
        casting: Casting,
        counts: Mapping[Render, int],
        advance: Callable[[str], None],
        realtime: bool,
    ) -> dict[str, Figure]:
        live = Casting(casting.material, casting.seed, casting.frame_px, live=True)
        ledger = Ledger()
        for render, count in counts.items():
            wanted = not realtime and casting.material.name == SEEN
            for index, clip in enumerate(clips(render, live, count)):
                advance(f"{casting.material.name}: {clip.scenario}")
                text = text_for(live, clip, index)
                run = run_clip(self.config, clip, text, self.seed + index, realtime)
                ledger.add(run)
                if wanted and len(self.shown) < SHOWN and worth_seeing(clip):
                    self.shown.append(run)
                    wanted = False
        return ledger.figures(self.seed)


def worth_seeing(clip: Clip) -> bool:
    """The first turn with a pause of a second; the first of whatever else."""
    if clip.scenario == "turns":
        pauses = [cue.end - cue.start for cue in clip.of("pause")]
        return bool(clip.of("end")) and max(pauses, default=0) >= SAMPLE_RATE_HZ
    return clip.scenario != "backchannels"
