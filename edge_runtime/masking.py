"""Texts for people, logs and reports, without the passwords of addresses and pipelines."""

from __future__ import annotations

import re

_IN_ADDRESS = re.compile(r"\b(\w+://|(?:mqtt|rtsp|http)s?:)[^'\"\n]*@")
"""Up to the last `@` of a quoted text or a line: a password may hold anything."""
_GIVEN = re.compile(r"(?i)\b((?:user-pw|password|passwd|pwd|pass|token|key)\s*=\s*)[^\s&!'\"]+")


def masked(text: str) -> str:
    """`rtsp://me:word@host` -> `rtsp://***@host`, `?password=word` -> `?password=***`; and what a
    GStreamer pipeline is given as `user-pw=word`."""
    return _GIVEN.sub(r"\1***", _IN_ADDRESS.sub(r"\1***@", text))
