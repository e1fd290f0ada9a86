"""What the reference model can say, do and hand on. The order is that of its outputs."""

from __future__ import annotations

FLOOR = ("listen", "backchannel", "speak", "yield", "hold")
ACTS = (
    "none",
    "greet",
    "goodbye",
    "acknowledge",
    "working",
    "still_working",
    "deliver",
    "apologise",
    "ask_repeat",
    "yes",
    "no",
    "thanks",
    "name",
    "wellbeing",
    "capabilities",
    "offline",
)
ACTIONS = ("none", "look_at", "nod", "wave", "come", "stop_motion", "turn_left", "turn_right")
DELEGATE = ("none", "delegate", "cancel")
DECODING = {"speak": 0.9, "backchannel": 0.3, "yield": 0.15, "action": 0.5, "delegate": 0.4}
"""The probabilities from which a decision is taken, chosen on dev."""
EVENTS = (
    "utterance_started",
    "utterance_finished",
    "utterance_interrupted",
    "progress",
    "result",
    "failed",
    "link_up",
    "link_down",
)
STATUS = ("speaking", "seconds_left", "pending", "result_ready", "link_up")
INTENTS = tuple(
    "open stop cancel backchannel greet_word bye thanks name wellbeing presence wave_cmd nod_cmd "
    "look_cmd come_cmd turn_left_cmd turn_right_cmd device_cmd object_cmd timer fact arithmetic "
    "time_date units about weather news route statement story more ask_back".split()
)
"""What was said, as the grammar has it; only training asks for it."""
SYMBOLS = ("", " ", *"abcdefghijklmnopqrstuvwxyz", "'")
PHONES = tuple(
    "SIL AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH "
    "UW V W Y Z ZH".split()
)
