"""What the node tells of itself on /diagnostics. No ROS."""

from __future__ import annotations

from edge_runtime.health import Health, Part, State

NODE = "node"


class Status:
    """The same names at all times: who aggregates /diagnostics takes one that stays away for a part
    that has died."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def of(self, node: Part, parts: Health) -> Health:
        """`parts` are of the device; those that say nothing now, and have before, are inactive."""
        told = {part.name: part for part in (node, *parts.parts)}
        self._names |= dict.fromkeys(told)
        inactive = [Part(name, State.OK, "inactive") for name in self._names]
        return Health(tuple(told.get(part.name, part) for part in inactive))


def node_part(state: str, mode: str, trouble: str) -> Part:
    """`state`: of the lifecycle. `trouble`: why it is in it, where something has failed."""
    values = {"lifecycle_state": state, "mode": mode}
    if trouble:
        return Part(NODE, State.FAILED, f"{state}: {trouble}", values)
    return Part(NODE, State.OK, state, values)
