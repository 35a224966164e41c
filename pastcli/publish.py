"""How a finished run becomes visible: all of its outputs, or none, wherever it is killed.

An output asked for elsewhere (`-o`) grows on a *shelf*, a hidden folder beside its destination. When the work is done
everything is synced and hashed, and the manifest says `publishing`: from here on the run is whole, and what is left are
renames that anybody can finish (`forward`). The old contents of a replaced folder wait on the shelf until the new ones
stand in their place. Before that point a run can only be resumed or undone (`undo`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import output
from .destinations import Claim, claim, lock_of
from .errors import PastError, UsageError
from .files import fingerprint, is_locked, locked, remove, size_of, sizes_in, sync_one, sync_tree, write_json
from .hashing import hash_path, renamed
from .outliving import remember
from .records import Record, home_of, located, read, runs_dir, sealed, stored


def note(folder: Path, manifest: dict[str, Any], name: str, place: Path, is_folder: bool) -> None:
    """Write into the manifest that output `name` is bound for `place`, before anything is put there."""
    home, shelf = home_of(folder), place.with_name(f".past-{manifest['id']}-{name}")
    entry = {"destination": stored(place, home), "shelf": stored(shelf, home), "folder": is_folder}
    manifest["external"][name] = entry


def shelve(folder: Path, manifest: dict[str, Any], name: str) -> Path:
    """Make the shelf of an output that was noted, and remember what it is to replace; the path to write to."""
    entry = manifest["external"][name]
    place, shelf, new, _ = _places(folder, entry)
    entry["before"] = fingerprint(place)
    remove(shelf)
    new.parent.mkdir(parents=True)
    return new


def _places(folder: Path, entry: dict[str, Any]) -> tuple[Path, Path, Path, Path]:
    """(destination, shelf, what is new, what is old) of one output made elsewhere."""
    destination, shelf = (located(entry[key], folder) for key in ("destination", "shelf"))
    return destination, shelf, shelf / "new" / destination.name, shelf / "old" / destination.name


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Sync and hash everything the run made and say so in its manifest: the point from which it can only be completed.

    Raises `PastError` if an output was never written, is of the wrong kind, or its place was written by others since.
    """
    outputs, home = manifest["outputs"], home_of(folder)
    for name, entry in manifest["external"].items():
        place, _, new, _ = _places(folder, entry)
        if not new.exists() or new.is_dir() != entry["folder"]:
            raise PastError(f"the output {name} was not made: nothing to put at {place}")
        _refuse_meanwhile(place, entry["before"])
        outputs[name] = {"path": stored(place, home), "hash": hash_path(new), "bytes": size_of(new)}
        if entry["folder"]:
            outputs[name]["files"] = sizes_in(new)
        sync_tree(new)
        sync_one(new.parent)
    for entry in outputs.values():
        if "hash" not in entry:
            made = folder / entry["path"]
            entry["hash"], entry["bytes"] = hash_path(made), size_of(made)
    manifest["files"] = sizes_in(folder)
    manifest["status"] = "publishing"
    sync_tree(folder)
    write_json(folder / "manifest.json", manifest, sync=True)


def _refuse_meanwhile(place: Path, before: str | None) -> None:
    if fingerprint(place) != before:
        hint = "choose another name, or look at it and run again with --force"
        raise UsageError(f"{place} was written by something else meanwhile", hint)


def forward(folder: Path, manifest: dict[str, Any], claims: Iterable[Claim]) -> Path:
    """Bring a sealed run to where it belongs, whatever was done before; gives its final directory.

    `claims` are those on its outputs; they are given back once these stand in their places.
    """
    external = manifest.pop("external", {})
    for entry in external.values():
        _move(folder, entry)
    for entry in external.values():
        renamed(_places(folder, entry)[0])
        remove(_places(folder, entry)[1])
    for held in claims:
        held.release()
    final = home_of(folder)
    old = final.parent / ".old" / f"{final.name}-{secrets.token_hex(4)}"
    if os.path.lexists(final):
        _refuse_meanwhile(final, manifest.get("replaces"))
        old.parent.mkdir(exist_ok=True)
        with contextlib.suppress(PastError):
            remember(read(final))
        os.rename(final, old)
    manifest.pop("replaces", None)
    manifest["status"] = "complete"
    write_json(folder / "manifest.json", manifest, sync=True)
    os.rename(folder, final)
    sync_one(final.parent)
    if old.exists():
        remove(old)
        with contextlib.suppress(OSError):  # not empty: somebody else is at it too
            old.parent.rmdir()
    (final / ".lock").unlink(missing_ok=True)
    return final


def _move(folder: Path, entry: dict[str, Any]) -> None:
    """One output to its place. A file replaces a file in one step; a folder cannot, and the old one steps aside."""
    place, _, new, old = _places(folder, entry)
    if not new.exists():
        return  # moved before the kill
    if os.path.lexists(place):
        _refuse_meanwhile(place, entry["before"])
        if entry["folder"]:
            old.parent.mkdir(exist_ok=True)
            os.rename(place, old)
    os.replace(new, place)
    sync_one(place.parent)


def undo(folder: Path, manifest: dict[str, Any]) -> None:
    """Take back what an unfinished run left elsewhere: its shelves go, and what waited there returns to its place."""
    for entry in manifest.get("external", {}).values():
        place, shelf, _, old = _places(folder, entry)
        if old.exists() and not os.path.lexists(place):
            os.rename(old, place)
        remove(shelf)
        if lock_of(place).exists():
            with contextlib.suppress(PastError, OSError):  # held: somebody else is at work there
                claim(place).release()
    manifest["external"] = {}


def killed_at_publishing() -> list[Record]:
    """Runs that are whole, and were killed before they stood in their place."""
    return [record for record in sealed() if not is_locked(record.path)]


def recover() -> None:
    """Finish what was killed while it was being published; says so, and says what stands in the way."""
    for record in killed_at_publishing():
        with _said(record), locked(record.path), ExitStack() as stack:
            places = [_places(record.path, entry)[0] for entry in record.manifest.get("external", {}).values()]
            claims = [claim(place) for place in places]
            for held in claims:
                stack.callback(held.release)
            forward(record.path, dict(record.manifest), claims)
            output.note(f"finished publishing {record.id}, which was killed at it")
    unfinished_ones = (runs_dir() / ".partial").glob("*")
    if (runs_dir() / ".old").exists() and not any(is_locked(path) for path in unfinished_ones):
        remove(runs_dir() / ".old")  # runs that were being replaced when their successor was killed


@contextlib.contextmanager
def _said(record: Record) -> Iterator[None]:
    try:
        yield
    except (PastError, OSError) as error:
        output.warn(f"{record.id} was killed while being published: {error}", f"`past runs clean {record.id}` drops it")
