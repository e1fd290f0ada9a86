"""Whether a link that is open still carries anything: nobody says so when packets are dropped."""

from __future__ import annotations

SLOWEST_BYTES_S = 128 * 1024
"""A link that carries less is slower than a question is worth: what is sent may take so long."""


class Liveness:
    """Times are monotonic ns. Every message sent here is acknowledged, so silence means something.

    `sent` and `heard` may come from different threads.
    """

    def __init__(self) -> None:
        self._due_ns: int | None = None
        """When a sign may be expected: the first message since the last one is through by then."""
        self._busy_until_ns = 0
        """By then everything sent has gone out, on the slowest link."""

    def sent(self, size: int, now_ns: int) -> None:
        """Call it before sending, or the sign may come first."""
        start_ns = max(self._busy_until_ns, now_ns)
        self._busy_until_ns = start_ns + size * 1_000_000_000 // SLOWEST_BYTES_S
        if self._due_ns is None:
            self._due_ns = self._busy_until_ns

    def heard(self) -> None:
        """Anything at all has come."""
        self._due_ns = None

    def restart(self) -> None:
        """There is a new link."""
        self._due_ns, self._busy_until_ns = None, 0

    @property
    def waiting(self) -> bool:
        return self._due_ns is not None

    def silent(self, now_ns: int, patience_s: float) -> bool:
        """A sign is overdue by more than `patience_s`."""
        due_ns = self._due_ns
        return due_ns is not None and now_ns - due_ns > patience_s * 1e9
