"""The runs that a workspace has: what a manifest says, and finding runs by name, stage or product.

Paths inside the workspace are kept relative to the run's directory, so that a workspace that was moved or copied works
on its own files, and what a Python package brings by that package's name; other paths are absolute.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import packaged
from .errors import PastError, UsageError, reason
from .hashing import hash_path
from .regular import regular
from .words import counted


def home_of(folder: Path) -> Path:
    """Where the run in `folder` is, or will be once it is finished."""
    return folder.parent.parent / folder.name if folder.parent.name == ".partial" else folder


def stored(path: Path, home: Path) -> str:
    """An absolute path as the manifest of the run at `home` keeps it."""
    return os.path.relpath(path, home) if path.is_relative_to(home.parent.parent) else str(path)


def located(text: str, folder: Path) -> Path:
    """The path that the manifest of the run in `folder` keeps as `text`."""
    path = packaged.located(text) or Path(text)
    if path.is_absolute() or text.startswith(packaged.MARK):
        return path
    base = home_of(folder) if path.parts[:1] == ("..",) else folder
    return Path(os.path.normpath(base / path))


@dataclass(frozen=True)
class Record:
    """A published (or interrupted) run as its manifest tells it."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        return self.manifest["id"]

    @property
    def typed_in(self) -> Path:
        """The folder in which its command was typed; the current one for a run of before that was noted."""
        kept = self.manifest.get("cwd")
        return located(kept, self.path) if kept else Path.cwd()

    @property
    def stage(self) -> str:
        return self.manifest["stage"]

    @property
    def status(self) -> str:
        return self.manifest["status"]

    @property
    def parents(self) -> list[str]:
        return list(self.manifest.get("parents", []))

    def output(self, name: str) -> Path | None:
        """Where an output of this run lies; None if it made no such thing."""
        entry = self.manifest.get("outputs", {}).get(name)
        return None if entry is None else located(entry["path"], self.path)

    def made(self, name: str) -> Path:
        """Where an output of this run lies that its stage always makes; raises `PastError` if it has none."""
        path = self.output(name)
        if path is None:
            raise PastError(f"run {self.id} has no {name}", "remove it and run the command again")
        return path

    def outputs(self) -> dict[str, str]:
        """Where every output lies, by name."""
        return {name: str(self.output(name)) for name in self.manifest.get("outputs", {})}

    def unchanged(self, name: str) -> bool:
        """True if this output is, byte for byte, what the run made (as far as a hash was recorded)."""
        entry = self.manifest.get("outputs", {})[name]
        made = located(entry["path"], self.path)
        return made.exists() and entry.get("hash", "") in ("", hash_path(made))

    def intact(self) -> bool:
        """True if its outputs and its inputs are what they were, by content."""
        outputs, inputs = self.manifest.get("outputs", {}), self.manifest.get("inputs", {})
        if not all(map(self.unchanged, outputs)):
            return False
        hashed = [(located(entry["path"], self.path), entry["hash"]) for entry in inputs.values() if "hash" in entry]
        return all(path.exists() and hash_path(path) == known for path, known in hashed)

    def input(self, name: str) -> str | None:
        """Where an input of this run lay, or the name it went by; None if it had no such input."""
        entry = self.manifest.get("inputs", {}).get(name)
        if entry is None:
            return None
        return str(located(entry["path"], self.path)) if "hash" in entry else entry["path"]

    def whole(self) -> dict[str, Any]:
        """The manifest with absolute paths, for whoever reads it elsewhere."""
        absolute = {
            kind: {
                name: {**entry, "path": str(located(entry["path"], self.path))} if "hash" in entry else entry
                for name, entry in self.manifest.get(kind, {}).items()
            }
            for kind in ("inputs", "outputs")
        }
        return {**self.manifest, **absolute}


def workspace() -> Path:
    """The directory whose `runs/` is used: $PAST_WORKSPACE, else the current directory."""
    return Path(os.environ.get("PAST_WORKSPACE") or ".").resolve()


def runs_dir() -> Path:
    return workspace() / "runs"


def read(path: Path) -> Record:
    """The record of one run directory; raises `PastError` if its manifest is missing or broken."""
    path = Path(os.path.abspath(path))
    try:
        file = os.path.join(path, "manifest.json")
        now = os.stat(file)
        return Record(path, _parsed(file, now.st_ino, now.st_size, now.st_mtime_ns))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PastError(
            f"{path} is not a readable run: {reason(error)}", "`past runs list` shows the runs of a workspace"
        ) from error


@lru_cache(maxsize=1 << 14)
def _parsed(file: str, inode: int, size: int, modified: int) -> Mapping[str, Any]:
    """A manifest as it lies there: a command asks for the runs of its workspace a dozen times, and there may be thousands."""
    manifest = json.loads(regular(Path(file)).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        raise TypeError("not an object")
    if not all(isinstance(manifest[key], str) for key in ("id", "stage", "status")):
        raise TypeError("id, stage and status must be text")
    for key in ("inputs", "outputs", "config", "metrics"):
        if not isinstance(manifest.get(key, {}), dict):
            raise TypeError(f"{key} must be an object")
    if not isinstance(manifest.get("parents", []), list):
        raise TypeError("parents must be a list")
    return manifest


def records(partial: bool = False) -> list[Record]:
    """Runs of the workspace, oldest first; with `partial` the unfinished ones instead. Unreadable ones are left out."""
    root = runs_dir() / ".partial" if partial else runs_dir()
    found = []
    for name in sorted(os.listdir(root)) if root.is_dir() else ():
        with contextlib.suppress(PastError):
            found.append(read(root / name))
    return sorted(found, key=_begun)


WHOLE = ("publishing", "complete")
"""States of a run whose work is done, even if it still lies among the unfinished ones."""


def sealed() -> list[Record]:
    """Runs among the unfinished ones that are whole: what is left of them are renames."""
    return [record for record in records(partial=True) if record.status in WHOLE]


def find(name: str) -> Record:
    """A finished run by path, id, unique prefix of an id, or `@stage` (the newest of a stage; `@sft~1` the one before)."""
    if not name.startswith("@") and (Path(name) / "manifest.json").is_file():
        return read(Path(name))
    found = _named(name, records())
    if len(found) != 1:
        begun = [record.id for record in _named(name, records(partial=True))]
        hint = f"{begun[0]} is unfinished: `past runs show {begun[0]}`" if begun else "`past runs list` shows them"
        raise UsageError(_problem(name, found, records()), hint)
    return found[0]


def find_begun(name: str, unfinished_first: bool = False) -> Record:
    """Like `find`, unfinished runs included; of a run that is being made anew under its name the finished one, or the other."""
    if not name.startswith("@") and (Path(name) / "manifest.json").is_file():
        return read(Path(name))
    ordered = [records(partial=True), records()] if unfinished_first else [records(), records(partial=True)]
    known: dict[str, Record] = {}
    for record in (record for some in ordered for record in some):
        known.setdefault(record.id, record)
    every = sorted(known.values(), key=_begun)
    found = _named(name, every)
    if len(found) != 1:
        raise UsageError(_problem(name, found, every), "`past runs list` shows them")
    return found[0]


def _named(name: str, among: Sequence[Record]) -> list[Record]:
    """The runs that a name may mean, oldest first: one if it is clear."""
    if name.startswith("@"):
        stage, _, back = name[1:].partition("~")
        of_stage = [record for record in among if record.stage == stage]
        known = (back or "0").isdecimal() and int(back or 0) < len(of_stage)
        return [of_stage[-1 - int(back or 0)]] if known else []
    matches = [record for record in among if record.id.startswith(name)]
    return [record for record in matches if record.id == name] or matches


def _problem(name: str, found: Sequence[Record], among: Sequence[Record]) -> str:
    if name.startswith("@"):
        stage = name[1:].partition("~")[0]
        there = counted(sum(record.stage == stage for record in among), "runs")
        return f"no run {name!r}: this workspace has {there} of the stage {stage!r}"
    return f"{counted(len(found), 'runs') if found else 'no run'} of this workspace named {name!r}"


def _begun(record: Record) -> tuple[str, str]:
    return str(record.manifest.get("started", "")), record.id


def newest(*stages: str, output_name: str | None = None) -> Record | None:
    """The newest finished run of the given stages whose named output still exists."""
    for record in reversed(records()):
        if record.stage not in stages:
            continue
        made = record.output(output_name) if output_name else record.path
        if made is not None and made.exists():
            return record
    return None


def owner_of(path: Path) -> Record | None:
    """The run that made `path`: the run directory around it, or the one whose manifest names it as output."""
    path = path.resolve()
    for folder in (path, *path.parents):
        if (folder / "manifest.json").is_file():
            with contextlib.suppress(PastError):
                return read(folder)
    for record in reversed(records()):
        for entry in record.manifest.get("outputs", {}).values():
            outside = entry["path"].startswith((os.pardir, os.sep))  # what lies in its run's directory was found above
            if outside and located(entry["path"], record.path).resolve() == path:
                return record
    return None
