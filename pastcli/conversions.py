"""Things made from others once and kept: converted models. Whole or not there, made by one process, unused ones removed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from . import output
from .errors import MismatchError, PastError
from .files import Gone, is_held, lock, remove, size_of, sync_one, sync_tree
from .hashing import hash_path

KEPT_DAYS = 30
"""A conversion that was not used for so many days is removed when another one is made: it can be made again."""


def kept(made_from: Sequence[Path], place_of: Callable[[Sequence[str]], Path], make: Callable[[Path], None]) -> Path:
    """What is kept at `place_of(hashes of the files and folders made_from)`, made now by `make(path)` if it is not there: a
    file or a folder.

    It appears whole and on disk. Of several processes one makes it, and the others wait. What dead processes left half
    made is removed, and so is what lies beside it unused for `KEPT_DAYS`. Raises `MismatchError` where something that it is made
    from changes meanwhile: it would be kept as what another model gives, and be found again for that one.
    """
    hashes = [hash_path(path) for path in made_from]
    place = place_of(hashes)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_turn(place)):
            try:
                if not place.exists():  # nobody made it while we waited
                    _prune(place.parent)
                    _make(place, lambda path: _faithfully(make, path, made_from, hashes))
            finally:
                _lock_of(place).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the time of the last use; that of the last change is part of its identity
        os.utime(place, ns=(time.time_ns(), place.stat().st_mtime_ns))
    return place


def _faithfully(make: Callable[[Path], None], path: Path, made_from: Sequence[Path], hashes: Sequence[str]) -> None:
    make(path)
    for source, before in zip(made_from, hashes, strict=True):
        if hash_path(source) != before:
            raise MismatchError(f"{source} changed while it was being converted", "run the same command again")


def _make(place: Path, make: Callable[[Path], None]) -> None:
    shelf = place.with_name(f".{place.name}.making")
    remove(shelf)
    shelf.mkdir()
    try:
        make(shelf / place.name)
        sync_tree(shelf)
        os.rename(shelf / place.name, place)
        sync_one(place.parent)
    finally:
        remove(shelf)


def _lock_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


def _turn(place: Path) -> IO[str]:
    """The right to make `place`, waited for; the wait is said."""
    said = False
    while True:
        try:
            return lock(_lock_of(place), place.name)
        except Gone:
            continue
        except PastError:
            if not is_held(_lock_of(place)):  # no locks there: nothing to wait for
                raise
        if not said:
            output.note(f"another process is making {place.name}; waiting for it")
            said = True
        time.sleep(0.2)


def _prune(folder: Path) -> None:
    """Remove half-made things whose makers are dead, and things nobody used for long; says what and how much."""
    oldest = time.time() - KEPT_DAYS * 86400
    for entry in sorted(folder.iterdir()):
        with contextlib.suppress(OSError):
            if entry.name.endswith(".making") and not is_held(
                entry.with_name(entry.name.removesuffix(".making") + ".lock")
            ):
                remove(entry)
            elif not entry.name.startswith(".") and max(entry.stat().st_atime, entry.stat().st_mtime) < oldest:
                output.note(f"removing {entry}, unused for {KEPT_DAYS} days ({size_of(entry) / 1e6:.0f} MB)")
                remove(entry)
