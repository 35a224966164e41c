"""Files that appear whole or not at all, and folders that one process at a time may write."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import MismatchError, PastError, UsageError


def write_json(path: Path, data: Any) -> None:
    """Write JSON by way of a temporary file, so that a reader never sees half of it.

    File names that are no UTF-8 come out as the escapes which JSON has for them, and are read back as they were.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(data, ensure_ascii=False, indent=2, default=str) + "\n"
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises `MismatchError` if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MismatchError(f"{path} cannot be read: {str(error)[:120]}") from None
    if not isinstance(value, dict):
        raise MismatchError(f"{path} is not a JSON object")
    return value


def size_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def sync_tree(path: Path) -> None:
    """fsync everything below `path`: a rename must not become visible before the bytes are safe."""
    for entry in (path, *path.rglob("*")) if path.is_dir() else (path,):
        if entry.is_file() or entry.is_dir():
            handle = os.open(entry, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def writable(folder: Path) -> None:
    """Make `folder`, and make sure that files can be created in it; raises `UsageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "choose another place: -o for an output, -C for the workspace"
        raise UsageError(f"cannot write in {folder}: {error.strerror}", hint) from error


def aside(destination: Path, run: str) -> Path:
    """Where the old contents of `destination` wait while the new ones take their place."""
    return destination.with_name(f".{destination.name}.old-{run}")


def replace(temporary: Path, destination: Path, aside: Path) -> None:
    """Put a finished file or folder in place of what may stand there."""
    sync_tree(temporary)
    if destination.is_dir() or temporary.is_dir():
        if destination.exists():
            os.rename(destination, aside)
        os.rename(temporary, destination)
        remove(aside)
    else:
        os.replace(temporary, destination)


def claim(fd: int, size: int) -> None:
    """Make the open file `size` bytes long and claim the disk space: a full disk shows before the work, not after it, and
    writing goes a third faster. A file system that cannot claim space leaves a hole instead.
    """
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        os.ftruncate(fd, size)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run directory; the kernel lets go of it when the process dies, however it dies.

    Raises `PastError` if another process holds it.
    """
    with open(folder / ".lock", "a") as lock:
        for patience in range(10, -1, -1):  # somebody who only asks `is_locked` holds it for a moment
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not patience:
                    hint = "wait for it, or stop it first"
                    raise PastError(f"{folder.name} is being written by another process", hint) from None
                time.sleep(0.02)
        yield


def is_locked(folder: Path) -> bool:
    """True while a living process writes the run."""
    try:
        with open(folder / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
