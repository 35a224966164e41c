"""The APIs of several tools files as one list, and the queries that came with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...api import Task, ToolSpec
from ...api.tools import Key
from .. import names
from ..formats import bfcl
from ..load import ToolSet


def merged(found: Sequence[ToolSet]) -> tuple[list[ToolSpec], list[Task]]:
    """The APIs of several files, each once and no two of one name; the files' own queries."""
    alone = {key: spec for one in found for key, spec in _alone(one)}
    listed: dict[Key, ToolSpec] = {}
    for spec in (alone.get(spec.key, spec) for one in found for spec in one.specs):
        listed.setdefault(spec.key, spec)
    exposed = names.distinct([spec.name for spec in listed.values()], list(listed))
    named = {
        key: replace(spec, name=name) if spec.name != name else spec
        for (key, spec), name in zip(listed.items(), exposed, strict=True)
    }
    shown = {key: named[spec.key] for key, spec in alone.items()} | named
    return list(named.values()), [_shown(task, shown) for one in found for task in one.tasks]


def _alone(found: ToolSet) -> Iterator[tuple[Key, ToolSpec]]:
    """(key in the file, the function as one of no tool) of BFCL's functions. There the id of a question stands for their tool,
    since two questions may mean different functions by one name; where they do not, they are one."""
    meant: dict[str, list[ToolSpec]] = {}
    for task in found.tasks if bfcl.NAME in found.format else ():
        for spec in task.tools:
            if spec.category == bfcl.CATEGORY and spec.tool == task.id:
                meant.setdefault(spec.api, []).append(replace(spec, tool=""))
    for task in found.tasks:
        for spec in task.tools:
            same = meant.get(spec.api, ()) if spec.tool == task.id else ()
            if same and all(other == same[0] for other in same):
                yield spec.key, same[0]


def _shown(task: Task, shown: dict[Key, ToolSpec]) -> Task:
    """The query with its functions as they are named and keyed here."""
    return replace(
        task,
        tools=tuple(shown[spec.key] for spec in task.tools),
        relevant=tuple(shown[key].key if key in shown else key for key in task.relevant),
        expected_calls=tuple(
            replace(call, key=shown[call.key].key) if call.key in shown else call for call in task.expected_calls
        ),
    )
