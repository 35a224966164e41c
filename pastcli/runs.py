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
import fcntl
import json
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import __version__, config as configs, output
from .errors import Interrupted, PastError, UsageError
from .hashing import hash_path

FORMAT = 1
PACKAGES = ("torch", "transformers", "trl", "peft", "llama-cpp-python", "gguf", "numpy", "safetensors")


@dataclass(frozen=True)
class Record:
    """A published (or interrupted) run as its manifest tells it."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        return self.manifest["id"]

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
        return None if entry is None else (self.path / entry["path"])

    def input(self, name: str) -> str | None:
        entry = self.manifest.get("inputs", {}).get(name)
        return None if entry is None else entry["path"]


def workspace() -> Path:
    """The directory whose `runs/` is used: $PAST_WORKSPACE, else the current directory."""
    return Path(os.environ.get("PAST_WORKSPACE") or ".").resolve()


def runs_dir() -> Path:
    return workspace() / "runs"


# ---------------------------------------------------------------- reading


def read(path: Path) -> Record:
    """The record of one run directory; raises `PastError` if its manifest is missing or broken."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise TypeError("not an object")
        manifest["id"], manifest["stage"], manifest["status"]
        return Record(path, manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PastError(f"{path} is not a readable run: {error}", "`past runs list` shows the runs of a workspace") from error


def records(partial: bool = False) -> list[Record]:
    """Runs of the workspace, oldest first; with `partial` the unfinished ones instead."""
    root = runs_dir() / ".partial" if partial else runs_dir()
    found = []
    for path in sorted(root.glob("*/manifest.json")):
        with contextlib.suppress(PastError):
            found.append(read(path.parent))
    return sorted(found, key=lambda record: (record.manifest.get("started", ""), record.id))


def find(name: str) -> Record:
    """A run by id, unique prefix of an id, or path."""
    path = Path(name)
    if (path / "manifest.json").is_file():
        return read(path)
    matches = [record for record in records() if record.id.startswith(name)]
    exact = [record for record in matches if record.id == name]
    if len(exact or matches) != 1:
        problem = "no run" if not matches else f"{len(matches)} runs"
        raise UsageError(f"{problem} of this workspace named {name!r}", "`past runs list` shows them")
    return (exact or matches)[0]


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
        for name in record.manifest.get("outputs", {}):
            made = record.output(name)
            if made is not None and made.resolve() == path:
                return record
    return None


# ---------------------------------------------------------------- writing


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
        """Record an input with its hash; a path made by another run makes that run a parent."""
        entry: dict[str, Any] = {"path": str(path), **extra}
        if Path(path).exists():
            entry["path"] = str(Path(path).resolve())
            entry["hash"] = hash_path(Path(path))
            owner = owner_of(Path(path))
            if owner is not None:
                entry["run"] = owner.id
                if owner.id not in self.manifest["parents"]:
                    self.manifest["parents"].append(owner.id)
        self.manifest["inputs"][name] = entry
        self.save()

    def add_output(self, name: str, path: Path) -> None:
        """Declare a file or folder inside `dir` as a named output."""
        self.manifest["outputs"][name] = {"path": str(path.relative_to(self.dir))}

    def external(self, name: str, destination: Path) -> Path:
        """A temporary path to write an output that is to end up at `destination` (file or folder)."""
        destination = Path(os.path.abspath(destination))
        if destination.exists() and not self.force and str(destination) not in self.manifest["publishing"]:
            raise UsageError(f"{destination} already exists", "choose another name, or add --force to replace it")
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = destination.with_name(f".{destination.name}.partial-{self.id}{destination.suffix}")
        _remove(temporary)
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
            _replace(temporary, destination)
            self.manifest["outputs"][name] = {"path": str(destination)}
        for entry in self.manifest["outputs"].values():
            made = self.dir / entry["path"]
            entry["hash"], entry["bytes"] = hash_path(made), size_of(made)
        now = datetime.now(timezone.utc)
        self.manifest.update(status="complete", finished=now.isoformat(timespec="seconds"))
        self.manifest["seconds"] = round(self.manifest["seconds"] + time.monotonic() - self._began, 3)
        for key in ("temporary", "publishing"):
            self.manifest.pop(key)
        self.save()
        sync_tree(self.dir)
        os.rename(self.dir, self.final)
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
) -> Iterator[Run]:
    """Make a run of `stage`; publish it when the block ends well.

    `extra` is what besides the config tells this work from another (input paths, for example): `--resume`
    takes up the newest unfinished run with the same stage, config and extra. On an error the partial
    directory is removed unless something resumable may lie in it (`keep_partial`).
    """
    key = configs.digest({"stage": stage, "config": configs.to_dict(config), "extra": dict(extra or {})})
    with _opened(stage, config, key, resume, force) as run:
        try:
            yield run
            run.publish()
        except KeyboardInterrupt as stop:
            run.manifest["status"] = "interrupted"
            _keep(run)
            raise Interrupted("interrupted", f"to continue: {_same_command()}") from stop
        except OSError as error:
            _settle(run, keep_partial)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PastError(f"no space left while writing: {error}", "free some space and run the command again") from error
            raise
        except BaseException:
            _settle(run, keep_partial)
            raise


def finished(stage: str, config: Any, extra: Mapping[str, Any] | None = None) -> Record | None:
    """The newest complete run of exactly this work whose outputs still exist (for `--resume` after the end)."""
    key = configs.digest({"stage": stage, "config": configs.to_dict(config), "extra": dict(extra or {})})
    for record in reversed(records()):
        if record.manifest.get("key") == key and all(
            (record.path / entry["path"]).exists() for entry in record.manifest.get("outputs", {}).values()
        ):
            return record
    return None


@contextlib.contextmanager
def _opened(stage: str, config: Any, key: str, resume: bool, force: bool) -> Iterator[Run]:
    """A locked run directory, taken up again or new."""
    root = runs_dir() / ".partial"
    root.mkdir(parents=True, exist_ok=True)
    previous = _take_up(key) if resume else None
    if resume and previous is None:
        output.note("nothing to resume: no unfinished run of this command; starting anew")
    if previous is not None:
        run = Run(previous.path, dict(previous.manifest), resumed=True, force=force)
        run.manifest.update(status="running", resumed=run.manifest.get("resumed", 0) + 1, argv=sys.argv)
        output.note(f"resuming {run.id}")
    else:
        run = _new(root, stage, config, key, force)
    with open(run.dir / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PastError(f"{run.id} is being written by another process", "wait for it, or stop it first") from None
        run.save()
        (run.dir / "config.toml").write_text(configs.to_toml(stage, config), encoding="utf-8")
        yield run
    (run.final / ".lock").unlink(missing_ok=True)


def _new(root: Path, stage: str, config: Any, key: str, force: bool) -> Run:
    now = datetime.now(timezone.utc)
    name = f"{stage}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    manifest = {
        "format": FORMAT, "id": name, "stage": stage, "status": "running", "key": key, "argv": sys.argv,
        "config": configs.to_dict(config), "seed": getattr(config, "seed", None), "versions": versions(),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "started": now.isoformat(timespec="microseconds"), "seconds": 0.0, "resumed": 0, "parents": [],
        "inputs": {}, "outputs": {}, "metrics": {}, "temporary": [], "publishing": [],
    }
    (root / name).mkdir()
    return Run(root / name, manifest, force=force)


def _take_up(key: str) -> Record | None:
    """The newest unfinished run with this key that no living process holds."""
    for record in reversed(records(partial=True)):
        if record.manifest.get("key") == key and not is_locked(record.path):
            return record
    return None


def is_locked(path: Path) -> bool:
    """True while a living process writes the run."""
    try:
        with open(path / ".lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def discard(record: Record) -> None:
    """Remove an unfinished run and the temporary outputs it left elsewhere."""
    for temporary in record.manifest.get("temporary", []):
        _remove(Path(temporary))
    _remove(record.path)


def _settle(run: Run, keep: bool) -> None:
    """After a failure: keep what can be resumed, remove the rest."""
    for temporary, _ in run._external.values():
        with contextlib.suppress(OSError):
            _remove(temporary)
    run.manifest["status"] = "failed"
    if keep and any(path.name not in ("manifest.json", "config.toml", ".lock") for path in run.dir.iterdir()):
        _keep(run)
    else:
        with contextlib.suppress(OSError):
            _remove(run.dir)


def _keep(run: Run) -> None:
    run.manifest["seconds"] += time.monotonic() - run._began
    with contextlib.suppress(OSError):  # a full disk must not hide the first error
        run.save()


def _same_command() -> str:
    """The command line of this process with --resume, fit to be pasted into a shell."""
    import shlex

    words = ["past", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])


# ---------------------------------------------------------------- files


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide results; reads metadata, imports none of them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"past": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def write_json(path: Path, data: Any) -> None:
    """Write JSON by way of a temporary file, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(data, ensure_ascii=False, indent=2, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def size_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def sync_tree(path: Path) -> None:
    """fsync every file below `path`: a rename must not become visible before the bytes are safe."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(temporary: Path, destination: Path) -> None:
    """Put a finished file or folder in place of what may stand there."""
    sync_tree(temporary)
    if destination.is_dir() or temporary.is_dir():
        aside = destination.with_name(f".{destination.name}.old-{secrets.token_hex(2)}")
        if destination.exists():
            os.rename(destination, aside)
        os.rename(temporary, destination)
        _remove(aside)
    else:
        os.replace(temporary, destination)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
