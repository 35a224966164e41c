"""A full disk, whoever noticed it: one error that names the folder it happened in."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .cache import home
from .errors import FullDisk, PastError

FULL = (errno.ENOSPC, errno.EDQUOT)
AGAIN = "free some space there and run the command again"
SPENT = 64_000_000
"""Free bytes below which a folder that is nobody's output (a cache, temporary files) is taken for the full one."""


def is_full(error: BaseException) -> bool:
    """Whether there was no room left, on a disk or in a quota. Libraries tell of it in errors of their own, by the system's words."""
    error = _origin(error)
    if isinstance(error, (OSError, PastError)):
        return isinstance(error, OSError) and error.errno in FULL
    return any(os.strerror(one) in str(error) for one in FULL)


def _origin(error: BaseException) -> BaseException:
    """What an error of ours was made of, if of any: its words may quote somebody else's disk."""
    while isinstance(error, PastError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def full(error: BaseException, places: Iterable[Path], again: str = AGAIN, what: str = "") -> FullDisk:
    """The error to raise for one that `is_full`, while `places` were written to (and maybe a cache or temporary files)."""
    said = f"no space left in {_folder(error, places)}"
    return FullDisk(f"{what}: {said}" if what else said, again)


@contextlib.contextmanager
def full_disk_named(places: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """A full disk in the block becomes a `FullDisk`; `places` are the folders that it writes to, asked for when it happens."""
    try:
        yield
    except FullDisk:
        raise
    except Exception as error:
        if is_full(error):
            raise full(error, places()) from error
        raise


def _folder(error: BaseException, places: Iterable[Path]) -> Path:
    """Where it happened: the folder of the file that the error names, else of those written to the one with the least room."""
    named = getattr(_origin(error), "filename", None)
    if isinstance(named, (str, bytes)):
        return _standing(Path(os.path.abspath(os.fsdecode(named))).parent)
    mine = [_standing(place) for place in places]
    beside = [place for place in map(_standing, (home(), Path(tempfile.gettempdir()))) if _free(place) < SPENT]
    return min([*mine, *beside] or [Path.cwd()], key=_free)


def require(place: Path, needed: int, what: str, hint: str) -> int:
    """The bytes free at `place`, or where it will be made; raises `FullDisk` if `needed` are more. `what` follows the free ones."""
    standing = _standing(place.absolute())
    free = shutil.disk_usage(standing).free
    if free < needed:
        raise FullDisk(f"{standing} has {free / 1e9:.2f} GB free, and {what}", hint)
    return free


def _standing(place: Path) -> Path:
    """`place`, or the nearest folder around it that is there."""
    return next((folder for folder in (place, *place.parents) if folder.is_dir()), place)


def _free(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return 1 << 62
