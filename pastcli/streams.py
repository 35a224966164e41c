"""Whose stdout is: with `--json` it holds one document, whatever else is written there by code that is not ours."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_apart: int | None = None


def set_apart() -> None:
    """From now on nothing but `write_out` reaches stdout: what anybody else writes there, a tool, a reward, a process one of them
    starts, goes to stderr, and the one document stays one."""
    global _apart
    with suppress(OSError):  # the caller has closed one of the two
        kept = os.dup(1)
        os.dup2(2, 1)
        _apart = kept


def write_out(text: str) -> None:
    """Text on stdout itself, whoever else is kept from it."""
    if _apart is None:
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    os.dup2(_apart, 1)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:  # what it did not take must not come out elsewhere at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise
    os.dup2(2, 1)
