"""Which actions of a micro-turn go out."""

from __future__ import annotations

from edge_runtime.micro_turn import STOP_MOTION, Action, TurnRecord
from edge_runtime.remote_control import Mode

MODEL, BACKGROUND, SAFETY = "MODEL", "BACKGROUND", "SAFETY"
MOST_HEARD = 1000
"""Letters that are kept of what is heard until it is answered: beside a television nothing is."""


def acts(record: TurnRecord, mode: Mode) -> list[tuple[Action, str]]:
    """Each action with who asked for it; SAFETY is the loop itself.

    The same action from both sides in one micro-turn is one action: the model's. Beside a
    `stop_motion`, and in STANDBY, there is no other: who is told to stop is told nothing else.
    """
    wanted = {action.name: (action, BACKGROUND) for action in record.asked_actions}
    decided = SAFETY if record.failed else MODEL
    wanted |= {action.name: (action, decided) for action in record.decision.actions}
    if STOP_MOTION in wanted:
        return [wanted[STOP_MOTION]]
    return [] if mode is Mode.STANDBY else list(wanted.values())
