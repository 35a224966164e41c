"""The end of the process, where something of a library still runs that would keep it: a reporter that waits for a dead server."""

from __future__ import annotations

import os
import sys

_kept = False


def wait_for_nobody() -> None:
    """From now on this process ends when its work is done, and joins no thread and asks no library for last words."""
    global _kept
    _kept = True


def waits() -> bool:
    """Whether the process may end as the interpreter does, which waits for the threads and handlers of libraries."""
    return not _kept


def leave(code: int) -> None:
    """End the process at once."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more, or it is closed
            pass
    os._exit(code)
