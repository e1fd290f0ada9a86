"""Duplex conversations with labels, composed on the fly: no two batches are alike, nothing is
stored.

A conversation is a sequence of episodes (a person asks, tells, interrupts, waves, leaves, talks to
somebody else). Each episode places sound for both sides, poses for the picture, and what the device
should do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.scenarios.speaking import noise, noise_over
from edge_runtime.evaluation.scenarios.turns import HEARD_BEFORE, STEADIEST_OF
from engines.reference.corpus.acoustics import FULL_SCALE, Acoustics, room_tone
from engines.reference.corpus.bank import Spoken, at_pace
from engines.reference.corpus.choices import SCRIPTED, Choices, Moment
from engines.reference.corpus.draft import (
    ACT_INDEX,
    ACTION_INDEX,
    DELEGATE_INDEX,
    FADE,
    FLOOR_INDEX,
    IGNORE,
    INTENT_INDEX,
    RATE_HZ,
    Conversation,
    Draft,
)
from engines.reference.corpus.photographs import Photographs
from engines.reference.corpus.pictures import draw
from engines.reference.corpus.text import OPEN, IntentLabels
from engines.reference.model import TURN_SAMPLES

_HALTING = re.compile(
    r"\b(stop|halt|wait|hold|hang (on|fire|tight)|freeze|whoa|pause|cease|quit|enough|don't move)\b"
)
LAGS = (1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10, 12)
"""Turns in which the floor should be taken before the device's sound begins, drawn evenly."""
MOST_WEIGHT, MOST_WEIGHT_LATE = 4.0, 2.0
"""Late is after any of `LAGS`: a single end that is not understood lasts for 35 turns there, and
was once a third of what a step taught."""
LATE, LATEST = 0.12, 35
"""Share of the ends that the device leaves unanswered for longer than any of `LAGS`, and for how
many turns at most. Were there none, a silence of 2.4 s would say that there is nothing to answer,
and who has not been answered by then never would be."""
LATE_NEVER, LONGEST_NEVER_S = 0.3, 8.0
"""Likewise after what is not to be answered: a turn that broke off, talk with others."""
OVERLAPS = (1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5, 6, 8, 10)
"""Turns in which it should yield before its sound ends, drawn evenly. Whoever always stopped at
once would never learn that somebody who talks on is still to be given way to."""
YIELDS_AFTER_S, NAMED_AFTER_S = 0.2, 0.45
"""From the first sample of an interruption until it should yield, and until it should know "stop"
for an action. A "mhm" is to be held against from its first turn on: were interruptions to count
only later, then whatever has just begun would be something to talk over."""
UNSEEN_WORDS = 0.2
"""Share of the "stop"s and "mhm"s that come from somebody whom the camera does not see speak."""
SHORT_OVERLAPS = (1, 1, 1, 2, 3)
"""The same after a pause that was taken for an end: the person is about to come to it."""
PAUSE_WEIGHT = 3.0
"""To wait in a pause or after a turn that broke off. An end counts for up to twelve turns of up to
four times the weight, a pause for three turns: whoever may leave pauses for last learns the chance
of an end after so much silence instead of what was said."""
HELD_WEIGHT = 6.0
"""To hold the floor is trivial in most turns, and is not while the person says "mhm"."""
UNDISTURBED_WEIGHT = 2.0
"""Nor is it where nobody but the device itself is heard."""
EVENTFUL, EVENTFUL_S = 0.5, 2.5
"""Share of the device's longer utterances in which one thing happens after the other, and from
how long on."""
HESITATES, HESITATION_TURNS = 0.4, 4
"""Share of what happens while the device speaks at which it is silent for some turns (`hesitate` in
a manifest's decoding), be it an interruption or not, and how many at most."""
GOES_ON, LONGEST_ANSWER_S = 0.3, 9.0
"""Share of the device's answers that have one more sentence, and the length from which none has."""
LONG_TURN_S = 3.0
"""Who has spoken for so long is shown that they are heard."""
STILL_HANDS = 0.3
"""Share of the arms that are raised in silence and do not wave."""
BACKCHANNELS = 0.4
"""Share of their longer pauses."""
INTENT_TURNS = 3
"""Turns from the one in which an utterance ends, in which it shall be known what it was."""
STOP_WORDS, STOP_WORDS_ALONE = 0.55, 0.4
"""Share of the interruptions that begin with "stop" or the like, and in which nothing follows."""
STOPPED_AT_WORK, ECHOED_AT_WORK = 0.1, 0.15
"""Share of the short things that the device says in between (one moment, say that again) that are
interrupted by such a word, and that somebody says "mhm" to: were there none, then a question that
is out would mean neither."""
MISTAKES = 0.08
"""Share of the longer pauses in which the device errs and speaks, so that it learns to give way."""
PACED = 0.6
PACES = ((17, 20), (9, 10), (19, 20), (20, 19), (10, 9), (20, 17))
"""Share of the utterances in training that last longer or shorter, and by how much. Pitch and
formants go with it; the formants of men and women lie a sixth apart, and synthesizers have few
voices."""

BROKEN = 0.6
"""Share of the turns that break off in training that are the beginning of a whole one, up to one of
its pauses. A bank has few that were written to break off, and nobody who was recorded does."""
ONE_WORD, WORDLESS = 0.25, 0.3
"""How often recordings of single words, and of unknown ones, come beside others: a third of the
people say one of thirty words, or what nobody has written down."""

CANCELLED, FOLLOWED_UP = 0.25, 0.2
"""Shares of the questions that are taken back, and after which there is small talk."""
DROWNED, DISTURBED = 0.03, 0.03
"""Share of the episodes in which something louder drowns what the person says to the device, which
then asks for it once more; and in which there is a noise that it can be understood through."""
DROWNED_DB, DISTURBED_DB = (8.0, 18.0), (-15.0, -3.0)
"""Levels of such a noise against the speech in it."""
ROARS, ROARS_DB = 0.4, (-6.0, 15.0)
"""Share of the silences in which there is such a noise and nobody has spoken, and its level."""
SAID_AGAIN = 0.7
"""Share of the turns that are said once more when the device has asked for it."""

BLIND, COVERED = 0.16, 0.4
"""Share of the conversations in which nothing is seen; and of these with a picture of it."""


class Composer:
    """Makes conversations from a bank of utterances. One seed, one conversation."""

    def __init__(
        self,
        bank: Mapping[str, Sequence[Spoken]],
        labels: Callable[[str], IntentLabels],
        acoustics: Acoustics,
        turns: int = 150,
        frame_px: int = 96,
        human_share: float = 0.35,
        lags: tuple[int, ...] = LAGS,
        photographs: Photographs | None = None,
        mistakes: float = MISTAKES,
        paced: float = 0.0,
        late: float = 0.0,
        broken: float = 0.0,
        wordless: float = WORDLESS,
    ) -> None:
        self.bank, self.labels, self.acoustics = bank, labels, acoustics
        self.turns, self.frame_px = turns, frame_px
        self.photographs, self.mistakes = photographs, mistakes
        self.lags = lags
        """Turns from the first in which the floor may be taken to the device's first sound."""
        self.paced = paced
        """Share of the person's utterances that come slower or faster than they are in the bank."""
        self.late = late
        """Share of the ends that are left unanswered for long."""
        self.broken = broken
        """Share of the turns that break off which are the beginnings of others."""
        self._paused = [s for s in bank["turn"] if _may_break_off(s)]
        self._human = [s for s in bank["turn"] if s.source == "human"]
        often = np.cumsum([_how_often(s, wordless) for s in self._human])
        self._often = often / often[-1] if len(often) and often[-1] > 0 else np.zeros(0)
        self._synthetic = [s for s in bank["turn"] if s.source != "human"]
        self.human_share = human_share if len(self._often) else 0.0
        device = bank["device"]
        self._short = [s for s in device if _samples(s) < 2.5 * RATE_HZ] or list(device)
        self._long = [s for s in device if _samples(s) >= 2.5 * RATE_HZ] or list(device)

    def compose(self, seed: int, choices: Choices = SCRIPTED) -> Conversation:
        """Each episode has randomness of its own, so that it stays the same when the choices make
        an earlier one longer."""
        rng = np.random.default_rng(seed)
        draft = Draft(self.turns, rng, choices=choices)
        draft.blind = rng.random() < BLIND
        draft.covered = draft.blind and bool(rng.random() < COVERED)
        draft.present = rng.random() < 0.8
        draft.look(0, self.turns, draft.present, bool(rng.random() < 0.7))
        position = int(rng.uniform(0.2, 2.0) * RATE_HZ)
        while position < draft.samples - RATE_HZ:
            start = position
            draft.rng = np.random.default_rng([seed, draft.episode])
            position = self._episode(draft, position)
            draft.episode += 1
            gap = int(rng.uniform(0.3, 1.8) * RATE_HZ)
            facing = bool(rng.random() < 0.75)
            draft.look(draft.turn(position), draft.turn(position + gap) + 1, draft.present, facing)
            position = max(position, start + TURN_SAMPLES) + gap
        draft.rng = np.random.default_rng([seed, draft.episode])
        return self._finish(draft)

    # -- choosing ---------------------------------------------------------------

    def _pick(self, draft: Draft, kind: str) -> Spoken:
        spoken = self._picked(draft.rng, kind)
        if self.paced and not kind.startswith("device") and draft.rng.random() < self.paced:
            return at_pace(spoken, *PACES[int(draft.rng.integers(len(PACES)))])
        return spoken

    def _picked(self, rng: np.random.Generator, kind: str) -> Spoken:
        if kind == "turn" and rng.random() < self.human_share:
            return self._human[int(np.searchsorted(self._often, rng.random(), "right"))]
        if kind == "incomplete" and self._paused and rng.random() < self.broken:
            return _broken_off(rng, self._paused[int(rng.integers(len(self._paused)))])
        pool = self._synthetic if kind == "turn" else self.bank[kind]
        return pool[int(rng.integers(len(pool)))]

    def _episode(self, draft: Draft, position: int) -> int:
        chance = draft.rng.random()
        if chance < DROWNED:
            return self._is_drowned(draft, position)
        if chance < DROWNED + DISTURBED:
            return self._addressed(draft, position, disturbed=True)
        if chance < 0.52:
            return self._addressed(draft, position)
        if chance < 0.60:
            return self._breaks_off(draft, position)
        if chance < 0.63:
            return self._stop_in_silence(draft, position)
        if chance < 0.67:
            return self._idle(draft, position)
        if draft.blind:
            return self._addressed(draft, position)
        if chance < 0.71:
            return self._silent_lips(draft, position)
        if chance < 0.80:
            return self._side_talk(draft, position)
        if chance < 0.88:
            return self._wave(draft, position)
        return self._arrival(draft, position)

    # -- the person ---------------------------------------------------------------

    def _say(
        self,
        draft: Draft,
        spoken: Spoken,
        start: int,
        addressed: bool,
        visible: bool,
        drowned: bool = False,
    ) -> int:
        """Place an utterance with its pauses; returns its end in samples. `drowned`: nobody can
        tell what the words are."""
        rng = draft.rng
        gain = 10 ** (rng.uniform(-9, 6) / 20)
        tone = spoken.room is not None and rng.random() < 0.8
        if tone:
            lead = min(start, int(rng.uniform(0.2, 1.0) * RATE_HZ))
            draft.add(draft.near, start - lead, gain * room_tone(rng, spoken.room, lead))
        end = start
        last = len(spoken.segments) - 1
        for index, segment in enumerate(spoken.segments):
            begin, end = end, end + len(segment.pcm)
            draft.add(draft.near, begin, gain * segment.pcm.astype(np.float32))
            who = "addressed" if addressed else "bystander"
            text, phones = ("", ()) if drowned else (segment.text, segment.phones)
            draft.label_speech(text, phones, begin, end, who, visible)
            pause = self._pause(rng) if index < last else int(rng.uniform(1.0, 2.5) * RATE_HZ)
            if tone:
                draft.add(draft.near, end, gain * room_tone(rng, spoken.room, pause))
            if index == last:
                if not drowned:
                    self._label_intent(draft, spoken, end)
                break
            if addressed:
                draft.mark("pause", end, end + pause, spoken.source)
                self._unfinished(draft, end, end + pause)
            at_length = spoken.intent == "story" or end - start > LONG_TURN_S * RATE_HZ
            if addressed and not (at_length and self._listener_backchannel(draft, end, pause)):
                self._mistake(draft, end, end + pause)
            end += pause
        return end

    def _unfinished(self, draft: Draft, end: int, until: int) -> None:
        """A silence in which the person has not come to an end. Where an end that is unanswered for
        as long counts for less than its share, so does this: else silence would speak against an
        end after all."""
        first, last = draft.turn(end) + 1, draft.turn(until)
        draft.span(draft.end_of_turn, first, last, 0)
        draft.span(draft.floor_weight, first, last, PAUSE_WEIGHT)
        if draft.choices or not self.late:
            return
        for turn in range(max(self.lags), last - first):
            counted = MOST_WEIGHT_LATE * _waiting(turn, self.lags, self.late)
            weight = PAUSE_WEIGHT * min(1.0, counted)
            draft.span(draft.floor_weight, first + turn, first + turn + 1, weight)

    @staticmethod
    def _label_intent(draft: Draft, spoken: Spoken, end: int) -> None:
        """What has been said when all of it is heard. A turn that breaks off means nothing yet, and
        of what people said in recordings only the words are known."""
        if spoken.kind == "incomplete" or (spoken.source == "human" and spoken.kind == "turn"):
            return
        name = "backchannel" if spoken.kind == "backchannel" else spoken.intent
        first = draft.turn(end)
        draft.span(draft.intent, first, first + INTENT_TURNS, INTENT_INDEX[name])

    @staticmethod
    def _pause(rng: np.random.Generator) -> int:
        longer = rng.random() < 0.4
        seconds = rng.uniform(1.0, 2.5) if longer else rng.uniform(0.25, 1.0)
        return int(seconds * RATE_HZ)

    def _addressed(self, draft: Draft, position: int, disturbed: bool = False) -> int:
        """A finished turn spoken to the device, and what follows from it."""
        spoken = self._pick(draft, "turn")
        before = draft.turn(position)
        end = self._say(draft, spoken, position, addressed=True, visible=True)
        if disturbed:
            at = position + int(draft.rng.uniform(0.0, 0.7) * (end - position))
            until = at + int(draft.rng.uniform(0.3, 1.0) * (end - at))
            self._noise_over(draft, at, until, DISTURBED_DB)
        lead = int(draft.rng.integers(0, 4))
        if not draft.present:
            draft.span(draft.floor, before - lead, before, IGNORE)
        draft.present = True
        position = self._reply(draft, end, spoken)
        draft.look(before - lead, draft.turn(position) + 1, True, True)
        return position

    def _is_drowned(self, draft: Draft, position: int) -> int:
        """A turn spoken to the device that it cannot understand: it asks for it once more. Where
        nothing is seen it can only know of what it has heard the beginning of."""
        rng = draft.rng
        spoken = self._pick(draft, "turn")
        before = draft.turn(position)
        said = self._say(draft, spoken, position, True, True, drowned=True)
        earliest = 0.5 * HEARD_BEFORE if draft.blind else 0.0
        at = position + int(rng.uniform(earliest, HEARD_BEFORE) * (said - position))
        end = said + int(rng.uniform(0.0, 0.5) * RATE_HZ)
        self._noise_over(draft, at, end, DROWNED_DB, STEADIEST_OF)
        if not draft.present:
            draft.span(draft.floor, before - 2, before, IGNORE)
        draft.present = True
        draft.span(draft.floor, draft.turn(said), draft.turn(end), IGNORE)
        free = self._reply(draft, end, spoken, drowned=True)
        if rng.random() < SAID_AGAIN and free < draft.samples:
            again = free + int(rng.uniform(0.3, 1.2) * RATE_HZ)
            free = self._reply(draft, self._say(draft, spoken, again, True, True), spoken)
        draft.look(before - 2, draft.turn(free) + 1, True, True)
        return free

    def _noise_over(
        self, draft: Draft, at: int, end: int, levels_db: tuple[float, float], tries: int = 1
    ) -> None:
        """A noise, at a level between two against what is heard of the person."""
        level_db, heard = draft.rng.uniform(*levels_db), draft.near[at:end]
        over = noise_over(draft.rng, self.acoustics.noises, heard, level_db, tries)
        draft.add(draft.near, at, over)

    def _breaks_off(self, draft: Draft, position: int) -> int:
        """An unfinished turn, then silence: the device waits."""
        spoken = self._pick(draft, "incomplete")
        before = draft.turn(position)
        end = self._say(draft, spoken, position, addressed=True, visible=True)
        wait = self._at_length(draft, int(draft.rng.uniform(2.0, 3.5) * RATE_HZ))
        draft.mark("pause", end, end + min(wait, int(2.5 * RATE_HZ)), spoken.source)
        self._unfinished(draft, end, end + wait)
        draft.look(before - 1, draft.turn(end + wait) + 1, True, True)
        draft.present = True
        return end + wait

    def _stop_in_silence(self, draft: Draft, position: int) -> int:
        spoken = self._pick(draft, "interruption")
        end = self._say(draft, spoken, position, addressed=True, visible=True)
        first = draft.turn(end)
        draft.span(draft.floor, first, first + 8, IGNORE)
        draft.span(draft.action, first, first + 6, IGNORE)
        if _halts(spoken):
            draft.span(draft.action, first + 1, first + 3, ACTION_INDEX["stop_motion"])
        draft.look(draft.turn(position) - 1, first + 4, True, True)
        draft.present = True
        return end + RATE_HZ

    def _idle(self, draft: Draft, position: int) -> int:
        end = position + int(draft.rng.uniform(1, 4) * RATE_HZ)
        facing = bool(draft.rng.random() < 0.5)
        draft.look(draft.turn(position), draft.turn(end), draft.present, facing)
        self._roars(draft, position, end)
        if draft.rng.random() < 0.3:
            name = "link_up" if draft.rng.random() < 0.5 else "link_down"
            draft.event(draft.turn(position), name)
        return end

    def _roars(self, draft: Draft, start: int, end: int) -> None:
        """Something loud between two samples, in which nobody speaks: nothing to ask about."""
        rng, noises = draft.rng.spawn(1)[0], self.acoustics.noises
        if rng.random() < ROARS:
            at = start + int(rng.uniform(0, 0.5) * (end - start))
            bed = noises[int(rng.integers(len(noises)))]
            draft.add(draft.near, at, noise(rng, bed, end - at, rng.uniform(*ROARS_DB)))
            draft.mark("noise", at, end)

    def _side_talk(self, draft: Draft, position: int) -> int:
        """Speech that is not for the device: it says nothing."""
        kind = "turn" if draft.rng.random() < 0.85 else "incomplete"
        spoken = self._pick(draft, kind)
        chance = draft.rng.random()
        turned_away = chance < 0.5
        silent_listener = 0.5 <= chance < 0.8
        end = self._say(draft, spoken, position, addressed=False, visible=turned_away)
        first, last = draft.turn(position), draft.turn(end) + 8
        draft.look(first - 2, last, turned_away or silent_listener, silent_listener)
        draft.present = turned_away or silent_listener
        detail = "away" if turned_away else "other" if silent_listener else "nobody"
        draft.mark("side_talk", position, end + 8 * TURN_SAMPLES, detail)
        return end + self._at_length(draft, int(draft.rng.uniform(1.6, 2.2) * RATE_HZ))

    def _at_length(self, draft: Draft, samples: int) -> int:
        """A silence in which nothing is due, or a longer one."""
        if not self.late or draft.rng.spawn(1)[0].random() >= LATE_NEVER:
            return samples
        return int(draft.rng.spawn(1)[0].uniform(samples / RATE_HZ, LONGEST_NEVER_S) * RATE_HZ)

    def _silent_lips(self, draft: Draft, position: int) -> int:
        """Somebody who faces the device moves the mouth and is not heard: they chew, or stand
        behind glass. There is nothing to answer."""
        first, length = draft.turn(position), int(draft.rng.integers(5, 20))
        draft.look(first - 1, first + length + 8, True, True)
        draft.move_mouth(first, first + length)
        if not draft.present:
            draft.span(draft.floor, first - 1, first + 6, IGNORE)
        draft.present = True
        draft.mark("side_talk", position, position + (length + 8) * TURN_SAMPLES, "silent")
        return position + (length + 8) * TURN_SAMPLES

    def _wave(self, draft: Draft, position: int) -> int:
        """The person waves, and the device waves back and says nothing; or holds a hand up and is
        still, and it does nothing."""
        first, length = draft.turn(position), int(draft.rng.integers(6, 12))
        was_absent = not draft.present
        draft.look(first - 1, first + length + 2, True, True)
        draft.present = True
        if was_absent:
            draft.span(draft.floor, first - 1, first + length + 6, IGNORE)
        if draft.rng.spawn(1)[0].random() < STILL_HANDS:
            draft.span(draft.pose[:, 4], first, first + length, 1.0)
        else:
            self._waves_back(draft, first, length)
        return position + (length + 2) * TURN_SAMPLES

    @staticmethod
    def _waves_back(draft: Draft, first: int, length: int) -> None:
        stop = min(first + length, draft.turns)
        draft.pose[first:stop, 3] = np.arange(1, stop - first + 1)
        draft.span(draft.action, first, first + 2, IGNORE)
        draft.span(draft.action, first + 2, first + 5, ACTION_INDEX["wave"])
        draft.span(draft.action, first + 5, first + length + 2, IGNORE)
        draft.mark("wave", first * TURN_SAMPLES, (first + length) * TURN_SAMPLES)

    def _arrival(self, draft: Draft, position: int) -> int:
        """Nobody is there for 2 s and more; then a person comes, and is greeted once."""
        rng = draft.rng
        first = draft.turn(position)
        away = int(rng.integers(12, 30))
        draft.look(first, first + away, False, False)
        came = first + away
        draft.present = True
        if rng.random() < 0.2:
            draft.look(came, came + 10, True, False)
            return (came + 10) * TURN_SAMPLES
        lag = self._lag(draft, came + 3)
        draft.look(came, came + max(20, lag + 7), True, True)
        draft.span(draft.floor, came, came + 3, IGNORE)
        self._speak_label(draft, came + 3, lag, "greet")
        draft.mark("arrival", came * TURN_SAMPLES, (came + 12) * TURN_SAMPLES)
        return self._device(draft, came + 3 + lag, self._short)

    # -- the device -----------------------------------------------------------------

    def _lag(self, draft: Draft, first: int) -> int:
        """Turns from `first`, where the floor may be taken, to the device's first sound."""
        longest = max(self.lags)
        drawn = int(draft.rng.choice(self.lags)) - 1
        if self.late and draft.rng.spawn(1)[0].random() < self.late:
            drawn, longest = int(draft.rng.spawn(1)[0].integers(longest, LATEST)), LATEST
        chosen = draft.choose(Moment.TAKE, first, first + longest - 1, drawn)
        return longest if chosen is None else chosen + 1

    def _speak_label(self, draft: Draft, first: int, lag: int, act: str | None) -> None:
        """Turns first..first+lag-1 should take the floor; sound starts in turn first+lag."""
        self._due(draft, "speak", first, first + lag, self.lags, self.late)
        if act is not None:
            draft.span(draft.act, first, first + lag, ACT_INDEX[act])

    @staticmethod
    def _due(
        draft: Draft, floor: str, first: int, end: int, lags: Sequence[int], late: float = 0.0
    ) -> None:
        """A change of the floor that is late by up to one of `lags` turns, or in a share `late`
        by up to LATEST: first..end-1.

        Whoever waits longer is answered in the meantime, so late turns after an end are rare in
        training while those in long pauses are not, and silence that lasts would speak against an
        end. Each turn counts by the inverse chance of not having been answered before it; not where
        a model chose, whose own lateness there is nothing to make up for.
        """
        draft.span(draft.floor, first, end, FLOOR_INDEX[floor])
        if draft.choices:
            return
        for turn in range(end - first):
            waiting = _waiting(turn, lags, late)
            most = MOST_WEIGHT if turn < max(lags) else MOST_WEIGHT_LATE
            weight = min(most, 1 / waiting) if waiting else 1.0
            draft.span(draft.floor_weight, first + turn, first + turn + 1, weight)

    def _reply(self, draft: Draft, end: int, spoken: Spoken, drowned: bool = False) -> int:
        """Take the floor after a finished turn; returns where the conversation is free again."""
        rng, last = draft.rng, draft.turn(end)
        first = last + 1
        lag = self._lag(draft, first)
        if first + lag >= draft.turns:
            draft.span(draft.floor, last, draft.turns, IGNORE)
            return draft.samples
        draft.span(draft.floor, last, first, IGNORE)
        draft.span(draft.end_of_turn, first, first + lag, 1)
        if drowned:
            self._speak_label(draft, first, lag, "ask_repeat")
            draft.mark("drowned", end, (first + lag) * TURN_SAMPLES, spoken.source)
            return self._device(draft, first + lag, self._short, may_be_cut=False)
        labels = self.labels(spoken.intent)
        self._speak_label(draft, first, lag, labels.act)
        draft.mark("end", end, (first + lag) * TURN_SAMPLES, f"{spoken.source}:{spoken.intent}")
        starts = first + lag
        draft.around(draft.action, first, starts, _index(ACTION_INDEX, labels.action))
        draft.around(draft.delegate, first, starts, _index(DELEGATE_INDEX, labels.delegate))
        if labels.delegate == "delegate":
            return self._delegated(draft, starts)
        if labels.delegate == "cancel":
            return self._device(draft, starts, self._short)
        pool = self._long if rng.random() < 0.45 else self._short
        return self._device(draft, starts, pool)

    def _delegated(self, draft: Draft, starts: int) -> int:
        """The device says it is on it; a result comes some time later and is woven in."""
        rng = draft.rng
        free = self._device(draft, starts, self._short, may_be_cut=False)
        arrives = starts + int(rng.integers(0, 12) if rng.random() < 0.5 else rng.integers(8, 45))
        chance = rng.random()
        if chance < CANCELLED:
            return self._cancelled(draft, starts, free)
        if chance < CANCELLED + FOLLOWED_UP:
            free = self._follow_up(draft, free)
        elif arrives > draft.turn(free) + 34:
            free = self._still_working(draft, draft.turn(free) + 28)
        draft.pending.append((starts, arrives))
        if rng.random() < 0.3:
            draft.event(int(rng.integers(starts, arrives + 1)), "progress")
        failed = rng.random() < 0.1
        draft.event(arrives, "failed" if failed else "result")
        return self._deliver(draft, arrives, free, failed)

    def _cancelled(self, draft: Draft, starts: int, free: int) -> int:
        position = free + int(draft.rng.uniform(0.3, 2.0) * RATE_HZ)
        end = self._say(draft, self._pick(draft, "cancel"), position, True, True)
        first = draft.turn(end) + 1
        lag = self._lag(draft, first)  # the question is out as long as nobody has taken it back
        draft.pending.append((starts, first + lag))
        draft.span(draft.floor, first - 1, first, IGNORE)
        draft.span(draft.end_of_turn, first, first + lag, 1)
        self._speak_label(draft, first, lag, "acknowledge")
        draft.around(draft.delegate, first, first + lag, DELEGATE_INDEX["cancel"])
        draft.mark("cancel", end, (first + lag) * TURN_SAMPLES)
        return self._device(draft, first + lag, self._short)

    def _follow_up(self, draft: Draft, free: int) -> int:
        """Small talk while the work goes on, answered at once."""
        position = free + int(draft.rng.uniform(0.3, 1.5) * RATE_HZ)
        for _ in range(8):
            spoken = self._pick(draft, "turn")
            if self.labels(spoken.intent).delegate in ("none", None):  # of free text nobody knows
                break
        else:
            return free
        end = self._say(draft, spoken, position, addressed=True, visible=True)
        labels, first = self.labels(spoken.intent), draft.turn(end) + 1
        lag = self._lag(draft, first)
        draft.span(draft.floor, first - 1, first, IGNORE)
        draft.span(draft.end_of_turn, first, first + lag, 1)
        self._speak_label(draft, first, lag, labels.act)
        draft.around(draft.action, first, first + lag, _index(ACTION_INDEX, labels.action))
        draft.around(draft.delegate, first, first + lag, _index(DELEGATE_INDEX, labels.delegate))
        draft.mark("end", end, (first + lag) * TURN_SAMPLES, f"{spoken.source}:{spoken.intent}")
        return self._device(draft, first + lag, self._short, may_be_cut=False)

    def _still_working(self, draft: Draft, first: int) -> int:
        lag = int(draft.rng.integers(1, 4))
        draft.span(draft.floor, first - 12, first, IGNORE)
        self._speak_label(draft, first, lag, "still_working")
        return self._device(draft, first + lag, self._short, may_be_cut=False)

    def _deliver(self, draft: Draft, arrives: int, free: int, failed: bool) -> int:
        floor_free = draft.turn(free)
        draft.span(draft.floor, floor_free, floor_free + 1, IGNORE)
        first = max(arrives, floor_free + 1)
        lag = self._lag(draft, first)
        self._speak_label(draft, first, lag, "apologise" if failed else "deliver")
        if not failed:
            draft.ready.append((arrives, first + lag))
        draft.mark("deliver", first * TURN_SAMPLES, (first + lag) * TURN_SAMPLES)
        pool = self._long if not failed and draft.rng.random() < 0.7 else self._short
        return self._device(draft, first + lag, pool)

    def _listener_backchannel(self, draft: Draft, end: int, pause: int) -> bool:
        """'mhm' in some of the longer pauses of somebody who speaks at length. In the others it is
        silent: else silence without an own "mhm" would mean an end."""
        first = draft.turn(end) + 1
        busy = first + 4 >= draft.turns or draft.speaks_after(first * TURN_SAMPLES)
        if pause < 0.6 * RATE_HZ or busy or draft.rng.random() > BACKCHANNELS:
            return False
        draft.span(draft.floor, first - 1, first, IGNORE)
        draft.span(draft.floor, first, first + 1, FLOOR_INDEX["backchannel"])
        draft.mark("backchannel_place", end, end + pause)
        pcm = self._pick(draft, "device_backchannel").segments[0].pcm.astype(np.float32)
        draft.sound((first + 1) * TURN_SAMPLES, pcm)
        return True

    def _device(
        self, draft: Draft, starts: int, pool: Sequence[Spoken], may_be_cut: bool = True
    ) -> int:
        """The device speaks from turn `starts`; returns where the floor is free again."""
        rng = draft.rng
        pcm = self._answer(rng, pool) * np.float32(rng.uniform(0.5, 1.5))
        start = starts * TURN_SAMPLES
        if rng.random() < 0.4:
            start += int(rng.uniform(0, 0.15) * RATE_HZ)
        if start >= draft.samples:
            return draft.samples
        end, chance = start + len(pcm), rng.random()
        if may_be_cut and len(pcm) > EVENTFUL_S * RATE_HZ and rng.spawn(1)[0].random() < EVENTFUL:
            return self._much_happens(draft, start, pcm)
        if may_be_cut and len(pcm) > 1.2 * RATE_HZ:
            if chance < 0.26:
                return self._hears_backchannel(draft, start, pcm)
            if chance < 0.33 and not draft.blind:
                return self._hears_side_talk(draft, start, pcm)
            if chance < 0.66:
                return self._is_interrupted(draft, start, pcm)
            if chance < 0.73 and not draft.blind:
                return self._sees_hand(draft, start, pcm)
            if chance < 0.77 and not draft.blind:
                return self._sees_wave(draft, start, pcm)
            if chance < 0.84:
                return self._hears_noise(draft, start, pcm)
        if not may_be_cut and len(pcm) > 0.8 * RATE_HZ:
            happens = rng.spawn(1)[0].random()
            if happens < STOPPED_AT_WORK:
                at = self._inside(draft, start, pcm, 0.5)
                return self._interrupted_at(draft, at, start, pcm, alone=True)
            if happens < STOPPED_AT_WORK + ECHOED_AT_WORK:
                return self._hears_backchannel(draft, start, pcm)
        draft.span(draft.floor_weight, starts + 1, draft.turn(end) - 1, UNDISTURBED_WEIGHT)
        draft.sound(start, pcm)
        return end

    @staticmethod
    def _answer(rng: np.random.Generator, pool: Sequence[Spoken]) -> NDArray[np.float32]:
        """One or several sentences of one length, float32 (n,)."""
        parts: list[NDArray[np.float32]] = []
        length = 0
        while not parts or (rng.random() < GOES_ON and length < LONGEST_ANSWER_S * RATE_HZ):
            spoken = pool[int(rng.integers(len(pool)))]
            parts += [segment.pcm.astype(np.float32) for segment in spoken.segments]
            length = sum(len(part) for part in parts)
        return np.concatenate(parts)

    def _inside(self, draft: Draft, start: int, pcm: NDArray[np.float32], margin_s: float) -> int:
        """A moment while the device speaks."""
        room = max(0.4, len(pcm) / RATE_HZ - margin_s)
        return start + int(draft.rng.uniform(0.3, room) * RATE_HZ)

    @staticmethod
    def _may_hesitate(draft: Draft, at: int) -> None:
        """At something that happens at `at`."""
        rng = draft.rng.spawn(1)[0]
        if rng.random() < HESITATES:
            first = draft.turn(at) + int(rng.integers(1, 4))
            draft.hesitations.append((first, first + int(rng.integers(1, HESITATION_TURNS + 1))))

    def _hears_backchannel(self, draft: Draft, start: int, pcm: NDArray[np.float32]) -> int:
        """The person says "mhm", and the device goes on; or stops, where that is its choice."""
        done, at = start + len(pcm), self._inside(draft, start, pcm, 0.9)
        for _ in range(int(draft.rng.integers(1, 3))):
            end, done = self._backchannel(draft, at, done)
            at = end + int(draft.rng.uniform(0.3, 1.5) * RATE_HZ)
            if at > start + len(pcm) - 0.6 * RATE_HZ:
                break
        return self._sound_until(draft, start, pcm, done)

    def _backchannel(self, draft: Draft, at: int, done: int) -> tuple[int, int]:
        """The device, which speaks until `done`, goes on, or stops where that is its choice.
        Returns where the "mhm" ends, and until when the device speaks now."""
        end = self._say(draft, self._pick(draft, "backchannel"), at, True, self._is_seen(draft))
        draft.mark("backchannel_heard", at, end)
        self._may_hesitate(draft, at)
        first, last = draft.turn(at), draft.turn(end) + 2
        draft.span(draft.floor_weight, first, last + 1, HELD_WEIGHT)
        chosen = draft.choose(Moment.HOLD, first, last, None)
        if chosen is not None:
            done = min(done, (first + chosen + 1) * TURN_SAMPLES)
        return end, done

    def _much_happens(self, draft: Draft, start: int, pcm: NDArray[np.float32]) -> int:
        """One thing after the other while the device speaks, until it is done or interrupted: who
        has said "mhm" twice may say "stop" next."""
        rng, done = draft.rng, start + len(pcm)
        at = start + int(rng.uniform(0.3, 1.2) * RATE_HZ)
        while at < done - 0.7 * RATE_HZ:
            chance = rng.random()
            if chance < 0.3:
                return self._interrupted_at(draft, at, start, pcm)
            if chance < 0.8:
                end, done = self._backchannel(draft, at, done)
            else:
                end = self._burst(draft, at, done)
            at = end + int(rng.uniform(0.5, 1.5) * RATE_HZ)
        return self._sound_until(draft, start, pcm, done)

    @staticmethod
    def _is_seen(draft: Draft) -> bool:
        """Whether the camera sees who says a word while the device speaks."""
        return bool(draft.rng.spawn(1)[0].random() >= UNSEEN_WORDS)

    def _hears_side_talk(self, draft: Draft, start: int, pcm: NDArray[np.float32]) -> int:
        at = self._inside(draft, start, pcm, 0.9)
        end = self._say(draft, self._pick(draft, "turn"), at, addressed=False, visible=True)
        draft.look(draft.turn(at) - 1, draft.turn(end) + 4, True, False)
        draft.mark("side_talk_heard", at, min(end, start + len(pcm)))
        self._may_hesitate(draft, at)
        draft.span(draft.floor_weight, draft.turn(at), draft.turn(end) + 2, HELD_WEIGHT)
        draft.sound(start, pcm)
        return max(end + 2 * TURN_SAMPLES, start + len(pcm))

    def _hears_noise(self, draft: Draft, start: int, pcm: NDArray[np.float32]) -> int:
        rng = draft.rng.spawn(1)[0]
        at = start + int(rng.uniform(0.2 * RATE_HZ, len(pcm) - 0.6 * RATE_HZ))
        self._burst(draft, at, start + len(pcm))
        draft.sound(start, pcm)
        return start + len(pcm)

    def _burst(self, draft: Draft, at: int, done: int) -> int:
        """Something falls, a door, a snatch of music, and the device, which speaks until `done`,
        goes on; returns where that ends."""
        rng = draft.rng.spawn(1)[0]
        bed = self.acoustics.noises[int(rng.integers(len(self.acoustics.noises)))]
        length = int(rng.uniform(0.2, 1.2) * RATE_HZ)
        burst = noise(rng, bed, length, rng.uniform(-15, 3))
        draft.add(draft.near, at, burst)
        end = min(at + len(burst), done)
        draft.mark("noise_heard", at, end)
        self._may_hesitate(draft, at)
        draft.span(draft.floor_weight, draft.turn(at), draft.turn(end) + 2, HELD_WEIGHT)
        return end

    def _mistake(self, draft: Draft, end: int, resumes: int) -> None:
        """The device takes a pause for an end, and gives way when the person goes on."""
        first, rng = draft.turn(end), draft.rng.spawn(1)[0]
        errs = resumes - end > RATE_HZ // 2 and rng.random() < self.mistakes
        drawn = int(rng.integers(0, 3)) if errs else None
        chosen = draft.choose(Moment.PAUSE, first, draft.turn(resumes) - 1, drawn)
        if chosen is None:
            return
        starts, on = first + chosen + 1, draft.turn(resumes + int(YIELDS_AFTER_S * RATE_HZ))
        if starts >= draft.turn(resumes) or draft.speaks_after(starts * TURN_SAMPLES):
            return
        spoken = self._long[int(rng.integers(len(self._long)))]
        pcm = np.concatenate([part.pcm for part in spoken.segments]).astype(np.float32)
        draft.span(draft.floor, starts, on, IGNORE)
        self._cut(draft, on, starts * TURN_SAMPLES, pcm, SHORT_OVERLAPS)

    def _sees_hand(self, draft: Draft, start: int, pcm: NDArray[np.float32]) -> int:
        at = draft.turn(self._inside(draft, start, pcm, 0.9))
        draft.look(at - 1, at + 9, True, True)
        draft.span(draft.pose[:, 4], at, at + 8, 1.0)
        draft.mark("hand", at * TURN_SAMPLES, (at + 8) * TURN_SAMPLES)
        draft.span(draft.floor, at, at + 2, IGNORE)  # it could still be a wave
        cut = self._cut(draft, at + 2, start, pcm)
        return max(cut, (at + 9) * TURN_SAMPLES)

    def _sees_wave(self, draft: Draft, start: int, pcm: NDArray[np.float32]) -> int:
        """Nothing to stop for."""
        first = draft.turn(self._inside(draft, start, pcm, 0.9))
        length = int(draft.rng.integers(6, 12))
        draft.look(first - 1, first + length + 2, True, True)
        self._waves_back(draft, first, length)
        draft.span(draft.floor_weight, first, first + length, HELD_WEIGHT)
        draft.sound(start, pcm)
        return max((first + length + 2) * TURN_SAMPLES, start + len(pcm))

    def _is_interrupted(self, draft: Draft, start: int, pcm: NDArray[np.float32]) -> int:
        return self._interrupted_at(draft, self._inside(draft, start, pcm, 0.7), start, pcm)

    def _interrupted_at(
        self, draft: Draft, at: int, start: int, pcm: NDArray[np.float32], alone: bool = False
    ) -> int:
        """The person takes over: with a stop word, with one and a turn, or with a turn at once;
        `alone`: with the word."""
        rng = draft.rng
        chance, turn = 0.0 if alone else rng.random(), None
        if chance < STOP_WORDS:
            word = self._pick(draft, "interruption")
            said = self._say(draft, word, at, True, self._is_seen(draft))
        else:
            word, said = None, at
        worded = said
        if chance >= STOP_WORDS_ALONE:
            turn = self._pick(draft, "turn")
            begin = said + (int(rng.uniform(0.1, 0.4) * RATE_HZ) if word else 0)
            said = self._say(draft, turn, begin, addressed=True, visible=True)
        heard = at + int(YIELDS_AFTER_S * RATE_HZ)
        on = draft.turn(heard)
        draft.span(draft.floor, draft.turn(at), on, IGNORE)
        draft.mark("interruption", at, heard, "stop" if turn is None else "turn")
        self._may_hesitate(draft, at)
        cut = self._cut(draft, on, start, pcm)
        if word is not None:  # whether a turn follows nobody knows yet
            draft.span(draft.action, draft.turn(at), draft.turn(worded) + 3, IGNORE)
        if word is not None and turn is None and _halts(word):
            named = draft.turn(min(said, at + int(NAMED_AFTER_S * RATE_HZ)))
            until = max(draft.turn(cut), named + 1)
            draft.span(draft.action, named, until, ACTION_INDEX["stop_motion"])
            draft.span(draft.action, until, until + 3, IGNORE)
        if turn is not None:
            return self._reply(draft, max(said, cut), turn)
        return max(said, cut) + int(0.6 * RATE_HZ)

    def _cut(
        self,
        draft: Draft,
        on: int,
        start: int,
        pcm: NDArray[np.float32],
        overlaps: Sequence[int] = OVERLAPS,
    ) -> int:
        """Yield from turn `on`; the sound fades out some turns later, if it does not come to its
        own end before. Returns the sample where it is silent."""
        most = max(overlaps)
        drawn = int(draft.rng.choice(overlaps)) - 1
        chosen = draft.choose(Moment.YIELD, on, on + most - 1, drawn)
        until = on + (most if chosen is None else chosen + 1)
        last = draft.turn(start + len(pcm))
        self._due(draft, "yield", on, min(until, last), overlaps)
        if until >= last:
            draft.span(draft.floor, max(on, last - 1), last + 1, IGNORE)
        return self._sound_until(draft, start, pcm, until * TURN_SAMPLES)

    @staticmethod
    def _sound_until(draft: Draft, start: int, pcm: NDArray[np.float32], end: int) -> int:
        """Play from `start` and fade out at `end`; returns where it is silent."""
        keep = end - start
        if keep >= len(pcm):
            draft.sound(start, pcm)
            return start + len(pcm)
        if keep <= 0:
            return start
        heard = pcm[: keep + FADE].copy()
        fade = heard[keep:]
        fade *= np.linspace(1, 0, len(fade), dtype=np.float32)
        draft.sound(start, heard, meant=len(pcm))
        return end

    # -- putting it together ----------------------------------------------------------

    def _finish(self, draft: Draft) -> Conversation:
        floor, status = draft.floor_and_status()
        played = draft.heard_of_device()
        mic = self.acoustics.microphone(draft.rng, draft.near, played)
        audio = np.clip(np.stack([mic, played]) / FULL_SCALE, -1, 1).astype(np.float32)
        pictures, picture_of = draw(draft, self.frame_px, self.photographs)
        return Conversation(
            audio=audio,
            pictures=pictures,
            picture_of=picture_of,
            frame_valid=np.full((draft.turns, 1), not draft.blind or draft.covered, np.float32),
            events=draft.events,
            status=status,
            floor=floor,
            floor_weight=draft.floor_weight,
            act=draft.act,
            action=draft.action,
            delegate=draft.delegate,
            speech=draft.speech,
            intent=draft.intent,
            vision=draft.attributes(),
            end_of_turn=draft.end_of_turn,
            phones=draft.phones,
            texts=tuple(draft.texts),
            marks=tuple(draft.marks),
            points=tuple(draft.points),
        )


def _waiting(turn: int, lags: Sequence[int], late: float) -> float:
    """The chance that an end is unanswered after so many turns."""
    soon = np.mean([turn < other for other in lags])
    later = np.clip((LATEST - turn) / (LATEST - max(lags)), 0, 1)
    return float((1 - late) * soon + late * later)


def _halts(spoken: Spoken) -> bool:
    """Whether a body that moves should stand still: not at every word that interrupts."""
    return any(_HALTING.search(segment.text) for segment in spoken.segments)


def _may_break_off(spoken: Spoken) -> bool:
    """It has a pause before which more must come: a random place in prose may be an end."""
    written = spoken.source == "human" or spoken.intent != OPEN
    return written and len(spoken.segments) > 1


def _broken_off(rng: np.random.Generator, spoken: Spoken) -> Spoken:
    """Up to one of its pauses."""
    kept = spoken.segments[: int(rng.integers(1, len(spoken.segments)))]
    return replace(spoken, segments=kept, kind="incomplete", intent=OPEN)


def _how_often(spoken: Spoken, wordless: float) -> float:
    """How often a recording comes, beside one of several words."""
    words = sum(len(segment.text.split()) for segment in spoken.segments)
    return wordless if words == 0 else ONE_WORD if words == 1 else 1.0


def _samples(spoken: Spoken) -> int:
    return sum(len(segment.pcm) for segment in spoken.segments)


def _index(names: Mapping[str, int], name: str | None) -> int:
    """Unknown labels (None) are ignored in the loss."""
    return IGNORE if name is None else names[name]
