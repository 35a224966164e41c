"""Hashes that say whether a file is still the one a run used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .api import TensorSpec

WHOLE = 64 << 20
"""Files up to this many bytes are hashed whole; larger ones by samples, and the hash says so."""

_SAMPLES = 64
_SAMPLE = 64 << 10


def hash_path(path: Path) -> str:
    """`sha256:…` of a small file, `sampled:…` of a large one, `tree:…` of a folder (names and hashes inside).

    A sampled hash covers the size, the first and last 64 KiB and 62 blocks of 64 KiB spread evenly between:
    it tells one checkpoint from another in milliseconds, and is no proof against tampering.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".lock"):
            digest.update(os.fsencode(f"{file.relative_to(path)}\0{hash_path(file)}\n"))
        return f"tree:{digest.hexdigest()}"
    size = path.stat().st_size
    with open(path, "rb") as handle:
        if size <= WHOLE:
            return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"
        digest = hashlib.sha256(str(size).encode())
        for index in range(_SAMPLES):
            handle.seek((size - _SAMPLE) * index // (_SAMPLES - 1))
            digest.update(handle.read(_SAMPLE))
        return f"sampled:{digest.hexdigest()}"


def shapes_sha256(specs: Iterable[TensorSpec]) -> str:
    """sha256 over the sorted names and shapes: equal for checkpoints of one layout, whatever their types."""
    lines = sorted(f"{spec.name}\0{'x'.join(map(str, spec.shape))}\n" for spec in specs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def tokens_sha256(tokens: Iterable[str]) -> str:
    """sha256 over a vocabulary given in the order of its ids, so that formats which store it differently agree."""
    return hashlib.sha256("\0".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()
