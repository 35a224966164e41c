"""Tools files as one side, or as a source and a target that share nothing: which APIs and which queries belong to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...api import Task, ToolSpec
from ...config import LessonsConfig
from ...errors import UsageError
from ..load import ToolSet, read_tools
from . import split
from .lessons import drawn
from .merged import merged


@dataclass(frozen=True)
class Side:
    """Source or target: its categories, its APIs and the queries that came with them; `copies` were left out, since
    another side has the same."""

    name: str
    categories: tuple[str, ...]
    specs: tuple[ToolSpec, ...]
    own: tuple[Task, ...]
    copies: tuple[ToolSpec, ...] = ()

    @property
    def prefix(self) -> str:
        return "target_" if self.name == "target" else ""


def sides_of(
    tools: Sequence[Path],
    category: Sequence[str],
    target: Sequence[str],
    lessons: LessonsConfig,
    apart: Sequence[ToolSpec] = (),
) -> tuple[list[Side], list[str]]:
    """The sides with their APIs, and what is worth a warning. An API of the source that is the same as one of
    the target or of those `apart` (`split.same_api`) is left out. Raises `MismatchError` if the sides share anything else."""
    found = [read_tools(path) for path in tools]
    specs, tasks = merged(found)
    if not target and not lessons.target_share:
        chosen = split.pick(specs, category)
        return [_side("source", chosen, specs, tasks, lessons, apart)], _noted(found, chosen)
    sides = split.part(specs, tasks, category, target, lessons.target_share, lessons.seed)
    notes = _noted(found, [*sides.source, *sides.target])
    if sides.left_out:
        shown = ", ".join(sides.left_out)
        notes.append(f"left out of both sides, for they share a tool or a query with the target: {shown}")
    second = _side("target", sides.target, specs, tasks, lessons)
    first = _side("source", sides.source, specs, tasks, lessons, [*second.specs, *apart])
    if first.copies:
        shown = ", ".join(" / ".join(filter(None, spec.key[1:])) for spec in first.copies[:3])
        more = f" and {len(first.copies) - 3} more" if len(first.copies) > 3 else ""
        notes.append(f"left out of the source, for the target has APIs of the same name and parameters: {shown}{more}")
    return [first, second], notes


def _noted(found: Sequence[ToolSet], categories: Sequence[str]) -> list[str]:
    """What is wrong with the APIs of these categories, and with the files as such."""
    return [line for one in found for line in one.warnings.lines(categories)]


def _side(
    name: str,
    categories: Sequence[str],
    specs: Sequence[ToolSpec],
    tasks: Sequence[Task],
    lessons: LessonsConfig,
    apart: Sequence[ToolSpec] = (),
) -> Side:
    """One side, without what is the same as one of those `apart`."""
    wanted = set(categories)
    own = [spec for spec in specs if spec.category in wanted]
    if lessons.required_only:
        own = [spec for spec in own if any(parameter.required for parameter in spec.parameters)]
    others = {split.same_api(spec) for spec in apart}
    copies = tuple(spec for spec in own if split.same_api(spec) in others)
    if lessons.apis and len(own) > lessons.apis:
        # Drawn as if there were no copies: with and without them the rest is the same.
        own = drawn(own, lessons, {spec.key for spec in copies})
    else:
        own = [spec for spec in own if spec not in copies]
    if not own:
        why = f": {len(copies)} have the name and the parameters of another side's" if copies else ""
        raise UsageError(f"no API is left for the {name}{why}", "name other categories, or leave out --required-only")
    kept = {spec.key for spec in own}
    asked = tuple(task for task in tasks if all(spec.key in kept for spec in task.tools))
    return Side(name, tuple(categories), tuple(own), asked, copies)
