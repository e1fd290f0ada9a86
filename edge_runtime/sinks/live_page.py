"""The page for a screen beside the device; its policy lets it do no more than ask this server."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files

FILE = "live_page.html"
_RULES = (
    "default-src 'none'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)


@dataclass(frozen=True)
class Page:
    body: bytes
    policy: str
    """Its Content-Security-Policy."""


def live_page(language: str) -> Page:
    """With its own words in this language, where it has them; else in English."""
    text = files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    policy = "; ".join([*_RULES, *(f"{tag}-src {_hash(text, tag)}" for tag in ("style", "script"))])
    root = f'<html lang="{escape(language)}">'
    return Page(text.replace('<html lang="en">', root, 1).encode(), policy)


def _hash(text: str, tag: str) -> str:
    """Of what is in the one element of this name: nothing else is run or heeded."""
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
