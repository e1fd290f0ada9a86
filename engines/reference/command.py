"""What the factory's commands have in common."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from rich.console import Console

from edge_runtime.errors import EdgeRuntimeError

errors = Console(stderr=True, highlight=False)
INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C has ended."""


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Runs `main`; an error of ours is one message and its exit code, never a traceback."""

    @functools.wraps(main)
    def told() -> None:
        try:
            main()
        except EdgeRuntimeError as error:
            errors.print(str(error), soft_wrap=True, markup=False)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            errors.print("stopped")
            sys.exit(INTERRUPTED)

    return told
