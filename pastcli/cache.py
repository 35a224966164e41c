"""The folder of things that can be made again: converted models, remembered digests, and where models lie on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def home() -> Path:
    """$PAST_HOME, else ~/.cache/past."""
    return Path(os.environ.get("PAST_HOME") or Path.home() / ".cache" / "past")


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
