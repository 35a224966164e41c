"""Files that appear whole or not at all, and files that one process at a time may write."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import MismatchError, PastError, UsageError, reason
from .regular import regular


def write_json(path: Path, data: Any, sync: bool = False) -> None:
    """Write JSON by way of a temporary file, so that a reader never sees half of it; with `sync`, nor does a power cut.

    File names that are no UTF-8 come out as the escapes which JSON has for them, and are read back as they were.
    """
    write_text(path, json.dumps(data, ensure_ascii=False, indent=2, default=str) + "\n", sync)


def write_text(path: Path, text: str, sync: bool = False) -> None:
    """Write a text by way of a temporary file, so that a reader never sees half of it; with `sync`, nor does a power cut."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        if sync:
            sync_one(temporary)
        os.replace(temporary, path)
        if sync:
            sync_one(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_lines(path: Path, rows: Iterable[Any], mode: str = "w", sync: bool = False) -> None:
    """Write, or with mode "a" append, JSON lines; with `sync` they are on the disk when this returns.

    Half of a character (a lone surrogate in what somebody said) comes out as its JSON escape, and is read back as it was.
    """
    with open(path, mode, encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def copy_beside(files: Iterable[Path], source: Path, out: Path) -> None:
    """Copy files of the directory `source` to where they lie in it below `out`; what is there already is left."""
    for file in files:
        made = out / file.relative_to(source)
        if not made.exists():
            made.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, made)


def read_lines(path: Path) -> list[Any]:
    """What `write_lines` wrote, line by line. What follows the last line break was cut off by a kill, or is being written, and
    is left out. Only that character ends a line: what Unicode calls line breaks beside it is text that somebody said.
    """
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line.strip()]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises `MismatchError` if there is none."""
    try:
        value = json.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MismatchError(f"{path} cannot be read: {reason(error)}") from None
    if not isinstance(value, dict):
        raise MismatchError(f"{path} is not a JSON object")
    return value


def exists(path: Path) -> bool:
    """Whether there is such a path; a name that no file system could hold is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def size_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def sizes_in(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder, by its path in there; the lock of a run is no part of it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def fingerprint(path: Path) -> str | None:
    """Names, sizes and times of a file or of everything in a folder, as one text; None if nothing is there.

    Tells cheaply whether something that was looked at before is still the same.
    """
    if not os.path.lexists(path):
        return None
    digest = hashlib.sha256()
    for entry in [path, *(sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [])]:
        state = entry.lstat()
        when = 0 if entry.is_dir() else (state.st_mtime_ns, state.st_size)  # a name added or removed shows by itself
        digest.update(os.fsencode(f"{entry.relative_to(path)}\0{state.st_mode}\0{when}\0"))
    return digest.hexdigest()


def sync_one(path: Path) -> None:
    """fsync a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """fsync everything below `path`: a rename must not become visible before the bytes are safe."""
    for entry in (path, *path.rglob("*")) if path.is_dir() else (path,):
        if entry.is_file() or entry.is_dir():
            sync_one(entry)


def writable(folder: Path) -> None:
    """Make `folder`, and make sure that files can be created in it; raises `UsageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> UsageError:
    """What is said of a place that refuses to be written to."""
    hint = "choose another place: -o for an output, -C for the workspace"
    return UsageError(f"cannot write in {folder}: {error.strerror}", hint)


def claim(fd: int, size: int) -> None:
    """Make the open file `size` bytes long and claim the disk space: a full disk shows before the work, not after it, and
    writing goes a third faster. A file system that cannot claim space leaves a hole instead.
    """
    if hasattr(os, "posix_fallocate"):  # macOS has none
        try:
            os.posix_fallocate(fd, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    os.ftruncate(fd, size)


def read_at(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset` of an open file on, as far as it goes in one call; the number of bytes, 0 at the end."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [view], offset)
    data = os.pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# ---------------------------------------------------------------- locks


class Gone(PastError):
    """What was to be locked was finished, and its lock removed, while we waited for it."""


def lock(path: Path, what: str) -> IO[str]:
    """Hold the lock file `path`, made if needed; the kernel lets go of it when the process dies, however it dies.

    Raises `PastError` if another process holds it (`what` names the thing it writes) or if the file system there has
    no locks, `Gone` if the lock file was removed meanwhile.
    """
    handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (the caller holds it)
    for patience in range(10, -1, -1):  # somebody who only asks `is_locked` holds it for a moment
        if _try(handle, fcntl.LOCK_EX, path):
            break
        if not patience:
            handle.close()
            raise PastError(f"{what} is being written by another process", "wait for it, or stop it first")
        time.sleep(0.02)
    if not _still(handle, path):  # its holder was done and removed it while we waited
        handle.close()
        raise Gone(f"{what} was finished or removed by another process a moment ago", "run the command again")
    return handle


def lock_now(path: Path) -> IO[str] | None:
    """Hold the lock file `path`, or None if somebody else does at the moment."""
    handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (the caller holds it)
    if _try(handle, fcntl.LOCK_EX, path) and _still(handle, path):
        return handle
    handle.close()
    return None


def _try(handle: IO[str], kind: int, path: Path) -> bool:
    """Whether the lock is ours now; False if somebody else holds it."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        handle.close()
        hint = "without locks two processes could write one run: keep the workspace and outputs on another one (-C, -o)"
        raise PastError(f"the file system of {path.parent} gives no locks: {error.strerror}", hint) from error
    return True


def _still(handle: IO[str], path: Path) -> bool:
    try:
        return os.fstat(handle.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """True while a living process holds the lock file `path`. Where there are no locks, none can."""
    try:
        with open(path, encoding="utf-8") as handle:
            return not _try(handle, fcntl.LOCK_SH, path)
    except (FileNotFoundError, PastError):
        return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run directory. Raises `PastError` if another process does."""
    try:
        handle = lock(folder / ".lock", folder.name)
    except FileNotFoundError:
        raise Gone(f"{folder.name} was finished or removed by another process a moment ago") from None
    with handle:
        yield


def is_locked(folder: Path) -> bool:
    """True while a living process writes the run."""
    return is_held(folder / ".lock")
