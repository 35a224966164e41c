"""Source and target that share nothing: no category, no tool, no API, no query (METHOD 3: skills go to categories RL never saw)."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...api import Task, ToolSpec
from ...config import nearest
from ...errors import MismatchError, UsageError


@dataclass(frozen=True)
class Sides:
    """The categories of either side, and those left out because they share a tool or a query with both."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def pick(specs: Iterable[ToolSpec], names: Sequence[str]) -> tuple[str, ...]:
    """The categories named; all where none is. Raises `UsageError` for one that no API has."""
    known = tuple(dict.fromkeys(spec.category for spec in specs))
    for name in names:
        if name not in known:
            hint = nearest(name, known)
            listed = "" if hint.startswith("known") else f" (known: {', '.join(sorted(known))})"
            raise UsageError(f"no API is of the category {name!r}", f"{hint}{listed}"[:400])
    return tuple(name for name in known if name in names) if names else known


def part(
    specs: Sequence[ToolSpec],
    tasks: Sequence[Task],
    source: Sequence[str],
    target: Sequence[str],
    share: float,
    seed: int,
) -> Sides:
    """Categories for both sides: those named, or `share` of them drawn for the target.

    Categories that have a tool of one name, or a query, in common hang together and are never parted by a draw. Raises
    `MismatchError` if named sides share anything, `UsageError` if a side is left with nothing.
    """
    known = pick(specs, [])
    both = sorted(set(source) & set(target))
    if both:
        raise MismatchError(f"{both[0]} is a category of the source and of the target", "name it on one side")
    pick(specs, [*source, *target])
    if len(known) == 1:
        raise UsageError(
            f"all these tools are of one category, {known[0]!r}: there is nothing to part",
            "give files of more categories, or make the lessons of each side by a command of its own",
        )
    together = _together(specs, tasks, known)
    if target:
        return _named(specs, tasks, source, target, together)
    groups = sorted({together[name] for name in (source or known)}, key=sorted)
    random.Random(f"{seed}|split").shuffle(groups)
    chosen: list[str] = []
    wanted = share * len(source or known)
    for group in groups:
        inside = [name for name in group if not source or name in source]
        if len(chosen) + len(inside) <= max(1.0, wanted + 0.5):
            chosen += inside
    rest = tuple(name for name in (source or known) if name not in chosen)
    if not chosen or not rest:
        what = f"{len(groups)} group(s) of categories that share no tool and no query"
        raise UsageError(f"nothing to part: {what}", "name --category and --target, or give more tools files")
    return Sides(rest, tuple(name for name in known if name in chosen))


def _named(
    specs: Sequence[ToolSpec],
    tasks: Sequence[Task],
    source: Sequence[str],
    target: Sequence[str],
    together: Mapping[str, frozenset[str]],
) -> Sides:
    """Named sides, checked; without a named source it is whatever shares nothing with the target."""
    known = pick(specs, [])
    tied = {name for wanted in target for name in together[wanted]}
    if not source:
        rest = tuple(name for name in known if name not in tied)
        if not rest:
            raise UsageError("every other category shares a tool or a query with the target", "name other categories")
        return Sides(rest, tuple(target), tuple(sorted(tied - set(target))))
    shared = common(specs, tasks, source, target)
    if shared:
        raise MismatchError(
            f"source and target share {shared[0]}" + (f" and {len(shared) - 1} more" if len(shared) > 1 else ""),
            "what a skill is tested on must be nothing that it was trained on: choose other categories",
        )
    return Sides(tuple(source), tuple(target))


def same_api(spec: ToolSpec) -> tuple[str, frozenset[str]]:
    """What an API is whatever its tool and category are called: its name with the names of its parameters, however spelled.

    Sites like RapidAPI hold one API many times, under another tool's name each: whoever has learnt to call one of them has
    learnt to call all.
    """
    return _spelled(spec.api), frozenset(_spelled(p.raw_name or p.name) for p in spec.parameters)


def common(specs: Iterable[ToolSpec], tasks: Iterable[Task], source: Sequence[str], target: Sequence[str]) -> list[str]:
    """What two sides share, in words: tools of one name (however it is spelled), queries of one text."""
    sides: list[dict[str, str]] = []
    for side in (source, target):
        tools = {_mark(spec): f"the {_kind(spec)} {spec.tool or spec.api}" for spec in specs if spec.category in side}
        asked = {
            f"query {_text(task)}": f"the query {_text(task)[:60]!r}" for task in tasks if _categories(task) & set(side)
        }
        sides.append(tools | asked)
    return sorted(text for mark, text in sides[1].items() if mark in sides[0])


def _together(specs: Sequence[ToolSpec], tasks: Sequence[Task], known: Sequence[str]) -> dict[str, frozenset[str]]:
    """category -> all categories that hang together with it, through tools or queries, in any number of steps."""
    marks: dict[str, set[str]] = {}
    for spec in specs:
        marks.setdefault(_mark(spec), set()).add(spec.category)
    for task in tasks:
        marks.setdefault(f"query {_text(task)}", set()).update(_categories(task))
    group = {name: frozenset([name]) for name in known}
    for names in marks.values():
        joined = frozenset().union(*(group[name] for name in names))
        for name in joined:
            group[name] = joined
    return group


def _mark(spec: ToolSpec) -> str:
    return f"{_kind(spec)} {_spelled(spec.tool or spec.api)}"


def _kind(spec: ToolSpec) -> str:
    """A function of no tool stands for itself."""
    return "tool" if spec.tool else "function"


def _categories(task: Task) -> set[str]:
    return {spec.category for spec in task.tools}


def _text(task: Task) -> str:
    return " ".join(task.query.split()).casefold()


def _spelled(name: str) -> str:
    """A name without case, spaces and signs; as it is where it has nothing else ("👋")."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in folded if letter.isalnum()) or name
