"""The directories of unfinished runs: made, named, taken up again, cleared away."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from .destinations import strange_in_run
from .errors import PastError, UsageError
from .files import is_locked, lock, locked, remove
from .outliving import remember
from .publish import undo
from .records import Record, read, records, runs_dir


@contextlib.contextmanager
def fresh_folder(root: Path, stage: str, name: str, force: bool, resume: bool) -> Iterator[tuple[Path, datetime]]:
    """A new, locked run directory in `root`, called `name` or by stage and time, and when it was made.

    It gets its name when its lock is held already, so that nobody ever sees it without. With `resume` an unfinished run of
    that name was not the same work.
    """
    now = datetime.now(UTC)
    with _nameless(root) as fresh:
        try:
            stem = f"{stage}-{now:%Y%m%d-%H%M%S}"
            name = _named(root, fresh, name, force, resume) if name else _numbered(root, fresh, stem)
        except BaseException:
            remove(fresh)
            raise
        yield root / name, now


@contextlib.contextmanager
def rehearsal_folder(root: Path, name: str, force: bool) -> Iterator[tuple[Path, datetime]]:
    """Like `fresh_folder`, of a dry run: it is refused what the run would be, and never takes the name, so that nothing that
    has it is touched. It is gone after the block."""
    with _nameless(root) as fresh:
        try:
            if name:
                _refuse_name(name, force)
                if os.path.lexists(root / name):
                    _refuse_begun(root / name, force, resume=False)
            yield fresh, datetime.now(UTC)
        finally:
            remove(fresh)


@contextlib.contextmanager
def _nameless(root: Path) -> Iterator[Path]:
    fresh = root / f".new-{secrets.token_hex(6)}"
    fresh.mkdir()
    try:
        held = lock(fresh / ".lock", fresh.name)
    except PastError:
        remove(fresh)
        raise
    with held:
        yield fresh


def _named(root: Path, fresh: Path, name: str, force: bool, resume: bool) -> str:
    """Give the new run the name that the user chose."""
    _refuse_name(name, force)
    while True:
        try:
            os.rename(fresh, root / name)
            return name
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        _refuse_begun(root / name, force, resume)
        discard(root / name)


def _refuse_name(name: str, force: bool) -> None:
    """Raise `UsageError` if no run can have this name, or a finished one has it that may not be replaced."""
    from .models import ALIASES

    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,99}", name):
        raise UsageError(f"{name!r} cannot be the name of a run", "use up to 100 letters, digits and . _ + -")
    if name.lower() in ALIASES:
        raise UsageError(f"{name} is the alias of a model, and cannot be the name of a run", "choose another name")
    taken = runs_dir() / name
    if os.path.lexists(taken):
        if not force:
            raise UsageError(f"there is a run named {name}", "choose another name, or add --force to replace it")
        if stranger := strange_in_run(taken):
            hint = "move it away, or choose another name: --force replaces only what `past` wrote"
            raise UsageError(f"{taken} holds {stranger}, which `past` did not write", hint)


def _refuse_begun(folder: Path, force: bool, resume: bool) -> None:
    """Raise if the unfinished run there may not make place for a new one: it is alive, or nobody said `force`."""
    name = folder.name
    if is_locked(folder):
        raise PastError(f"{name} is being written by another process", "wait for it, or choose another name")
    if not force:
        other = "it was begun with other settings, inputs or version of `past`, and cannot be resumed by this command"
        hint = other if resume else "add --resume to continue it"
        raise UsageError(f"there is an unfinished run named {name}", f"{hint}; --force starts anew")


def _numbered(root: Path, fresh: Path, stem: str) -> str:
    """Give the new run a name that no run has, finished or not; runs may begin in the same second."""
    while True:
        name = f"{stem}-{secrets.token_hex(2)}"
        if not (runs_dir() / name).exists() and not (root / name).exists():
            os.rename(fresh, root / name)
            return name


def take_up(key: str) -> Record | None:
    """The newest unfinished run with this key. Raises `PastError` if a living process is at that very work."""
    found = [record for record in records(partial=True) if record.manifest.get("key") == key]
    for record in found:
        if is_locked(record.path):
            raise PastError(f"{record.id} is being written by another process", "wait for it, or stop it first")
    return found[-1] if found else None


def unfinished() -> list[Path]:
    """Every directory of an unfinished run, readable manifest or not, that no living process holds."""
    folders = sorted(path for path in (runs_dir() / ".partial").glob("*") if path.is_dir())
    young = time.time() - 60  # one that is being made is locked in a moment, and has its name only then
    return [p for p in folders if not is_locked(p) and not (p.name.startswith(".new-") and p.stat().st_mtime > young)]


def remove_finished(record: Record) -> None:
    """Remove a finished run. It leaves its place in one step, so that a kill never leaves half a run that looks whole."""
    trash = runs_dir() / ".trash"
    remember(record)
    with locked(record.path):
        trash.mkdir(exist_ok=True)
        os.rename(record.path, trash / f"{record.id}-{secrets.token_hex(4)}")
    remove(trash)  # with what an earlier, killed removal left


def discard(folder: Path) -> None:
    """Remove an unfinished run and what it left elsewhere. Raises `PastError` if it is alive."""
    with locked(folder):
        with contextlib.suppress(PastError):
            undo(folder, dict(read(folder).manifest))
        remove(folder)
