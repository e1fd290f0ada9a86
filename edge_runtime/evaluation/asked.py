"""What a model can be asked for: a figure that needs what it has not is neither good nor bad."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edge_runtime.inference.manifest import Manifest

FLOOR_ALONE: frozenset[str] = frozenset()
"""The abilities of a detector or a timer."""
NEEDS: Mapping[str, tuple[str, ...]] = {
    "act_accuracy": ("act",),
    "asks_again_rate": ("act ask_repeat",),
    "asks_needlessly_rate": ("act ask_repeat",),
    "action_accuracy": ("action",),
    "wrong_action_rate": ("action",),
    "premature_action_rate": ("action",),
    "open_action_rate": ("action",),
    "delegation_precision": ("delegate",),
    "delegation_recall": ("delegate",),
    "premature_delegation_rate": ("delegate",),
    "open_delegation_rate": ("delegate",),
    "side_talk_delegations_per_min": ("delegate",),
    "drowned_delegated_rate": ("delegate",),
    "asked_on_delegated": ("delegate",),
    "cancel_recall": ("delegate cancel",),
    "weave_delivered_rate": ("act deliver",),
    "weave_delivered_late_rate": ("act deliver",),
    "weave_delay_ms": ("act deliver",),
    "stale_delivery_rate": ("act deliver",),
    "delivery_after_cancel_rate": ("act deliver", "delegate cancel"),
    "vision_recall": ("frame", "act greet", "action wave"),
    "vision_recall_arrival": ("frame", "act greet"),
    "vision_recall_wave": ("frame", "action wave"),
    "vision_recall_hand": ("frame",),
    "vision_waves_at_hand": ("frame", "action wave"),
    "vision_stops_for_wave": ("frame",),
    "vision_latency_ms": ("frame",),
    "vision_false_per_hour": ("frame",),
    "cer": ("transcript",),
    "wer": ("transcript",),
    "closed_vocabulary_accuracy": ("transcript",),
}
"""By figure of the `Tally`, as `abilities` names them. The others need the floor alone."""


def abilities(manifest: Manifest) -> frozenset[str]:
    """`frame`, the outputs that can say more than `none`, and their classes: `act`, `act greet`."""
    words = manifest.vocabularies
    found = {"frame"} if manifest.input("frame") is not None else set()
    if manifest.output("transcript") is not None:
        found.add("transcript")
    for role, names in (("act", words.act), ("action", words.action), ("delegate", words.delegate)):
        output = next((tensor for tensor in manifest.outputs if tensor.role == role), None)
        if output is not None and set(names) - {"none"}:
            found |= {role, *(f"{role} {name}" for name in names)}
    return frozenset(found)


def not_asked(able: Collection[str]) -> dict[str, list[str]]:
    """Figures that such a model has not, each with what it would need."""
    lacking = {name: [need for need in needs if need not in able] for name, needs in NEEDS.items()}
    return {name: needs for name, needs in lacking.items() if needs}


def put_not_asked(left: Mapping[str, Collection[str]]) -> str:
    """In words; empty where everything was asked."""
    needs = {need for some in left.values() for need in some}
    named = sorted(n for n in needs if " " not in n or n.partition(" ")[0] not in needs)
    if not named:
        return ""
    return f"It has no {', '.join(named)}, so that {len(left)} figures were not asked of it (-)."
