"""Where an output may go. Decided here, for every command: `--force` replaces what `past` wrote, and nothing else.

What `past` wrote is what the manifest of a run of this workspace names as its output, with the same bytes. Links are
never written through, a file never takes the place of a folder nor a folder that of a file, and `runs/` belongs to the
runs. While a process makes an output it holds a lock beside it, so that of two processes with one `-o` one is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import PastError, UsageError
from .files import Gone, lock, sizes_in
from .hashing import hash_path
from .outliving import outliving
from .records import Record, read, records, runs_dir, sealed, workspace

OTHERWISE = "choose another name with -o"


def allowed(destination: Path, *, folder: bool, force: bool, inputs: Iterable[Path] = ()) -> Path:
    """`destination` as an absolute path, if an output (a `folder` or a file) may be written there.

    Raises `UsageError` naming what is in the way: a link, a run, this workspace, an input of the same command,
    something of the other kind, something that exists (without `force`), or something that `past` did not write.
    """
    place = Path(os.path.abspath(destination))
    place = Path(os.path.realpath(place.parent)) / place.name
    if place.is_symlink():
        hint = "name what it points to, or remove the link"
        raise UsageError(f"{place} is a link to {os.readlink(place)}, and links are not written through", hint)
    if any(within.is_relative_to(place) for within in (Path.cwd(), workspace(), Path(os.path.expanduser("~")))):
        raise UsageError(f"{place} holds this workspace or your home", "name a file or folder of its own")
    _refuse_runs(place)
    for given in inputs:
        if Path(os.path.realpath(given)).is_relative_to(place):
            raise UsageError(f"{place} is an input of this very command ({given})", OTHERWISE)
    if os.path.lexists(place):
        _refuse_existing(place, folder, force)
    return place


def _refuse_runs(place: Path) -> None:
    """Nothing is written over, into or around a run, of this workspace or another, but by the run itself."""
    if place.is_relative_to(runs_dir()) or runs_dir().is_relative_to(place):
        raise UsageError(f"{place}: {runs_dir()} belongs to the runs", OTHERWISE)
    for around in (place, *place.parents):
        run = _run_at(around)
        if run is not None:
            raise UsageError(f"{place} lies in the run {run.id}", OTHERWISE)


def _run_at(folder: Path) -> Record | None:
    with contextlib.suppress(PastError):
        return read(folder) if (folder / "manifest.json").is_file() else None
    return None


def _refuse_existing(place: Path, folder: bool, force: bool) -> None:
    if place.is_dir() != folder or not (folder or place.is_file()):
        kind = "a folder" if place.is_dir() else "a file" if place.is_file() else "neither a file nor a folder"
        raise UsageError(f"{place} is {kind}, and the output is a {'folder' if folder else 'file'}", OTHERWISE)
    stranger = strange(place)
    if not stranger and not force:
        raise UsageError(f"{place} already exists", "choose another name, or add --force to replace it")
    if stranger:
        hint = f"{OTHERWISE}, or remove it yourself: --force replaces only what `past` wrote"
        raise UsageError(f"{place} already exists, and {stranger}", hint)


def strange(place: Path) -> str:
    """Why what lies at `place` is not, byte for byte, an output of a run of this workspace; '' if it is."""
    if place.is_dir() and not any(place.iterdir()):
        return ""  # nothing to lose
    wrote = [*outliving(place), *_outputs_at(place)]
    if not wrote:
        inside = f" (it holds {_first(place)})" if place.is_dir() else ""
        return f"no run of this workspace wrote it{inside}"
    found = hash_path(place)
    if any(entry.get("hash") == found for _, entry in wrote):
        return ""
    run, entry = wrote[-1]
    foreign = sorted(sizes_in(place).keys() - entry.get("files", {}).keys()) if place.is_dir() else []
    if foreign:
        return f"holds {foreign[0]}, which `past` did not write"
    return f"has changed since run {run} wrote it"


def _outputs_at(place: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    for record in (*records(), *sealed()):  # of the latter a dry run meets what any other command finishes first
        for name, entry in record.manifest.get("outputs", {}).items():
            if record.output(name) == place:
                yield record.id, entry


def _first(folder: Path) -> str:
    return min(entry.name for entry in folder.iterdir())


def strange_in_run(folder: Path) -> str:
    """The first file in a finished run that the run did not make; '' if there is none (or it kept no list)."""
    run = _run_at(folder)
    if run is None:
        return _first(folder)
    listed = run.manifest.get("files")
    return min(sizes_in(folder).keys() - listed.keys(), default="") if listed is not None else ""


# ---------------------------------------------------------------- one writer at a time


@dataclass
class Claim:
    """The right to write one output; `release` gives it back, and so does the death of the process."""

    path: Path
    handle: IO[str]

    def release(self) -> None:
        if not self.handle.closed:
            self.path.unlink(missing_ok=True)
            self.handle.close()


def claim(place: Path) -> Claim:
    """Take the right to write `place`; raises `PastError` if another process has it."""
    path = lock_of(place)
    try:
        while True:
            with contextlib.suppress(Gone):
                return Claim(path, lock(path, str(place)))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UsageError(f"{place} cannot be written: {error.strerror or error}", OTHERWISE) from error


def lock_of(place: Path) -> Path:
    return place.with_name(os.fsdecode(b"." + os.fsencode(place.name)[:200] + b".past-lock"))
