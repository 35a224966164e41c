"""A run that is being made: what went into it, what comes out of it, and the record of both."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from . import output, packaged, publish
from .destinations import Claim, allowed, claim
from .errors import UsageError, reason
from .files import writable, write_json
from .hashing import hash_path
from .lineage import changed, refuse_stale
from .records import Record, located, owner_of, runs_dir, stored, workspace
from .regular import regular
from .standing_in import trusted


@dataclass
class Run:
    """A run being made. Write into `dir`, or to the path `external` gives; then leave the `with` block."""

    dir: Path
    manifest: dict[str, Any]
    resumed: bool = False
    force: bool = False
    allow_stale: bool = False
    new_folders: list[Path] = field(default_factory=list)
    """Folders made for outputs elsewhere, innermost first: a dry run removes them."""
    _claims: list[Claim] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.manifest["id"]

    @property
    def final(self) -> Path:
        """Where this run will be once published."""
        return runs_dir() / self.id

    def add_input(self, name: str, path: Path | str, **extra: Any) -> None:
        """Record an input with its hash; a path made by another run makes that run a parent.

        Raises `UsageError` if a resumed run began with other contents there: half a run on each would be neither.
        Raises `MismatchError` if it, or a model behind it, is no longer what the runs that made it recorded; with
        `allow_stale` that is written down and said.
        """
        entry: dict[str, Any] = {"path": str(path), **extra}
        if Path(path).exists():
            try:
                place = regular(Path(path)).resolve()
            except OSError as error:
                raise UsageError(f"{path} cannot be read: {reason(error)}", "copy what it gives into a file") from None
            entry["path"], entry["hash"] = packaged.named(place) or stored(place, self.final), hash_path(place)
            if os.path.isabs(str(extra.get("model", ""))):  # named by nothing but where it is
                entry["model"] = entry["path"]
            before = self.manifest["inputs"].get(name, {}).get("hash", entry["hash"])
            if self.resumed and before != entry["hash"]:
                raise UsageError(f"{path} has changed since {self.id} began", "start anew, without --resume")
            owner = owner_of(place)
            if owner is not None:
                entry["run"] = owner.id
                if owner.id not in self.manifest["parents"]:
                    self.manifest["parents"].append(owner.id)
        self.manifest["inputs"][name] = entry
        self._check_lineage()
        self.save()

    def add_inputs(self, name: str, paths: Iterable[Path]) -> None:
        """Record several inputs of one kind: `name`, `name2`, `name3`, ..."""
        for number, path in enumerate(paths, 1):
            self.add_input(name if number == 1 else f"{name}{number}", path)

    def inputs(self) -> dict[Path, str]:
        """The hashes of the inputs recorded so far, by where they lie."""
        entries = self.manifest["inputs"].values()
        return {located(entry["path"], self.dir): entry["hash"] for entry in entries if "hash" in entry}

    def parents(self) -> dict[str, Any]:
        """The inputs as a file that leaves the workspace names them: by hash, and by path within the workspace."""
        named = {}
        for name, entry in self.manifest["inputs"].items():
            place = located(entry["path"], self.dir) if "hash" in entry else Path(entry["path"])
            inside = place.is_relative_to(workspace())
            named[name] = {**entry, "path": str(place.relative_to(workspace()) if inside else place)}
        return named

    def _check_lineage(self) -> None:
        for text in refuse_stale(self.inputs(), self.allow_stale):
            if text not in self.manifest["stale"]:
                self.manifest["stale"].append(text)
                output.warn(f"{text} (--allow-stale)")

    def add_output(self, name: str, path: Path) -> None:
        """Declare a file or folder inside `dir` as a named output."""
        self.manifest["outputs"][name] = {"path": str(path.relative_to(self.dir))}

    def external(self, name: str, destination: Path, *, folder: bool = False) -> Path:
        """A temporary path to write an output to that is to end up at `destination`, a file or a `folder`.

        The place is this run's alone from now on. Raises `UsageError` if it may not be written (`destinations`),
        `PastError` if another process is writing it.
        """
        check = partial(allowed, folder=folder, force=self.force, inputs=self.inputs())
        place = check(destination)
        self.new_folders += [folder for folder in place.parents if not folder.exists()]
        writable(place.parent)
        publish.note(self.dir, self.manifest, name, place, folder)
        self.save()
        self._claims.append(claim(place))
        check(place)  # again, now that nobody else can put something there
        temporary = publish.shelve(self.dir, self.manifest, name)
        self.save()
        return temporary

    def places(self) -> list[Path]:
        """The folders that the run writes to: its own, and those around what it makes elsewhere."""
        entries = self.manifest["external"].values()
        return [self.dir, *(located(entry["destination"], self.dir).parent for entry in entries)]

    def metrics(self, **values: Any) -> None:
        self.manifest["metrics"].update(values)

    def took_at_least(self, seconds: float) -> None:
        """Count the time of parts that were killed too suddenly to record theirs."""
        self.manifest["seconds"] += max(0.0, seconds - self._taken())

    def _taken(self) -> float:
        """Seconds until now, those of earlier parts included."""
        return float(self.manifest["seconds"]) + time.monotonic() - self._began

    def save(self) -> None:
        write_json(self.dir / "manifest.json", self.manifest)

    def publish(self) -> Record:
        """Everything to its place, the run directory last."""
        if trusted():
            self.manifest["on_trust"] = trusted()
        self._say_changed()
        self.manifest["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.manifest["seconds"] = round(self._taken(), 3)
        publish.seal(self.dir, self.manifest)
        return Record(publish.forward(self.dir, self.manifest, self._claims), self.manifest)

    def _say_changed(self) -> None:
        entries = self.manifest["inputs"].items()
        for text in changed({n: (located(e["path"], self.dir), e["hash"]) for n, e in entries if "hash" in e}):
            self.manifest["stale"].append(text)
            output.warn(text)

    def release(self) -> None:
        """Give the places of the outputs back."""
        for held in self._claims:
            held.release()

    def __post_init__(self) -> None:
        self._began = time.monotonic()
