"""Run directories: every command leaves one, and it appears whole or not at all.

A workspace holds `runs/<id>/` with `manifest.json` (resolved config, argv, seed, versions, hashes of inputs
and outputs, parents, timing) beside what the stage made. While a stage works its directory is
`runs/.partial/<id>/`; `publish` brings it to its place. A killed run stays there, and the same command with
`--resume` takes it up again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import config as configs
from . import output, publish
from .destinations import Claim, allowed, claim
from .environment import machine, same_command, versions
from .errors import Interrupted, MismatchError, UsageError
from .files import fingerprint, full_disk_named, is_locked, locked, remove, size_of, writable, write_json
from .hashing import hash_path
from .lineage import stale
from .publish import recover
from .records import Record, find, located, newest, owner_of, read, records, runs_dir, stored, workspace
from .unfinished import discard, fresh_folder, take_up, unfinished

__all__ = [
    "Record",
    "Run",
    "allowed",
    "discard",
    "find",
    "finished",
    "is_locked",
    "newest",
    "owner_of",
    "read",
    "records",
    "recover",
    "runs_dir",
    "size_of",
    "start",
    "unfinished",
    "versions",
    "workspace",
    "write_json",
]

FORMAT = 1


@dataclass
class Run:
    """A run being made. Write into `dir`, or to the path `external` gives; then leave the `with` block."""

    dir: Path
    manifest: dict[str, Any]
    resumed: bool = False
    force: bool = False
    allow_stale: bool = False
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
            place = Path(path).resolve()
            entry["path"], entry["hash"] = stored(place, self.final), hash_path(place)
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
        given = self.inputs()
        for reason in (reason for path, digest in given.items() for reason in stale(path, digest, given)):
            if not self.allow_stale:
                hint = "make it again from what is there now, or take it as it is with --allow-stale"
                raise MismatchError(reason, hint)
            if reason not in self.manifest["stale"]:
                self.manifest["stale"].append(reason)
                output.warn(f"{reason} (--allow-stale)")

    def add_output(self, name: str, path: Path) -> None:
        """Declare a file or folder inside `dir` as a named output."""
        self.manifest["outputs"][name] = {"path": str(path.relative_to(self.dir))}

    def external(self, name: str, destination: Path, *, folder: bool = False) -> Path:
        """A temporary path to write an output to that is to end up at `destination`, a file or a `folder`.

        The place is this run's alone from now on. Raises `UsageError` if it may not be written (`destinations`),
        `PastError` if another process is writing it.
        """
        check = dict(folder=folder, force=self.force, inputs=self.inputs())
        place = allowed(destination, **check)
        writable(place.parent)
        publish.note(self.dir, self.manifest, name, place, folder)
        self.save()
        self._claims.append(claim(place))
        allowed(place, **check)  # again, now that nobody else can put something there
        temporary = publish.shelve(self.dir, self.manifest, name)
        self.save()
        return temporary

    def metrics(self, **values: Any) -> None:
        self.manifest["metrics"].update(values)

    def save(self) -> None:
        write_json(self.dir / "manifest.json", self.manifest)

    def publish(self) -> Record:
        """Everything to its place, the run directory last."""
        self.manifest["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.manifest["seconds"] = round(self.manifest["seconds"] + time.monotonic() - self._began, 3)
        publish.seal(self.dir, self.manifest)
        return Record(publish.forward(self.dir, self.manifest, self._claims), self.manifest)

    def release(self) -> None:
        """Give the places of the outputs back."""
        for held in self._claims:
            held.release()

    def __post_init__(self) -> None:
        self._began = time.monotonic()


@contextlib.contextmanager
def start(
    stage: str,
    config: Any,
    *,
    extra: Mapping[str, Any] | None = None,
    resume: bool = False,
    force: bool = False,
    keep_partial: bool = True,
    name: str = "",
    allow_stale: bool = False,
) -> Iterator[Run]:
    """Make a run of `stage`; publish it when the block ends well.

    `name` becomes the run's id in place of stage and time. `extra` is what besides the config tells this work
    from another (input paths, for example): `--resume` takes up the newest unfinished run with the same stage,
    config and extra. On an error the partial directory is removed unless something resumable may lie in it (`keep_partial`).
    `force` lets outputs and a run of that name be replaced; `allow_stale` takes inputs whose lineage has changed.
    """
    with full_disk_named(), _opened(stage, config, _key(stage, config, extra), resume, force, name) as run:
        run.allow_stale = allow_stale
        try:
            yield run
            run.publish()
        except (KeyboardInterrupt, Interrupted) as stop:  # a stage run inside another reports the latter
            _settle(run, True, "interrupted")
            raise Interrupted("interrupted", f"to continue: {same_command()}") from stop
        except BaseException:
            _settle(run, keep_partial, "failed")
            raise
        finally:
            run.release()


def _key(stage: str, config: Any, extra: Mapping[str, Any] | None) -> str:
    """What tells this work from any other; the same in a workspace that was moved."""
    here = str(workspace())

    def inside(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: inside(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [inside(item) for item in value]
        within = isinstance(value, str) and (value == here or value.startswith(here + os.sep))
        return os.path.relpath(value, here) if within else value

    return configs.digest(inside({"stage": stage, "config": configs.to_dict(config), "extra": dict(extra or {})}))


def finished(stage: str, config: Any, extra: Mapping[str, Any] | None = None) -> Record | None:
    """The newest complete run of exactly this work, still intact (for `--resume` after the end)."""
    recover()
    key = _key(stage, config, extra)
    if any(record.manifest.get("key") == key for record in records(partial=True)):
        return None  # the same work was begun once more, and that is what is to be resumed
    return next((r for r in reversed(records()) if r.manifest.get("key") == key and r.intact()), None)


@contextlib.contextmanager
def _opened(stage: str, config: Any, key: str, resume: bool, force: bool, name: str) -> Iterator[Run]:
    """A locked run directory, taken up again or new."""
    root = runs_dir() / ".partial"
    writable(root)
    recover()
    previous = take_up(key) if resume else None
    if previous is None:
        if resume:
            output.note("nothing to resume: no unfinished run of this command; starting anew")
        with fresh_folder(root, stage, name, force) as (folder, started):
            run = Run(folder, _manifest(folder.name, stage, config, key, force, started), force=force)
            _begin(run, stage, config)
            yield run
        return
    with locked(previous.path):
        granted = force or bool(previous.manifest.get("force"))
        run = Run(previous.path, dict(previous.manifest), resumed=True, force=granted)
        output.note(f"resuming {run.id}")
        publish.undo(run.dir, run.manifest)
        for torn in run.dir.rglob(".*.writing"):
            remove(torn)
        again = run.manifest.get("resumed", 0) + 1
        run.manifest.update(status="running", resumed=again, argv=sys.argv, outputs={}, stale=[])
        _begin(run, stage, config)
        yield run


def _manifest(name: str, stage: str, config: Any, key: str, force: bool, started: datetime) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "id": name,
        "stage": stage,
        "status": "running",
        "key": key,
        "argv": sys.argv,
        "config": configs.to_dict(config),
        "seed": getattr(config, "seed", None),
        "versions": versions(),
        "machine": machine(),
        "started": started.isoformat(timespec="microseconds"),
        "seconds": 0.0,
        "resumed": 0,
        "parents": [],
        "inputs": {},
        "outputs": {},
        "metrics": {},
        "stale": [],
        "external": {},
        "force": force,
        "replaces": fingerprint(runs_dir() / name),
    }


def _begin(run: Run, stage: str, config: Any) -> None:
    try:
        run.save()
        (run.dir / "config.toml").write_text(configs.to_toml(stage, config), encoding="utf-8")
    except OSError:
        _settle(run, run.resumed, "failed")
        raise


def _settle(run: Run, keep: bool, status: str) -> None:
    """After a failure: keep what can be resumed, remove the rest. What is sealed stays, to be published."""
    if run.manifest["status"] in publish.WHOLE:
        return
    run.release()
    with contextlib.suppress(OSError):
        publish.undo(run.dir, run.manifest)
    run.manifest["status"] = status
    own = ("manifest.json", "config.toml", ".lock")
    if keep and (status == "interrupted" or any(p.is_file() and p.name not in own for p in run.dir.rglob("*"))):
        run.manifest["seconds"] += time.monotonic() - run._began
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            run.save()
    else:
        with contextlib.suppress(OSError):
            remove(run.dir)
