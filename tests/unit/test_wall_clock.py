"""The time of day is that of the zone that the machine has now."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest

from edge_runtime.wall_clock import local_now


def test_a_zone_that_is_set_while_the_device_runs_counts_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `timedatectl set-timezone` does: TZ stands for /etc/localtime here."""
    with monkeypatch.context() as patched:
        for zone, hours in (("XXX-2", 2), ("YYY+5", -5)):
            patched.setenv("TZ", zone)
            now = local_now()
            assert now.utcoffset() == timedelta(hours=hours)
            assert abs(now - datetime.now(timezone.utc)) < timedelta(minutes=1)
    time.tzset()
