"""Files as a distribution packs its documentation: `NAME.gz` is read as what NAME says it is."""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from ..errors import UsageError

SUFFIX = ".gz"
_PIECE = 1 << 20


def is_gzipped(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX


def name_of(path: Path) -> Path:
    """The path without the ending that only says how it is packed."""
    return path.with_suffix("") if is_gzipped(path) else path


def beginning(path: Path, size: int) -> bytes:
    """The first bytes of what a file holds; raises `UsageError` for a damaged one."""
    with _opened(path) as file, _damage_told():
        return file.read(size)


@contextlib.contextmanager
def unpacked(path: Path, most: int) -> Iterator[Path]:
    """A file that readers can open: `path` itself, or what it packs, in a folder that goes again. Raises `UsageError` for a
    damaged file and for one that grows beyond `most` bytes: a megabyte can pack a thousand."""
    if not is_gzipped(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="past-gz-") as folder:
        plain = Path(folder, name_of(path).name)
        with _opened(path) as packed, open(plain, "wb") as file, _damage_told():
            while piece := packed.read(_PIECE):
                file.write(piece)
                if file.tell() > most:
                    raise UsageError(
                        f"larger than {most // 1_000_000} MB once unpacked", "split it, or raise --max-file-mb"
                    )
        yield plain


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if is_gzipped(path) else open(path, "rb")


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"damaged gzip file: {error}") from error
