"""The folder of things that can be made again: converted models, remembered digests, and where models lie on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from .errors import UsageError

NOWHERE = Path(os.devnull) / "past"
"""Where nothing can be written: for a user without a home, as containers run under any number for a user."""


def home() -> Path:
    """$PAST_HOME, else ~/.cache/past."""
    if named := os.environ.get("PAST_HOME"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "past"
    except RuntimeError:
        return NOWHERE


def refused(error: OSError) -> UsageError | None:
    """What is said where this folder, or one around it, cannot be made or written; None of any other place."""
    at = Path(os.path.abspath(os.fsdecode(error.filename or "")))
    if not error.filename or not (at.is_relative_to(home()) or home().absolute().is_relative_to(at)):
        return None
    why = "this user has no home" if home() == NOWHERE else f"{error.strerror}: {at}"
    return UsageError(
        f"nowhere to keep converted models and what was measured ({why})", "export PAST_HOME=DIR, a folder of yours"
    )


def remember(kind: str, key: str, value: str) -> None:
    """Keep one line under (kind, key). A cache that cannot be written costs time, nothing else."""
    kept = home() / kind / key
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}")
        temporary.write_bytes(os.fsencode(value))
        os.replace(temporary, kept)


def recall(kind: str, key: str) -> str:
    """What `remember` kept; '' if nothing."""
    try:
        return os.fsdecode((home() / kind / key).read_bytes())
    except OSError:
        return ""
