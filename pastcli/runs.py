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
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

from . import config as configs
from . import output, publish, sources
from .destinations import allowed
from .diskspace import AGAIN, full_disk_named
from .environment import machine, same_command, versions
from .errors import Interrupted, PastError, said
from .files import fingerprint, is_locked, locked, remove, size_of, writable, write_json
from .publish import killed_at_publishing, recover
from .records import WHOLE, Record, find, find_begun, newest, owner_of, read, records, runs_dir, stored, workspace
from .run import Run
from .unfinished import discard, fresh_folder, rehearsal_folder, remove_finished, take_up, unfinished

__all__ = [
    "Options",
    "Record",
    "Run",
    "allowed",
    "discard",
    "find",
    "find_begun",
    "finished",
    "is_locked",
    "killed_at_publishing",
    "newest",
    "owner_of",
    "read",
    "records",
    "remove_finished",
    "runs_dir",
    "size_of",
    "start",
    "unfinished",
    "versions",
    "workspace",
    "write_json",
]

FORMAT = 1


class Options(TypedDict, total=False):
    """Keywords of `start` that come from a command's own options."""

    resume: bool
    force: bool
    keep_partial: bool
    name: str
    allow_stale: bool
    dry_run: bool
    also: Mapping[str, Any]


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
    dry_run: bool = False,
    also: Mapping[str, Any] | None = None,
) -> Iterator[Run]:
    """Make a run of `stage`; publish it when the block ends well.

    `name` becomes the run's id in place of stage and time. `extra` is what besides the config tells this work
    from another (input paths, for example): `--resume` takes up the newest unfinished run with the same stage,
    config and extra. On an error the partial directory is removed unless something resumable may lie in it (`keep_partial`).
    `force` lets outputs and a run of that name be replaced; `allow_stale` takes inputs whose lineage has changed.
    `also` are the configs of other stages whose settings decide this work (by stage): they stand in config.toml as well, so
    that the same command with `--config` of it repeats the run.
    With `dry_run` the block goes the same way, through the same checks, up to where the work would begin, and returns:
    everything is then as it was before.
    """
    extra = {**(extra or {}), **({"also": _settings(also)} if also else {})}
    if dry_run:
        yield from _rehearsed(stage, config, _key(stage, config, extra), force, name, allow_stale)
        return
    key = _key(stage, config, extra)
    with full_disk_named(lambda: [runs_dir()]), _opened(stage, config, key, resume, force, name) as run:
        run.allow_stale = allow_stale
        try:
            with full_disk_named(run.places):
                with open(run.dir / "config.toml", "a", encoding="utf-8") as file:
                    file.writelines("\n" + configs.to_toml(other, settings) for other, settings in (also or {}).items())
                yield run
                run.publish()
        except (KeyboardInterrupt, Interrupted) as stop:  # a stage run inside another reports the latter
            _settle(run, True, "interrupted")
            raise Interrupted.by(stop, f"to continue: {same_command()}") from stop
        except BaseException as error:
            run.manifest["failure"] = error.message if isinstance(error, PastError) else said(error)
            kept = _settle(run, keep_partial, "failed")
            if kept and isinstance(error, PastError) and error.hint in (None, "", AGAIN):
                error.hint = f"{'free some space there; ' if error.hint else ''}to continue: {same_command()}"
            raise
        finally:
            run.release()


def _settings(also: Mapping[str, Any]) -> dict[str, Any]:
    return {other: configs.decisive(config) for other, config in also.items()}


def _rehearsed(stage: str, config: Any, key: str, force: bool, name: str, allow_stale: bool) -> Iterator[Run]:
    """A run of which nothing stays: not even the folders for runs in a workspace that had none, nor that of a workspace to be made."""
    root = runs_dir() / ".partial"
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        writable(root)
        with rehearsal_folder(root, name, force) as (folder, began):
            run = Run(folder, _manifest(folder.name, stage, config, key, force, began), force=force)
            run.allow_stale = allow_stale
            try:
                _begin(run, stage, config)
                yield run
            finally:
                _settle(run, False, "rehearsed")
                made = [*run.new_folders, *made]
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _key(stage: str, config: Any, extra: Mapping[str, Any] | None) -> str:
    """What tells this work from any other: what decides its result; the same in a workspace that was moved."""
    here = str(workspace())

    def inside(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: inside(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [inside(item) for item in value]
        within = isinstance(value, str) and (value == here or value.startswith(here + os.sep))
        return os.path.relpath(value, here) if within else value

    return configs.digest(inside({"stage": stage, "config": configs.decisive(config), "extra": dict(extra or {})}))


def finished(
    stage: str, config: Any, extra: Mapping[str, Any] | None = None, also: Mapping[str, Any] | None = None
) -> Record | None:
    """The newest complete run of exactly this work, still intact (for `--resume` after the end)."""
    recover()
    extra = {**(extra or {}), **({"also": _settings(also)} if also else {})}
    key = _key(stage, config, extra)
    done = next((r for r in reversed(records()) if r.manifest.get("key") == key and r.intact()), None)
    begun = [record for record in records(partial=True) if record.manifest.get("key") == key]
    if done is not None and any(record.manifest["started"] > done.manifest["started"] for record in begun):
        return None  # the same work was begun once more, and that is what is to be resumed
    return done


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
        with fresh_folder(root, stage, name, force, resume) as (folder, started):
            run = Run(folder, _manifest(folder.name, stage, config, key, force, started), force=force)
            _begin(run, stage, config)
            yield run
        return
    with locked(previous.path):
        granted = force or bool(previous.manifest.get("force"))
        run = Run(previous.path, dict(previous.manifest), resumed=True, force=granted)
        output.note(f"resuming {run.id}")
        if not sources.is_ours(run.manifest):
            output.warn(
                f"{run.id} was begun by another state of past's code, and is of both now",
                "without --resume it begins anew",
            )
        publish.undo(run.dir, run.manifest)
        for torn in run.dir.rglob(".*.writing"):
            remove(torn)
        run.manifest.pop("failure", None)
        again = run.manifest.get("resumed", 0) + 1
        run.manifest.update(
            status="running", resumed=again, argv=sys.argv, cwd=stored(Path.cwd(), run.final), outputs={}, stale=[]
        )
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
        "cwd": stored(Path.cwd(), runs_dir() / name),
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


def _settle(run: Run, keep: bool, status: str) -> bool:
    """After a failure: keep what can be resumed (then True), remove the rest. What is sealed stays, to be published."""
    if run.manifest["status"] in WHOLE:
        return False
    run.release()
    with contextlib.suppress(OSError):
        publish.undo(run.dir, run.manifest)
    run.manifest["status"] = status
    own = ("manifest.json", "config.toml", ".lock")
    if keep and (status == "interrupted" or any(p.is_file() and p.name not in own for p in run.dir.rglob("*"))):
        run.manifest["seconds"] += time.monotonic() - run._began
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            run.save()
        return True
    with contextlib.suppress(OSError):
        remove(run.dir)
    return False
