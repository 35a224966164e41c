"""Is what a command is about to use still what the runs behind it recorded?

A run writes down the hash of everything it read and made. A model trained again under the same name, a corpus edited
by hand or a skill file written over would otherwise go on under the old run's name, and figures would be taken for
those of another model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import MismatchError
from .hashing import hash_path
from .records import Record, located, owner_of, records

TEXTS = ("documents", "questions", "tools", "corpus", "dev", "tasks", "template")
"""Inputs that may change after they were learnt from: what was made of them stays what it is."""


def stale(path: Path, digest: str, beside: Mapping[Path, str]) -> list[str]:
    """What no longer is as recorded behind the input at `path`, whose hash is `digest`; one sentence each.

    Compared are the input with what its run made, and the models and skills that this run and its ancestors began from
    with what lies there now, by their runs' records or, for the other inputs of the command (`beside`), by their hashes.
    """
    owner = owner_of(path)
    if owner is None:
        return []
    known = records()
    found = [
        f"{path} is not what run {owner.id} made: it has changed since"
        for name, entry in owner.manifest.get("outputs", {}).items()
        if owner.output(name) == path and _differ(entry.get("hash", ""), digest)
    ]
    now = {**_made(known), **beside}
    for run, name, entry in _began_from(owner, {record.id: record for record in known}):
        there = located(entry["path"], run.path)
        if _differ(entry["hash"], now.get(there, "")):
            found.append(f"run {run.id} began from another {name}: {there} has changed since")
    return found


def refuse_stale(given: Mapping[Path, str], allowed: bool) -> list[str]:
    """What is stale about the inputs of one command, by path and hash; raises `MismatchError` unless that is `allowed`."""
    reasons = list(dict.fromkeys(reason for path, digest in given.items() for reason in stale(path, digest, given)))
    if reasons and not allowed:
        hint = "make it again from what is there now, or take it as it is with --allow-stale"
        raise MismatchError(reasons[0], hint)
    return reasons


def changed(inputs: Mapping[str, tuple[Path, str]]) -> list[str]:
    """Which models and skills of a command, (path, hash) by name, are no longer what they were as it began; one sentence each. They
    are read as they are needed, many of them out of a mapped file, and so in part as they are now where somebody wrote over them."""
    return [
        f"{path} changed while it was in use: the result may be of what it was, of what it is, or of parts of both"
        for name, (path, digest) in inputs.items()
        if not _is_text(name) and path.exists() and hash_path(path) != digest
    ]


def read_by(path: Path) -> set[str]:
    """The hashes of the models and skills that went into what lies at `path`, by the records of its run and of that run's ancestors."""
    owner = owner_of(path)
    if owner is None:
        return set()
    return {entry["hash"] for _, _, entry in _began_from(owner, {record.id: record for record in records()})}


def _began_from(run: Record, known: Mapping[str, Record]) -> Iterator[tuple[Record, str, Mapping[str, Any]]]:
    """(run, name, entry) of every model and skill that `run` or one of its ancestors read."""
    queue, seen = deque([run]), set()
    while queue:
        record = queue.popleft()
        if record.id in seen:
            continue
        seen.add(record.id)
        for name, entry in record.manifest.get("inputs", {}).items():
            if "hash" in entry and not _is_text(name):
                yield record, name, entry
        queue.extend(known[parent] for parent in record.parents if parent in known)


def _is_text(name: str) -> bool:
    """By the name of an input, numbered where there are several of its kind."""
    return name.rstrip("0123456789") in TEXTS


def _made(known: list[Record]) -> dict[Path, str]:
    """What lies where by the records of the runs, the newest last."""
    return {
        located(entry["path"], record.path): entry["hash"]
        for record in known
        for entry in record.manifest.get("outputs", {}).values()
        if "hash" in entry
    }


def _differ(recorded: str, now: str) -> bool:
    """True for two hashes of one kind that are not the same; hashes of different kinds cannot be compared."""
    return bool(recorded and now) and recorded.split(":")[0][:6] == now.split(":")[0][:6] and recorded != now
