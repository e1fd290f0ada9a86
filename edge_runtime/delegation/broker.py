"""Where the broker is, and who we are there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from edge_runtime.broker_url import broker_address
from edge_runtime.config import DelegationConfig
from edge_runtime.credentials import located, secret
from edge_runtime.errors import ConfigError


@dataclass(frozen=True)
class BrokerSettings:
    """Where the broker is and who we are there. Secrets are read from files only."""

    url: str
    """`mqtt://host[:port]`, `mqtts://host[:port]`."""
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    """Of the broker's certificate; the system's authorities without it."""
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = 5
    session_expiry_s: int = 60
    """How long the broker keeps what it could not deliver."""

    @classmethod
    def configured(cls, chosen: DelegationConfig, url: str) -> Self:
        """`url` in place of the configured one."""
        return cls(
            url,
            chosen.user,
            chosen.password_file,
            chosen.ca_file,
            chosen.cert_file,
            chosen.key_file,
        )

    def address(self) -> tuple[str, int, bool]:
        """Host, port, TLS. Raises ConfigError."""
        try:
            return broker_address(self.url)
        except ValueError as error:
            raise ConfigError(f"The broker's URL cannot be used: {error}.") from None

    def password(self) -> str | None:
        """Raises ConfigError."""
        return None if self.password_file is None else secret(self.password_file)

    def tls(self) -> ssl.SSLContext:
        """Raises ConfigError."""
        try:
            ca_file = None if self.ca_file is None else located(self.ca_file)
            context = ssl.create_default_context(cafile=ca_file)
            if self.cert_file is not None:
                key_file = None if self.key_file is None else located(self.key_file)
                context.load_cert_chain(located(self.cert_file), key_file)
        except (OSError, ssl.SSLError) as error:
            named = ", ".join(
                f"{key} {located(path).absolute()}"
                for key in ("ca_file", "cert_file", "key_file")
                if (path := getattr(self, key)) is not None
            )
            raise ConfigError(
                f"The TLS files of the broker cannot be used: {error}. Check that they are there, "
                f"and that this user may read them: {named}."
            ) from error
        return context
