"""The folder of things that can be made again: converted models, verdicts, remembered digests."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """$PAST_HOME, else ~/.cache/past."""
    return Path(os.environ.get("PAST_HOME") or Path.home() / ".cache" / "past")
