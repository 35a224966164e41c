"""Tools files as one side, or as a source and a target that share nothing: which APIs and which queries belong to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...api import Task, ToolSpec
from ...api.tools import Key
from ...config import LessonsConfig
from ...errors import UsageError
from .. import names
from ..load import ToolSet, read_tools
from . import split
from .lessons import drawn


@dataclass(frozen=True)
class Side:
    """Source or target: its categories, its APIs and the queries that came with them."""

    name: str
    categories: tuple[str, ...]
    specs: tuple[ToolSpec, ...]
    own: tuple[Task, ...]

    @property
    def prefix(self) -> str:
        return "target_" if self.name == "target" else ""


def sides_of(
    tools: Sequence[Path], category: Sequence[str], target: Sequence[str], lessons: LessonsConfig
) -> tuple[list[Side], list[str]]:
    """The sides with their APIs, and what is worth a warning. Raises `MismatchError` if they share anything."""
    found = [read_tools(path) for path in tools]
    specs, tasks = _merged(found)
    if not target and not lessons.target_share:
        chosen = split.pick(specs, category)
        return [_side("source", chosen, specs, tasks, lessons)], _noted(found, chosen)
    sides = split.part(specs, tasks, category, target, lessons.target_share, lessons.seed)
    notes = _noted(found, [*sides.source, *sides.target])
    if sides.left_out:
        shown = ", ".join(sides.left_out)
        notes.append(f"left out of both sides, for they share a tool or a query with the target: {shown}")
    both = (("source", sides.source), ("target", sides.target))
    return [_side(name, chosen, specs, tasks, lessons) for name, chosen in both], notes


def _noted(found: Sequence[ToolSet], categories: Sequence[str]) -> list[str]:
    """What is wrong with the APIs of these categories, and with the files as such."""
    return [line for one in found for line in one.warnings.lines(categories)]


def _merged(found: Sequence[ToolSet]) -> tuple[list[ToolSpec], list[Task]]:
    """The APIs of several files, each once and no two of one name; the files' own queries."""
    listed: dict[Key, ToolSpec] = {}
    for spec in (spec for one in found for spec in one.specs):
        listed.setdefault(spec.key, spec)
    exposed = names.distinct([spec.name for spec in listed.values()], list(listed))
    named = {
        key: replace(spec, name=name) if spec.name != name else spec
        for (key, spec), name in zip(listed.items(), exposed, strict=True)
    }
    tasks = [task for one in found for task in one.tasks]
    own = [replace(task, tools=tuple(named[spec.key] for spec in task.tools)) for task in tasks]
    return list(named.values()), own


def _side(
    name: str, categories: Sequence[str], specs: Sequence[ToolSpec], tasks: Sequence[Task], lessons: LessonsConfig
) -> Side:
    wanted = set(categories)
    own = [spec for spec in specs if spec.category in wanted]
    if lessons.required_only:
        own = [spec for spec in own if any(parameter.required for parameter in spec.parameters)]
    if lessons.apis and len(own) > lessons.apis:
        own = drawn(own, lessons)
    if not own:
        raise UsageError(f"no API is left for the {name}", "name other categories, or leave out --required-only")
    kept = {spec.key for spec in own}
    asked = tuple(task for task in tasks if all(spec.key in kept for spec in task.tools))
    return Side(name, tuple(categories), tuple(own), asked)
