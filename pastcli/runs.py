"""Run directories: every command leaves one, and it appears whole or not at all.

A workspace holds `runs/<id>/` with `manifest.json` (resolved config, argv, seed, versions, hashes of inputs
and outputs, parents, timing) beside what the stage made. While a stage works its directory is
`runs/.partial/<id>/`; publishing is one rename. A killed run stays there, and the same command with
`--resume` takes it up again. Outputs asked for elsewhere (`-o FILE`) are written under a temporary name
beside their destination and renamed at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import config as configs
from . import output
from .environment import machine, same_command, versions
from .errors import Interrupted, PastError, UsageError
from .files import aside, is_locked, locked, remove, replace, size_of, writable, write_json
from .hashing import hash_path
from .records import Record, clear, discard, find, newest, owner_of, read, records, runs_dir, unfinished, workspace

__all__ = [
    "Record",
    "Run",
    "discard",
    "find",
    "finished",
    "is_locked",
    "newest",
    "owner_of",
    "read",
    "records",
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
    _external: dict[str, tuple[Path, Path]] = field(default_factory=dict)

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
        """
        entry: dict[str, Any] = {"path": str(path), **extra}
        if Path(path).exists():
            entry["path"] = str(Path(path).resolve())
            entry["hash"] = hash_path(Path(path))
            before = self.manifest["inputs"].get(name, {}).get("hash", entry["hash"])
            if self.resumed and before != entry["hash"]:
                raise UsageError(f"{path} has changed since {self.id} began", "start anew, without --resume")
            owner = owner_of(Path(path))
            if owner is not None:
                entry["run"] = owner.id
                if owner.id not in self.manifest["parents"]:
                    self.manifest["parents"].append(owner.id)
        self.manifest["inputs"][name] = entry
        self.save()

    def add_inputs(self, name: str, paths: Iterable[Path]) -> None:
        """Record several inputs of one kind: `name`, `name2`, `name3`, ..."""
        for number, path in enumerate(paths, 1):
            self.add_input(name if number == 1 else f"{name}{number}", path)

    def add_output(self, name: str, path: Path) -> None:
        """Declare a file or folder inside `dir` as a named output."""
        self.manifest["outputs"][name] = {"path": str(path.relative_to(self.dir))}

    def external(self, name: str, destination: Path) -> Path:
        """A temporary path to write an output that is to end up at `destination` (file or folder).

        A link is followed: what it points to is replaced, and the link stays. Raises `UsageError` if something is
        there and `force` is not set, or if the place cannot be written.
        """
        destination = Path(os.path.realpath(destination))
        if destination.exists() and not self.force and str(destination) not in self.manifest["publishing"]:
            raise UsageError(f"{destination} already exists", "choose another name, or add --force to replace it")
        if any(place.is_relative_to(destination) for place in (Path.cwd(), workspace(), Path.home())):
            raise UsageError(f"{destination} holds this workspace or your home", "name a file or folder of its own")
        writable(destination.parent)
        temporary = destination.with_name(f".{destination.name}.partial-{self.id}{destination.suffix}")
        remove(temporary)
        self._external[name] = (temporary, destination)
        if str(temporary) not in self.manifest["temporary"]:
            self.manifest["temporary"].append(str(temporary))
        self.save()
        return temporary

    def metrics(self, **values: Any) -> None:
        self.manifest["metrics"].update(values)

    def save(self) -> None:
        write_json(self.dir / "manifest.json", self.manifest)

    def publish(self) -> Record:
        """Rename everything to its final name, the run directory last."""
        self.manifest["publishing"] = [str(destination) for _, destination in self._external.values()]
        self.save()
        for name, (temporary, destination) in self._external.items():
            replace(temporary, destination, aside(destination, self.id))
            self.manifest["outputs"][name] = {"path": str(destination)}
        for entry in self.manifest["outputs"].values():
            made = self.dir / entry["path"]
            entry["hash"], entry["bytes"] = hash_path(made), size_of(made)
        now = datetime.now(UTC)
        self.manifest.update(status="complete", finished=now.isoformat(timespec="seconds"))
        self.manifest["seconds"] = round(self.manifest["seconds"] + time.monotonic() - self._began, 3)
        del self.manifest["temporary"], self.manifest["publishing"]
        self.save()
        replace(self.dir, self.final, aside(self.final, self.id))
        return Record(self.final, self.manifest)

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
) -> Iterator[Run]:
    """Make a run of `stage`; publish it when the block ends well.

    `name` becomes the run's id in place of stage and time. `extra` is what besides the config tells this work
    from another (input paths, for example): `--resume` takes up the newest unfinished run with the same stage,
    config and extra. On an error the partial directory is removed unless something resumable may lie in it (`keep_partial`).
    """
    with _full_disk_named(), _opened(stage, config, _key(stage, config, extra), resume, force, name) as run:
        try:
            yield run
            run.publish()
        except (KeyboardInterrupt, Interrupted) as stop:  # a stage run inside another reports the latter
            _settle(run, True, "interrupted")
            raise Interrupted("interrupted", f"to continue: {same_command()}") from stop
        except BaseException:
            _settle(run, keep_partial, "failed")
            raise


@contextlib.contextmanager
def _full_disk_named() -> Iterator[None]:
    """Libraries tell of a full disk in errors of their own; all become one."""
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or os.strerror(errno.ENOSPC) in str(error):
            raise PastError(
                f"no space left while writing: {error}", "free some space and run the command again"
            ) from error
        raise


def _key(stage: str, config: Any, extra: Mapping[str, Any] | None) -> str:
    """What tells this work from any other."""
    return configs.digest({"stage": stage, "config": configs.to_dict(config), "extra": dict(extra or {})})


def finished(stage: str, config: Any, extra: Mapping[str, Any] | None = None) -> Record | None:
    """The newest complete run of exactly this work, still intact (for `--resume` after the end)."""
    key = _key(stage, config, extra)
    if any(record.manifest.get("key") == key for record in records(partial=True)):
        return None  # the same work was begun once more, and that is what is to be resumed
    return next((r for r in reversed(records()) if r.manifest.get("key") == key and r.intact()), None)


@contextlib.contextmanager
def _opened(stage: str, config: Any, key: str, resume: bool, force: bool, name: str) -> Iterator[Run]:
    """A locked run directory, taken up again or new."""
    root = runs_dir() / ".partial"
    writable(root)
    previous = _take_up(key) if resume else None
    if previous is not None:
        run = Run(previous.path, dict(previous.manifest), resumed=True, force=force)
    else:
        run = _new(root, stage, config, key, force, name)
    with locked(run.dir):
        if previous is not None:
            output.note(f"resuming {run.id}")
            clear(run.manifest)
            run.manifest.update(
                status="running", resumed=run.manifest.get("resumed", 0) + 1, argv=sys.argv, temporary=[]
            )
        elif resume:
            output.note("nothing to resume: no unfinished run of this command; starting anew")
        try:
            run.save()
            (run.dir / "config.toml").write_text(configs.to_toml(stage, config), encoding="utf-8")
        except OSError:
            _settle(run, previous is not None, "failed")
            raise
        yield run
    (run.final / ".lock").unlink(missing_ok=True)


def _new(root: Path, stage: str, config: Any, key: str, force: bool, name: str) -> Run:
    now = datetime.now(UTC)
    name = _named_folder(root, name, force) if name else _new_folder(root, f"{stage}-{now:%Y%m%d-%H%M%S}")
    manifest = {
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
        "started": now.isoformat(timespec="microseconds"),
        "seconds": 0.0,
        "resumed": 0,
        "parents": [],
        "inputs": {},
        "outputs": {},
        "metrics": {},
        "temporary": [],
        "publishing": [],
    }
    return Run(root / name, manifest, force=force)


def _named_folder(root: Path, name: str, force: bool) -> str:
    """Make `root/<name>` for a run that the user named."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise UsageError(f"{name!r} cannot be the name of a run", "use letters, digits and . _ + -")
    if (runs_dir() / name).exists() and not force:
        raise UsageError(f"there is a run named {name}", "choose another name, or add --force to replace it")
    if (root / name).exists():
        if not force:
            hint = "add --resume to continue it, or --force to start anew"
            raise UsageError(f"there is an unfinished run named {name}", hint)
        discard(root / name)
    (root / name).mkdir()
    return name


def _new_folder(root: Path, stem: str) -> str:
    """Make `root/<stem>-xxxx`, a name that no run has, finished or not; runs may begin in the same second."""
    while True:
        name = f"{stem}-{secrets.token_hex(2)}"
        with contextlib.suppress(FileExistsError):
            (root / name).mkdir()
            if not (runs_dir() / name).exists():
                return name
            (root / name).rmdir()


def _take_up(key: str) -> Record | None:
    """The newest unfinished run with this key. Raises `PastError` if a living process is at that very work."""
    found = [record for record in records(partial=True) if record.manifest.get("key") == key]
    for record in found:
        if is_locked(record.path):
            raise PastError(f"{record.id} is being written by another process", "wait for it, or stop it first")
    return found[-1] if found else None


def _settle(run: Run, keep: bool, status: str) -> None:
    """After a failure: keep what can be resumed, remove the rest."""
    for temporary, _ in run._external.values():
        with contextlib.suppress(OSError):
            remove(temporary)
    run.manifest["status"] = status
    own = ("manifest.json", "config.toml", ".lock")
    if keep and (status == "interrupted" or any(p.is_file() and p.name not in own for p in run.dir.rglob("*"))):
        _keep(run)
    else:
        with contextlib.suppress(OSError):
            remove(run.dir)


def _keep(run: Run) -> None:
    run.manifest["seconds"] += time.monotonic() - run._began
    with contextlib.suppress(OSError):  # a full disk must not hide the first error
        run.save()
