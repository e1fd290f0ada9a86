"""Observations of decisions in clips, and the figures that they add up to (EVALUATION's names)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from edge_runtime.evaluation import figures
from edge_runtime.evaluation.asked import not_asked
from edge_runtime.evaluation.clip import (
    FADE_MS,
    MS,
    RESPONSE_MS,
    Clip,
    Cue,
    Trace,
    first,
)
from edge_runtime.evaluation.figures import Figure, Item
from edge_runtime.evaluation.gaps import Gap, turn_figures
from edge_runtime.evaluation.sentences import Sentence, edits, told_apart
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Letters

Span = tuple[int, int]
"""First sample, end sample."""
MINUTE = 60 * SAMPLE_RATE_HZ
TAKEN_WITHIN = 2 * SAMPLE_RATE_HZ
ANSWERED_WITHIN = 8 * SAMPLE_RATE_HZ
"""Who has not been answered by then will ask again, or leave."""
STOPPED_WITHIN = 2 * SAMPLE_RATE_HZ
AFTERMATH = SAMPLE_RATE_HZ * 6 // 10
"""So long after a backchannel or a noise, stopping is still taken for an answer to it."""
SPEAKS_FOR = 3 * SAMPLE_RATE_HZ
"""Who has taken the floor cannot take it again for so long."""
MURMURS_FOR = SAMPLE_RATE_HZ * 6 // 10
"""And "mhm" takes so long."""
EDGE = SAMPLE_RATE_HZ * 2 // 10
"""Who begins so soon before the person falls silent does not cut in."""
JUST_BEFORE = SAMPLE_RATE_HZ * 4 // 10
"""Who is falling silent already when an interruption comes does not do so for it: no latency."""
LONG_PAUSE = SAMPLE_RATE_HZ
SHARES = (
    "takeover_rate", "unanswered_rate", "false_takeover_rate", "false_takeover_rate_long_pause",
    "stop_miss_rate", "stopped_before_rate",
    "hesitation_rate", "selectivity_backchannel", "selectivity_side_talk",
    "selectivity_noise",
    "selectivity_echo", "backchannels_in_pauses", "long_turn_took_floor", "vision_recall",
    "vision_recall_arrival", "vision_recall_wave", "vision_recall_hand", "vision_waves_at_hand",
    "vision_stops_for_wave", "delegation_precision",
    "delegation_recall", "premature_delegation_rate", "act_accuracy", "action_accuracy",
    "wrong_action_rate", "premature_action_rate", "open_action_rate", "open_delegation_rate",
    "asks_again_rate", "drowned_delegated_rate", "drowned_backchannel_rate",
    "asks_needlessly_rate",
    "weave_violation_rate", "weave_delivered_rate", "weave_delivered_late_rate",
    "stale_delivery_rate", "delivery_after_cancel_rate", "cancel_recall",
    "follow_up_answered", "asked_on_answered", "asked_on_delegated",
)  # fmt: skip
RATES = (
    "side_talk_answers_per_min", "side_talk_delegations_per_min", "noise_answers_per_min",
    "self_answers_per_min", "self_interruptions_per_min", "speech_cut_ins_per_min",
    "side_talk_backchannels_per_min", "noise_backchannels_per_min", "self_backchannels_per_min",
    "speech_backchannels_per_min", "backchannels_per_min", "vision_false_per_hour",
    "vision_backchannels_per_hour",
)  # fmt: skip
PERCENTILES = {
    "response_latency_ms": (50, 90),
    "stop_latency_ms": (50, 95, 99),
    "vision_latency_ms": (50,),
    "weave_delay_ms": (50,),
}
SELECTIVE = {
    "backchannel": "backchannel", "side talk heard": "side_talk", "noise burst": "noise",
    "side talk": "side_talk", "noise": "noise", "echo": "echo",
}  # fmt: skip
GREET, DELIVER, ASK_REPEAT = "greet", "deliver", "ask_repeat"
HARMLESS = "look_at"
"""The action that nobody minds unasked."""


class Tally:
    """Adds up what one of the judged did with one material. Figures that need what is not in `able`
    (`asked.abilities`) stay empty; None: it can do anything."""

    def __init__(self, able: Collection[str] | None = None) -> None:
        self._not_asked = {} if able is None else not_asked(able)
        self.shares: dict[str, list[Item]] = defaultdict(list)
        self.values: dict[str, list[float]] = defaultdict(list)
        self.whose: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        """Text, voice and recording of each of the values."""
        self.counts: dict[str, int] = defaultdict(int)
        self.units: dict[str, float] = defaultdict(float)
        self.gaps: list[Gap] = []
        self.pauses: dict[str, list[bool]] = defaultdict(list)
        """False takeovers by what goes before the pause."""
        self.edits: dict[str, list[Item]] = defaultdict(list)
        self.sentences: list[Sentence] = []

        self._said: tuple[str, str, str] = "", "", ""
        """Of the clip: what, with which voice, in which recording."""

    def _share(self, name: str, hit: bool) -> None:
        if name in self._not_asked:
            return
        self.shares[name].append(Item(int(hit), 1, *self._said))

    def _value(self, name: str, value: float) -> None:
        if name in self._not_asked:
            return
        self.values[name].append(value)
        self.whose[name].append(self._said)

    def _often(
        self,
        name: str,
        moments: Sequence[int],
        span: Span,
        lasts: int = SPEAKS_FOR,
        unit: int = MINUTE,
    ) -> None:
        """How often something that `lasts` began in a span, and how long that is."""
        self.units[name] += (span[1] - span[0]) / unit
        self.counts[name] += spells(moments, *span, lasts)

    def add(self, clip: Clip, trace: Trace) -> None:
        self._said = clip.whose
        for cue in clip.cues:
            handler = _HANDLERS.get(cue.kind)
            if handler is not None:
                handler(self, cue, clip, trace)
        if clip.scenario == "turns":
            self._words(clip, trace)
            self._cut_ins(clip, trace)

    # -- 1, 2, 9, 11: turns ----------------------------------------------------------------------

    def _gap(self, cue: Cue, trace: Trace, ended: bool) -> None:
        times_ms, scores = trace.within(cue.start, cue.end)
        score = trace.gap_scores.get(cue.start, 0.0)
        length = cue.end - cue.start
        self.gaps.append(
            Gap(ended, cue.detail, cue.speech, length, score, times_ms, scores, *self._said)
        )

    def pause(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        self._gap(cue, trace, False)
        taken = first(trace.takes, cue.start, cue.end) is not None
        self._share("false_takeover_rate", taken)
        self.pauses[cue.detail].append(taken)
        if cue.end - cue.start >= LONG_PAUSE:
            self._share("false_takeover_rate_long_pause", taken)
        self._premature(spoken_since(cue, clip), cue.end, trace)

    def end(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        self._gap(cue, trace, True)
        took = first(trace.takes, cue.start, cue.end)
        in_time = took is not None and took <= cue.start + TAKEN_WITHIN
        self._share("takeover_rate", in_time)
        ever = first(trace.takes, cue.start, cue.start + ANSWERED_WITHIN)
        self._share("unanswered_rate", ever is None)
        if took is not None:
            self._value("response_latency_ms", (took - cue.start) / MS + RESPONSE_MS)
        self._premature(spoken_since(cue, clip), cue.start - EDGE, trace)
        wanted, until = cue.facts, cue.start + TAKEN_WITHIN
        self._handed_on(wanted.get("delegate"), cue.start, until, trace)
        if took is not None and in_time and took in trace.acts:
            self._share("asks_needlessly_rate", trace.acts[took] == ASK_REPEAT)
            if "act" in wanted:
                self._share("act_accuracy", trace.acts[took] == wanted["act"])
        begin = clip.said[0][0] if clip.said else cue.start
        names = [name for at, name in trace.actions if begin < at <= until]
        self._acted(wanted.get("action"), names)
        if wanted.get("action", "none") != "none":
            done = _first_named(trace.actions, wanted["action"], cue.start - EDGE, until)
            self._share("action_accuracy", done is not None)

    def _premature(self, start: int, end: int, trace: Trace) -> None:
        """What is done while there is more to come, be it in a pause or in the words before it or
        before the end."""
        early = _first_named(trace.delegations, "delegate", start, end)
        self._share("premature_delegation_rate", early is not None)
        done = {name for at, name in trace.actions if start < at <= end} - {HARMLESS}
        self._share("premature_action_rate", bool(done))

    def _acted(self, wanted: str | None, names: Sequence[str]) -> None:
        """What is done upon free text, of which it is not known what is `wanted`, counts apart."""
        wrong = bool(set(names) - {HARMLESS, wanted})
        if wanted is None:
            self._share("open_action_rate", wrong)
            return
        again = wanted != HARMLESS and names.count(wanted) > 1
        self._share("wrong_action_rate", wrong or again)

    def drowned(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        """Nobody could understand that: it is asked for once more, and not guessed at."""
        took = first(trace.takes, cue.start, cue.end)
        asks = took is not None and trace.acts.get(took) == ASK_REPEAT
        self._share("asks_again_rate", asks)
        given = _handed("delegate", trace, cue.start, cue.end)
        self._share("drowned_delegated_rate", given is not None)
        murmured = first(trace.backchannels, cue.start, cue.end)
        self._share("drowned_backchannel_rate", murmured is not None)

    def _handed_on(self, wanted: str | None, start: int, until: int, trace: Trace) -> None:
        """What is `wanted` of free text is not known: what is handed on of it counts apart."""
        given = _handed("delegate", trace, start, until) is not None
        if wanted is None:
            self._share("open_delegation_rate", given)
            return
        if wanted == "delegate":
            self._share("delegation_recall", given)
        if given:
            self._share("delegation_precision", wanted == "delegate")

    def _cut_ins(self, clip: Clip, trace: Trace) -> None:
        """Taking the floor, or a backchannel, while the person is speaking."""
        for span in mid_speech(clip):
            self._often("speech_cut_ins_per_min", trace.takes, span)
            self._often("speech_backchannels_per_min", trace.backchannels, span, MURMURS_FOR)

    def _words(self, clip: Clip, trace: Trace) -> None:
        texts = [text for _, _, text in clip.said]
        if not all(texts):  # unknown, or a word was cut in two
            return
        truth = " ".join(texts)
        if not truth or not trace.heard or "cer" in self._not_asked:
            return
        until = clip.said[-1][1] + SAMPLE_RATE_HZ * 6 // 10
        begin = clip.said[0][0]
        guess = "".join(text for at, text in trace.heard if begin < at <= until).strip()
        letters = [letters for at, letters in trace.letters if begin < at <= until]
        self.sentences.append(Sentence(truth, guess, Letters.joined(letters)))
        for name, wrong, total in (
            ("cer", edits(truth, guess), len(truth)),
            ("wer", edits(truth.split(), guess.split()), len(truth.split())),
        ):
            self.edits[name].append(Item(wrong, total, *self._said))

    # -- 3, 4, 6: while we speak -----------------------------------------------------------------

    def interruption(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        stopped = first(trace.stops, cue.start, cue.start + STOPPED_WITHIN)
        self._share("stop_miss_rate", stopped is None)
        silent = None if stopped is None else trace.silent_from(stopped)
        already = first(trace.stops, cue.start - JUST_BEFORE, cue.start) is not None
        already = already or (silent is not None and silent <= cue.start)
        self._share("stopped_before_rate", already)
        if silent is not None and not already:
            latency_ms = (silent - cue.start) / MS + RESPONSE_MS + FADE_MS
            self._value("stop_latency_ms", latency_ms)

    def distraction(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        """Something that shall neither stop the device nor be answered. Who does not speak cannot
        hesitate."""
        until = cue.end + (AFTERMATH if cue.kind in ("backchannel", "noise burst") else 0)
        reacted = first(trace.stops, cue.start, until) or first(trace.takes, cue.start, until)
        self._share(f"selectivity_{SELECTIVE[cue.kind]}", reacted is None)
        if reacted is None and clip.speaks(cue.start, until):
            self._share("hesitation_rate", trace.hesitated(cue.start, until))

    def others(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        self.distraction(cue, clip, trace)
        kind, span = SELECTIVE[cue.kind], (cue.start, cue.end)
        self._often(f"{kind}_answers_per_min", trace.takes, span)
        self._often(f"{kind}_backchannels_per_min", trace.backchannels, span, MURMURS_FOR)
        if cue.kind == "side talk":
            handed_on = [at for at, name in trace.delegations if name == "delegate"]
            self._often("side_talk_delegations_per_min", handed_on, span)

    def echo(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        self.distraction(cue, clip, trace)
        minutes = (cue.end - cue.start) / MINUTE
        stops = spells(trace.stops, cue.start, cue.end)
        after = min(cue.end + 2 * SAMPLE_RATE_HZ, clip.turns * 3200)
        answers = spells(trace.takes, cue.start, after)
        murmurs = spells(trace.backchannels, cue.start, after, MURMURS_FOR)
        for name, count in (
            ("self_interruptions", stops),
            ("self_answers", answers),
            ("self_backchannels", murmurs),
        ):
            self.units[f"{name}_per_min"] += minutes
            self.counts[f"{name}_per_min"] += count

    # -- 7, 8, 10 --------------------------------------------------------------------------------

    def long_turn(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        placed = begun(trace.backchannels, cue.start, cue.end, MURMURS_FOR)
        breaths = clip.of("breath")
        self.units["backchannels_per_min"] += (cue.end - cue.start) / MINUTE
        self.counts["backchannels_per_min"] += len(placed)
        for at in placed:
            inside = any(breath.start < at <= breath.end for breath in breaths)
            self._share("backchannels_in_pauses", inside)
        took = first(trace.takes, cue.start, cue.end - EDGE)
        self._share("long_turn_took_floor", took is not None)

    def sight(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        found = reaction(cue, trace)
        self._share("vision_recall", found is not None)
        self._share(f"vision_recall_{cue.kind}", found is not None)
        if found is not None:
            self._value("vision_latency_ms", (found - cue.start) / MS + RESPONSE_MS)

    def hand_in_silence(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        waved = _first_named(trace.actions, "wave", cue.start, cue.end)
        self._share("vision_waves_at_hand", waved is not None)

    def wave_while_speaking(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        stopped = first(trace.stops, cue.start, cue.end)
        self._share("vision_stops_for_wave", stopped is not None)

    def quiet(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        """Nothing to react to: whatever it does is a false alarm."""
        moments = [*trace.takes, *(at for at, name in trace.actions if name != HARMLESS)]
        span, hour = (cue.start, cue.end), 60 * MINUTE
        self._often("vision_false_per_hour", sorted(moments), span, unit=hour)
        murmurs = trace.backchannels
        self._often("vision_backchannels_per_hour", murmurs, span, MURMURS_FOR, hour)

    def answer(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        """A result that waits: it is delivered, and soon."""
        told = [at for at in trace.takes if trace.acts.get(at) == DELIVER]
        took = first(told, cue.start, cue.end)
        if cue.detail == "late":
            self._share("weave_delivered_late_rate", took is not None)
            return
        self._share("weave_delivered_rate", took is not None)
        if took is not None:
            self._value("weave_delay_ms", (took - cue.start) / MS + RESPONSE_MS)

    def busy_floor(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        """A result is here and the person is speaking: wait."""
        talked_over = first(trace.takes, cue.start, cue.end - EDGE)
        self._share("weave_violation_rate", talked_over is not None)

    def no_answer(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        """There is nothing to deliver: the question was taken back, or failed."""
        spoken = [trace.acts.get(at) for at in trace.takes if cue.start < at <= cue.end]
        self._share("stale_delivery_rate", DELIVER in spoken)

    def taken_back(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        """The answer comes after the cancel. Whoever takes that first is not given the answer by
        the runtime, whatever the clip goes on with."""
        told = first(
            [at for at in trace.takes if trace.acts.get(at) == DELIVER], cue.start, cue.end
        )
        until = cue.end if told is None else told
        cancelled = _handed("cancel", trace, cue.start, until) is not None
        self._share("delivery_after_cancel_rate", told is not None and not cancelled)

    def cancel(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        found = _handed("cancel", trace, cue.start, cue.end)
        self._share("cancel_recall", found is not None)

    def asked_on(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        self._share("asked_on_answered", first(trace.takes, cue.start, cue.end) is not None)
        given = _handed("delegate", trace, cue.start, cue.end)
        self._share("asked_on_delegated", given is not None)

    def follow_up(self, cue: Cue, clip: Clip, trace: Trace) -> None:
        self._share("follow_up_answered", first(trace.takes, cue.start, cue.end) is not None)

    # -- figures ---------------------------------------------------------------------------------

    def figures(self, seed: int, late_ms: float = 0.0) -> dict[str, Figure]:
        """`late_ms` comes on top of every latency: what a micro-turn costs beyond RESPONSE_MS."""
        found: dict[str, Figure] = {}
        for name in SHARES:
            found[name] = figures.ratio(self.shares.get(name, []), seed)
        kinds = [f"selectivity_{kind}" for kind in dict.fromkeys(SELECTIVE.values())]
        found["selectivity"] = figures.mean_of([found[kind] for kind in kinds])
        for name in RATES:
            units = 0.0 if name in self._not_asked else self.units.get(name, 0.0)
            found[name] = figures.rate(self.counts.get(name, 0), units)
        for name, percents in PERCENTILES.items():
            for percent in percents:
                found[f"{name}_p{percent}"] = self._percentile(name, percent, seed, late_ms)
        for name in ("cer", "wer"):
            found[name] = figures.ratio(self.edits.get(name, []), seed)
        told = zip(told_apart(self.sentences), self.sentences, strict=False)  # none, or all of them
        items = [Item(int(right), 1, sentence.truth) for right, sentence in told]
        found["closed_vocabulary_accuracy"] = figures.ratio(items, seed)
        return found | turn_figures(self.gaps, seed, late_ms)

    def _percentile(self, name: str, percent: float, seed: int, late_ms: float) -> Figure:
        values = [value + late_ms for value in self.values.get(name, [])]
        texts, voices, files = zip(*self.whose.get(name) or [("", "", "")], strict=True)
        alike = (texts, voices, files) if any(files) else (texts, voices)
        found = figures.percentile(values, percent, seed, alike)
        return found | figures.few_recordings(files)


def reaction(cue: Cue, trace: Trace) -> int | None:
    """When it first reacted to something seen as it should: a greeting, a wave, falling silent."""
    if cue.kind == "arrival":
        greetings = [at for at in trace.takes if trace.acts.get(at) == GREET]
        return first(greetings, cue.start, cue.end)
    if cue.kind == "wave":
        return _first_named(trace.actions, "wave", cue.start, cue.end)
    return first(trace.stops, cue.start, cue.end)


def mid_speech(clip: Clip) -> list[Span]:
    """The person's speech away from its edges: who begins here talks over somebody."""
    spans = ((start, end - EDGE) for start, end, _ in clip.said)
    return [(start, end) for start, end in spans if start < end]


def spoken_since(gap: Cue, clip: Clip) -> int:
    """Where the words before a gap begin."""
    return max((start for start, _, _ in clip.said if start < gap.start), default=gap.start)


def begun(moments: Sequence[int], start: int, end: int, lasts: int = SPEAKS_FOR) -> list[int]:
    """When something began between two samples; what comes while it `lasts` belongs to it."""
    found, free = [], start
    for at in moments:
        if start < at <= end and at >= free:
            found.append(at)
            free = at + lasts
    return found


def spells(moments: Sequence[int], start: int, end: int, lasts: int = SPEAKS_FOR) -> int:
    """How often something began between two samples."""
    return len(begun(moments, start, end, lasts))


def _first_named(moments: Sequence[tuple[int, str]], name: str, start: int, end: int) -> int | None:
    return next((at for at, found in moments if found == name and start < at <= end), None)


def _handed(name: str, trace: Trace, end: int, until: int) -> int | None:
    """When it was handed on or taken back after words that end at `end`, or as the last of them
    ends: it is said once, and not again."""
    return _first_named(trace.delegations, name, end - EDGE, until)


_HANDLERS: Mapping[str, Callable[[Tally, Cue, Clip, Trace], None]] = {
    "pause": Tally.pause,
    "end": Tally.end,
    "drowned": Tally.drowned,
    "interruption": Tally.interruption,
    "backchannel": Tally.distraction,
    "side talk heard": Tally.distraction,
    "noise burst": Tally.distraction,
    "side talk": Tally.others,
    "noise": Tally.others,
    "echo": Tally.echo,
    "long turn": Tally.long_turn,
    "arrival": Tally.sight,
    "wave": Tally.sight,
    "hand": Tally.sight,
    "hand in silence": Tally.hand_in_silence,
    "wave while speaking": Tally.wave_while_speaking,
    "quiet": Tally.quiet,
    "answer": Tally.answer,
    "busy floor": Tally.busy_floor,
    "no answer": Tally.no_answer,
    "taken back": Tally.taken_back,
    "cancel": Tally.cancel,
    "follow-up": Tally.follow_up,
    "asked on": Tally.asked_on,
}
