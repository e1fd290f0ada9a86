"""The address of a broker, as a configuration or a command line gives it."""

from __future__ import annotations

from urllib.parse import urlsplit

PORTS = {"mqtt": 1883, "mqtts": 8883}


def broker_address(url: str) -> tuple[str, int, bool]:
    """Host, port, TLS. Raises ValueError, whose message holds nothing of `url`."""
    if "@" in url:
        raise ValueError(
            "it must not hold a user or password, which others could read: use `user` and "
            "`password_file`"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("it is no broker: use mqtt://HOST[:PORT], or mqtts://HOST[:PORT] for TLS")
    return parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts"
