"""Whether the voice is one for the language of the phrases."""

from __future__ import annotations

import re

from edge_runtime.config import Config

SAME = {"cmn": "zh", "yue": "zh", "hak": "zh", "nb": "no", "nn": "no"}
"""What espeak-ng calls otherwise than a configuration may."""
_PIPER = re.compile(r"([a-z]{2,3})_[A-Z]{2}-")
"""How the files of Piper's voices begin: `de_DE-thorsten-medium`."""


def doubt(config: Config) -> str:
    """A line where the voice speaks another language than the device; empty where it does not, or
    where nobody knows."""
    chosen, wanted = config.voice, config.device.language.partition("-")[0]
    if chosen.engine == "piper":
        named = _PIPER.match(chosen.model.name) if chosen.model is not None else None
        spoken, voice = named[1] if named else "", "voice.model"
        remedy = f"Choose a voice whose name begins with {wanted}_"
    else:
        spoken, voice = re.split(r"[-+]", chosen.voice)[0], "voice.voice"
        remedy = f"Set voice: {{voice: {wanted}}}"
    spoken, wanted = SAME.get(spoken, spoken), SAME.get(wanted, wanted)
    if not spoken or spoken == wanted or len(spoken) != len(wanted):  # deu may be de
        return ""
    return f"device.language is {wanted}, and {voice} speaks {spoken}. {remedy}"
