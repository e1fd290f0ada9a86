"""What the user of the service may do, whoever asks: root may everything."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path

USER = "edge-runtime"
"""Of the service."""
GROUPS = ("audio", "video", "render")
"""SupplementaryGroups= of its units."""
READ, WRITE, ENTER = 0o4, 0o2, 0o1


def service_may(path: Path, what: int) -> bool:
    """As the permissions of `path` say; `what` are READ, WRITE and ENTER together. True where the
    service is not installed yet. Raises OSError."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return True
    status = path.stat()
    if status.st_uid == user.pw_uid:
        wanted = what << 6
    elif status.st_gid in _group_ids(user.pw_gid):
        wanted = what << 3
    else:
        wanted = what
    return status.st_mode & wanted == wanted


def _group_ids(own: int) -> set[int]:
    found = set(os.getgrouplist(USER, own))
    for name in GROUPS:
        with suppress(KeyError):
            found.add(grp.getgrnam(name).gr_gid)
    return found
