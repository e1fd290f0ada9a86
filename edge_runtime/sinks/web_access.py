"""Who may read what is shown over HTTP, told by the request's Host, Origin and Sec-Fetch-Site."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from email.message import Message
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def names_loopback(headers: Message) -> bool:
    return _host(headers) in LOOPBACK


def names_this_device(headers: Message, origins: Sequence[str]) -> bool:
    """By an address, a name of this machine, or the host of an origin.

    A web page may point any other name, one of its own, at an address of this machine; its browser
    would then let it read all that is served here.
    """
    name = _host(headers)
    named = (*LOOPBACK, *(urlsplit(origin).hostname for origin in origins))
    return name in named or _is_address(name) or _is_own(name)


def may_read(headers: Message, origins: Sequence[str]) -> bool:
    """A program, the page that is served here, or one whose origin is named. Other pages could not
    read it anyway, and would take the place of a screen."""
    origin = headers.get("Origin")
    if origin is not None:
        return origin in origins or origin == f"http://{headers.get('Host')}"
    return headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")


def _host(headers: Message) -> str:
    """Without its port; empty where none is named."""
    host = headers.get("Host", "").lower()
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.strip("[]").removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own(name: str) -> bool:
    """The full name comes last: it may have to be asked for in the network."""
    own = socket.gethostname().lower()
    first = own.partition(".")[0]
    known = (own, first, f"{first}.local")
    return bool(name) and (name in known or name == socket.getfqdn().lower())
