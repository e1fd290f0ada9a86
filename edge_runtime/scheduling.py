"""What a loop may ask the kernel for: to come first, and not to be paged out."""

from __future__ import annotations

import ctypes
import logging
import os

log = logging.getLogger(__name__)
MCL_CURRENT = 1


def ask_for_realtime(priority: int) -> bool:
    """Round-robin real-time scheduling for the calling thread, 1..99; whether it was granted.

    Threads that it starts later do not inherit it. Without the right (RLIMIT_RTPRIO, or
    CAP_SYS_NICE) it stays as it is, with a warning.
    """
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError as error:
        log.warning(
            "no real-time priority %d: %s. Allow it (LimitRTPRIO=%d in the unit), or set "
            "loop.realtime_priority to null.",
            priority,
            error.strerror,
            priority,
        )
        return False
    return True


def lock_memory() -> bool:
    """Keep what is in memory now from being paged out; whether that was granted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT) == 0:
        return True
    log.warning(
        "the memory cannot be locked: %s. Allow it (LimitMEMLOCK in the unit), or set "
        "loop.lock_memory to false.",
        os.strerror(ctypes.get_errno()),
    )
    return False
