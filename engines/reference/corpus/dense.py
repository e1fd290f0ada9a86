"""The first stage of the curriculum: speech upon speech, to learn words, phones and ends of turns.

A duplex conversation is mostly silence and waiting. Here one utterance follows the other, with the
same lengths of silence after what is finished and after what is not; nothing is decided, so floor,
acts and actions are no targets.
"""

from __future__ import annotations

import numpy as np

from engines.reference.corpus.choices import SCRIPTED, Choices
from engines.reference.corpus.conversation import Composer
from engines.reference.corpus.draft import IGNORE, RATE_HZ, Conversation, Draft

KINDS = ("turn", "incomplete", "interruption", "backchannel", "cancel")
SHARES = (0.72, 0.12, 0.07, 0.05, 0.04)
ENDS = {"turn": 1, "incomplete": 0}
"""Whether the turn is over after it; unknown for the others."""


class DenseComposer(Composer):
    """Composes from the same bank and rooms as `Composer`. One seed, one clip."""

    def compose(self, seed: int, choices: Choices = SCRIPTED) -> Conversation:
        """There are no choices here."""
        rng = np.random.default_rng(seed)
        draft = Draft(self.turns, rng)
        draft.blind = rng.random() < 0.5
        for labels in (draft.floor, draft.act, draft.action, draft.delegate):
            labels[:] = IGNORE
        if rng.random() < 0.25:
            self._speak_over(draft)
        position = int(rng.uniform(0.0, 0.6) * RATE_HZ)
        while position < draft.samples - RATE_HZ:
            position = self._one(draft, position)
        return self._finish(draft)

    def _one(self, draft: Draft, position: int) -> int:
        """An utterance and the silence after it."""
        rng = draft.rng
        kind = str(rng.choice(KINDS, p=SHARES))
        aside = bool(rng.random() < 0.12)
        facing, visible = not aside, bool(rng.random() < 0.9)
        first = draft.turn(position)
        end = self._say(draft, self._pick(draft, kind), position, not aside, visible)
        last = draft.turn(end)
        gap = self._pause(rng) if rng.random() < 0.6 else int(rng.uniform(0.1, 0.5) * RATE_HZ)
        draft.look(first, draft.turn(end + gap) + 1, visible, facing)
        if not aside and kind in ENDS:
            draft.span(draft.end_of_turn, last + 1, draft.turn(end + gap), ENDS[kind])
        if rng.random() < 0.15:
            draft.span(draft.pose[:, 3], last, draft.turn(end + gap) + 1, 1.0 + rng.integers(4))
        elif rng.random() < 0.15:
            draft.span(draft.pose[:, 4], last, draft.turn(end + gap) + 1, 1.0)
        return end + gap

    def _listener_backchannel(self, draft: Draft, end: int, pause: int) -> None:
        """The device says nothing of its own here."""

    def _mistake(self, draft: Draft, end: int, resumes: int) -> None:
        """Nor does it take the floor."""

    def _speak_over(self, draft: Draft) -> None:
        """The device talks through part of the clip: its echo is no word of the person's."""
        rng = draft.rng
        position = int(rng.uniform(0, 6) * RATE_HZ)
        for _ in range(int(rng.integers(1, 4))):
            spoken = self._pick(draft, "device")
            pcm = np.concatenate([part.pcm for part in spoken.segments]).astype(np.float32)
            pcm *= np.float32(rng.uniform(0.5, 1.5))
            if position + len(pcm) >= draft.samples:
                return
            draft.sound(position, pcm)
            position += len(pcm) + int(rng.uniform(0.2, 2.0) * RATE_HZ)
