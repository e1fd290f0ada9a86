"""The time of day where the machine stands."""

from __future__ import annotations

import time
from datetime import datetime


def local_now() -> datetime:
    """With its offset from UTC, in the time zone that the machine has now: a process keeps the one
    that it began with, though somebody sets another."""
    time.tzset()
    return datetime.now().astimezone()
