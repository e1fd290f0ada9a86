"""What ALSA's library has to say goes to our log, at DEBUG, instead of to standard error.

It writes a line for every gap and every device that it looks for in vain. Gaps are counted
elsewhere, and what is wrong with a device is told there too.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
from functools import lru_cache

log = logging.getLogger(__name__)
_Handler = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p
)
"""snd_lib_error_handler_t: file, line, function, error, format; what goes into the format follows
and cannot be had from here."""


def _tell(
    file: bytes | None, line: int, function: bytes | None, error: int, form: bytes | None
) -> None:
    """Called in ALSA's threads, also in those that play: they call into Python for every block."""
    if log.isEnabledFor(logging.DEBUG):
        where, name, text = (
            (part or b"").decode(errors="replace") for part in (file, function, form)
        )
        log.debug("ALSA: %s (%s:%d, error %d): %s", name, where, line, error, text)


_handler = _Handler(_tell)
"""Kept for as long as the library may call it."""


@lru_cache(maxsize=1)
def take_over() -> bool:
    """For the whole process, once. Whether there is an ALSA library."""
    try:
        library = ctypes.CDLL("libasound.so.2")
    except OSError:
        return False
    library.snd_lib_error_set_handler.argtypes = [ctypes.c_void_p]
    library.snd_lib_error_set_handler(ctypes.cast(_handler, ctypes.c_void_p))
    # A stream that was left behind may outlive the interpreter, and must not call into it then.
    atexit.register(library.snd_lib_error_set_handler, None)
    return True
