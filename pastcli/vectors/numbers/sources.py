"""Which C files the compiled kernels are made of, and their digest. setup.py runs this file by itself: it imports nothing of
the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

NAMES = (
    "kernels.c",
    "floats.c",
    "adding.c",
    "subtracting.c",
    "putting.c",
    "requantize.c",
    "moments.c",
    "kernels.h",
    "floats.h",
)


def digest(folder: str | Path) -> str:
    """SHA-256 of the sources in `folder`, in hexadecimal digits; '' where they do not lie (a wheel brings none)."""
    found = hashlib.sha256()
    for name in NAMES:
        try:
            data = (Path(folder) / name).read_bytes()
        except OSError:
            return ""
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()
