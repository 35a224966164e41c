"""What failed and is not there since: a seed that is missing because its training diverged is not missing by chance, and a table
that called it "not run" would leave out what speaks against an arm."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..errors import PastError
from ..files import remove, write_json
from .node import Node, One
from .store import Store

LONGEST = 300
"""Characters of a reason that are kept."""


def note(node: Node, error: PastError, store: Store) -> None:
    """Keep why a result could not be made, without what to do about it and without the workspace's place: it goes into a document
    that is shared."""
    said = error.message.removeprefix(f"{node.label} failed: ").partition(" hint: ")[0].strip().removeprefix("error: ")
    for place in (store.workspace.resolve(), store.workspace):
        said = said.replace(f"{place}/", "")
    file = _file(node, store)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"label": node.label, "why": said[:LONGEST]})


def forget(node: Node, store: Store) -> None:
    remove(_file(node, store))


def collect(asked: Iterable[One], store: Store) -> dict[str, dict[str, dict[str, str]]]:
    """What keeps arms from being finished: {arm: {seed: {label, why}}}, of each the earliest result it grows from that failed."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for one in asked:
        if store.done(one.node):
            continue
        failed = (_file(node, store) for node in one.node.all() if not store.done(node))
        if file := next((file for file in failed if file.is_file()), None):
            found.setdefault(one.arm, {}).setdefault(str(one.seed), json.loads(file.read_text(encoding="utf-8")))
    return found


def _file(node: Node, store: Store) -> Path:
    return store.answers.parent / "failures" / f"{node.key[:24]}.json"
